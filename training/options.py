"""The flags of transfer.py: what they name, their defaults, and what does not go together."""

from dataclasses import dataclass

import augment
import utils
from data.folder import open_folder
from evaluation import results
from models import backbones
from models.rulers import RULERS
from training.experiment import Experiment
from training.frozen import NUM_CROPS

LINEAR = {"hidden": [], "dropout": [], "batch_norm": True}  # the head of a linear probe


@dataclass(frozen=True)
class Protocol:
    """What tells the protocols apart before they train."""

    lr: float
    num_epochs: int = 30
    frozen: bool = False  # trains a head only
    pretrained: bool = True  # starts from an experiment's network
    hidden: bool = False  # its head has hidden layers
    batches: bool = True  # logistic regression takes all tracks at once
    average: bool = False  # keeps the running average of its weights


PROTOCOLS = {
    "linear": Protocol(1e-3, frozen=True, batches=False),
    "mlp": Protocol(1e-3, frozen=True, hidden=True),
    "finetune": Protocol(3e-4, num_epochs=10, average=True),
    "scratch": Protocol(1e-3, pretrained=False, average=True),
}


def open_given(args):
    """(:class:`Experiment` or None, :class:`data.folder.Folder`) that the flags name. Raises UserError."""
    if args.size and args.dataset:
        raise utils.UserError("give either --size or --dataset, not both")
    name = args.dataset or (args.size and f"fma_{args.size}")
    if args.exp_path:
        experiment = Experiment.open(args.exp_path, args.exp_dir)
        folder = experiment.spectrograms(args.data_dir, name)
        warn_if_unfinished(experiment)
        return experiment, folder
    kinds = ("spectrogram", "waveform", "embedding")
    folder = name and open_folder(args.data_dir or utils.DATA_DIR, name, kinds=kinds)
    if not (folder and folder.settings.kind == "embedding") and not alone(args):
        raise utils.UserError("--exp_path is missing: which experiment? (only scratch and --baseline do without)")
    if not folder:
        raise utils.UserError("say what to train on: --size small|medium, or --dataset NAME")
    return None, folder


def alone(args):
    """Whether the flags ask for something that needs no pre-trained network."""
    return bool(args.baseline) or (bool(args.protocol) and not PROTOCOLS[args.protocol].pretrained)


def warn_if_unfinished(experiment):
    done, wanted = experiment.epochs
    if 0 < done < wanted:
        running = utils.is_locked(experiment.folder)
        so_far = f"{done} of {wanted} epochs"
        state = f"is at {so_far}, and still running" if running else f"stopped after {so_far}"
        print(f"note: the pre-training of {experiment.folder.name} {state}")


def resolve(args, experiment, folder):
    """The flags with every default filled in, once and for all. Raises :class:`utils.UserError`."""
    kind = folder.settings.kind
    name = args.protocol or ("mlp" if kind == "embedding" else "finetune")
    protocol = PROTOCOLS[name]
    changes = {
        "protocol": name,
        "dataset": folder.dataset,
        "data_dir": str(folder.path.parent.absolute()),
        "layer": resolve_layer(args.layer, folder),
        "backbone": experiment.flags.backbone if experiment else backbone_for(args.backbone, folder.settings),
        "pool": getattr(experiment.flags, "pool", "average") if experiment else args.pool,
        "num_seeds": (5 if args.baseline == "random" else 1) if args.num_seeds is None else args.num_seeds,
        "head": head_options(args.hidden, args.dropout, args.batch_norm) if protocol.hidden else LINEAR,
        "lr": protocol.lr if args.lr is None else args.lr,
        "num_epochs": protocol.num_epochs if args.num_epochs is None else args.num_epochs,
    }
    if not protocol.frozen and kind == "embedding":
        raise utils.UserError(f"{folder.path} holds embeddings: only --protocol linear and mlp go with them")
    if args.baseline and kind == "embedding":
        raise utils.UserError(f"{folder.path} holds embeddings: --baseline goes with spectrograms")
    for flag in ("train_sizes", "baseline"):
        if getattr(args, flag) and not protocol.frozen:
            raise utils.UserError(f"--{flag} goes with --protocol linear or mlp")
    if experiment and args.backbone not in (None, experiment.flags.backbone):
        raise utils.UserError(f"--backbone goes without --exp_path: the experiment's is {experiment.flags.backbone}")
    if args.layer and kind != "embedding" and alone(args) and args.baseline != "random":
        raise utils.UserError("--layer chooses features of a frozen network: not of scratch, stats, mfcc or kmeans")
    few = args.label_fraction < 1
    if args.patience and not chooses_on_validation(args):
        raise utils.UserError(f"--patience goes by all validation labels: not with {without(args)}")
    by_genre = {"train_sizes": args.train_sizes, "sweep_layers": args.sweep_layers, "label_fraction": few}
    by_genre["train_split"] = args.train_split == "validation"
    for flag, asked in by_genre.items():
        if args.labels and asked:
            raise utils.UserError(f"--{flag} draws or judges by genre: not with --labels")
    if args.refit:
        check_refit(args, name, folder.settings, changes["layer"])
    if args.sweep_layers:
        check_sweep(args, experiment, name)
    if not protocol.frozen:
        changes["aug"] = augment.choose(args.aug, folder.settings)
    elif args.aug:
        raise utils.UserError("--aug is for finetune and scratch; linear and mlp see the tracks as they are")
    if kind != "embedding":
        changes.update(resolve_crops(args, experiment, folder, changes["backbone"]))
    return utils.Flags(**{**vars(args), **changes})


def chooses_on_validation(flags):
    """Whether epoch and penalty are chosen there: not where that takes many more labels than are learned from."""
    return flags.label_fraction == 1 and flags.train_split == "training"


def without(args):
    """The flag by which nothing is chosen on validation."""
    return "--label_fraction below 1" if args.label_fraction < 1 else "--train_split validation"


def check_sweep(args, experiment, protocol):
    """Raises :class:`utils.UserError` where there are no layers to compare, or not the labels to choose one by."""
    if protocol != "linear" or experiment is None or args.baseline or args.layer:
        raise utils.UserError("--sweep_layers goes with --protocol linear --exp_path, not with --layer or --baseline")
    if not chooses_on_validation(args):
        raise utils.UserError(f"--sweep_layers chooses by all validation labels: not with {without(args)}")


def check_refit(args, protocol, settings, layer):
    """Raises :class:`utils.UserError` where there is no penalty, or no validation track that is free by then."""
    if protocol != "linear" or (settings.kind == "embedding" and layer == "all" and settings.num_layers > 1):
        raise utils.UserError("--refit goes with the penalty of --protocol linear, of one layer")
    if not chooses_on_validation(args):
        raise utils.UserError(f"--refit adds the validation labels: not with {without(args)}")
    if args.test_split == "validation":
        raise utils.UserError("--refit trains on validation tracks: they cannot be --test_split")


def learned_from(flags):
    """The split that a classifier has learned from, in the words of result.json."""
    return results.REFITTED if flags.refit else flags.train_split


def resolve_layer(layer, folder):
    if folder.settings.kind != "embedding":
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


def resolve_crops(args, experiment, folder, backbone):
    """How a track is cut: for what summarises any length whole, for all else into crops as in the pre-training."""
    any_length = args.baseline in RULERS or backbone in backbones.WHOLE
    whole = any_length and args.crop_seconds is None and args.num_crops is None
    usual = experiment.flags.crop_seconds if experiment else folder.settings.default_crop_seconds()
    seconds = usual if args.crop_seconds is None else args.crop_seconds
    num_frames = int(folder.tracks["frames"].median()) if whole else folder.settings.frames_in(seconds)
    return {
        "crop_seconds": folder.settings.seconds_in(num_frames) if whole else seconds,
        "whole": whole,
        "num_crops": 1 if whole else NUM_CROPS if args.num_crops is None else args.num_crops,
    }


def head_options(hidden, dropout, batch_norm):
    """{"hidden", "dropout", "batch_norm"} of :func:`models.heads.genre_head`. Raises :class:`utils.UserError`."""
    shares = dropout * len(hidden) if len(dropout) == 1 else dropout
    if len(shares) != len(hidden):
        raise utils.UserError(f"--dropout has {len(dropout)} shares: give one, or one for each layer of --hidden")
    return {"hidden": hidden, "dropout": shares, "batch_norm": batch_norm}
