"""Train a genre classifier on a pre-trained experiment and test it, once, on every test track.

    python transfer.py --exp_path 154874 --size small                         fine-tune all weights
    python transfer.py --exp_path 154874 --size small --protocol linear       linear probe on frozen features
    python transfer.py --num_epochs 100 --batch_size 64 --size small --aug image --exp_path 154874   the paper's
    python transfer.py --size small --protocol scratch --backbone resnet18    supervised, without an experiment
    python transfer.py --size small --protocol linear --baseline stats        what plain mean and deviation reach
    python transfer.py --dataset NAME --protocol scratch --backbone samplecnn supervised, on waveforms
    python transfer.py --dataset NAME --train_sizes 280,560,840,1120 --num_seeds 5    on embeddings, no experiment

Trains on the training split, chooses (epoch, penalty) on the validation split, and writes
exp/<id>/<dataset>_<protocol>/: result.json, predictions.csv, confusion.csv, pictures, transfer.pth, and the page
exp/<id>/report.html. Of a dataset of embeddings (preprocessing.py --features music2vec …) it trains the head alone.
"""

import argparse
import copy
import functools
import time

import numpy as np
import torch
import torch.nn.functional as F

import augment
import models
import utils
from data import dataset, embeddings
from evaluation import metrics
from evaluation.writing import FROZEN, LOG_COLUMNS, write_results
from models import backbones, classifier, features, heads

DEFAULT_LR = {"linear": 1e-3, "mlp": 1e-3, "finetune": 5e-4, "scratch": 1e-3}
NUM_CROPS_AT_ONCE = 64
LINEAR = {"hidden": [], "dropout": [], "batch_norm": True}


def get_args_parser():
    parser = utils.script_parser(__doc__)

    group = parser.add_argument_group("what to classify, and with what")
    group.add_argument("--exp_path", help="experiment: its id under --exp_dir, or its path")
    group.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    group.add_argument("--size", choices=["small", "medium"], help="FMA of this size: short for --dataset fma_<size>")
    group.add_argument("--dataset", help="spectrogram folder <data_dir>/<dataset>_npy (default: the experiment's)")
    group.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    group.add_argument(
        "--protocol", choices=["finetune", "linear", "mlp", "scratch"],
        help="finetune: all weights. linear: one layer on frozen features. mlp: --hidden layers on frozen features. "
        "scratch: the same network from random weights, supervised (default: finetune; of embeddings mlp)",
    )  # fmt: skip
    group.add_argument(
        "--layer",
        help="features to use, of an experiment: backbone (default) or projector; of embeddings: all (default; a sum "
        "with learned weights) or the number of one layer, 0 being what enters the first",
    )  # fmt: skip
    group.add_argument(
        "--baseline", choices=["random", "stats"],
        help="with linear or mlp, in place of the experiment's features: those of a random network, or mean and "
        "deviation of each mel band",
    )  # fmt: skip
    group.add_argument(
        "--backbone", choices=backbones.NAMES,
        help="without --exp_path (default: resnet18, for waveforms samplecnn)",
    )  # fmt: skip

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

    group.add_argument(
        "--train_sizes",
        help="with linear and mlp: also train on so many tracks, a,b,c, stratified and nested, with --num_seeds "
        "seeds, and draw the learning curve of training and validation; no test track has a part in it",
    )  # fmt: skip

    group = parser.add_argument_group("head (of mlp)")
    group.add_argument("--hidden", default="1024,512,128", help="widths of the hidden layers")
    group.add_argument("--dropout", default="0.5", help="after each hidden layer, or one share for each: a,b")
    group.add_argument(
        "--batch_norm", action=argparse.BooleanOptionalAction, default=True, help="BatchNorm after each hidden layer"
    )

    group = parser.add_argument_group("optimisation (of mlp, finetune and scratch; linear runs to its optimum)")
    group.add_argument("--num_epochs", type=int, default=30, help="passes over the training tracks")
    group.add_argument("--patience", type=int, help="stop when validation has not improved for so many epochs")
    group.add_argument(
        "--batch_size", type=int, help="tracks in a batch (default: 64, of fewer than 256 tracks a quarter)"
    )
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
    group.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction,
        help="compute in bfloat16, by default on a GPU only; a CPU with AMX trains ResNets twice as fast in it",
    )  # fmt: skip
    group.add_argument(
        "--save_features", action="store_true",
        help="also write the features, averaged over each track's crops: features.npy (N, D), labels.npy (N,), "
        "track_ids.txt and tracks.csv (track_id,genre_top,split), all in the order training, validation, test",
    )  # fmt: skip
    return parser


def main(args):
    device = utils.pick_device(args.device)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    begin = time.perf_counter()

    experiment, configuration, folder = open_experiment(args)
    task = (EmbeddingTask if folder.holds_embeddings else Task)(args, configuration, folder, device)
    args.bf16 = task.bf16

    def encoder(seed):
        utils.set_seed(seed)
        return build_encoder(args, experiment, configuration).to(device, memory_format=torch.channels_last)

    curve = learning_curve(task, encoder(args.seed), args) if args.train_sizes else []
    runs = [PROTOCOLS[args.protocol](task, encoder(one.seed), one) for one in each_seed(args)]

    if experiment is None:
        experiment = utils.new_experiment(args.exp_dir)
        utils.write_json(experiment / "configuration.json", configuration)
    transfer = write_results(experiment, configuration, task, runs, curve, args, time.perf_counter() - begin)
    print(transfer / "result.json")


def each_seed(args):
    """The same flags with each of ``num_seeds`` seeds."""
    return [argparse.Namespace(**{**vars(args), "seed": args.seed + number}) for number in range(args.num_seeds)]


# ------------------------------------------------------------------ what is given


def open_experiment(args):
    """(experiment folder or None, its configuration, spectrogram or embedding folder), and completes the flags.

    Raises :class:`utils.UserError`.
    """
    if args.size and args.dataset:
        raise utils.UserError("give either --size or --dataset, not both")
    name = args.dataset or (args.size and f"fma_{args.size}")
    folder = name and not args.exp_path and dataset.open_folder(args.data_dir, name, or_embeddings=True)
    if folder and folder.holds_embeddings:
        return None, embedding_configuration(args, folder), folder
    args.protocol, args.layer = args.protocol or "finetune", args.layer or "backbone"
    if args.layer not in ("backbone", "projector"):
        raise utils.UserError(f"--layer {args.layer} goes with embeddings; an experiment has backbone and projector")
    if args.train_sizes and args.protocol not in FROZEN:
        raise utils.UserError("--train_sizes goes with --protocol linear or mlp")
    if args.baseline and args.protocol not in FROZEN:
        raise utils.UserError("--baseline goes with --protocol linear or mlp; scratch trains random weights")
    if args.exp_path:
        experiment = utils.find_experiment(args.exp_path, args.exp_dir)
        configuration = utils.read_json(experiment / "configuration.json")
        warn_if_unfinished(experiment, configuration)
        folder = dataset.open_folder(args.data_dir, name or configuration["flags"]["dataset"])
        dataset.check_settings(folder, configuration["spectrogram"])
        return experiment, configuration, folder
    if args.protocol != "scratch" and not args.baseline:
        raise utils.UserError("--exp_path is missing: which experiment? (only scratch and --baseline do without)")
    if not name:
        raise utils.UserError("say what to train on: --size small|medium, or --dataset NAME")
    return None, new_configuration(args, folder), folder


def warn_if_unfinished(experiment, configuration):
    wanted, log = configuration["flags"].get("num_epochs"), experiment / "train_log.csv"
    done = len(log.read_text().splitlines()) - 1 if log.exists() else 0
    if wanted and 0 < done < wanted:
        print(f"note: the pre-training of {experiment.name} stopped after {done} of {wanted} epochs")


def new_configuration(args, folder):
    """The configuration of a supervised experiment, which no pre-training came before."""
    train = dataset.load(folder, folder.split("training"), torch.device("cpu"), in_memory=False)
    backbone = args.backbone or backbones.default_for(folder.settings)
    backbones.check_input(backbone, folder.settings)
    flags = {
        "method": None,
        "backbone": backbone,
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


def embedding_configuration(args, folder):
    """The configuration of an experiment that is a head on embeddings, and nothing else."""
    if args.protocol not in (None, *FROZEN) or args.baseline:
        raise utils.UserError(f"{folder.path} holds embeddings: only --protocol linear and mlp go with them")
    args.protocol, args.layer = args.protocol or "mlp", args.layer or "all"
    layers = ["all", *map(str, range(folder.settings["num_layers"]))]
    if args.layer not in layers:
        raise utils.UserError(f"--layer {args.layer}: {folder.path} has {', '.join(layers)}")
    return {
        "flags": {"method": None, "backbone": folder.settings["features"], "dataset": folder.dataset},
        "spectrogram": folder.settings,
        "genres": sorted(set(folder.split("training")["genre_top"])),
        "versions": utils.versions(),
    }


class Task:
    """The three splits, their labels, and how crops are cut: the same for every seed and protocol."""

    def __init__(self, args, configuration, folder, device):
        self.device, self.folder = device, folder
        names = ["training", "validation", args.test_split]
        if args.train_split == "validation":
            names[:2] = ["validation", "training"]
        rows = [folder.split(name) for name in names]
        self.genres = sorted(set(rows[0]["genre_top"]))
        if len(self.genres) < 2:
            raise utils.UserError(f"a classifier needs two genres; training has only '{self.genres[0]}'")
        self.labels = [dataset.labels_of(part, self.genres).to(device) for part in rows]
        self.train, self.validation, self.test = self.load(rows, args, configuration)

    def load(self, rows, args, configuration):
        self.normalise = dataset.Normalisation(**configuration["normalisation"])
        self.num_frames, self.num_crops = self._crops(args, configuration)
        self.crop_seconds = self.folder.seconds_in(self.num_frames)
        smallest_side = min(self.folder.settings["n_mels"], self.num_frames)
        self.bf16 = backbones.uses_bf16(args.bf16, self.device, configuration["flags"]["backbone"], smallest_side)
        return [dataset.load(self.folder, part, self.device) for part in rows]

    def _crops(self, args, configuration):
        if args.baseline == "stats" and not args.crop_seconds:  # statistics want the whole track, once
            return int(self.folder.tracks["frames"].median()), 1
        return self.folder.frames_in(args.crop_seconds or configuration["flags"]["crop_seconds"]), args.num_crops

    def extract(self, network, spectrograms, tracks=None):
        """(N, num_crops, D): what a frozen network makes of every crop of ``tracks`` (default: all)."""
        num_tracks = len(spectrograms if tracks is None else tracks)
        crops = spectrograms.every_crop(self.num_frames, self.num_crops, NUM_CROPS_AT_ONCE, tracks)
        crops = utils.progress(crops, total=-(-num_tracks * self.num_crops // NUM_CROPS_AT_ONCE), desc="features")
        views = (self.normalise(x) for x in crops)
        return features.extract(network, views, self.device, self.bf16).view(num_tracks, self.num_crops, -1)

    def labelled(self, fraction, seed):
        """Indices of the training tracks whose labels are used: a share of every genre, nested for a seed."""
        if not 0 < fraction <= 1:
            raise utils.UserError(f"--label_fraction {fraction:g} must be above 0 and at most 1")
        return self.subset(max(len(self.genres), round(fraction * len(self.train))), seed)

    def subset(self, size, seed):
        """Indices of ``size`` training tracks, stratified by genre; for a seed, the smaller are in the larger.

        Each genre's tracks are shuffled and spread evenly from 0 to 1; the ``size`` lowest are the subset.
        """
        labels = self.labels[0].cpu().numpy()
        chance = np.random.default_rng(seed)
        place = np.empty(len(labels))
        for genre in range(len(self.genres)):
            members = chance.permutation(np.flatnonzero(labels == genre))
            place[members] = np.arange(len(members)) / len(members)
        return torch.from_numpy(np.sort(np.argsort(place, kind="stable")[:size]))


class EmbeddingTask(Task):
    """The same of an embedding folder: a track is one "crop", whose features are read, not extracted."""

    num_crops, crop_seconds, bf16 = 1, None, False

    def load(self, rows, args, configuration):
        return [embeddings.Vectors(self.folder, part, self.device) for part in rows]

    def extract(self, network, vectors, tracks=None):
        """(N, 1, D) of one layer, (N, 1, L, D) of all."""
        return network(vectors.array if tracks is None else vectors.array[tracks]).unsqueeze(1)


def build_encoder(args, experiment, configuration):
    flags = configuration["flags"]
    if "num_layers" in configuration["spectrogram"]:
        return heads.ChooseLayer(args.layer, configuration["spectrogram"]["num_layers"])
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
    """Linear probe: one layer on frozen features."""
    return on_frozen(task, encoder, args, LINEAR)


def mlp(task, encoder, args):
    """Hidden layers on frozen features; by default the head of the original work."""
    return on_frozen(task, encoder, args, head_options(args))


def head_options(args):
    """{"hidden", "dropout", "batch_norm"} of :func:`models.heads.genre_head`. Raises :class:`utils.UserError`."""
    if args.protocol == "linear":
        return LINEAR
    try:
        hidden, dropout = [int(n) for n in args.hidden.split(",")], [float(p) for p in args.dropout.split(",")]
    except ValueError:
        raise utils.UserError("--hidden and --dropout are numbers with commas between, such as 512,256") from None
    dropout = dropout * len(hidden) if len(dropout) == 1 else dropout
    if len(dropout) != len(hidden) or not all(0 <= p < 1 for p in dropout) or min(hidden) < 1:
        raise utils.UserError(f"--dropout {args.dropout} must be a share below 1, or one for each of {args.hidden}")
    return {"hidden": hidden, "dropout": dropout, "batch_norm": args.batch_norm}


def on_frozen(task, encoder, args, options):
    """A head on features that are computed once."""
    labelled = task.labelled(args.label_fraction, args.seed)
    train = task.extract(encoder, task.train, labelled)
    validation, test = task.extract(encoder, task.validation), task.extract(encoder, task.test)
    head, log, chosen = fit_head(task, train, task.labels[0][labelled], validation, args, options)
    options = {**options, "num_layers": 1}
    features_of_test = test.mean(1)
    if test.ndim == 4:
        options.update(num_layers=test.shape[2], layer_weights=head[1].weights().tolist())
        features_of_test = apply(head[:2], test)[:, 0]
    run = Run(classifier.Classifier(encoder, head), apply(head, test), log, chosen, len(labelled), options)
    run.features = features_of_test
    return run


def fit_head(task, train, labels, validation, args, options, say=print):
    """A head for features (N, crops, D) or (N, crops, L, D), trained on ``labels`` (N,) and chosen on validation.

    Logistic regression where it can be; all else by AdamW. Returns (head, log, chosen).
    """
    num_layers = train.shape[2] if train.ndim == 4 else 1
    head = heads.genre_head(train.shape[-1], len(task.genres), **options, num_layers=num_layers).to(task.device)
    if not options["hidden"] and num_layers == 1:
        chosen = classifier.fit_linear_probe(head, train.mean(1), labels, validation.mean(1), task.labels[1])
        return head, [], chosen
    head[0].measure(train.flatten(0, 1))

    def batches():
        for batch in shuffled(torch.arange(len(train)), batch_size_of(args, len(train))):
            crops = torch.randint(train.shape[1], batch.shape)
            yield train[batch, crops], labels[batch]

    groups = [{"params": list(head.parameters()), "lr": args.lr or DEFAULT_LR[args.protocol]}]
    judge = functools.partial(apply, head, validation)
    return head, *fit(head, groups, batches, judge, task.labels[1], len(train), args, say=say)


def learning_curve(task, encoder, args):
    """A head for each training-set size and seed: rows of label_curve.csv. The test tracks have no part in it."""
    sizes = train_sizes(args, len(task.genres), len(task.train))
    train, validation = (task.extract(encoder, part) for part in (task.train, task.validation))
    rows = []
    for size in utils.progress(sizes, desc="learning curve"):
        for one in each_seed(args):
            utils.set_seed(one.seed)
            tracks = task.subset(size, one.seed)
            given, labels = train[tracks], task.labels[0][tracks]
            head, _, _ = fit_head(task, given, labels, validation, one, head_options(one), say=lambda line: None)
            f1, loss = score(head, given, labels)
            validation_f1, validation_loss = score(head, validation, task.labels[1])
            rows.append({
                "train_size": size, "seed": one.seed, "train_macro_f1": f1, "validation_macro_f1": validation_f1,
                "gap": f1 - validation_f1, "train_loss": loss, "validation_loss": validation_loss,
            })  # fmt: skip
    return rows


def train_sizes(args, least, most):
    """Sizes from small to large. Raises :class:`utils.UserError`."""
    try:
        sizes = sorted({int(size) for size in args.train_sizes.split(",")})
    except ValueError:
        raise utils.UserError(f"--train_sizes {args.train_sizes} are numbers with commas between") from None
    if sizes[0] < least or sizes[-1] > most:
        raise utils.UserError(f"--train_sizes {args.train_sizes} must be {least} (genres) to {most} (tracks)")
    return sizes


def score(head, crops, labels):
    """(macro F1, mean cross-entropy) of a head, in eval mode, on features (N, crops, …) of tracks ``labels`` (N,)."""
    logits = apply(head, crops).mean(1)
    matrix = metrics.confusion_matrix(logits.argmax(1).cpu(), labels.cpu(), logits.shape[1])
    return metrics.macro_f1(matrix), F.cross_entropy(logits, labels).item()


def finetune(task, encoder, args):
    """All weights, from the linear probe onwards (Kumar et al. 2022), so that random heads undo no features.

    Lower stages learn more slowly, and BatchNorm keeps the statistics of the pre-training.
    """
    labelled = task.labelled(args.label_fraction, args.seed)
    train, validation = task.extract(encoder, task.train, labelled), task.extract(encoder, task.validation)
    head, _, _ = fit_head(task, train, task.labels[0][labelled], validation, args, LINEAR)
    statistics_kept = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    return train_whole(task, classifier.Classifier(encoder, head), args, args.layer_decay, statistics_kept)


def scratch(task, encoder, args):
    """The supervised network, from random weights."""
    head = heads.genre_head(encoder.num_features, len(task.genres)).to(task.device)
    return train_whole(task, classifier.Classifier(encoder, head), args, layer_decay=1.0)


def train_whole(task, network, args, layer_decay, frozen=()):
    labelled = task.labelled(args.label_fraction, args.seed)
    augmentation = augment.build(args.aug, task.folder.settings, args.lam, args.aug_p)
    num_input = round(task.num_frames * augmentation.context)

    def batches():
        order = list(shuffled(labelled, batch_size_of(args, len(labelled))))
        requests = [((tracks, task.train.random_starts(tracks, num_input)),) for tracks in order]
        for tracks, (x,) in zip(order, task.train.batches(requests, num_input), strict=True):
            yield task.normalise(augmentation(x, task.num_frames)), task.labels[0][tracks]

    def judge():
        return task.extract(network, task.validation)

    groups = layer_wise(network, args.lr or DEFAULT_LR[args.protocol], layer_decay)
    log, chosen = fit(network, groups, batches, judge, task.labels[1], len(labelled), args, frozen)
    test = task.extract(network.backbone, task.test)
    run = Run(network, apply(network.head, test), log, chosen, len(labelled), LINEAR)
    run.features = test.mean(1)
    return run


PROTOCOLS = {"linear": linear, "mlp": mlp, "finetune": finetune, "scratch": scratch}


# ------------------------------------------------------------------ the supervised loop


def fit(network, groups, batches, judge, labels, num_train, args, frozen=(), say=print):
    """Train by AdamW, keep the epoch with the highest validation accuracy (of equals, the lowest loss).

    batches() yields (input, labels); judge() returns validation logits (N, crops, C); modules in ``frozen`` stay
    in eval mode. Returns the log (list of dicts) and {"epoch", "validation_accuracy"}.
    """
    optimiser = torch.optim.AdamW(groups, weight_decay=args.weight_decay)
    num_steps = args.num_epochs * (num_train // batch_size_of(args, num_train))
    factor = functools.partial(utils.cosine_schedule, num_steps=num_steps, warmup_steps=num_steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    log, best, best_state = [], None, None
    for epoch in range(args.num_epochs):
        utils.set_seed(args.seed, epoch + 1)
        train_loss = train_one_epoch(network, batches, optimiser, schedule, frozen, epoch, args.bf16)
        logits = judge().mean(1)
        loss = F.cross_entropy(logits, labels).item()
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        log.append(dict(zip(LOG_COLUMNS, (epoch + 1, train_loss, loss, accuracy), strict=True)))
        say(f"epoch {epoch + 1:3}/{args.num_epochs}  loss {train_loss:.3f}  validation loss {loss:.3f}  "
            f"accuracy {accuracy:.3f}")  # fmt: skip
        if best is None or (accuracy, -loss) > best:
            best, best_state = (accuracy, -loss), copy.deepcopy(network.state_dict())
            chosen = {"epoch": epoch + 1, "validation_accuracy": accuracy}
        if args.patience and epoch + 1 - chosen["epoch"] >= args.patience:
            break
    network.load_state_dict(best_state)
    return log, chosen


def train_one_epoch(network, batches, optimiser, schedule, frozen, epoch, bf16):
    """Returns the mean loss of the epoch."""
    network.train()
    for module in frozen:
        module.eval()
    losses = []
    for x, y in utils.progress(batches(), desc=f"epoch {epoch + 1}"):
        with utils.autocast(x.device, bf16):
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


def batch_size_of(args, num_train):
    """``--batch_size``, by default one that leaves small collections a few steps. Raises :class:`utils.UserError`."""
    size = max(2, min(64, num_train // 4)) if args.batch_size is None else args.batch_size
    if not 2 <= size <= num_train:
        raise utils.UserError(f"--batch_size {size} must be between 2 and the {num_train} training tracks")
    return size


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


if __name__ == "__main__":
    utils.run(main, get_args_parser())
