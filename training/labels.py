"""What labels say, one genre or several tags of each track: all that classifiers of one and the other differ in.

How their results are written and read: :class:`evaluation.results.Result` and :class:`~evaluation.results.TagResult`.
Axes: N tracks, B batch, C genres or tags.
"""

import collections
import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

import utils
from data import tags
from data.folder import labels_of
from evaluation import results, tag_metrics
from models import classifier

ALL_GENRES = "genres_all"  # --labels: the tags.csv of the folder


class Genres:
    """One genre of several for each track, ``genre_top``: labels are indices (N,)."""

    result, figure = results.Result, "accuracy"
    mark = ""  # in the name of the transfer's folder
    picture = "who is taken for whom: {}/confusion.png"

    def labelled(self, folder):
        """The :class:`data.folder.Folder` with only the tracks that have labels."""
        return folder

    def read(self, splits):
        """The C names, and the labels of each split; the first of ``splits``, rows of tracks.csv, is training.

        Raises :class:`utils.UserError`.
        """
        genres = sorted(set(splits[0]["genre_top"]))
        if len(genres) < 2:
            raise utils.UserError(f"a classifier needs two genres; training has only '{genres[0]}'")
        return genres, [labels_of(rows, genres) for rows in splits]

    @staticmethod
    def loss(logits, labels):
        """Of logits (B, C), and labels or targets."""
        return F.cross_entropy(logits, labels)

    @staticmethod
    def targets(labels, number):
        """What a network is trained on, (N, C)."""
        return F.one_hot(labels, number).float()

    @staticmethod
    def score(logits, labels):
        """The figure that an epoch or a penalty is chosen by."""
        return (logits.argmax(1) == labels).float().mean().item()

    @staticmethod
    def probe(*known):
        """Fills a linear head at once, and says how it was chosen: the arguments of ``fit_linear_probe``."""
        return classifier.fit_linear_probe(*known)

    @staticmethod
    def refit(*known):
        """Fills it once more, by the penalty that was chosen: the arguments of ``refit_linear_probe``."""
        classifier.refit_linear_probe(*known)

    @staticmethod
    def answer(logits):
        """Probabilities of logits (…, C)."""
        return logits.softmax(-1)

    @staticmethod
    def shown(answers, top):
        """What predict.py shows of [(genre, probability)], the most probable first."""
        return answers[: top or 3]


class Tags:
    """Any of several tags for each track, each on its own: labels are 0 and 1 (N, C).

    table: of :func:`data.tags.read_tags`; most: how many tags are kept, the most frequent of the training split.
    """

    result, figure = results.TagResult, "pr_auc"
    mark = "tags_"
    picture = "tag by tag: {}/tags.csv and tags.png"

    def __init__(self, table, most):
        self.most = most
        self.tags_of = {}
        for track, tag in zip(table["track_id"], table["tag"], strict=True):
            self.tags_of.setdefault(track, set()).update([tag] if tag else [])

    def labelled(self, folder):
        """Without the tracks that the table does not name; those that it names without a kept tag have none."""
        there = folder.tracks["track_id"].isin(self.tags_of)
        if not there.any():
            example = folder.tracks["track_id"].iloc[0]
            raise utils.UserError(f"--labels names no track of {folder.path} (ids look like '{example}')")
        if not there.all():
            print(f"note: {(~there).sum()} of {len(there)} tracks have no tags in --labels: left out")
        return dataclasses.replace(folder, tracks=folder.tracks[there].reset_index(drop=True))

    def read(self, splits):
        """As :meth:`Genres.read`; a tag on none or on all tracks of a split is named and left out."""
        count = collections.Counter(tag for track in splits[0]["track_id"] for tag in self.tags_of[track])
        frequent = sorted(sorted(count), key=lambda tag: -count[tag])[: self.most]
        on = [self.marks(rows["track_id"], frequent) for rows in splits]
        useful = [i for i in range(len(frequent)) if all(0 < part[:, i].sum() < len(part) for part in on)]
        if not useful:
            raise utils.UserError("--labels: no tag is on some, but not all tracks of training, validation and test")
        left_out = [tag for i, tag in enumerate(frequent) if i not in useful]
        if left_out:
            print(f"note: left out, for they are on none or all tracks of a split: {', '.join(sorted(left_out))}")
        useful.sort(key=lambda i: frequent[i])
        return [frequent[i] for i in useful], [torch.from_numpy(part[:, useful]).float() for part in on]

    def marks(self, tracks, names):
        """(N, C) booleans: which of N tracks has which of C tags."""
        return np.array([[name in self.tags_of[track] for name in names] for track in tracks], dtype=bool)

    @staticmethod
    def loss(logits, labels):
        return F.binary_cross_entropy_with_logits(logits, labels)

    @staticmethod
    def targets(labels, number):
        return labels

    @staticmethod
    def score(logits, labels):
        return tag_metrics.macro_pr_auc(logits.detach().cpu().numpy(), labels.cpu().numpy())

    @staticmethod
    def probe(head, features, labels, validation_features, validation_labels, on_validation):
        """One logistic regression for each tag, see :func:`models.classifier.fit_tag_probe`."""
        known = features, labels, validation_features, validation_labels
        penalty, score = classifier.fit_tag_probe(head, *known, Tags.score)
        return {"C": penalty, "by": "validation", "validation_pr_auc": score}

    @staticmethod
    def refit(*known):
        """As that of genres: the arguments of ``refit_tag_probe``."""
        classifier.refit_tag_probe(*known)

    @staticmethod
    def answer(logits):
        return logits.sigmoid()

    @staticmethod
    def shown(answers, top):
        """Those that are more probable than not; where none is, the first five."""
        return answers[:top] if top else [one for one in answers if one[1] > 0.5] or answers[:5]


KINDS = {kind.result.task: kind for kind in (Genres, Tags)}


def open_labels(name, folder, most):
    """The kind of labels that --labels names for a :class:`data.folder.Folder`. Raises :class:`utils.UserError`."""
    if name is None:
        return Genres()
    path = folder.path / tags.NAME if name == ALL_GENRES else name
    if name == ALL_GENRES and not path.is_file():
        raise utils.UserError(f"{path} does not exist: python -m data.tags --dataset {folder.dataset} makes it")
    return Tags(tags.read_tags(path), most)
