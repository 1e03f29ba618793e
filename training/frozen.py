"""Frozen features: what a network makes of the crops of every track, computed once however often they are used.

Axes: N tracks, C crops, B batch, F mel band, T frame, L layer, D feature dimension.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

import utils
from evaluation import monitors
from training.distributed import equal_part, is_synchronised, shared_out
from training.supervised import norms_of

CROPS_AT_ONCE = 64
NUM_CROPS = 5  # of a track, of a network that does not hear it whole
SHOWN_TRACKS = 1000  # of training, to what is measured on some: norms, which of fewer would be rough, and k-means
MONITOR_TRACKS = 2000  # of training, and as many of validation, that features are judged with while they are learned


@dataclass(frozen=True)
class Cut:
    """How a track is heard: ``num_crops`` crops of ``num_frames``, spread evenly, in what precision, and where."""

    num_frames: int
    num_crops: int
    normalise: object
    device: torch.device
    bf16: bool = False
    batch_size: int = CROPS_AT_ONCE

    def views(self, crops, tracks=None, desc=None):
        """Batches (B, 1, F, T) of every crop of ``tracks`` (default: all), normalised; ``desc`` names a bar."""
        views = crops.every_crop(self.num_frames, self.num_crops, self.batch_size, tracks)
        if desc:
            num_views = (len(crops) if tracks is None else len(tracks)) * self.num_crops
            views = utils.progress(views, total=-(-num_views // self.batch_size), desc=desc)
        for x in views:
            yield self.normalise(x)

    def mixed(self, crops, tracks, desc=None):
        """The same crops of ``tracks`` (N,) in batches to measure norms by, equally large, as each counts as much.

        Each is of many tracks, in an order that is always the same, but not the folder's, which may be by genre.
        """
        order = torch.randperm(len(tracks), generator=torch.Generator().manual_seed(0))
        tracks = tracks[order]
        starts = crops.even_starts(tracks, self.num_frames, self.num_crops)
        parts = torch.arange(len(tracks)).tensor_split(-(-len(tracks) // self.batch_size))
        pairs = [(tracks[part], starts[part, crop]) for crop in range(self.num_crops) for part in parts]
        views = crops.batches(((pair,) for pair in pairs), self.num_frames)
        for (x,) in utils.progress(views, total=len(pairs), desc=desc) if desc else views:
            yield self.normalise(x)

    def extract(self, network, crops, tracks=None, desc="features"):
        """What ``network`` makes of every crop of ``tracks`` (default: all), in eval mode: (N, C, D) float32.

        Frozen means frozen: the network comes back in the mode it was in, with no buffer moved.
        Of many processes each does a part, and all get the whole: all must call it, for the same tracks.
        """
        tracks = torch.arange(len(crops)) if tracks is None else tracks
        num_tracks = len(tracks)
        width = getattr(network, "num_features", 1)
        utils.check_memory(4 * num_tracks * self.num_crops * width, f"--num_crops {self.num_crops}")

        def work(tracks):
            number = len(tracks) * self.num_crops
            return extract(network, self.views(crops, tracks, desc), number, self.device, self.bf16)

        features = shared_out(work, tracks).view(num_tracks, self.num_crops, -1)
        if not features.sum().isfinite():
            raise utils.UserError("the features are not finite: the network's weights, or an array, are no numbers")
        return features


class WholeVectors:
    """The same of embeddings: a track is one "crop", whose vectors are read, not computed."""

    num_crops, num_frames, bf16 = 1, None, False

    def extract(self, network, vectors, tracks=None, desc=None):
        """(N, 1, D) of one layer, (N, 1, L, D) of all."""
        return network(vectors.array if tracks is None else vectors.array[tracks]).unsqueeze(1)


@torch.no_grad()
def extract(network, batches, number, device, bf16=False):
    """Run a network in eval mode over batches (B, 1, F, T) of ``number`` crops → (N, D) float32, on the device.

    Every module comes back in the mode it was in. The features may fill much of the memory: there is no copy of them.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    features, done = None, 0
    with utils.autocast(device, bf16):
        for x in batches:
            part = network(x)
            if features is None:
                features = part.new_empty(number, *part.shape[1:], dtype=torch.float32)
            features[done : done + len(x)] = part
            done += len(x)
    for module, training in modes.items():
        module.training = training
    return features


@torch.no_grad()
def fit_norms(network, batches):
    """Sets the statistics of every BatchNorm to those of ``batches`` (B, 1, F, T) (Wu & Johnson 2021).

    Of random weights there are none before; those of training are of augmented views, and lag behind the weights.
    The variance is the mean of the batches' own, where the paper adds that of their means, which is small here.
    Of many processes all must call it, for the same batches.
    """
    norms = norms_of(network)
    if not norms:
        return
    part = equal_part if is_synchronised(norms) else lambda x: x
    before = [(norm, norm.momentum) for norm in norms]
    modes = {module: module.training for module in network.modules()}
    network.eval()  # dropout would widen what comes after it
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    for x in batches:
        network(part(x))
    for norm, momentum in before:
        norm.momentum = momentum
    for module, training in modes.items():
        module.training = training


class FrozenFeatures:
    """The features of one network: each track passes through it once, whoever asks, and in whatever order.

    build: () → the network, called when it is first needed: where all features are kept it never is.
    kept: :class:`training.kept.Kept`, by which those of whole splits outlive the run, or None.
    """

    def __init__(self, build, cut, kept=None):
        self.build, self.cut, self.kept = build, cut, kept
        self.known = {}  # what holds the crops → (features (N, C, …), which tracks are there (N,))

    @functools.cached_property
    def network(self):
        return self.build()

    def recall(self, parts):
        """Take what is kept of these splits, nothing where it is not equally wide. Returns of how many tracks."""
        found = {crops: self.kept.features(split_of(crops), len(crops), self.cut.num_crops) for crops in set(parts)}
        found = {crops: features for crops, features in found.items() if features is not None}
        if len({features.shape[2] for features in found.values()}) > 1:
            return 0
        for crops, features in found.items():
            self.known[crops] = features.to(self.cut.device), torch.ones(len(crops), dtype=torch.bool)
        return sum(map(len, self.known))

    def of(self, crops, tracks=None):
        """(N, C, D) of ``tracks`` (N,) of one split (default: all), (N, C, L, D) of several layers."""
        every = torch.arange(len(crops))
        tracks = every if tracks is None else tracks
        features, there = self.known.get(crops, (None, torch.zeros(len(crops), dtype=torch.bool)))
        missing = tracks[~there[tracks]]
        if len(missing):
            new = self.cut.extract(self.network, crops, missing)
            if torch.equal(missing, every):
                features = new  # which may fill much of the memory: no copy
            else:
                features = new.new_empty(len(crops), *new.shape[1:]) if features is None else features
                features[missing] = new
            there[missing] = True
            self.known[crops] = features, there
            if self.kept and features is new:  # made in one pass, so that the next run has the same digits
                self.kept.write(split_of(crops), features.cpu())
        return features if torch.equal(tracks, every) else features[tracks]


def split_of(crops):
    return crops.rows["split"].iloc[0]


class FeatureMonitor:
    """Does the network learn anything of genre? Judged on validation tracks, with the labels of training tracks.

    train, validation: crops, as :func:`data.crops.load` holds them; labels, of the same tracks: pairs of (N,).
    """

    def __init__(self, cut, train, labels, validation, validation_labels):
        self.cut, self.parts = cut, []
        for crops, genres in ((train, labels), (validation, validation_labels)):
            tracks = evenly(len(crops), MONITOR_TRACKS)
            self.parts.append((crops, tracks, genres[tracks].to(cut.device)))

    def __call__(self, network):
        """{"knn_accuracy", "probe_accuracy", "backbone_rank"} of the features (N, D) that the network makes now."""
        known, asked = (self.cut.extract(network, crops, tracks, desc=None)[:, 0] for crops, tracks, _ in self.parts)
        (_, _, labels), (_, _, truth) = self.parts
        return {
            "knn_accuracy": float(monitors.knn_accuracy(known, labels, asked, truth)),
            "probe_accuracy": float(monitors.ridge_accuracy(known, labels, asked, truth)),
            "backbone_rank": float(monitors.effective_rank(asked)),
        }


def evenly(number, most):
    """``most`` of ``number`` indices, evenly chosen; all of them where there are no more."""
    if most is None or most >= number:
        return torch.arange(number)
    return torch.from_numpy(np.linspace(0, number - 1, most).astype(int))
