"""Train a genre classifier on a pre-trained experiment and test it, once, on every test track.

    python transfer.py --exp_path 154874 --size small                         fine-tune all weights
    python transfer.py --exp_path 154874 --size small --protocol linear       linear probe on frozen features
    python transfer.py --num_epochs 100 --batch_size 64 --size small --aug image --exp_path 154874   the paper's
    python transfer.py --size small --protocol scratch --backbone resnet18    supervised, without an experiment
    python transfer.py --size small --protocol linear --baseline stats        what plain mean and deviation reach

Trains on the training split, chooses (epoch, penalty) on the validation split, and writes
exp/<id>/<dataset>_<protocol>/: result.json, predictions.csv, confusion.csv, pictures, transfer.pth, and the page
exp/<id>/report.html.
"""

import copy
import functools
import time

import numpy as np
import torch
import torch.nn.functional as F

import augment
import models
import utils
from data import dataset
from evaluation import metrics, plots, report, statistics
from models import backbones, classifier, features, heads

FROZEN = ("linear", "mlp")
DEFAULT_LR = {"linear": None, "mlp": 1e-3, "finetune": 5e-4, "scratch": 1e-3}
LOG_COLUMNS = ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
OVER_SEEDS = ("accuracy", "macro_f1", "roc_auc", "validation_accuracy")


def get_args_parser():
    parser = utils.script_parser(__doc__)

    group = parser.add_argument_group("what to classify, and with what")
    group.add_argument("--exp_path", help="experiment: its id under --exp_dir, or its path")
    group.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    group.add_argument("--size", choices=["small", "medium"], help="FMA of this size: short for --dataset fma_<size>")
    group.add_argument("--dataset", help="spectrogram folder <data_dir>/<dataset>_npy (default: the experiment's)")
    group.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    group.add_argument(
        "--protocol", choices=["finetune", "linear", "mlp", "scratch"], default="finetune",
        help="finetune: all weights. linear: one layer on frozen features. mlp: 1024-512-128 on frozen features. "
        "scratch: the same network from random weights, supervised",
    )  # fmt: skip
    group.add_argument("--layer", choices=["backbone", "projector"], default="backbone", help="features to use")
    group.add_argument(
        "--baseline", choices=["random", "stats"],
        help="with linear or mlp, in place of the experiment's features: those of a random network, or mean and "
        "deviation of each mel band",
    )  # fmt: skip
    group.add_argument("--backbone", choices=backbones.RESNETS, help="without --exp_path (default: resnet18)")

    group = parser.add_argument_group("labels")
    group.add_argument(
        "--train_split", choices=["training", "validation"], default="training",
        help="validation: train on the validation tracks, as the original work did, and choose on the training ones",
    )  # fmt: skip
    group.add_argument(
        "--test_split", choices=["test", "validation"], default="test",
        help="validation: leave the test tracks alone, for runs that something will be chosen by",
    )  # fmt: skip
    group.add_argument("--label_fraction", type=float, default=1.0, help="share of the labels, of every genre")
    group.add_argument("--num_seeds", type=int, default=1, help="repeat with so many seeds and report mean ± std")

    group = parser.add_argument_group("optimisation (of mlp, finetune and scratch; linear runs to its optimum)")
    group.add_argument("--num_epochs", type=int, default=30, help="passes over the training tracks")
    group.add_argument("--batch_size", type=int, default=64, help="tracks in a batch")
    group.add_argument("--lr", type=float, help="of AdamW (default: finetune 5e-4, mlp and scratch 1e-3)")
    group.add_argument("--weight_decay", type=float, default=0.01, help="of AdamW")
    group.add_argument(
        "--layer_decay", type=float, default=0.7,
        help="finetune: each stage of the network learns at this share of the rate of the stage above it",
    )  # fmt: skip
    group.add_argument("--aug", default="spec", help="augments finetune and scratch: see train_simsiam.py --help")
    group.add_argument("--lam", type=float, help="mixing weight of the augmentations")
    group.add_argument("--aug_p", type=float, help="probability of applying each augmentation")

    group = parser.add_argument_group("crops")
    group.add_argument("--crop_seconds", type=float, help="length of a crop (default: the experiment's)")
    group.add_argument("--num_crops", type=int, default=5, help="crops of a track, averaged")

    group = parser.add_argument_group("running")
    group.add_argument("--seed", type=int, default=0, help="first seed")
    group.add_argument("--device", default="auto", help="auto, cpu or cuda")
    group.add_argument("--save_features", action="store_true", help="write features.npy, labels.npy, track_ids.txt")
    return parser


def main(args):
    device = utils.pick_device(args.device)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    begin = time.perf_counter()

    experiment, configuration, folder = open_experiment(args)
    task = Task(args, configuration, folder, device)
    runs = []
    for seed in range(args.seed, args.seed + args.num_seeds):
        args.seed = seed
        utils.set_seed(seed)
        encoder = build_encoder(args, experiment, configuration).to(device, memory_format=torch.channels_last)
        protocol = PROTOCOLS[args.protocol]
        runs.append(protocol(task, encoder, args))

    if experiment is None:
        experiment = utils.new_experiment(args.exp_dir)
        utils.write_json(experiment / "configuration.json", configuration)
    transfer = write_results(experiment, configuration, task, runs, args, time.perf_counter() - begin)
    print(transfer / "result.json")


# ------------------------------------------------------------------ what is given


def open_experiment(args):
    """(experiment folder or None, its configuration, spectrogram folder). Raises :class:`utils.UserError`."""
    if args.size and args.dataset:
        raise utils.UserError("give either --size or --dataset, not both")
    if args.baseline and args.protocol not in FROZEN:
        raise utils.UserError("--baseline goes with --protocol linear or mlp; scratch trains random weights")
    name = args.dataset or (args.size and f"fma_{args.size}")
    if args.exp_path:
        experiment = utils.find_experiment(args.exp_path, args.exp_dir)
        configuration = utils.read_json(experiment / "configuration.json")
        warn_if_unfinished(experiment, configuration)
        folder = dataset.open_folder(args.data_dir, name or configuration["flags"]["dataset"])
        check_settings(folder, configuration)
        return experiment, configuration, folder
    if args.protocol != "scratch" and not args.baseline:
        raise utils.UserError("--exp_path is missing: which experiment? (only scratch and --baseline do without)")
    if not name:
        raise utils.UserError("say what to train on: --size small|medium, or --dataset NAME")
    folder = dataset.open_folder(args.data_dir, name)
    return None, new_configuration(args, folder), folder


def warn_if_unfinished(experiment, configuration):
    wanted, log = configuration["flags"].get("num_epochs"), experiment / "train_log.csv"
    done = len(log.read_text().splitlines()) - 1 if log.exists() else 0
    if wanted and 0 < done < wanted:
        print(f"note: the pre-training of {experiment.name} stopped after {done} of {wanted} epochs")


def new_configuration(args, folder):
    """The configuration of a supervised experiment, which no pre-training came before."""
    train = dataset.load(folder, folder.split("training"), torch.device("cpu"))
    flags = {
        "method": None,
        "backbone": args.backbone or "resnet18",
        "dataset": folder.dataset,
        "crop_seconds": args.crop_seconds or folder.default_crop_seconds(),
    }
    return {
        "flags": flags,
        "spectrogram": folder.settings,
        "normalisation": vars(dataset.measure_normalisation(train)),
        "genres": sorted(set(folder.split("training")["genre_top"])),
        "versions": utils.versions(),
    }


def check_settings(folder, configuration):
    """A network understands only the kind of spectrograms that it was trained on; their storage may differ."""
    trained = configuration["spectrogram"]
    differing = [
        f"{key} {trained.get(key)} → {folder.settings.get(key)}"
        for key in sorted({*trained, *folder.settings} - {"dtype", "db_min", "db_max"})
        if trained.get(key) != folder.settings.get(key)
    ]
    if differing:
        raise utils.UserError(
            f"{folder.path} has other settings than the experiment was trained on ({', '.join(differing)}): "
            "run preprocessing.py with the experiment's settings, or pre-train on this dataset"
        )


class Task:
    """The three splits, their labels, and how crops are cut: the same for every seed and protocol."""

    def __init__(self, args, configuration, folder, device):
        self.device, self.folder = device, folder
        self.normalise = dataset.Normalisation(**configuration["normalisation"])
        names = ["training", "validation", args.test_split]
        if args.train_split == "validation":
            names[:2] = ["validation", "training"]
        rows = [folder.split(name) for name in names]
        self.genres = sorted(set(rows[0]["genre_top"]))
        if len(self.genres) < 2:
            raise utils.UserError(f"a classifier needs two genres; training has only '{self.genres[0]}'")
        self.labels = [dataset.labels_of(part, self.genres).to(device) for part in rows]
        self.train, self.validation, self.test = (dataset.load(folder, part, device) for part in rows)
        self.num_frames, self.num_crops = self._crops(args, configuration)

    def _crops(self, args, configuration):
        if args.baseline == "stats" and not args.crop_seconds:  # statistics want the whole track, once
            return int(self.folder.tracks["frames"].median()), 1
        return self.folder.frames_in(args.crop_seconds or configuration["flags"]["crop_seconds"]), args.num_crops

    def every_crop(self, spectrograms, batch_size=64):
        """Batches (B, 1, F, T), normalised, of all crops that a track is judged by."""
        for x in spectrograms.every_crop(self.num_frames, self.num_crops, batch_size):
            yield self.normalise(x)

    def extract(self, network, spectrograms):
        """(N, num_crops, D): what a frozen network makes of every crop."""
        num_batches = -(-len(spectrograms) * self.num_crops // 64)
        crops = utils.progress(self.every_crop(spectrograms), total=num_batches, desc="features")
        return features.extract(network, crops, self.device).view(len(spectrograms), self.num_crops, -1)

    def labelled(self, fraction, seed):
        """Indices of the training tracks whose labels are used: a share of every genre, nested for a seed."""
        if not 0 < fraction <= 1:
            raise utils.UserError(f"--label_fraction {fraction:g} must be above 0 and at most 1")
        labels = self.labels[0].cpu().numpy()
        chance = np.random.default_rng(seed)
        members = (chance.permutation(np.flatnonzero(labels == genre)) for genre in range(len(self.genres)))
        return torch.from_numpy(np.sort(np.concatenate([m[: max(1, round(fraction * len(m)))] for m in members])))


def build_encoder(args, experiment, configuration):
    flags = configuration["flags"]
    if args.baseline == "stats":
        return backbones.build("stats", configuration["spectrogram"]["n_mels"])
    if args.baseline == "random" or args.protocol == "scratch":
        return backbones.build(flags["backbone"])
    if not flags["method"]:
        raise utils.UserError(f"experiment {experiment} has no pre-trained network: pre-train one, or use scratch")
    return models.load(experiment, flags, "cpu").encoder(args.layer)


# ------------------------------------------------------------------ protocols: each (task, encoder, args) → Run


class Run:
    """A trained classifier and what it says of every crop of every test track."""

    def __init__(self, network, logits, log, chosen, num_train, head):
        self.network, self.log, self.chosen, self.num_train, self.head = network, log, chosen, num_train, head
        self.crop_probabilities = logits.softmax(2).cpu().numpy()  # (N, crops, C)
        self.probabilities = logits.mean(1).softmax(1).cpu().numpy()  # (N, C): logits averaged over the crops
        self.features = None


def linear(task, encoder, args):
    """Linear probe: multinomial logistic regression on each track's mean features."""
    train, validation, test = (task.extract(encoder, part) for part in (task.train, task.validation, task.test))
    labelled = task.labelled(args.label_fraction, args.seed)
    head = heads.genre_head(train.shape[2], len(task.genres)).to(task.device)
    chosen = classifier.fit_linear_probe(
        head, train.mean(1)[labelled], task.labels[0][labelled], validation.mean(1), task.labels[1]
    )
    with torch.no_grad():
        logits = head(test)
    run = Run(classifier.Classifier(encoder, head), logits, [], chosen, len(labelled), {"hidden": [], "dropout": 0.0})
    run.features = test.mean(1)
    return run


def mlp(task, encoder, args):
    """The original's head on frozen features, which are computed once."""
    train, validation, test = (task.extract(encoder, part) for part in (task.train, task.validation, task.test))
    labelled = task.labelled(args.label_fraction, args.seed)
    options = {"hidden": [1024, 512, 128], "dropout": 0.5}
    head = heads.genre_head(train.shape[2], len(task.genres), **options).to(task.device)
    head[0].measure(train[labelled].flatten(0, 1))

    def batches():
        for tracks in shuffled(labelled, args.batch_size):
            crops = torch.randint(train.shape[1], tracks.shape)
            yield train[tracks, crops], task.labels[0][tracks]

    groups = [{"params": list(head.parameters()), "lr": args.lr or DEFAULT_LR["mlp"]}]
    log, chosen = fit(head, groups, batches, lambda: apply(head, validation), task.labels[1], len(labelled), args)
    network = classifier.Classifier(encoder, head)
    run = Run(network, apply(head, test), log, chosen, len(labelled), options)
    run.features = test.mean(1)
    return run


def finetune(task, encoder, args):
    """All weights, from the linear probe onwards (Kumar et al. 2022), so that random heads undo no features.

    Lower stages learn more slowly, and BatchNorm keeps the statistics of the pre-training.
    """
    head = linear(task, encoder, args).network.head
    statistics_kept = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    return train_whole(task, classifier.Classifier(encoder, head), args, args.layer_decay, statistics_kept)


def scratch(task, encoder, args):
    """The supervised network, from random weights."""
    empty = torch.zeros(2, 1, task.folder.settings["n_mels"], task.num_frames, device=task.device)
    head = heads.genre_head(encoder(empty).shape[1], len(task.genres)).to(task.device)
    return train_whole(task, classifier.Classifier(encoder, head), args, layer_decay=1.0)


def train_whole(task, network, args, layer_decay, frozen=()):
    labelled = task.labelled(args.label_fraction, args.seed)
    augmentation = augment.build(args.aug, task.folder.settings, args.lam, args.aug_p)
    num_input = round(task.num_frames * augmentation.context)

    def batches():
        order = list(shuffled(labelled, args.batch_size))
        requests = [((tracks, task.train.random_starts(tracks, num_input)),) for tracks in order]
        for tracks, (x,) in zip(order, task.train.batches(requests, num_input), strict=True):
            yield task.normalise(augmentation(x, task.num_frames)), task.labels[0][tracks]

    def judge():
        return task.extract(network, task.validation)

    groups = layer_wise(network, args.lr or DEFAULT_LR[args.protocol], layer_decay)
    log, chosen = fit(network, groups, batches, judge, task.labels[1], len(labelled), args, frozen)
    run = Run(network, task.extract(network, task.test), log, chosen, len(labelled), {"hidden": [], "dropout": 0.0})
    run.features = task.extract(network.backbone, task.test).mean(1)
    return run


PROTOCOLS = {"linear": linear, "mlp": mlp, "finetune": finetune, "scratch": scratch}


# ------------------------------------------------------------------ the supervised loop


def fit(network, groups, batches, judge, labels, num_train, args, frozen=()):
    """Train by AdamW, keep the epoch with the highest validation accuracy (of equals, the lowest loss).

    batches() yields (input, labels); judge() returns validation logits (N, crops, C); modules in ``frozen`` stay
    in eval mode. Returns the log (list of dicts) and {"epoch", "validation_accuracy"}.
    """
    if not 2 <= args.batch_size <= num_train:
        raise utils.UserError(f"--batch_size {args.batch_size} must be between 2 and the {num_train} training tracks")
    optimiser = torch.optim.AdamW(groups, weight_decay=args.weight_decay)
    num_steps = args.num_epochs * (num_train // args.batch_size)
    factor = functools.partial(utils.cosine_schedule, num_steps=num_steps, warmup_steps=num_steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    log, best, best_state = [], None, None
    for epoch in range(args.num_epochs):
        utils.set_seed(args.seed, epoch + 1)
        train_loss = train_one_epoch(network, batches, optimiser, schedule, frozen, epoch)
        logits = judge().mean(1)
        loss = F.cross_entropy(logits, labels).item()
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        log.append(dict(zip(LOG_COLUMNS, (epoch + 1, train_loss, loss, accuracy), strict=True)))
        print(f"epoch {epoch + 1:3}/{args.num_epochs}  loss {train_loss:.3f}  validation loss {loss:.3f}  "
              f"accuracy {accuracy:.3f}")  # fmt: skip
        if best is None or (accuracy, -loss) > best:
            best, best_state = (accuracy, -loss), copy.deepcopy(network.state_dict())
            chosen = {"epoch": epoch + 1, "validation_accuracy": accuracy}
    network.load_state_dict(best_state)
    return log, chosen


def train_one_epoch(network, batches, optimiser, schedule, frozen, epoch):
    """Returns the mean loss of the epoch."""
    network.train()
    for module in frozen:
        module.eval()
    losses = []
    for x, y in utils.progress(batches(), desc=f"epoch {epoch + 1}"):
        with utils.autocast(x.device):
            loss = F.cross_entropy(network(x), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
    mean = torch.stack(losses).mean().item()
    if not np.isfinite(mean):
        raise utils.UserError(f"the loss is not finite in epoch {epoch + 1}: start again with a smaller --lr")
    return mean


def shuffled(tracks, batch_size):
    """Random batches of ``tracks`` (N,), without the incomplete last one."""
    return tracks[torch.randperm(len(tracks))].split(batch_size)[: len(tracks) // batch_size]


@torch.no_grad()
def apply(head, crops):
    """Logits (N, crops, C) of features (N, crops, D), in eval mode."""
    head.eval()
    return head(crops.flatten(0, 1)).view(*crops.shape[:2], -1)


def layer_wise(network, lr, layer_decay):
    """Parameter groups: the head at ``lr``, each stage below at ``layer_decay`` of the rate of the one above."""
    stages = [list(child.parameters()) for child in [*network.backbone.children(), network.head]]
    stages = [stage for stage in stages if stage]
    return [{"params": stage, "lr": lr * layer_decay**height} for height, stage in enumerate(reversed(stages))]


# ------------------------------------------------------------------ results


def write_results(experiment, configuration, task, runs, args, seconds):
    """Everything of contract 2 for this transfer; numbers and pictures are the first seed's. Returns the folder."""
    run, truth = runs[0], task.labels[2].cpu().numpy()
    result = describe(run, runs, task, truth, configuration, args, seconds)
    transfer = new_transfer(experiment, f"{task.folder.dataset}_{args.protocol}")
    write_predictions(transfer, run, truth, task)
    write_pictures(transfer, result, run, truth, task, title=f"{experiment.name}: {transfer.name}")
    if args.save_features:
        write_features(transfer, run, truth, task)
    frozen_experiment = result["frozen"] and configuration["flags"]["method"] and not args.baseline
    part = {f"head.{k}": v for k, v in run.network.head.state_dict().items()}
    utils.save_weights(transfer / "transfer.pth", part if frozen_experiment else run.network.state_dict())
    utils.write_json(transfer / "result.json", result)
    report.write_report(experiment)
    print_summary(result, transfer)
    return transfer


def describe(run, runs, task, truth, configuration, args, seconds):
    result = metrics.summarise(run.probabilities, truth, task.genres)
    crop_accuracy = float((run.crop_probabilities.argmax(2) == truth[:, None]).mean())
    return {
        **result,
        "protocol": args.protocol,
        "baseline": args.baseline,
        "dataset": task.folder.dataset,
        "genres": task.genres,
        "n_train": run.num_train,
        "train_split": args.train_split,
        "test_split": args.test_split,
        "label_fraction": args.label_fraction,
        "validation_accuracy": run.chosen["validation_accuracy"],
        "crop_accuracy": crop_accuracy,
        "chosen": run.chosen,
        "seeds": over_seeds(runs, truth, task) if len(runs) > 1 else None,
        "num_seeds": len(runs),
        "frozen": args.protocol in FROZEN,
        "backbone": "stats" if args.baseline == "stats" else configuration["flags"]["backbone"],
        "layer": args.layer,
        "num_features": run.features.shape[1],
        **run.head,
        "num_crops": task.num_crops,
        "crop_seconds": task.folder.seconds_in(task.num_frames),
        "flags": vars(args),
        "seconds": seconds,
        "versions": utils.versions(),
    }


def over_seeds(runs, truth, task):
    """Mean, std and interval over the seeds of each number in ``OVER_SEEDS``."""
    every = [{**metrics.summarise(run.probabilities, truth, task.genres), **run.chosen} for run in runs]
    return {name: statistics.mean_std_interval([one[name] for one in every]) for name in OVER_SEEDS}


def new_transfer(experiment, name):
    """``experiment/name``, or with a number behind it where that is taken: no result is overwritten."""
    number = 1
    while True:
        folder = experiment / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        return folder


def write_predictions(transfer, run, truth, task):
    rows = [
        [track_id, task.genres[true], task.genres[row.argmax()], *(f"{p:.6f}" for p in row)]
        for track_id, true, row in zip(task.test.rows["track_id"], truth, run.probabilities, strict=True)
    ]
    utils.write_csv(transfer / "predictions.csv", ["track_id", "truth", "prediction", *task.genres], rows)
    matrix = metrics.confusion_matrix(run.probabilities.argmax(1), truth, len(task.genres))
    rows = [[genre, *counts] for genre, counts in zip(task.genres, matrix.tolist(), strict=True)]
    utils.write_csv(transfer / "confusion.csv", ["truth \\ prediction", *task.genres], rows)
    if run.log:
        utils.write_csv(transfer / "transfer_log.csv", LOG_COLUMNS, [row.values() for row in run.log])


def write_pictures(transfer, result, run, truth, task, title):
    matrix = metrics.confusion_matrix(run.probabilities.argmax(1), truth, len(task.genres))
    plots.confusion(transfer / "confusion.png", matrix, task.genres, title=title)
    plots.per_genre(transfer / "per_genre.png", result["per_genre"], title=title)
    plots.reliability(transfer / "reliability.png", run.probabilities, truth, title=title)
    plots.feature_map(transfer / "features.png", run.features.cpu().numpy(), truth, task.genres, title=title)
    if run.log:
        plots.learning_curves(transfer / "learning_curves.png", run.log, title=title)


def write_features(transfer, run, truth, task):
    """Mean features of the test tracks, for use elsewhere."""
    for name, array in (("features", run.features.cpu().numpy()), ("labels", truth)):
        with utils.atomic_path(transfer / f"{name}.npy") as temporary:
            np.save(temporary, array, allow_pickle=False)
    with utils.atomic_path(transfer / "track_ids.txt") as temporary:
        temporary.write_text("\n".join(task.test.rows["track_id"]) + "\n", encoding="utf-8")


def print_summary(result, transfer):
    low, high = result["accuracy_ci95"]
    print(
        f"\n{result['protocol']} on {result['dataset']}: {result['n_test']} {result['test_split']} tracks, "
        f"{len(result['genres'])} genres, trained on {result['n_train']}\n"
        f"  accuracy  {result['accuracy']:.3f}  (95 % interval {low:.3f} to {high:.3f}; "
        f"chance {1 / len(result['genres']):.3f}; validation {result['validation_accuracy']:.3f})\n"
        f"  macro-F1  {result['macro_f1']:.3f}"
        + (f"\n  ROC-AUC   {result['roc_auc']:.3f}" if result["roc_auc"] is not None else "")
    )
    if result["seeds"]:
        over = result["seeds"]["accuracy"]
        print(f"  over {result['num_seeds']} seeds: accuracy {over['mean']:.3f} ± {over['std']:.3f}")
    print(f"  who is taken for whom: {transfer / 'confusion.png'}")
    print(f"  everything on one page: {transfer.parent / 'report.html'}")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
