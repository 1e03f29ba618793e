"""What a classifier is trained and judged on: three splits, their labels, and how their tracks are cut into crops.

Axes: N tracks, C crops, D feature dimension.
"""

import functools

import numpy as np
import torch

import utils
from data import crops as crops_of
from training.labels import Genres


class Task:
    """The splits and their labels: the same for every seed and protocol.

    folder: :class:`data.folder.Folder`; train_split: "training", or "validation" where the two change places;
    test_split: the split that the result is measured on; cache: see :func:`data.crops.load`; kind: what the labels
    say, see :mod:`training.labels`. ``genres`` are names, of genres or of tags. ``folder`` has the tracks that have
    labels, ``whole`` all of them. Raises :class:`utils.UserError`.
    """

    def __init__(self, folder, device, train_split="training", test_split="test", cache="auto", kind=None):
        self.kind = kind or Genres()
        self.whole, self.folder, self.device = folder, self.kind.labelled(folder), device
        if train_split == test_split:
            raise utils.UserError(f"--test_split {test_split} would test on the tracks that it trains on")
        names = ["training", "validation", test_split]
        if train_split == "validation":
            names[:2] = ["validation", "training"]
        twice = self.folder.tracks["track_id"][self.folder.tracks["track_id"].duplicated()]
        if not twice.empty:
            raise utils.UserError(f"{folder.path}/tracks.csv names '{twice.iloc[0]}' more than once: make it again")
        rows = {name: self.folder.split(name) for name in names}
        self.genres, labels = self.kind.read([rows[name] for name in names])
        self.labels = [part.to(device) for part in labels]
        load = functools.partial(crops_of.Unread, cache=cache)
        if folder.settings.kind == "embedding":
            load = crops_of.Vectors
        held = {name: load(self.folder, part, device) for name, part in rows.items()}
        self.train, self.validation, self.test = (held[name] for name in names)  # two of them may be the same

    def labelled(self, fraction, seed):
        """Indices of the training tracks whose labels are used: a share of every genre, nested for a seed; or all."""
        if fraction == 1:
            return torch.arange(len(self.train))
        return self.subset(max(len(self.genres), round(fraction * len(self.train))), seed)

    def subset(self, size, seed):
        """Indices of ``size`` training tracks, stratified by genre; for a seed, the smaller are in the larger.

        Each genre's tracks are shuffled and spread evenly from 0 to 1; the ``size`` lowest are the subset.
        """
        labels = self.labels[0].cpu().numpy()
        rng = np.random.default_rng(seed)
        place = np.empty(len(labels))
        for genre in range(len(self.genres)):
            members = rng.permutation(np.flatnonzero(labels == genre))
            place[members] = np.arange(len(members)) / len(members)
        return torch.from_numpy(np.sort(np.argsort(place, kind="stable")[:size]))
