"""Finding and reading what transfer.py left behind: one folder with a result.json for each transfer.

Axes: N test tracks, C genres.
"""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

import utils


@dataclass
class Result:
    """One transfer: ``summary`` is its result.json, ``configuration`` that of its experiment (may be empty)."""

    folder: Path
    summary: dict
    configuration: dict

    @property
    def name(self):
        """``<experiment>/<transfer>``, as it can be given on the command line."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def network(self):
        """What made the features, in two or three words: ``simsiam resnet18``, ``random resnet18``, ``stats``."""
        flags = self.configuration.get("flags", {})
        backbone = self.summary.get("backbone") or flags.get("backbone")
        if self.summary.get("baseline"):
            return " ".join(dict.fromkeys([self.summary["baseline"], backbone]))
        method = "supervised" if self.summary.get("protocol") == "scratch" else flags.get("method")
        return " ".join(filter(None, [method, backbone]))

    @cached_property
    def predictions(self):
        """predictions.csv with text columns track_id (the index), truth, prediction and one column per genre.

        Raises :class:`utils.UserError` when it is missing or broken.
        """
        path = self.folder / "predictions.csv"
        text = dict.fromkeys(("track_id", "truth", "prediction"), str)
        try:
            table = pd.read_csv(path, dtype=text, keep_default_na=False).set_index("track_id")
            table = table[["truth", "prediction", *self.summary["genres"]]]
        except FileNotFoundError:
            raise utils.UserError(f"{path} does not exist: run transfer.py again") from None
        except (KeyError, ValueError, pd.errors.ParserError) as error:
            raise utils.UserError(f"{path} is not the predictions.csv of this result ({error})") from None
        if not table.index.is_unique:
            raise utils.UserError(f"{path} names a track more than once: run transfer.py again")
        return table


def find(exp, exp_dir="exp"):
    """Folders of the results that ``exp`` means: an experiment (id or path; all its transfers), or one transfer.

    Raises :class:`utils.UserError` when there is none.
    """
    for path in (Path(exp_dir) / exp, Path(exp)):
        if path.name == "result.json" and path.is_file():
            return [path.parent]
        if (path / "result.json").is_file():
            return [path]
    experiment = utils.find_experiment(exp, exp_dir)
    folders = sorted(file.parent for file in experiment.glob("*/result.json"))
    if not folders:
        raise utils.UserError(f"experiment {experiment} has no result yet: run transfer.py --exp_path {exp}")
    return folders


def read(folder):
    """The :class:`Result` in ``folder``. Raises :class:`utils.UserError`."""
    folder = Path(folder).resolve()
    summary = utils.read_json(folder / "result.json")
    if not isinstance(summary, dict) or not {"accuracy", "genres"} <= set(summary):
        raise utils.UserError(f"{folder / 'result.json'} is not a result of transfer.py")
    configuration = folder.parent / "configuration.json"
    return Result(folder, summary, utils.read_json(configuration) if configuration.is_file() else {})


def read_rows(path):
    """A CSV as a list of dicts of text; empty when there is no such file."""
    if not Path(path).is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
