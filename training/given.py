"""What transfer.py's flags come to: an experiment, its network, the tracks; and what of a run is kept as a result.

Axes: N tracks, C genres, D feature dimension.
"""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import torch

import augment
import utils
from data.crops import measure_normalisation
from data.folder import check_settings, open_folder
from evaluation import results
from models import backbones
from models.classifier import Classifier
from training.experiment import Experiment
from training.frozen import Cut, FrozenFeatures, WholeVectors
from training.label_curve import label_curve, parse_sizes
from training.networks import Network
from training.supervised import Recipe, batch_size_for
from training.task import Task
from training.views import check_batch

FROZEN = ("linear", "mlp")  # protocols that train a head only
DEFAULT_LR = {"linear": 1e-3, "mlp": 1e-3, "finetune": 5e-4, "scratch": 1e-3}
LINEAR = {"hidden": [], "dropout": [], "batch_norm": True}


@dataclass
class Given:
    """What every protocol starts from. network: the record of what the result's features come from."""

    task: Task
    experiment: Experiment
    flags: utils.Flags
    cut: object  # a Cut, or WholeVectors
    network: Network
    known: dict = field(default_factory=dict)  # seed of random weights, or None → FrozenFeatures

    def labelled(self, seed):
        return self.task.labelled(self.flags.label_fraction, seed)

    def backbone(self, seed):
        """A fresh one, as it is before any label is seen."""
        utils.set_seed(seed)
        network = self.network
        if self.flags.protocol == "finetune":
            network = dataclasses.replace(network, kind="encoder")
        return network.backbone_of(self.experiment).to(self.task.device, memory_format=torch.channels_last)

    def frozen(self, backbone, seed):
        """Its :class:`FrozenFeatures` before any training, the same object for every seed that changes nothing."""
        features = self.known.setdefault(
            seed if self.network.kind == "random" else None, FrozenFeatures(backbone, self.cut)
        )
        features.network = backbone  # the same weights, fresh: those of the seed before may be fine-tuned by now
        return features

    def recipe(self, seed, num_train):
        """How to train on so many tracks. Raises :class:`utils.UserError` where they fill no batch."""
        flags = self.flags
        if flags.protocol != "linear":  # logistic regression takes them all at once
            check_batch(batch_size_for(flags.batch_size, num_train), num_train)
        return Recipe(
            num_epochs=flags.num_epochs, batch_size=batch_size_for(flags.batch_size, num_train), lr=flags.lr,
            weight_decay=flags.weight_decay, patience=flags.patience, seed=seed, bf16=self.cut.bf16,
        )  # fmt: skip


@dataclass
class Run:
    """A trained classifier, what it says of every crop of every test track, and the features it says it by."""

    classifier: Classifier
    logits: torch.Tensor  # (N, crops, C)
    features: torch.Tensor  # (N, D), averaged over the crops
    log: list
    chosen: dict
    num_train: int
    head: dict


def open_given(args):
    """(:class:`Experiment` or None, :class:`data.folder.Folder`) that the flags name. Raises UserError."""
    if args.size and args.dataset:
        raise utils.UserError("give either --size or --dataset, not both")
    name = args.dataset or (args.size and f"fma_{args.size}")
    if args.exp_path:
        experiment = Experiment.open(args.exp_path, args.exp_dir)
        folder = open_folder(args.data_dir, name or experiment.flags.dataset)
        check_settings(folder, experiment.settings)
        warn_if_unfinished(experiment)
        return experiment, folder
    folder = name and open_folder(args.data_dir, name, kinds=("spectrogram", "waveform", "embedding"))
    if not (folder and folder.settings.kind == "embedding") and args.protocol != "scratch" and not args.baseline:
        raise utils.UserError("--exp_path is missing: which experiment? (only scratch and --baseline do without)")
    if not folder:
        raise utils.UserError("say what to train on: --size small|medium, or --dataset NAME")
    return None, folder


def warn_if_unfinished(experiment):
    wanted, log = getattr(experiment.flags, "num_epochs", None), experiment.folder / "train_log.csv"
    done = len(log.read_text().splitlines()) - 1 if log.exists() else 0
    if wanted and 0 < done < wanted:
        print(f"note: the pre-training of {experiment.folder.name} stopped after {done} of {wanted} epochs")


def resolve(args, experiment, folder, device):
    """The flags with every default filled in, once and for all. Raises :class:`utils.UserError`."""
    utils.check_counts(args, "num_epochs", "num_seeds", "num_crops")
    kind = folder.settings.kind
    protocol = args.protocol or ("mlp" if kind == "embedding" else "finetune")
    changes = {
        "protocol": protocol,
        "dataset": folder.dataset,
        "layer": resolve_layer(args.layer, folder),
        "backbone": experiment.flags.backbone if experiment else backbone_for(args.backbone, folder.settings),
        "head": LINEAR if protocol == "linear" else parse_head(args.hidden, args.dropout, args.batch_norm),
        "lr": DEFAULT_LR[protocol] if args.lr is None else args.lr,
        "patience": args.patience or 0,
    }
    if protocol not in FROZEN and kind == "embedding":
        raise utils.UserError(f"{folder.path} holds embeddings: only --protocol linear and mlp go with them")
    if args.baseline and kind == "embedding":
        raise utils.UserError(f"{folder.path} holds embeddings: --baseline goes with spectrograms")
    for flag in ("train_sizes", "baseline"):
        if getattr(args, flag) and protocol not in FROZEN:
            raise utils.UserError(f"--{flag} goes with --protocol linear or mlp")
    if args.layer and kind != "embedding" and (args.baseline or protocol == "scratch"):
        raise utils.UserError("--layer chooses features of a pre-trained network: not with --baseline or scratch")
    if protocol not in FROZEN:
        changes["aug"] = augment.choose(args.aug, folder.settings)
    elif args.aug:
        raise utils.UserError("--aug is for finetune and scratch; linear and mlp see the tracks as they are")
    if kind != "embedding":
        changes.update(resolve_crops(args, experiment, folder, device, changes["backbone"]))
    return utils.Flags(**{**vars(args), **changes})


def resolve_layer(layer, folder):
    if folder.settings.kind != "embedding":
        if layer not in (None, "backbone", "projector"):
            raise utils.UserError(f"--layer {layer} goes with embeddings; an experiment has backbone and projector")
        return layer or "backbone"
    layers = ["all", *map(str, range(folder.settings.num_layers))]
    if layer not in (None, *layers):
        raise utils.UserError(f"--layer {layer}: {folder.path} has {', '.join(layers)}")
    return layer or "all"


def backbone_for(asked, settings):
    """The backbone of a classifier without an experiment; of embeddings, who made them."""
    if settings.kind == "embedding":
        return settings.features
    name = asked or backbones.default_for(settings.kind)
    backbones.check_input(name, settings.kind)
    return name


def resolve_crops(args, experiment, folder, device, backbone):
    """How a track is cut: for statistics whole, for all else into crops as long as those of the pre-training."""
    whole = args.baseline == "stats" and not args.crop_seconds
    seconds = args.crop_seconds or (experiment and experiment.flags.crop_seconds)
    seconds = seconds or folder.settings.default_crop_seconds()
    num_frames = int(folder.tracks["frames"].median()) if whole else folder.settings.frames_in(seconds)
    return {
        "crop_seconds": folder.settings.seconds_in(num_frames) if whole else seconds,
        "num_crops": 1 if whole else args.num_crops,
        "bf16": backbones.uses_bf16(args.bf16, device, backbone, min(folder.settings.num_rows, num_frames)),
    }


def parse_head(hidden, dropout, batch_norm):
    """{"hidden", "dropout", "batch_norm"} of :func:`models.heads.genre_head`. Raises :class:`utils.UserError`."""
    try:
        widths, shares = [int(n) for n in hidden.split(",")], [float(p) for p in dropout.split(",")]
    except ValueError:
        raise utils.UserError("--hidden and --dropout are numbers with commas between, such as 512,256") from None
    shares = shares * len(widths) if len(shares) == 1 else shares
    if len(shares) != len(widths) or not all(0 <= p < 1 for p in shares) or min(widths) < 1:
        raise utils.UserError(f"--dropout {dropout} must be a share below 1, or one for each of {hidden}")
    return {"hidden": widths, "dropout": shares, "batch_norm": batch_norm}


def prepare(task, experiment, flags):
    """Everything that the protocols need, made of the resolved flags. Raises :class:`utils.UserError`."""
    settings = task.folder.settings
    if settings.kind == "embedding":
        experiment = Experiment.new(new_flags(flags), task.folder, None)
        return Given(task, experiment, flags, WholeVectors(), network_of(flags, experiment))
    if experiment is None:
        training = task.train if flags.train_split == "training" else task.validation
        experiment = Experiment.new(new_flags(flags), task.folder, measure_normalisation(training))
    num_frames = settings.frames_in(flags.crop_seconds)
    cut = Cut(num_frames, flags.num_crops, experiment.normalisation, task.device, flags.bf16)
    return Given(task, experiment, flags, cut, network_of(flags, experiment))


def new_flags(flags):
    """Of an experiment that no pre-training came before."""
    kept = {"method": None, "backbone": flags.backbone, "dataset": flags.dataset}
    return utils.Flags(**kept, **({"crop_seconds": flags.crop_seconds} if flags.crop_seconds else {}))


def network_of(flags, experiment):
    """The record of the network that the flags ask for. Raises :class:`utils.UserError`."""
    if experiment.settings.kind == "embedding":
        return Network("embeddings", backbone=flags.backbone, layer=flags.layer)
    if flags.baseline == "stats":
        return Network("statistics")
    if flags.baseline == "random":
        return Network("random", backbone=flags.backbone, layer="backbone", seed=flags.seed)
    if flags.protocol == "scratch":
        return Network("trained", backbone=flags.backbone, layer="backbone", seed=flags.seed)
    method = experiment.flags.method
    if not method:
        raise utils.UserError(
            f"experiment {experiment.folder} has no pre-trained network: pre-train one, or use scratch"
        )
    kind = "encoder" if flags.protocol in FROZEN else "trained"
    return Network(kind, method, flags.backbone, flags.layer)


def curve_sizes(given):
    """What ``--train_sizes`` asks for, from small to large, or nothing. Raises :class:`utils.UserError`."""
    flags = given.flags
    if not flags.train_sizes:
        return []
    sizes = parse_sizes(flags.train_sizes, len(given.task.genres), len(given.task.train))
    given.recipe(flags.seed, sizes[0])  # refuses before anything is computed
    return sizes


def learn_curve(given, sizes):
    """The rows of label_curve.csv."""
    task, flags = given.task, given.flags
    frozen = given.frozen(given.backbone(flags.seed), flags.seed)
    options = flags.head
    if task.folder.settings.kind == "embedding" and flags.layer == "all" and task.folder.settings.num_layers > 1:
        options = {**options, "num_layers": task.folder.settings.num_layers}
    seeds = range(flags.seed, flags.seed + flags.num_seeds)
    recipe = given.recipe(flags.seed, len(task.train))
    return label_curve(task, frozen, sizes, seeds, options, recipe, flags.batch_size)


def result_of(run, given, seconds, curve):
    """One run as a :class:`evaluation.results.Result`."""
    task, flags = given.task, given.flags
    network = dataclasses.replace(given.network, num_features=run.features.shape[1], head=run.head)
    mixture = run.classifier.head[1] if "num_layers" in run.head else None
    return results.Result.of(
        run.logits.mean(1).softmax(1).cpu().numpy(),  # logits averaged over the crops
        run.logits.softmax(2).cpu().numpy(),
        task.labels[2].cpu().numpy(),
        task.test.rows["track_id"],
        task.genres,
        log=run.log,
        curve=curve,
        network=dataclasses.asdict(network),
        protocol=flags.protocol,
        dataset=task.folder.dataset,
        n_train=run.num_train,
        train_split=flags.train_split,
        test_split=flags.test_split,
        label_fraction=flags.label_fraction,
        chosen=run.chosen,
        num_crops=given.cut.num_crops,
        crop_seconds=given.cut.num_frames and task.folder.settings.seconds_in(given.cut.num_frames),
        layer_weights=mixture and mixture.weights().tolist(),
        flags=vars(flags),
        seconds=seconds,
        versions=utils.versions(),
    )


def save_features(transfer, given, run):
    """Mean features of the tracks of all three splits, for use elsewhere: see ``--save_features``."""
    task = given.task
    backbone = run.classifier.backbone
    trained = given.network.kind == "trained"
    frozen = FrozenFeatures(backbone, given.cut) if trained else given.frozen(backbone, given.flags.seed)
    parts = (task.train, task.validation, task.test)
    features = torch.cat([frozen.of(part).mean(1) for part in parts]).cpu().numpy()
    rows = np.concatenate([part.rows[["track_id", "genre_top", "split"]] for part in parts])
    for name, array in (("features", features), ("labels", torch.cat(task.labels).cpu().numpy())):
        utils.save_array(transfer / f"{name}.npy", array)
    utils.write_csv(transfer / "tracks.csv", ["track_id", "genre_top", "split"], rows.tolist())
    utils.write_text(transfer / "track_ids.txt", "\n".join(rows[:, 0]) + "\n")
