"""What every protocol of transfer.py starts from, and what of its run is kept as a result.

Axes: N tracks, C genres, D feature dimension.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

import utils
from data.crops import measure_normalisation
from evaluation import results
from models.rulers import RULERS
from training import distributed, precision
from training.experiment import Experiment
from training.frozen import SHOWN_TRACKS, Cut, FrozenFeatures, WholeVectors, evenly, fit_norms
from training.kept import Kept, digest_of, shelf_of
from training.label_curve import check_sizes, label_curve
from training.networks import Network
from training.options import PROTOCOLS, chooses_on_validation, learned_from
from training.supervised import Recipe, batch_size_for
from training.task import Task
from training.views import check_batch


@dataclass
class Given:
    """What every protocol starts from.

    network: the record of what the result's features come from; shelf: where they are kept on disk, or None.
    """

    task: Task
    experiment: Experiment
    flags: utils.Flags
    cut: object  # a Cut, or WholeVectors
    network: Network
    shelf: Path | None = None
    known: dict = field(default_factory=dict)  # seed that the features depend on, or None → FrozenFeatures

    @property
    def by_chance(self):
        """Whether a seed changes anything: features, which labels are used, or a head that is trained in epochs."""
        embeddings = self.task.folder.settings.kind == "embedding"  # a sum of layers is learned in epochs
        batches = PROTOCOLS[self.flags.protocol].batches or embeddings
        return batches or self.flags.label_fraction < 1 or self.network.start.seeded

    def labelled(self, seed):
        return self.task.labelled(self.flags.label_fraction, seed)

    def backbone(self, seed):
        """A fresh one, as it is before any label is seen."""
        utils.set_seed(seed)
        network = self.network.start
        if network.seed is not None:
            network = dataclasses.replace(network, seed=seed)
        backbone = network.backbone_of(self.experiment).to(self.task.device, memory_format=torch.channels_last)
        if network.seeded:
            self.fit(backbone, seed)
        return backbone

    def fit(self, backbone, seed):
        """Shows it training tracks, unless what they make of it, which is buffers, is kept."""
        kept = self.kept(seed)
        buffers = kept.fitted(dict(backbone.named_buffers()))
        if buffers:
            backbone.load_state_dict(buffers, strict=False)
            return
        if self.network.start.kind == "random":
            fit_norms(backbone, self.cut.mixed(self.task.train, self.shown_tracks(), "first look"))
        if hasattr(backbone, "fit"):
            backbone.fit(self.shown(), seed)
        kept.write("fitted", {name: buffer.cpu() for name, buffer in backbone.named_buffers()})

    def shown(self):
        """Training tracks, without their labels, for what has to see some before it makes features."""
        return self.cut.views(self.task.train, self.shown_tracks(), "first look")

    def shown_tracks(self):
        return evenly(len(self.task.train), SHOWN_TRACKS)

    def frozen(self, seed):
        """The :class:`FrozenFeatures` of :meth:`backbone`, the same object for every seed that changes nothing."""
        key = seed if self.network.start.seeded else None
        if key not in self.known:
            build = functools.partial(self.backbone, seed)
            features = self.known[key] = FrozenFeatures(build, self.cut, self.kept(seed))
            task = self.task
            number = self.shelf and features.recall([task.train, task.validation, task.test])
            if number:
                print(f"features of {number} tracks: kept from before")
        return self.known[key]

    def kept(self, seed):
        """What is kept of the features of a seed."""
        return Kept(self.shelf, self.shelf and made_by(self.network.start, seed, self.cut, self.task, self.flags))

    def recipe(self, seed, num_train):
        """How to train on so many tracks. Raises :class:`utils.UserError` where they fill no batch."""
        flags, batch_size = self.flags, batch_size_for(self.flags.batch_size, num_train)
        if PROTOCOLS[flags.protocol].batches:
            check_batch(batch_size, num_train)
        return Recipe(
            num_epochs=flags.num_epochs, batch_size=batch_size, lr=flags.lr,
            weight_decay=flags.weight_decay, patience=flags.patience, seed=seed, bf16=self.cut.bf16,
            average=PROTOCOLS[flags.protocol].average,
            on_validation=chooses_on_validation(flags),
            kind=self.task.kind,
        )  # fmt: skip


@dataclass
class Run:
    """A trained classifier, what it says of every crop of every test track, and the features it says it by.

    build: () → the network below its ``head``.
    """

    build: Callable
    head: nn.Module
    logits: torch.Tensor  # (N, crops, C)
    features: torch.Tensor  # (N, D), averaged over the crops
    log: list
    chosen: dict
    num_train: int
    options: dict  # of the head


def prepare(task, experiment, flags):
    """Everything that the protocols need, made of the resolved flags. Raises :class:`utils.UserError`."""
    settings = task.folder.settings
    if settings.kind == "embedding":
        flags = flags.but(**precision.recorded(False))
        experiment = Experiment.new(new_flags(flags), task.folder, None)
        return Given(task, experiment, flags, WholeVectors(), network_of(flags, experiment))
    if experiment is None:
        training = task.train if flags.train_split == "training" else task.validation
        per_band = RULERS[flags.baseline].per_band if flags.baseline in RULERS else True
        experiment = Experiment.new(new_flags(flags), task.folder, measure_normalisation(training, per_band))
    network, num_frames = network_of(flags, experiment), settings.frames_in(flags.crop_seconds)
    cut = Cut(num_frames, flags.num_crops, experiment.normalisation, task.device)
    alone = distributed.num_processes() == 1  # many would have to agree on what each of them finds
    keep = PROTOCOLS[flags.protocol].frozen and flags.keep_features and experiment.folder and alone
    shelf = shelf_of(experiment, task.whole) if keep else None
    cut = dataclasses.replace(cut, bf16=choose_bf16(flags, cut, network, task, shelf, settings.num_rows))
    return Given(task, experiment, flags.but(**precision.recorded(cut.bf16)), cut, network, shelf)


def choose_bf16(flags, cut, network, task, shelf, num_rows):
    """Whether to compute in bfloat16; where it is not said, what is kept decides before any timing does."""
    if flags.precision == "auto" and flags.bf16 is None:
        if network.only_rulers:
            return False
        for bf16 in (True, False):
            one = dataclasses.replace(cut, bf16=bf16)
            kept = Kept(shelf, made_by(network.start, flags.seed, one, task, flags))
            if kept.has("training") or kept.has("validation"):
                return bf16
    training = not PROTOCOLS[flags.protocol].frozen
    return precision.choose(flags, num_rows, cut.num_frames, cut.device, training)


def made_by(network, seed, cut, task, flags):
    """What features depend on beside the arrays, the weights and the code, as JSON holds it."""
    one = dataclasses.replace(network, seed=seed if network.seeded else None)
    shown = flags.train_split if network.seeded else None  # what has a seed is fitted to training tracks
    heard = {field.name: getattr(cut, field.name) for field in dataclasses.fields(cut)}
    heard["normalise"], heard["device"] = dataclasses.asdict(cut.normalise), cut.device.type
    tracks = digest_of("\n".join(task.folder.tracks["track_id"]))  # those that have labels
    return {"network": dataclasses.asdict(one), "cut": heard, "shown": shown, "tracks": tracks}


def new_flags(flags):
    """Of an experiment that no pre-training came before."""
    kept = {"method": None, **{name: getattr(flags, name) for name in ("backbone", "pool", "dataset", "data_dir")}}
    return utils.Flags(**kept, **({"crop_seconds": flags.crop_seconds} if flags.crop_seconds is not None else {}))


def network_of(flags, experiment):
    """The record of the network that the flags ask for. Raises :class:`utils.UserError`."""
    if experiment.settings.kind == "embedding":
        return Network("embeddings", backbone=flags.backbone, layer=flags.layer)
    if flags.baseline in RULERS:
        return Network(results.BASELINES[flags.baseline])
    if flags.baseline or not PROTOCOLS[flags.protocol].pretrained:
        kind = "random" if flags.baseline else "trained"
        return Network(kind, backbone=flags.backbone, layer=flags.layer, pool=flags.pool, seed=flags.seed)
    method = experiment.flags.method
    if not method:
        raise utils.UserError(
            f"experiment {experiment.folder} has no pre-trained network: pre-train one, or use scratch"
        )
    kind = "encoder" if PROTOCOLS[flags.protocol].frozen else "trained"
    pretrained = utils.digest(experiment.folder / "pre.pth") if kind == "encoder" else None
    network = Network(kind, method, flags.backbone, flags.layer, flags.pool, pretrained=pretrained)
    if kind == "trained" and network.only_rulers:
        raise utils.UserError(f"--layer {flags.layer} has no weights to fine-tune: use --protocol linear or mlp")
    return network


def curve_sizes(given):
    """What ``--train_sizes`` asks for, from small to large, or nothing. Raises :class:`utils.UserError`."""
    flags = given.flags
    if not flags.train_sizes:
        return []
    sizes = check_sizes(flags.train_sizes, len(given.task.genres), len(given.task.train))
    given.recipe(flags.seed, sizes[0])  # refuses before anything is computed
    return sizes


def learn_curve(given, sizes):
    """The rows of label_curve.csv."""
    task, flags = given.task, given.flags
    frozen = given.frozen(flags.seed)
    options = flags.head
    if task.folder.settings.kind == "embedding" and flags.layer == "all" and task.folder.settings.num_layers > 1:
        options = {**options, "num_layers": task.folder.settings.num_layers}
    seeds = range(flags.seed, flags.seed + flags.num_seeds)
    recipe = given.recipe(flags.seed, len(task.train))
    return label_curve(task, frozen, sizes, seeds, options, recipe, flags.batch_size)


def result_of(run, given, seconds, curve):
    """One run as a :class:`evaluation.results.Result`."""
    task, flags = given.task, given.flags
    network = dataclasses.replace(given.network, num_features=run.features.shape[1], head=run.options)
    mixture = run.head[1] if "num_layers" in run.options else None
    return task.kind.result.of(
        task.kind.answer(run.logits.mean(1)).cpu().numpy(),  # logits averaged over the crops
        task.kind.answer(run.logits).cpu().numpy(),
        task.labels[2].cpu().numpy(),
        task.test.rows["track_id"],
        task.genres,
        artists=task.test.rows["artist"],
        log=run.log,
        curve=curve,
        network=dataclasses.asdict(network),
        protocol=flags.protocol,
        dataset=task.folder.dataset,
        n_train=run.num_train,
        train_split=learned_from(flags),
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


def mean_features(given, run):
    """(N, D): what the run says it by of the tracks of all three splits, averaged over their crops."""
    trained = given.network.kind == "trained"
    frozen = FrozenFeatures(run.build, given.cut) if trained else given.frozen(given.flags.seed)
    parts = (given.task.train, given.task.validation, given.task.test)
    return torch.cat([frozen.of(part).mean(1) for part in parts]).cpu().numpy()


def save_features(transfer, task, features):
    """The :func:`mean_features` (N, D), for use elsewhere: see ``--save_features``."""
    parts = (task.train, task.validation, task.test)
    columns = ["track_id", "genre_top", "split", "artist"]
    rows = np.concatenate([part.rows[columns] for part in parts])
    for name, array in (("features", features), ("labels", torch.cat(task.labels).cpu().numpy())):
        utils.save_array(transfer / f"{name}.npy", array)
    utils.write_csv(transfer / "tracks.csv", columns, rows.tolist())
    utils.write_text(transfer / "track_ids.txt", "\n".join(rows[:, 0]) + "\n")
