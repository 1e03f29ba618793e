"""Results: a folder for each transfer, written and read here and nowhere else.

Whatever needs a result takes a :class:`Result`; how older folders spelled it is known to :func:`read` alone.
Axes: N test tracks, C genres, K crops of a track.
"""

import contextlib
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

import utils
from evaluation import checks, metrics, statistics, tables, tag_metrics

FIRST_WORDS = {"random": "random", "statistics": "stats", "trained": "supervised"}  # of a network without a method
# --baseline → kind of network
BASELINES = {"random": "random", "stats": "statistics", "mfcc": "mfcc", "kmeans": "kmeans"}
RULERS = {*BASELINES} - {"random"}
PROBABILITY = "p: "  # before each genre in the head of predictions.csv: a genre may have the name of another column
TRUE = "true: "  # before each tag in the same place
REFITTED = "training+validation"  # train_split of what has learned, at last, from both
ARTIST = "artist"  # a column of predictions.csv that not every one has
FEW_TRACKS = 10  # of a genre: too few to say anything about it
HEAD = ("hidden", "dropout", "batch_norm", "num_layers")
# What result.json says beside ``network``, for readers from before there was one.
FLAT_KEYS = ("baseline", "frozen", "backbone", "layer", "num_features", *HEAD)


@dataclass(frozen=True)
class Result:
    """One classifier and what it says of the test tracks; :meth:`write` is the inverse of :func:`read`.

    ``network`` is the record of what made the features:
        kind          "encoder" (the experiment's pre-trained network, frozen), "random" (random weights),
                      "statistics" (of mel bands), "embeddings", "trained" (fine-tuned or from scratch:
                      all weights are in transfer.pth)
        method        the pre-training that its weights come from, or None
        backbone      "resnet18" …, the extractor of embeddings, or None
        layer         "backbone", "projector", or of embeddings "all", "0", "1" …
        seed          that its random weights were drawn by, or None
        num_features  that reach the head
        pretrained    digest of the pre.pth that an encoder needs, None in older ones
        head          arguments of the genre head: hidden, dropout, batch_norm, and num_layers where there are several
    ``tables`` keeps what has been read: use ``predictions``, ``log`` and ``curve``.
    What is different where a track has several tags is in :class:`TagResult`.
    """

    task: ClassVar = "genres"
    main: ClassVar = "accuracy"  # the figure that results are sorted by
    over_seeds: ClassVar = ("accuracy", "macro_f1", "roc_auc", "validation_accuracy")

    metrics: dict  # of metrics.summarise
    genres: list
    network: dict
    protocol: str | None = None
    dataset: str | None = None
    n_train: int | None = None
    train_split: str = "training"
    test_split: str = "test"
    label_fraction: float = 1.0
    chosen: dict = field(default_factory=dict)  # epoch or C, by what, and validation_accuracy
    validation_accuracy: float | None = None
    crop_accuracy: float | None = None
    seeds: dict | None = None  # each of ``over_seeds`` → statistics.mean_std_interval
    num_seeds: int = 1
    num_crops: int | None = None
    crop_seconds: float | None = None
    layer_weights: list | None = None  # of a learned sum of layers
    flags: dict = field(default_factory=dict)
    seconds: float | None = None
    versions: dict = field(default_factory=dict)
    weights: str | None = None  # digest of transfer.pth
    folder: Path | None = field(default=None, compare=False)
    tables: dict = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, probabilities, crop_probabilities, truth, track_ids, genres, *, artists=None, log=(), curve=(), **facts
    ):
        """What a classifier says, (N, C) and for each crop (N, K, C), beside the truth (N,), indices into ``genres``.

        artists: (N,) names of the tracks' artists, "" where unknown.
        log: a dict for each epoch; curve: a dict for each size of the training set and seed; facts: other fields.
        Raises :class:`utils.UserError` where :func:`metrics.summarise` does.
        """
        probabilities, truth, names = np.asarray(probabilities), np.asarray(truth), np.array(genres, dtype=object)
        summary = metrics.summarise(probabilities, truth, genres, artists)
        columns = [PROBABILITY + genre for genre in genres]
        predictions = pd.DataFrame(probabilities, pd.Index(track_ids, dtype=str, name="track_id"), columns)
        predictions.insert(0, "truth", names[truth])
        predictions.insert(1, "prediction", names[probabilities.argmax(1)])
        if artists is not None and any(artists):
            predictions.insert(2, ARTIST, np.asarray(artists, dtype=object))
        if np.shape(crop_probabilities)[1] > 1:  # of one crop it is the accuracy
            facts["crop_accuracy"] = float((np.asarray(crop_probabilities).argmax(2) == truth[:, None]).mean())
        facts["validation_accuracy"] = facts.get("chosen", {}).get("validation_accuracy")
        tables = {"predictions": predictions, "log": pd.DataFrame(log), "curve": pd.DataFrame(curve)}
        return cls(summary, list(genres), tables=tables, **facts)

    @property
    def name(self):
        """``<experiment>/<transfer>``, as it can be given on the command line."""
        name = f"{self.folder.parent.name}/{self.folder.name}" if self.folder else self.network["kind"]
        return f"{name} ({self.num_seeds} seeds)" if "right" in self.tables else name

    @property
    def network_name(self):
        """What made the features, in a few words: ``simsiam frames, stage2+stats``, ``stats``."""
        kind, method, backbone, layer = (self.network[key] for key in ("kind", "method", "backbone", "layer"))
        if self.only_rulers:
            return layer
        name = " ".join(filter(None, [method or FIRST_WORDS.get(kind), backbone])) or kind
        return name if kind == "embeddings" or layer in (None, "backbone") else f"{name}, {layer}"

    @property
    def layers(self):
        """The set of what ``--layer`` joined."""
        return {*str(self.network["layer"]).split("+")}

    @property
    def only_rulers(self):
        """Whether the layers of a network were asked for, and it has no part in any of them."""
        return self.network["kind"] in ("encoder", "random") and self.layers <= RULERS

    @property
    def is_baseline(self):
        """Whether it is there to be compared with: nothing but rulers or random weights made its features."""
        return self.only_rulers or self.network["kind"] in BASELINES.values()

    @property
    def right(self):
        """Whether each track's genre was found, 1 or 0, by track_id; of :func:`mean_of_seeds` the share of seeds."""
        if "right" in self.tables:
            return self.tables["right"]
        return (self.predictions["truth"] == self.predictions["prediction"]).astype(float)

    @property
    def right_of(self):
        """Of how many seeds ``right`` is a share."""
        return self.num_seeds if "right" in self.tables else 1

    @property
    def score(self):
        """On the test tracks: the ``main`` figure."""
        return self.metrics[self.main]

    @property
    def validation_score(self):
        """The same on the validation tracks, None where nobody knows."""
        return self.summary.get(f"validation_{self.main}")

    @property
    def summary(self):
        """The content of result.json."""
        apart = ("metrics", "network", "folder", "tables")
        own = {name: getattr(self, name) for name in _field_names() if name not in apart}
        return {"task": self.task, **self.metrics, **own, "network": self.network, **_flat(self.network)}

    @property
    def predictions(self):
        """A row for each track_id: truth, prediction, artist where known, and, as ``p: <genre>``, probabilities.

        These have six decimals, once read.
        Raises :class:`utils.UserError` when predictions.csv is missing or broken.
        """
        if "predictions" not in self.tables:
            self.tables["predictions"] = _read_predictions(self.folder / "predictions.csv", self.genres)
        return self.tables["predictions"]

    @property
    def artists(self):
        """{track_id: artist} as a series, where whole artists are to be drawn; else None: see :mod:`.statistics`."""
        artists = self.predictions.get(ARTIST)
        return None if statistics.drawn_together(artists) is None else artists

    @property
    def over(self):
        """What the intervals are over: "800 tracks", "412 artists"."""
        number = self.metrics.get("n_resampled", self.metrics.get("n_test"))
        return f"{'all' if number is None else number} {self.metrics.get('resampled', 'tracks')}"

    @property
    def before(self):
        """What has to be said of a figure on validation tracks."""
        return " before it learned from them, too" if self.train_split == REFITTED else ""

    @property
    def learned_from(self):
        """Which tracks, in words: "5,754 training tracks"."""
        number = "" if self.n_train is None else f"{self.n_train:,} "
        return f"{number}{self.train_split} tracks"

    @property
    def few(self):
        """That some genres have too few tracks, in words, or ""."""
        if any(row["support"] < FEW_TRACKS for row in self.metrics.get("per_genre", {}).values()):
            return f"{self.test_split} has fewer than {FEW_TRACKS} tracks of some genres: their figures mean little"
        return ""

    @property
    def caution(self):
        """Why the intervals are not as wide as they should be, in brackets, or ""."""
        if self.metrics.get("resampled") == "artists":
            few = self.metrics["n_resampled"] < statistics.FEW_ARTISTS
            return " (few artists: the interval is too narrow)" if few else ""
        unknown = sum(artist == "" for artist in self.predictions.get(ARTIST, ()))
        return f" (not over artists: that of {unknown} tracks is unknown)" if unknown else ""

    @property
    def log(self):
        """A row for each epoch of the classifier; empty for a classifier without epochs."""
        return self._table("log", "transfer_log.csv")

    @property
    def curve(self):
        """A row for each size of the training set and seed; empty where none was asked for."""
        return self._table("curve", "label_curve.csv", "learning_curve.csv")

    def _table(self, name, *files):
        if name not in self.tables:
            there = [self.folder / file for file in files if (self.folder / file).is_file()]
            self.tables[name] = tables.read(there[0]) if there else pd.DataFrame()
        return self.tables[name]

    @property
    def answers(self):
        """The part of ``predictions`` that is right for each track."""
        return self.predictions["truth"]

    @property
    def truth(self):
        """(N,) indices into ``genres``."""
        return pd.Index(self.genres).get_indexer(self.predictions["truth"])

    @property
    def probabilities(self):
        """(N, C)."""
        return self.predictions[[PROBABILITY + genre for genre in self.genres]].to_numpy()

    @property
    def confusion(self):
        """(C, C) counts: row = true genre, column = predicted genre."""
        prediction = pd.Index(self.genres).get_indexer(self.predictions["prediction"])
        return metrics.confusion_matrix(prediction, self.truth, len(self.genres))

    @property
    def own_table(self):
        """The name of the table that explains the figures, and its content."""
        counts = pd.DataFrame(self.confusion, pd.Index(self.genres, name="truth \\ prediction"), self.genres)
        return "confusion.csv", counts

    def write(self, folder):
        """Write the tables and, last, result.json: a folder that has one is whole. Returns the result in ``folder``.

        So whatever else belongs to the result, its weights first of all, is to be written before.
        """
        folder = Path(folder)
        name, table = self.own_table
        write_table(folder / "predictions.csv", self.predictions, float_format="%.6f")
        write_table(folder / name, table)
        for name, table in (("transfer_log.csv", self.log), ("label_curve.csv", self.curve)):
            if len(table):
                write_table(folder / name, table, index=False)
        utils.write_json(folder / "result.json", self.summary)
        return dataclasses.replace(self, folder=folder)

    def __str__(self):
        """What a person wants to know first."""
        numbers, chance = self.metrics, 1 / len(self.genres)
        low, high = numbers["accuracy_ci95"]
        lines = [
            f"{self.protocol} on {self.dataset}, {self.network_name}: {numbers['n_test']} {self.test_split} tracks, "
            f"{len(self.genres)} genres, trained on {self.n_train}",
            f"  accuracy  {numbers['accuracy']:.3f}  (95 % interval {low:.3f} to {high:.3f} over {self.over}"
            f"{self.caution}; chance {chance:.3f}; validation {self.validation_accuracy:.3f}{self.before})",
        ]
        for key, label in (("macro_f1", "macro-F1"), ("roc_auc", "ROC-AUC"), ("top5_accuracy", "top-5")):
            lines += [f"  {label:9} {numbers[key]:.3f}"] if numbers[key] is not None else []
        if self.seeds:
            over = self.seeds["accuracy"]
            lines.append(f"  over {self.num_seeds} seeds: accuracy {over['mean']:.3f} ± {over['std']:.3f}")
        return "\n".join(lines)


class TagResult(Result):
    """A classifier that says of each tag on its own whether a track has it: ``genres`` are the tags.

    Truth is (N, C) of 0 and 1; there is no accuracy, no confusion and no ``prediction``.
    """

    task = "tags"
    main = "pr_auc"
    over_seeds = ("pr_auc", "roc_auc", "validation_pr_auc")

    @classmethod
    def of(
        cls, probabilities, crop_probabilities, truth, track_ids, genres, *, artists=None, log=(), curve=(), **facts
    ):
        """As :meth:`Result.of`, of truth (N, C); those of single crops have no part in it."""
        truth = np.asarray(truth).astype(int)
        summary = tag_metrics.summarise(probabilities, truth, genres, artists)
        summary["validation_pr_auc"] = facts.get("chosen", {}).get("validation_pr_auc")
        index = pd.Index(track_ids, dtype=str, name="track_id")
        parts = [pd.DataFrame(truth, index, _columns(TRUE, genres))]
        parts += [pd.DataFrame(np.asarray(probabilities), index, _columns(PROBABILITY, genres))]
        predictions = pd.concat(parts, axis=1)
        if artists is not None and any(artists):
            predictions.insert(0, ARTIST, np.asarray(artists, dtype=object))
        tables = {"predictions": predictions, "log": pd.DataFrame(log), "curve": pd.DataFrame(curve)}
        return cls(summary, list(genres), tables=tables, **facts)

    @property
    def predictions(self):
        """A row for each track_id: artist where known, ``true: <tag>`` (0 or 1) and ``p: <tag>`` for each tag."""
        if "predictions" not in self.tables:
            path, true = self.folder / "predictions.csv", _columns(TRUE, self.genres)
            table = _read_table(path, (), [*true, *_columns(PROBABILITY, self.genres)])
            if not table[true].isin([0, 1]).all(axis=None) or (table[true].nunique() < 2).any():
                raise utils.UserError(f"{path} is broken: each tag must be 1 on some tracks and 0 on others")
            self.tables["predictions"] = table
        return self.tables["predictions"]

    @property
    def answers(self):
        return self.predictions[_columns(TRUE, self.genres)].astype(int)

    @property
    def truth(self):
        """(N, C) of 0 and 1."""
        return self.answers.to_numpy()

    @property
    def own_table(self):
        columns = ["n_test"]
        for figure in tag_metrics.FIGURES:
            columns += [figure, f"{figure}_low", f"{figure}_high"]
        rows = []
        for row in self.metrics["per_tag"].values():
            rows.append([row["n_test"]])
            for figure in tag_metrics.FIGURES:
                rows[-1] += [row[figure], *row[f"{figure}_ci95"]]
        return "tags.csv", pd.DataFrame(rows, pd.Index(self.genres, name="tag"), columns)

    def __str__(self):
        numbers, validation = self.metrics, tables.number(self.validation_score)
        chance = np.mean([row["n_test"] for row in numbers["per_tag"].values()]) / numbers["n_test"]
        (pr_low, pr_high), (roc_low, roc_high) = numbers["pr_auc_ci95"], numbers["roc_auc_ci95"]
        lines = [
            f"{self.protocol} on {self.dataset}, {self.network_name}: {numbers['n_test']} {self.test_split} tracks, "
            f"{len(self.genres)} tag{'s' * (len(self.genres) > 1)}, trained on {self.n_train}",
            f"  PR-AUC    {numbers['pr_auc']:.3f}  (95 % interval {pr_low:.3f} to {pr_high:.3f} over {self.over}"
            f"{self.caution}; chance {chance:.3f}; validation {validation}{self.before})",
            f"  ROC-AUC   {numbers['roc_auc']:.3f}  ({roc_low:.3f} to {roc_high:.3f}; chance 0.500)",
        ]
        if self.seeds:
            over = self.seeds["pr_auc"]
            lines.append(f"  over {self.num_seeds} seeds: PR-AUC {over['mean']:.3f} ± {over['std']:.3f}")
        return "\n".join(lines)


OF_ONE_RUN = (  # flags that change no recipe
    *("precision", "bf16"),  # which auto may take now this way, now that
    *("seed", "exp_path", "exp_dir", "data_dir", "device", "resume", "cache", "size", "tensorboard", "num_seeds"),
    *("keep_features", "save_features", "knn_every", "checkpoint_minutes", "compile", "train_sizes", "sweep_layers"),
)


def over_seeds(found):
    """The first of the results of several seeds, with the spread of all: mean, std and interval of each figure."""
    if len(found) == 1:
        return found[0]
    values = {name: [result.summary.get(name) for result in found] for name in found[0].over_seeds}
    seeds = {name: statistics.mean_std_interval(part) for name, part in values.items() if None not in part}
    return dataclasses.replace(found[0], seeds=seeds, num_seeds=len(found))


def mean_of_seeds(found):
    """Results that differ in the seed alone as one, named by the first: the means of its figures and of ``right``.

    Raises :class:`utils.UserError` where they are not that.
    """
    first, order = found[0], found[0].predictions.index
    check_seeds(found)
    right = sum(one.right.loc[order] for one in found) / len(found)
    numbers = [k for k in first.metrics if all(isinstance(one.metrics.get(k), float) for one in found)]
    metrics = {name: value for name, value in first.metrics.items() if isinstance(value, (int, str))}
    metrics |= {name: float(np.mean([one.metrics[name] for one in found])) for name in numbers}
    tables, artists = {**first.tables, "right": right}, artists_of(*found)
    if artists is not None:
        tables["predictions"] = first.predictions.assign(**{ARTIST: artists})
        metrics |= {"resampled": "artists", "n_resampled": len(set(artists))}
    metrics["accuracy_ci95"] = statistics.bootstrap_interval(right.to_numpy(), artists)
    means = {
        name: np.mean(values) if None not in (values := [getattr(one, name) for one in found]) else None
        for name in ("validation_accuracy", "crop_accuracy")
    }
    return dataclasses.replace(over_seeds(found), metrics=metrics, tables=tables, **means)


def check_seeds(found):
    """Raises :class:`utils.UserError` unless these are at least two of one recipe, by chance of their own each."""
    first = found[0]
    if len(found) < 2:
        raise utils.UserError(f"--seeds takes two or more: name a single {first.name} without it, before them")
    if {one.task for one in found} != {"genres"} or any(one.num_seeds > 1 for one in found):
        raise utils.UserError(f"--seeds {first.name} …: takes results of genres, each of one seed")
    check_alike(found, "be seeds of one another")
    recipe = recipe_of(first)
    for one in found[1:]:
        other = recipe_of(one)
        differ = [key for key in other.keys() & recipe.keys() if other[key] != recipe[key]]
        if differ:
            shown = ", ".join(sorted(differ, key=lambda key: ("-" in key, key))[:4]) + " …" * (len(differ) > 4)
            what = f"{one.name} ({one.network_name}) is not a seed of {first.name} ({first.network_name})"
            raise utils.UserError(f"--seeds: {what}: they differ in {shown}")
    said = {one.predictions.sort_index().iloc[:, 2:].to_csv() for one in found}
    origins = [
        (*(one.network.get(key) for key in ("pretrained", "seed")), *(part.get("seed") for part in flags_of(one)))
        for one in found
    ]
    twice = len(set(origins)) < len(found) and all(one.flags for one in found)
    if len(said) < len(found) or twice:
        why = "two say the same of every track or are of one seed, which some features do not depend on"
        raise utils.UserError(f"--seeds {first.name} …: each has to be of another seed; here {why}")
    if "kmeans" in first.layers and len({flags_of(one)[1].get("seed") for one in found}) < len(found):
        why = "they share a dictionary, which transfer.py makes by --seed: give each another"
        raise utils.UserError(f"--seeds {first.name} …: {why}")


def flags_of(result):
    """(of its experiment, of the transfer): the flags that a result was made with."""
    return utils.read_configuration(result.folder.parent).get("flags", {}), result.flags


def seed_of(result):
    """The seeds that a result depends on, the pre-training's first, as text; None where unknown, or of several."""
    if result.num_seeds > 1 or not result.folder:
        return None
    network, (pretraining, transfer) = result.network, flags_of(result)
    drawn = network["kind"] not in ("encoder", "statistics", "mfcc") or "kmeans" in result.layers
    seeds = [pretraining.get("seed")] if network["method"] and not result.only_rulers else []
    seeds += [transfer.get("seed")] if drawn or result.protocol != "linear" else []
    return ", ".join(dict.fromkeys(str(seed) for seed in seeds if seed is not None)) or None


def recipe_of(result):
    """{what: value} that seeds of one another have in common: of the result, and of its experiment's flags."""
    own = {name: getattr(result, name) for name in ("network_name", "protocol", "dataset", "n_train", "num_crops")}
    pretraining, transfer = flags_of(result)
    both = {**{f"train --{name}": value for name, value in pretraining.items()},
            **{f"--{name}": value for name, value in transfer.items()}}  # fmt: skip
    idle = OF_ONE_RUN if result.protocol == "finetune" else (*OF_ONE_RUN, "layer_decay")  # recorded, and not gone by
    kept = {name: value for name, value in both.items() if name.rpartition("--")[2] not in idle}
    return {**kept, **own, "head": result.network.get("head")}


def check_alike(found, what):
    """Raises :class:`utils.UserError` where results are not of the same tracks, genres and labels."""
    first = found[0]
    for one in found[1:]:
        why = None if same_tracks(first, one) and one.genres == first.genres else "not of the same tracks and genres"
        if not why and (one.train_split, one.label_fraction) != (first.train_split, first.label_fraction):
            learned = (f"{each.n_train} tracks ({each.train_split})" for each in (one, first))
            why = "it learned from {}, the other from {}".format(*learned)
        if why:
            raise utils.UserError(f"{one.name} and {first.name} cannot {what}: {why}")


def together(found):
    """What several results on the same tracks say together: the mean of their probabilities.

    Raises :class:`utils.UserError` where they were not tested on the same tracks.
    """
    first, order = found[0], found[0].predictions.index
    columns = [PROBABILITY + genre for genre in first.genres]
    check_alike(found, "speak together")
    mean = np.mean([result.predictions.loc[order, columns] for result in found], axis=0)
    network = {**dict.fromkeys(first.network), "kind": f"mean of {len(found)}", "head": {}}
    names = ("dataset", "n_train", "train_split", "test_split", "label_fraction")
    kept = {name: getattr(first, name) for name in names}
    kept |= {"network": network, "artists": artists_of(*found)}
    return type(first).of(mean, mean[:, None], first.truth, order, first.genres, **kept)


def artists_of(*found):
    """(N,) artists of the tracks of the first of these results of the same tracks, by whichever names them.

    None where none does, or tracks are to be drawn.
    """
    named = [result.artists for result in found if result.artists is not None]
    return named[0].loc[found[0].predictions.index].to_numpy() if named else None


def same_tracks(a, b):
    """The same ids with the same genres, or tags: the comparison is pair by pair."""
    return a.answers.sort_index().equals(b.answers.sort_index())


def new_transfer(experiment, name):
    """``experiment/name``, or with a number behind it where that is taken: no result is overwritten.

    Those without a result are named; what a killed run has certainly left is removed, also of its pictures.
    """
    utils.sweep(experiment)
    for folder in sorted(experiment.glob("*/")):
        done = (folder / "result.json").exists() or utils.remove_killed(folder, "result.json")
        if folder.name.startswith(name) and not done and not utils.is_locked(folder):
            print(f"note: {folder} has no result: a run has stopped there; remove it")
    number = 1
    while True:
        folder = experiment / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        return folder


@contextlib.contextmanager
def making(transfer):
    """While the block runs, the folder of a new result is ours; where it ends without result.json, it vanishes."""
    with utils.locked(transfer):
        try:
            yield
        finally:
            utils.remove_without(transfer, "result.json")


# ------------------------------------------------------------------ finding and reading


def find(exp, exp_dir="exp"):
    """Folders of the results that ``exp`` means: an experiment (id or path; all its transfers), or one transfer.

    Raises :class:`utils.UserError` when there is none.
    """
    for path in (Path(exp_dir) / exp, Path(exp)):
        if path.name == "result.json" and path.is_file():
            return [path.parent]
        if (path / "result.json").is_file():
            return [path]
    name = Path(exp)
    if len(name.parts) > 1 and utils.is_experiment(name.parent, exp_dir):
        there = [folder.name for folder in find(str(name.parent), exp_dir)]
        raise utils.UserError(f"experiment {name.parent} has no result '{name.name}'; there are: {', '.join(there)}")
    experiment = utils.find_experiment(exp, exp_dir)
    folders = sorted(file.parent for file in experiment.glob("*/result.json"))
    if not folders:
        raise utils.UserError(f"experiment {experiment} has no result yet: run transfer.py --exp_path {exp}")
    return folders


def read(folder):
    """The :class:`Result` in ``folder``, of any age; its tables are read when they are asked for.

    Raises :class:`utils.UserError` when result.json is missing or none of ours.
    """
    folder = Path(folder).resolve()
    summary = utils.read_json(folder / "result.json")
    wrong = checks.what_is_wrong(summary, {each.name: each.type for each in dataclasses.fields(Result)})
    if wrong:
        raise utils.UserError(f"{folder / 'result.json'} is not a result of transfer.py: {wrong}")
    there = (folder.parent / "configuration.json").is_file()
    network = network_of(summary, utils.read_configuration(folder.parent) if there else {})
    named = {name: summary[name] for name in _field_names() if summary.get(name) is not None}
    numbers = {name: value for name, value in summary.items() if name not in {"task", *_field_names(), *FLAT_KEYS}}
    kind = TagResult if summary.get("task") == "tags" else Result
    return kind(**{**named, "metrics": numbers, "network": network, "folder": folder})


def choose(experiment, name):
    """The :class:`Result` of the named classifier, or of the best on validation. Raises :class:`utils.UserError`.

    One of tags speaks only where none is of genres, a baseline only where there is nothing else.
    """
    there = {file.parent.name: read(file.parent) for file in sorted(experiment.glob("*/result.json"))}
    if not there:
        raise utils.UserError(f"{experiment} has no classifier yet: run transfer.py --exp_path {experiment}")
    if name is not None and name not in there:
        raise utils.UserError(f"{experiment} has no classifier '{name}'; there are: {', '.join(there)}")
    if name is not None:
        return there[name]
    return max(there.values(), key=lambda one: (one.task == "genres", not one.is_baseline, *by_validation(one)))


def by_validation(result):
    """What the best of several is the highest of: validation, and of equals what has learned from more tracks."""
    return result.validation_score or 0, result.n_train or 0


def check_crops(result):
    """Raises :class:`utils.UserError` where it cannot be repeated: older results do not say by which crops."""
    if not (result.crop_seconds and result.num_crops):
        raise utils.UserError(f"the result.json of {result.name} does not say by which crops it was tested")


def network_of(summary, configuration):
    """The record of what made the features (see :class:`Result`), also of a result.json that has none yet."""
    if "network" in summary:
        return summary["network"]
    flags, protocol = configuration.get("flags", {}), summary.get("protocol")
    if "num_layers" in configuration.get("spectrogram", {}):
        kind = "embeddings"
    elif summary.get("baseline"):
        kind = BASELINES.get(summary["baseline"])
    else:
        kind = "trained" if protocol in ("finetune", "scratch") else "encoder"
    drawn = kind == "random" or protocol == "scratch"
    head = {name: summary[name] for name in HEAD if name in summary}
    if head.get("num_layers") == 1:
        del head["num_layers"]
    return {
        "kind": kind,
        "method": flags.get("method") if not drawn and kind in ("encoder", "trained") else None,
        "backbone": (summary.get("backbone") or flags.get("backbone")) if kind != "statistics" else None,
        "layer": summary.get("layer", "backbone") if not drawn else "backbone",  # random networks have no projector
        "seed": summary.get("flags", {}).get("seed") if drawn else None,
        "num_features": summary.get("num_features"),
        "head": head,
    }


def _flat(network):
    """``FLAT_KEYS`` as they were before the record: band statistics were a backbone of the name ``stats``."""
    baselines = {kind: name for name, kind in BASELINES.items()}
    return {
        "baseline": baselines.get(network["kind"]),
        "frozen": network["kind"] != "trained",
        "backbone": "stats" if network["kind"] == "statistics" else network["backbone"],
        "layer": network["layer"],
        "num_features": network.get("num_features"),
        **{name: value for name, value in network["head"].items() if name in HEAD},
    }


def _field_names():
    return [each.name for each in dataclasses.fields(Result)]


def _columns(mark, names):
    return [mark + name for name in names]


def _read_predictions(path, genres):
    table = _read_table(path, ("truth", "prediction"), _columns(PROBABILITY, genres), genres)
    strangers = {*table["truth"], *table["prediction"]} - {*genres}
    if strangers:
        raise utils.UserError(f"{path} is not the predictions.csv of this result: it has no genre {min(strangers)!r}")
    return table


def _read_table(path, texts, numbers, older=()):
    """A predictions.csv of these columns, and ``ARTIST`` where it has that; older ones name ``numbers`` otherwise."""
    text = dict.fromkeys(("track_id", *texts, ARTIST), str)
    try:
        utils.check_file(path)
        table = pd.read_csv(path, dtype=text, keep_default_na=False).set_index("track_id")
        if not {*numbers} <= {*table.columns}:
            table = table.rename(columns=dict(zip(older, numbers, strict=False)))
        more = [ARTIST] if ARTIST in table else []
        table = table[[*texts, *more, *numbers]].astype(dict.fromkeys(numbers, float))
    except FileNotFoundError:
        raise utils.UserError(f"{path} does not exist: run transfer.py again") from None
    except (KeyError, ValueError, pd.errors.ParserError) as error:
        why = " ".join(str(error).split())
        raise utils.UserError(f"{path} is not the predictions.csv of this result ({why})") from None
    if not table.index.is_unique:
        raise utils.UserError(f"{path} names a track more than once: run transfer.py again")
    if not np.isfinite(table[numbers].to_numpy()).all():
        raise utils.UserError(f"{path} holds probabilities that are not finite numbers: run transfer.py again")
    return table


def write_table(path, table, **options):
    """A data frame as CSV; ``options`` of :meth:`pandas.DataFrame.to_csv`."""
    with utils.atomic_path(path) as temporary:
        table.to_csv(temporary, lineterminator="\n", **options)
