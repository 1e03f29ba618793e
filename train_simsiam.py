"""Pre-train a network on spectrograms without labels: SimSiam (Chen & He 2021), BYOL, SimCLR or an autoencoder.

    python train_simsiam.py --size small                                 FMA-small, ResNet-50
    python train_simsiam.py --dataset gtzan --backbone resnet18          another collection, a smaller network
    python train_simsiam.py --num_epochs 100 --batch_size 64 --size small --backbone resnet101 \\
                            --aug image --lam 0.7 --aug_p 0.6            the paper's
    python train_simsiam.py --resume 154874                              go on exactly where a run stopped

Writes exp/<id>/: configuration.json, pre.pth (the weights), checkpoint.pth, train_log.csv, train_loss.png.
Labels of training and validation tracks serve only the kNN accuracy that the log shows; nothing learns from them.
"""

import argparse
import collections
import math
import time

import numpy as np
import torch

import augment
import models
import utils
from data import dataset
from evaluation import monitors, plots
from models import backbones, features

LOG_COLUMNS = ["epoch", "loss", "std", "effective_rank", "knn_accuracy", "lr", "clips_per_second", "seconds"]
DEFAULT_LR = {"Adam": 0.002, "SGD": 0.06}
METHOD_OPTIONS = {  # the defaults are the method's own
    "dim": (int, "dimension of the projections"),
    "pred_dim": (int, "width of the hidden layer: SimSiam's predictor, BYOL's projector and predictor"),
    "temperature": (float, "NT-Xent: low values weigh the hardest negatives most"),
    "ema": (float, "share of itself that the target network keeps in a step; rises to 1 along a cosine"),
}
MONITOR_ROWS = 512  # projections that std and rank are measured on
KNN_TRACKS = 2000  # of training, and as many of validation, that the kNN accuracy is measured with


def get_args_parser():
    parser = utils.script_parser(__doc__)

    group = parser.add_argument_group("data")
    group.add_argument("--size", choices=["small", "medium"], help="FMA of this size: short for --dataset fma_<size>")
    group.add_argument("--dataset", help="name of a spectrogram folder: <data_dir>/<dataset>_npy")
    group.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    group.add_argument("--num_tracks", type=int, help="train on so many tracks only, evenly chosen (default: all)")
    group.add_argument("--crop_seconds", type=float, help="length of a view (default: 5 s, at least 64 frames)")
    group.add_argument(
        "--pair", choices=["different", "same"], default="different",
        help="the two views are different crops of a track, or (the paper's) the same crop, augmented twice",
    )  # fmt: skip

    group = parser.add_argument_group("augmentation", augment.describe())
    group.add_argument("--aug", default="spec", help="spec, image, audio, none, or a comma list (mask,mixup)")
    group.add_argument(
        "--lam", type=float,
        help="mixing weight, the share of the track itself: 1 mixes nothing (default: 0.7, spec 0.8 to 1)",
    )  # fmt: skip
    group.add_argument("--aug_p", type=float, help="probability of applying each augmentation (default: its own)")

    group = parser.add_argument_group("network")
    group.add_argument("--method", choices=list(models.METHODS), default="simsiam", help="what it learns by")
    group.add_argument(
        "--backbone", choices=backbones.NAMES,
        help="resnet18 suits a CPU; conv8 is eight convolutions (default: " + default_of("backbone") + ")",
    )  # fmt: skip
    for name, (kind, text) in METHOD_OPTIONS.items():
        group.add_argument(f"--{name}", type=kind, help=f"{text} (default: {default_of(name)})")

    group = parser.add_argument_group("optimisation")
    group.add_argument("--num_epochs", type=int, default=100, help="passes over the training split")
    group.add_argument("--batch_size", type=int, default=64, help="tracks in a batch")
    group.add_argument(
        "--optim", choices=list(DEFAULT_LR), default="Adam",
        help="SGD is the papers'; on small collections Adam learned where SGD had not yet",
    )  # fmt: skip
    group.add_argument(
        "--lr", type=float, help="for a batch of 256; scaled by batch_size / 256 (default: Adam 0.002, SGD 0.06)"
    )
    group.add_argument("--momentum", type=float, default=0.9, help="of SGD")
    group.add_argument("--weight_decay", type=float, default=1e-4, help="L2 penalty")
    group.add_argument("--warmup_epochs", type=int, help="of linear warm-up (default: a tenth of all, at most 10)")
    group.add_argument(
        "--fix_pred_lr", action=argparse.BooleanOptionalAction, default=True,
        help="keep the predictor's learning rate fixed while the others' decays",
    )  # fmt: skip

    group = parser.add_argument_group("running")
    group.add_argument("--seed", type=int, default=0, help="same seed, same machine: same weights")
    group.add_argument("--device", default="auto", help="auto, cpu or cuda")
    group.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction,
        help="compute in bfloat16, by default on a GPU only; a CPU with AMX trains ResNets twice as fast in it",
    )  # fmt: skip
    group.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    group.add_argument("--knn_every", type=int, default=5, help="epochs between kNN measurements, 0 for none")
    group.add_argument("--tensorboard", action="store_true", help="also write the log for TensorBoard")
    group.add_argument(
        "--resume", metavar="ID",
        help="go on with this experiment: its own flags hold, but for --device and the folders",
    )  # fmt: skip
    return parser


def default_of(name):
    """The default of a flag that each method has its own of, for ``--help``."""
    own = ((key, {"backbone": method.default_backbone, **method.options()}) for key, method in models.METHODS.items())
    return ", ".join(f"{key} {defaults[name]}" for key, defaults in own if name in defaults)


def main(args):
    device = utils.pick_device(args.device)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")

    # -------- what to train on
    experiment, args = start_or_resume(args)
    folder = dataset.open_folder(args.data_dir, args.dataset)
    backbones.check_input(args.backbone, folder.settings)
    train = dataset.load(folder, thin(folder.split("training"), args.num_tracks), device)
    check_batch(args.batch_size, len(train))
    args.crop_seconds = args.crop_seconds or folder.default_crop_seconds()
    num_frames = folder.frames_in(args.crop_seconds)
    args.bf16 = backbones.uses_bf16(args.bf16, device, args.backbone, min(folder.settings["n_mels"], num_frames))
    augmentation = augment.build(args.aug, folder.settings, args.lam, args.aug_p)
    normalise = dataset.measure_normalisation(train)

    # -------- what to train
    utils.set_seed(args.seed)
    method = models.build(vars(args)).to(device, memory_format=torch.channels_last)
    optimiser = build_optimiser(method, args)
    if experiment is None:
        experiment = utils.new_experiment(args.exp_dir)
        write_configuration(experiment, args, folder, normalise)
        log = []
    else:
        log = load_checkpoint(experiment, method, optimiser, device)
    knn = KNNMonitor(folder, normalise, num_frames, args, device) if args.knn_every else None
    print(f"{experiment}: {args.method} {args.backbone}, {len(train)} tracks of {args.dataset}, on {device}")

    # -------- train
    for epoch in range(len(log), args.num_epochs):
        utils.set_seed(args.seed, epoch + 1)
        row = train_one_epoch(method, train, augmentation, normalise, optimiser, num_frames, epoch, args, device)
        last = epoch + 1 == args.num_epochs
        row["knn_accuracy"] = knn(method) if knn and (last or (epoch + 1) % args.knn_every == 0) else ""
        log.append(row)
        save_epoch(experiment, method, optimiser, log, args)
        print(describe_epoch(row, args.num_epochs))
        warning = monitors.collapse_warning(row["std"], row["effective_rank"], row["dim"])
        if warning and (last or not epoch % 5):
            print(f"WARNING: {warning}")

    print(experiment)


def train_one_epoch(method, train, augmentation, normalise, optimiser, num_frames, epoch, args, device):
    """One pass over the training tracks. Returns a row of the log."""
    begin = time.perf_counter()
    method.train()
    num_input = round(num_frames * augmentation.context)
    order, steps = shuffled_batches(len(train), args.batch_size)
    requests = view_requests(train, order, num_input, args.pair)
    total_loss = torch.zeros((), device=device)
    seen = collections.deque(maxlen=math.ceil(MONITOR_ROWS / args.batch_size))

    bar = utils.progress(train.batches(requests, num_input), total=steps, desc=f"epoch {epoch + 1}")
    for step, (x1, x2) in enumerate(bar):
        x1, x2 = (normalise(augmentation(x, num_frames)) for x in (x1, x2))
        set_learning_rate(optimiser, epoch * steps + step, args.num_epochs * steps, args.warmup_epochs * steps)
        with utils.autocast(device, args.bf16):
            loss, z = method(x1, x2)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        method.after_step((epoch * steps + step + 1) / (args.num_epochs * steps))

        total_loss += loss.detach()
        seen.append(z)
        if step % 20 == 0:  # reading the loss waits for the GPU: not at every step
            bar.set_postfix(loss=f"{check_finite(loss.item(), epoch):.4f}")

    z = torch.cat(list(seen)).float()
    mean_loss = check_finite(total_loss.item() / steps, epoch)
    seconds = time.perf_counter() - begin
    return {
        "epoch": epoch + 1,
        "loss": mean_loss,
        "std": monitors.normalised_std(z).item(),
        "effective_rank": monitors.effective_rank(z).item(),
        "dim": z.shape[1],
        "lr": optimiser.param_groups[0]["lr"],
        "clips_per_second": steps * args.batch_size / seconds,
        "seconds": seconds,
    }


def thin(rows, num_tracks):
    """``num_tracks`` of the rows, evenly chosen; all of them where there are no more."""
    if not num_tracks or num_tracks >= len(rows):
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, num_tracks).astype(int)].reset_index(drop=True)


def shuffled_batches(num_tracks, batch_size):
    """A random order of the tracks as (steps, B), without the incomplete last batch, and the number of steps."""
    steps = num_tracks // batch_size
    return torch.randperm(num_tracks)[: steps * batch_size].view(steps, batch_size), steps


def view_requests(train, order, num_input, pair):
    """For each batch of tracks, ((tracks, starts), (tracks, starts)): which crops the two views are made of."""
    starts1 = train.random_starts(order, num_input)
    starts2 = starts1 if pair == "same" else train.random_starts(order, num_input)
    return [((tracks, s1), (tracks, s2)) for tracks, s1, s2 in zip(order, starts1, starts2, strict=True)]


def build_optimiser(method, args):
    lr = args.lr * args.batch_size / 256
    groups = [
        {"params": parameters, "base_lr": lr, "fixed": is_predictor and args.fix_pred_lr, "lr": lr}
        for parameters, is_predictor in method.parameter_groups()
    ]
    if args.optim == "Adam":
        return torch.optim.Adam(groups, weight_decay=args.weight_decay)
    return torch.optim.SGD(groups, momentum=args.momentum, weight_decay=args.weight_decay)


def set_learning_rate(optimiser, step, num_steps, warmup_steps):
    factor = utils.cosine_schedule(step, num_steps, warmup_steps)
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * (1.0 if group["fixed"] else factor)


class KNNMonitor:
    """Accuracy of a nearest-neighbour vote on the validation tracks: does the network learn anything of genre?"""

    def __init__(self, folder, normalise, num_frames, args, device):
        rows = thin(folder.split("training"), KNN_TRACKS)
        genres = sorted(set(rows["genre_top"]))
        known = thin(folder.split("validation").query("genre_top in @genres").reset_index(drop=True), KNN_TRACKS)
        self.labels = [dataset.labels_of(part, genres).to(device) for part in (rows, known)]
        self.sets = [dataset.load(folder, part, device) for part in (rows, known)]
        self.crop = (num_frames, 1, args.batch_size)
        self.normalise, self.device, self.bf16 = normalise, device, args.bf16

    def __call__(self, method):
        views = [(self.normalise(x) for x in crops.every_crop(*self.crop)) for crops in self.sets]
        banks = [features.extract(method.encoder(), x, self.device, self.bf16) for x in views]
        return float(monitors.knn_accuracy(banks[0], self.labels[0], banks[1], self.labels[1]))


# ------------------------------------------------------------------ the experiment folder


def start_or_resume(args):
    """(None, args completed) for a new run; (its folder, its own args) for ``--resume``."""
    if not args.resume:
        if bool(args.size) == bool(args.dataset):
            raise utils.UserError("say what to train on: --size small|medium, or --dataset NAME")
        args.dataset = args.dataset or f"fma_{args.size}"
        method = models.METHODS[args.method]
        args.backbone = args.backbone or method.default_backbone
        for name, default in method.options().items():
            if getattr(args, name) is None:
                setattr(args, name, default)
        args.lr = DEFAULT_LR[args.optim] if args.lr is None else args.lr
        if args.warmup_epochs is None:
            args.warmup_epochs = min(10, args.num_epochs // 10)
        return None, args
    experiment = utils.find_experiment(args.resume, args.exp_dir)
    if not (experiment / "checkpoint.pth").exists():
        raise utils.UserError(f"{experiment} stopped before its first epoch ended; start it anew")
    own = argparse.Namespace(**{**vars(args), **utils.read_json(experiment / "configuration.json")["flags"]})
    own.data_dir, own.exp_dir, own.device = args.data_dir, args.exp_dir, args.device
    return experiment, own


def check_batch(batch_size, num_tracks):
    if not 2 <= batch_size <= num_tracks:
        raise utils.UserError(f"--batch_size {batch_size} must be between 2 and the {num_tracks} training tracks")


def check_finite(loss, epoch):
    if not math.isfinite(loss):
        raise utils.UserError(
            f"the loss is not finite in epoch {epoch + 1}; the checkpoint of epoch {epoch} is kept: "
            "start again with a smaller --lr"
        )
    return loss


def write_configuration(experiment, args, folder, normalise):
    """Everything that another script, or a reader, needs to know about this experiment."""
    flags = {name: value for name, value in vars(args).items() if name != "resume"}
    utils.write_json(experiment / "configuration.json", {
        "flags": flags,
        "spectrogram": folder.settings,
        "normalisation": vars(normalise),
        "genres": sorted(set(folder.split("training")["genre_top"])),
        "versions": utils.versions(),
    })  # fmt: skip


def save_epoch(experiment, method, optimiser, log, args):
    """All of contract 2, so that a run that is cut off can be resumed, looked at and used."""
    state = {"method": method.state_dict(), "optimiser": optimiser.state_dict(), "log": log}
    utils.save_weights(experiment / "checkpoint.pth", state)
    utils.save_weights(experiment / "pre.pth", method.state_dict())
    utils.write_csv(experiment / "train_log.csv", LOG_COLUMNS, [[row[name] for name in LOG_COLUMNS] for row in log])
    if len(log) == args.num_epochs or len(log) % 5 == 1:  # drawing takes as long as an epoch on a fast GPU
        title = f"{args.method}, {args.backbone}, {args.dataset}"
        path = experiment / "train_loss.png"
        plots.write(path, plots.training_curves, log, dim=log[-1]["dim"], title=title)
    if args.tensorboard:
        write_tensorboard(experiment / "tensorboard", log[-1])


def load_checkpoint(experiment, method, optimiser, device):
    """Put the state back and return the rows of the log so far."""
    state = utils.load_weights(experiment / "checkpoint.pth", device)
    method.load_state_dict(state["method"])
    optimiser.load_state_dict(state["optimiser"])
    return state["log"]


def write_tensorboard(folder, row):
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    with SummaryWriter(str(folder)) as writer:
        for name in set(LOG_COLUMNS) - {"epoch"}:
            if row[name] != "":
                writer.add_scalar(name, row[name], row["epoch"])


def describe_epoch(row, num_epochs):
    left = (num_epochs - row["epoch"]) * row["seconds"]
    knn = f"  kNN {row['knn_accuracy']:.3f}" if row["knn_accuracy"] != "" else ""
    return (
        f"epoch {row['epoch']:3}/{num_epochs}  loss {row['loss']:.4f}  std {row['std']:.4f}"
        f"  rank {row['effective_rank']:5.1f}{knn}  {row['clips_per_second']:.0f} clips/s  {left / 60:.0f} min left"
    )


if __name__ == "__main__":
    utils.run(main, get_args_parser())
