"""Pre-train a network on spectrograms without labels: SimSiam (Chen & He 2021), BYOL, SimCLR or an autoencoder.

    python train_simsiam.py --size small                                 FMA-small, the frame encoder
    python train_simsiam.py --dataset gtzan --backbone resnet18          another collection, a smaller network
    python train_simsiam.py --num_epochs 100 --batch_size 64 --size small --backbone resnet101 \\
                            --aug image --lam 0.7 --aug_p 0.6            the paper's
    python train_simsiam.py --resume 154874                              go on exactly from its last checkpoint

Writes exp/<id>/: configuration.json, pre.pth (the weights), checkpoint.pth, train_log.csv, train_loss.png.
Labels of training and validation tracks serve only the kNN accuracy that the log shows; nothing learns from them.
"""

import argparse
import contextlib
import functools
import math
from pathlib import Path

import augment
import models
import utils

LOG_COLUMNS = [
    *("epoch", "loss", "std", "effective_rank", "backbone_rank", "knn_accuracy", "probe_accuracy"),
    *("lr", "clips_per_second", "seconds"),
]
# of experiments that were made before there were such flags
BEFORE = {"pool": "average", "normalise": "global", "num_views": 2, "precise_norms": False}
DEFAULT_LR = {"AdamW": 0.001, "SGD": 0.06, "Adam": 0.002}
DEFAULT_DECAY = {"AdamW": 0.05, "SGD": 1e-4, "Adam": 1e-4}
METHOD_OPTIONS = {  # the defaults are the method's own
    "dim": (utils.count, "dimension of the projections"),
    "proj_dim": (
        utils.whole,
        "width of the projector's hidden layer; 0: two, as wide as the features, as in the paper",
    ),
    "pred_dim": (utils.count, "width of the hidden layer: SimSiam's predictor, BYOL's projector and predictor"),
    "cov": (utils.not_negative, "weight of VICReg's covariance term on the projections; 0: the paper's loss"),
    "identity_start": (bool, "the predictor starts as the identity; --no-identity_start: at random, as in the paper"),
    "temperature": (utils.positive, "NT-Xent: low values weigh the hardest negatives most"),
    "ema": (utils.share, "share of itself that the target network keeps in a step; rises to 1 along a cosine"),
}
LEAST_FRAMES = 16  # of a view, where the default has to be short
LEAST_TRACKS = 30  # below it there is nothing to learn from
MONITOR_ROWS = 512  # projections that std and rank are measured on


def get_args_parser():
    parser = utils.script_parser(__doc__)

    group = parser.add_argument_group("data")
    group.add_argument("--size", choices=["small", "medium"], help="FMA of this size: short for --dataset fma_<size>")
    group.add_argument("--dataset", help="name of a spectrogram folder: <data_dir>/<dataset>_npy")
    group.add_argument("--data_dir", help="folder of the spectrogram folders (default: data; resumed: as before)")
    group.add_argument(
        "--num_tracks", type=utils.count, help="train on so many tracks only, evenly chosen (default: all)"
    )
    group.add_argument(
        "--num_views", type=utils.count,
        help="views of a track; of more than two, each predicts the mean of the others (FastSiam), which needs fewer "
        "epochs (default: " + ", ".join(f"{n} {m.default_views}" for n, m in models.METHODS.items()) + ")",
    )  # fmt: skip
    group.add_argument(
        "--crop_seconds", type=utils.seconds,
        help="length of a view (default: 5 s, at least 64 frames; of 'frames' less where the views would overlap)",
    )  # fmt: skip
    group.add_argument(
        "--pair", choices=["disjoint", "different", "same"], default="disjoint",
        help="the views are crops of a track that do not overlap (where it is long enough), crops that may, or (the "
        "paper's) the same crop, augmented anew for each",
    )  # fmt: skip

    group = parser.add_argument_group("augmentation", augment.describe())
    group.add_argument("--aug", help="spec (default), image, audio, none, or a comma list (mask,mixup)")
    group.add_argument(
        "--lam", type=utils.share,
        help="mixing weight, the share of the track itself: 1 mixes nothing (default: 0.7, spec 0.8 to 1)",
    )  # fmt: skip
    group.add_argument(
        "--aug_p", type=utils.share, help="probability of applying each augmentation (default: its own)"
    )

    group = parser.add_argument_group("network")
    group.add_argument("--method", choices=list(models.METHODS), default="simsiam", help="what it learns by")
    group.add_argument(
        "--backbone", choices=models.BACKBONES,
        help="frames is quick, and the best on FMA-small; conv8 is eight convolutions (default: "
        + default_of("backbone") + ")",
    )  # fmt: skip
    group.add_argument(
        "--pool", choices=models.POOLS, default=models.POOLS[1],
        help="how the last map becomes features: frequency kept as channels, time summarised by mean, deviation and "
        "maximum; or (the paper's) the average over both",
    )  # fmt: skip
    group.add_argument(
        "--normalise", choices=["band", "global"], default="band",
        help="zero mean and unit deviation of each mel band, or (the paper's) of all values together",
    )  # fmt: skip
    for name, (kind, text) in METHOD_OPTIONS.items():
        how = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        group.add_argument(f"--{name}", help=f"{text} (default: {default_of(name)})", **how)

    group = parser.add_argument_group("optimisation")
    group.add_argument("--num_epochs", type=utils.count, default=100, help="passes over the training split")
    group.add_argument(
        "--batch_size", type=utils.count, help="tracks in a batch (default: 64, of fewer than 256 a quarter)"
    )
    group.add_argument(
        "--optim", choices=list(DEFAULT_LR), default="AdamW",
        help="SGD is the papers'; on small collections AdamW learns where SGD has not yet",
    )  # fmt: skip
    group.add_argument(
        "--lr", type=utils.positive,
        help="of AdamW for a batch of 64, growing with its square root; of SGD and Adam for a batch of 256, "
        "proportional to it (default: " + ", ".join(f"{name} {lr:g}" for name, lr in DEFAULT_LR.items()) + ")",
    )  # fmt: skip
    group.add_argument("--momentum", type=utils.part, default=0.9, help="of SGD")
    group.add_argument(
        "--weight_decay", type=utils.not_negative,
        help="AdamW: of matrices and filters alone, apart from the gradient (default 0.05); others: of all weights, "
        "within the gradient (default 1e-4)",
    )  # fmt: skip
    group.add_argument(
        "--warmup_epochs", type=utils.not_negative, help="of linear warm-up (default: a twentieth of all)"
    )
    group.add_argument(
        "--fix_pred_lr", action=argparse.BooleanOptionalAction, default=True,
        help="keep the predictor's learning rate fixed while the others' decays",
    )  # fmt: skip
    group.add_argument(
        "--precise_norms", action=argparse.BooleanOptionalAction, default=True,
        help="before features are judged, and at the end, give BatchNorm the statistics of training tracks as they "
        "are; --no-precise_norms: the running ones, of augmented views, as in the papers",
    )  # fmt: skip

    group = parser.add_argument_group("running")
    group.add_argument(
        "--seed", type=utils.whole, default=0,
        help="same seed, machine and --precision fp32 or bf16: same weights",
    )  # fmt: skip
    group.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    utils.precision_flags(group)
    group.add_argument(
        "--compile", action="store_true",
        help="compile the network (torch.compile): a minute's wait, then faster steps, above all on a GPU; needs a "
        "C++ compiler",
    )  # fmt: skip
    group.add_argument(
        "--cache", choices=["auto", "device", "ram", "disk"], default="auto",
        help="where spectrograms are held: all on the device, all in memory, or read from disk as they are needed, "
        "which is for sets of any size; auto: where there is room, in this order",
    )  # fmt: skip
    group.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    group.add_argument("--knn_every", type=utils.whole, default=5, help="epochs between kNN measurements, 0 for none")
    group.add_argument(
        "--checkpoint_minutes", type=utils.not_negative, default=10,
        help="save what resuming needs so often within an epoch, and at its end; 0: at its end only",
    )  # fmt: skip
    group.add_argument("--tensorboard", action="store_true", help="also write the log for TensorBoard")
    group.add_argument(
        "--resume", metavar="ID",
        help="go on with this experiment: its own flags hold, but for --device, --cache and the folders",
    )  # fmt: skip
    return parser


def default_of(name):
    """The default of a flag that each method has its own of, for ``--help``."""
    own = ((key, {"backbone": method.default_backbone, **method.options}) for key, method in models.METHODS.items())
    return ", ".join(f"{key} {defaults[name]}" for key, defaults in own if name in defaults)


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch

from data import crops
from data.folder import labels_of, open_folder
from evaluation import monitors, plots
from models import backbones
from training import distributed, precision
from training.compiled import compile_in_place
from training.experiment import Experiment, check_same_arrays, check_same_tracks, running, tidy
from training.frozen import NUM_CROPS, SHOWN_TRACKS, Cut, FeatureMonitor, evenly, fit_norms
from training.loop import EpochSoFar, schedule
from training.supervised import batch_size_for
from training.views import TrackViews, Views, check_batch


def main(args):
    device = utils.pick_device(args.device)
    torch.backends.cudnn.benchmark = True

    # -------- what to train on
    resumed = open_resumed(args) if args.resume else None
    flags = resumed_flags(resumed, args) if resumed else resolve(args)
    folder = open_folder(flags.data_dir, flags.dataset)
    if resumed:
        check_same_tracks(resumed, folder)
    flags = resolve_input(flags, folder, device)
    rows = folder.split("training")
    rows = rows.iloc[evenly(len(rows), flags.num_tracks).numpy()].reset_index(drop=True)
    train = crops.load(folder, rows, device, flags.cache)
    flags = flags.but(batch_size=batch_size_for(flags.batch_size, len(train)))
    check_batch(flags.batch_size, len(train))
    distributed.check_divides(flags.batch_size)
    num_frames = folder.settings.frames_in(flags.crop_seconds)
    check_fits(flags, folder.settings.num_rows, num_frames)
    augmentation = augment.build(flags.aug, folder.settings, flags.lam, flags.aug_p)
    normalise = crops.measure_normalisation(train, flags.normalise == "band")
    if resumed:
        check_same_arrays(resumed, folder, normalise)
        normalise = resumed.normalisation
    crop = Views(train, augmentation, normalise, num_frames)
    views = TrackViews(crop, flags.batch_size, flags.pair, flags.num_views)

    # -------- what to train
    utils.set_seed(flags.seed)
    memory_format = backbones.memory_format(flags.backbone, device)
    method = models.build(vars(flags), folder.settings.num_rows).to(device, memory_format=memory_format)
    method = distributed.synchronised(method)
    lr = scaled_rate(flags.optim, flags.lr, flags.batch_size)
    optimiser = build_optimiser(method, flags.optim, lr, flags.momentum, flags.weight_decay, flags.fix_pred_lr)
    check_room(resumed.folder if resumed else flags.exp_dir, method)
    monitor = build_monitor(folder, train, normalise, num_frames, flags, device) if flags.knn_every else None
    path = resumed.folder if resumed else begin(Experiment.new(flags, folder, normalise), flags.exp_dir)
    what = f"{flags.method} {flags.backbone}, {len(train)} tracks of {flags.dataset}"
    few = f" (too few to learn from: {LEAST_TRACKS} are the least)" if len(train) < LEAST_TRACKS else ""
    print(f"{path}: {what}{few}, on {device}{distributed.describe()}")
    if flags.compile:
        compile_in_place(method, device)

    with running(path) if distributed.is_first() else contextlib.nullcontext():
        pretrain(distributed.from_first(path), method, views, optimiser, monitor, flags, device)
    print(path)


def check_room(folder, method):
    """Raises :class:`utils.UserError`, before an epoch is lost, where what it comes to cannot be written."""
    weights = sum(value.nbytes for value in method.state_dict().values())
    utils.check_writable(folder, 4 * weights)  # pre.pth; checkpoint.pth, with AdamW's two means of the gradients


@distributed.first_only
def begin(experiment, exp_dir):
    """Make the folder of a new experiment."""
    tidy(exp_dir)
    return experiment.made(exp_dir).folder


def pretrain(folder, method, views, optimiser, monitor, flags, device):
    """Every epoch that the experiment in ``folder`` does not have yet."""
    log, begun = load_checkpoint(folder, method, optimiser, flags, device)
    steps, done = len(views), begun["steps"] if begun else 0
    warmup_steps = round(flags.warmup_epochs * steps)
    rates = schedule(optimiser, flags.num_epochs * steps, warmup_steps, done=len(log) * steps + done)
    forward = distributed.parallel(method)

    for epoch in range(len(log) + 1, flags.num_epochs + 1):
        save = functools.partial(save_checkpoint, folder, method, optimiser, log)
        row = train_one_epoch(forward, method, views, optimiser, rates, epoch, flags, device, save, begun)
        begun, last = None, epoch == flags.num_epochs
        judged = last or (flags.knn_every and epoch % flags.knn_every == 0)
        if judged and flags.precise_norms:
            measure_norms(method, views.views, flags.bf16, device)
        if judged and monitor:
            row |= monitor(method.encoder())
        log.append(row)
        save()
        write_epoch(folder, method, log, flags)
        print(describe_epoch(row, flags.num_epochs))
        warning = monitors.collapse_warning(row["std"], row["effective_rank"], row["dim"], row["rows"])
        if warning and (last or epoch % 5 == 1):
            print(f"WARNING: {warning}")


def train_one_epoch(forward, method, views, optimiser, rates, epoch, flags, device, save, begun=None):
    """One pass over the training tracks. Returns a row of the log.

    forward: the method, or what :func:`training.distributed.parallel` makes of it.
    save(so_far) is called every --checkpoint_minutes; begun: what it was given, of an epoch that was cut off.
    """
    method.train()
    utils.set_seed(flags.seed, epoch)
    so_far = EpochSoFar(device, epoch, math.ceil(MONITOR_ROWS / views.batch_size))
    done = begun["steps"] if begun else 0
    batches = views.after(done)
    if begun:
        so_far.go_on_from(begun)
    distributed.own_chance()

    bar = utils.progress(batches, desc=f"epoch {epoch}", initial=done, total=len(views))
    for step, x in enumerate(bar, start=done + 1):
        lr = optimiser.param_groups[0]["lr"]
        with utils.autocast(device, flags.bf16):
            loss, z = forward(*x)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rates.step()
        method.after_step(((epoch - 1) * len(views) + step) / (flags.num_epochs * len(views)))
        so_far.add(loss, z, bar)
        if step < len(views) and so_far.is_due(flags.checkpoint_minutes):
            save(so_far.state())

    z = torch.cat(list(so_far.projections))
    loss, seconds = so_far.loss.value(), so_far.seconds
    return {
        "epoch": epoch,
        "loss": loss,
        "std": monitors.normalised_std(z).item(),
        "effective_rank": monitors.effective_rank(z).item(),
        "rows": len(z),
        "dim": z.shape[1],
        "lr": lr,
        "clips_per_second": len(views) * views.batch_size / seconds,
        "seconds": seconds,
    }


def measure_norms(method, views, bf16, device):
    """Gives the encoder's norms the statistics of training tracks as they are, which its features will be made of.

    Learning, which goes by the statistics of each batch, notices nothing of it.
    """
    cut = Cut(views.num_frames, NUM_CROPS, views.normalise, device)
    encoder = torch.nn.Sequential(method.backbone, method.projector)
    with utils.autocast(device, bf16):
        fit_norms(encoder, cut.mixed(views.crops, evenly(len(views.crops), SHOWN_TRACKS)))


def scaled_rate(optim, lr, batch_size):
    """The learning rate of a batch: SGD's is proportional to it, AdamW's to its square root."""
    return lr * (batch_size / 64) ** 0.5 if optim == "AdamW" else lr * batch_size / 256


def build_optimiser(method, optim, lr, momentum, weight_decay, fix_pred_lr):
    """Groups with ``fixed`` keep their rate when the others' decays; biases and norms are not decayed by AdamW."""
    groups = []
    for parameters, is_predictor in method.parameter_groups():
        group = {"fixed": is_predictor and fix_pred_lr, "lr": lr}
        if optim != "AdamW":
            groups.append({"params": parameters, **group})
            continue
        groups.append({"params": [p for p in parameters if p.ndim > 1], **group})
        groups.append({"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, **group})
    if optim == "AdamW":
        return torch.optim.AdamW(groups, weight_decay=weight_decay)
    if optim == "Adam":  # as older experiments were trained
        return torch.optim.Adam(groups, weight_decay=weight_decay)
    return torch.optim.SGD(groups, momentum=momentum, weight_decay=weight_decay)


def build_monitor(folder, train, normalise, num_frames, flags, device):
    """The monitor, on validation tracks of the genres that are trained on. Raises :class:`utils.UserError`."""
    genres = sorted(set(train.rows["genre_top"]))
    known = folder.split("validation").query("genre_top in @genres").reset_index(drop=True)
    if known.empty:
        raise utils.UserError("no validation track has a genre that is trained on: --knn_every 0 does without them")
    validation = crops.load(folder, known, device, flags.cache)
    labels, validation_labels = labels_of(train.rows, genres), labels_of(known, genres)
    cut = Cut(num_frames, 1, normalise, device, flags.bf16, flags.batch_size)
    return FeatureMonitor(cut, train, labels, validation, validation_labels)


# ------------------------------------------------------------------ flags


def resolve(args):
    """The flags of a new run, with the defaults of its method filled in. Raises :class:`utils.UserError`."""
    if bool(args.size) == bool(args.dataset):
        raise utils.UserError("say what to train on: --size small|medium, or --dataset NAME")
    if args.warmup_epochs is not None and args.warmup_epochs > args.num_epochs:
        raise utils.UserError(f"--warmup_epochs {args.warmup_epochs:g} is more than --num_epochs {args.num_epochs}")
    method = models.METHODS[args.method]
    if args.num_views is not None and not 2 <= args.num_views <= method.most_views:
        most = f"2 to {method.most_views}" if method.most_views > 2 else "2"
        raise utils.UserError(f"--num_views {args.num_views}: --method {args.method} takes {most}")
    options = {
        name: default if getattr(args, name) is None else getattr(args, name)
        for name, default in method.options.items()
    }
    return utils.Flags(**{
        **vars(args),
        **options,
        "data_dir": str(Path(args.data_dir or utils.DATA_DIR).absolute()),
        "dataset": args.dataset or f"fma_{args.size}",
        "backbone": args.backbone or method.default_backbone,
        "num_views": method.default_views if args.num_views is None else args.num_views,
        "lr": DEFAULT_LR[args.optim] if args.lr is None else args.lr,
        "weight_decay": DEFAULT_DECAY[args.optim] if args.weight_decay is None else args.weight_decay,
        "warmup_epochs": args.num_epochs / 20 if args.warmup_epochs is None else args.warmup_epochs,
    })  # fmt: skip


def resolve_input(flags, folder, device):
    """What depends on the arrays: the crop, the views, the precision. Raises :class:`utils.UserError`."""
    settings = folder.settings
    aug = augment.choose(flags.aug, settings)
    seconds = flags.crop_seconds
    if seconds is None:
        seconds = default_crop_seconds(flags.but(aug=aug), folder)
    backbones.check_input(flags.backbone, settings.kind, settings.frames_in(seconds))
    bf16 = precision.choose(flags, settings.num_rows, settings.frames_in(seconds), device, training=True)
    return flags.but(crop_seconds=seconds, aug=aug, **precision.recorded(bf16))


def default_crop_seconds(flags, folder):
    """The settings' own; of a backbone that needs no certain length, less where the views could not lie apart."""
    usual = folder.settings.default_crop_seconds()
    if flags.pair != "disjoint" or flags.backbone not in backbones.WHOLE:
        return usual
    context = augment.build(flags.aug, folder.settings, flags.lam, flags.aug_p).context
    room = int(folder.tracks["frames"].median() / (flags.num_views * context))
    return min(usual, folder.settings.seconds_in(max(LEAST_FRAMES, room)))


def check_fits(flags, num_rows, num_frames):
    """Raises :class:`utils.UserError` where a batch of views, or the network itself, is more than memory holds."""
    batch = f"{flags.num_views} views of --batch_size {flags.batch_size}, --crop_seconds {flags.crop_seconds:g}"
    tracks = flags.batch_size // distributed.num_processes()
    utils.check_memory(4 * flags.num_views * tracks * num_rows * num_frames, batch)
    widths = [f"--{name} {getattr(flags, name)}" for name in ("dim", "proj_dim", "pred_dim") if hasattr(flags, name)]
    network = f"training {flags.method} with --backbone {flags.backbone} and {', '.join(widths)}"
    utils.check_weights(lambda: models.build(vars(flags), num_rows), network)


def open_resumed(args):
    """The experiment of ``--resume``. Raises :class:`utils.UserError` when there is nothing to go on with."""
    experiment = Experiment.open(args.resume, args.exp_dir)
    if not experiment.flags.method or not (experiment.folder / "checkpoint.pth").exists():
        raise utils.UserError(f"{experiment.folder} has no checkpoint.pth to go on from: start it anew")
    return experiment


def resumed_flags(experiment, args):
    """The experiment's own flags, but for those of this machine; flags that are new since then by default."""
    here = {name: getattr(args, name) for name in ("exp_dir", "device", "cache")}
    here["data_dir"] = args.data_dir or getattr(experiment.flags, "data_dir", None) or utils.DATA_DIR
    before = {**BEFORE, **models.METHODS[experiment.flags.method].before}
    flags = utils.Flags(**{**vars(args), **before, **vars(experiment.flags), **here, "resume": args.resume})
    parser = get_args_parser()
    for action in parser._actions:
        if not could_be(action, getattr(flags, action.dest, None)):
            kept = f"{experiment.folder / 'configuration.json'}: {action.dest}"
            raise utils.UserError(f"{kept} cannot be {getattr(flags, action.dest)!r}: start it anew")
    ignored = [n for n, v in vars(args).items() if v not in (parser.get_default(n), getattr(flags, n, v))]
    if ignored:
        print(f"note: {', '.join(f'--{name}' for name in ignored)} ignored: the experiment's own flags hold")
    return flags


def could_be(action, value):
    """Whether the flag ``action`` of a parser could have this value, which a configuration.json says it has."""
    if value is None:
        return True
    if action.nargs == 0:
        return isinstance(value, bool)
    try:
        right = (action.type or str)(str(value)) == value
    except (argparse.ArgumentTypeError, ValueError, TypeError):
        return False
    return right and value in (action.choices or [value])


# ------------------------------------------------------------------ the experiment folder


@distributed.first_only
def save_checkpoint(folder, method, optimiser, log, so_far=None):
    """All that resuming needs; ``so_far``: of an epoch that has not ended."""
    if not (folder / "configuration.json").is_file():  # without it nothing that is written here can be opened again
        raise utils.UserError(f"{folder} has lost its configuration.json while it trained: nothing more can be saved")
    state = {"method": method.state_dict(), "optimiser": optimiser.state_dict(), "log": log, "so_far": so_far}
    utils.save_weights(folder / "checkpoint.pth", state)


def load_checkpoint(folder, method, optimiser, flags, device):
    """Put the state back, where there is one. Returns the rows of the log, and what there is of the epoch after them.

    What :func:`write_epoch` writes is written again: the run may have been cut off before it could. The same weights
    keep their bytes, by which results know them.
    """
    file = folder / "checkpoint.pth"
    if not file.exists():
        return [], None
    state = utils.load_weights(file)  # not on the device: an optimiser that counts its steps there reads them back
    try:
        method.load_state_dict(state["method"])
        optimiser.load_state_dict(state["optimiser"])
        log, so_far = state["log"], state.get("so_far")
        if log and not so_far:
            write_epoch(folder, method, log, flags, again=True)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError):
        raise utils.UserError(f"{file} does not fit its configuration.json") from None
    return log, so_far


@distributed.first_only
def write_epoch(folder, method, log, flags, again=False):
    """The rest of contract 2, by which a run can be looked at and used."""
    weights = {name: value.cpu() for name, value in method.state_dict().items()}  # the same bytes, wherever it trains
    if not again or not utils.holds(folder / "pre.pth", weights):
        utils.save_weights(folder / "pre.pth", weights)
    rows = [[row.get(name, "") for name in LOG_COLUMNS] for row in log]
    utils.write_csv(folder / "train_log.csv", LOG_COLUMNS, rows)
    if len(log) in (1, flags.num_epochs) or len(log) % (flags.knn_every or 5) == 0:  # it takes half a second
        title = f"{flags.method}, {flags.backbone}, {flags.dataset}"
        plots.write(folder / "train_loss.png", plots.training_curves, log, dim=log[-1].get("dim"), title=title)
    if flags.tensorboard:
        write_tensorboard(folder / "tensorboard", log[-1])


def write_tensorboard(folder, row):
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    with SummaryWriter(str(folder)) as writer:
        for name in set(LOG_COLUMNS) - {"epoch"}:
            if row.get(name, "") != "":
                writer.add_scalar(name, row[name], row["epoch"])


def describe_epoch(row, num_epochs):
    seconds = (num_epochs - row["epoch"]) * row["seconds"]
    left = f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
    rate, knn = row["clips_per_second"], ""
    if row.get("knn_accuracy", "") != "":
        knn = f"  kNN {row['knn_accuracy']:.3f}  probe {row['probe_accuracy']:.3f}"
        knn = f"{knn}  feature rank {row['backbone_rank']:.0f}"
    return (
        f"epoch {row['epoch']:3}/{num_epochs}  loss {row['loss']:.4f}  std {row['std']:.4f}"
        f"  rank {row['effective_rank']:5.1f}{knn}  {rate:.{0 if rate >= 10 else 2}f} clips/s  {left} left"
    )


if __name__ == "__main__":
    utils.run(distributed.together(main), get_args_parser())
