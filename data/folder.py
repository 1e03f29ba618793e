"""A folder of arrays, ``<data_dir>/<dataset>_npy/``: what stands in tracks.csv and spectrogram.json, and its arrays.

Axes: N tracks, F mel band (row 0 = lowest), T frame.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import utils
from data.settings import read_settings

COLUMNS = ["track_id", "path", "genre_top", "split", "frames"]
ARTIST = "artist"  # a column that not every folder has; empty where nobody knows
MOST_FRAMES = 2**31 - 1  # of one track: a waveform of 27 hours


@dataclass(frozen=True)
class Folder:
    """One folder that preprocessing.py made; ``settings`` is one of the types of :mod:`data.settings`."""

    dataset: str
    path: Path
    settings: object
    tracks: pd.DataFrame

    def split(self, name):
        """The rows of one split. Raises :class:`utils.UserError` when it has no track."""
        rows = self.tracks[self.tracks["split"] == name].reset_index(drop=True)
        if rows.empty:
            there = ", ".join(f"{split} ({n})" for split, n in self.tracks["split"].value_counts().items())
            raise utils.UserError(f"{self.path} has no track in the split '{name}'; it has: {there}")
        return rows

    @property
    def genres(self):
        """The genres of the training split, in alphabetical order."""
        return sorted(set(self.split("training")["genre_top"]))

    def file_of(self, row):
        """Where the array of a row of ``tracks`` lies: see :meth:`file_at`."""
        return self.file_at(row.path)

    def file_at(self, path):
        """Where a ``path`` of ``tracks`` lies: inside the folder, or inside the place it is an index of.

        Raises :class:`utils.UserError` for one that leads elsewhere, by itself or by a link.
        """
        file = inside(self.base, path)
        if not file:
            raise utils.UserError(f"{self.path / 'tracks.csv'}: the path {path} leads out of {self.base}")
        return file

    @functools.cached_property
    def base(self):
        """The folder that the paths of ``tracks`` start from, links followed."""
        return os.path.realpath(self.index_of or self.path)

    @property
    def index_of(self):
        """The folder whose arrays this one only names, None where it holds its own."""
        if "index_of" in self.settings.more:
            return self.settings.more["index_of"]
        return "/" if self.settings.features == "arena" else None  # folders made before index_of was written


def inside(base, path):
    """Where ``path`` leads from ``base``, a folder without links; None where a link or ``..`` leads out of it."""
    file = os.path.realpath(os.path.join(base, path))
    return file if file.startswith(os.path.join(base, "")) else None  # "/" ends in a slash already


class FolderMissing(utils.UserError):
    """There is no such folder; the text says which there are."""


def open_folder(data_dir, dataset, kinds=("spectrogram", "waveform")):
    """Open the folder of ``dataset``, which must hold one of ``kinds``.

    Raises :class:`FolderMissing` where there is none, and :class:`utils.UserError` where it is none that can be read.
    """
    utils.check_name("--dataset", dataset)
    path = Path(data_dir) / f"{dataset}_npy"
    if not (path / "tracks.csv").is_file():
        there = sorted(p.parent.name.removesuffix("_npy") for p in Path(data_dir).glob("*_npy/tracks.csv"))
        raise FolderMissing(
            f"no spectrograms at {path.absolute()}: run preprocessing.py first (--size, or --dataset NAME --source "
            f"DIR), or name another --data_dir, or one of the datasets under {data_dir}: {', '.join(there) or 'none'}"
        )
    folder = Folder(dataset, path, read_settings(path / "spectrogram.json"), read_tracks(path / "tracks.csv"))
    if folder.settings.kind not in kinds:
        kind = folder.settings.kind
        advice = "; only transfer.py takes embeddings, without --exp_path" if kind == "embedding" else ""
        raise utils.UserError(f"{path} holds {kind}s, not {'s or '.join(kinds)}s{advice}")
    return folder


def read_tracks(path):
    """tracks.csv as a table of ``COLUMNS`` and ``ARTIST``. Raises :class:`utils.UserError`."""
    text = [*COLUMNS[:-1], ARTIST]
    try:
        utils.check_file(path)
        table = pd.read_csv(path, dtype={**dict.fromkeys(text, str), "frames": int}, keep_default_na=False)
        table = table.assign(**{ARTIST: table.get(ARTIST, "")})[[*COLUMNS, ARTIST]]
    except (ValueError, KeyError, OverflowError, pd.errors.ParserError):
        raise utils.UserError(f"{path} needs the columns {','.join(COLUMNS)}") from None
    if table.empty:
        raise utils.UserError(f"{path} names no track: run preprocessing.py again")
    if not table["frames"].between(1, MOST_FRAMES).all():
        raise utils.UserError(f"{path} has frames that are no number of frames: run preprocessing.py again")
    if any(table[name].str.contains(utils.UNWRITABLE).any() for name in text):
        raise utils.UserError(f"{path} has names with control characters in them: run preprocessing.py again")
    return table


def check_settings(folder, trained):
    """A network understands only the kind of arrays that it was trained on; their storage may differ.

    ``trained`` are the settings of those. Raises :class:`utils.UserError`.
    """
    differing = trained.differences(folder.settings, apart_from=trained.storage)
    if differing:
        raise utils.UserError(
            f"{folder.path} has other settings than the experiment was trained on ({', '.join(differing)}): "
            "run preprocessing.py with the experiment's settings, or pre-train on this dataset"
        )


def labels_of(rows, genres):
    """Genre names → int64 (N,). Raises :class:`utils.UserError` for a genre that is not in ``genres``."""
    number = {genre: i for i, genre in enumerate(genres)}
    unknown = sorted(set(rows["genre_top"]) - set(number))
    if unknown:
        raise utils.UserError(
            f"the split '{rows['split'].iloc[0]}' holds genres that training never saw: {', '.join(unknown)}"
        )
    return torch.tensor([number[genre] for genre in rows["genre_top"]])


def read_array(folder, row):
    """One track's stored array. Raises :class:`utils.UserError` when it is not what tracks.csv says."""
    path = folder.file_of(row)
    array = open_array(path, folder.settings, row.frames)
    check_finite(array, path)
    return array


def open_array(path, settings, num_frames, mmap_mode=None):
    """The array in a file. Raises :class:`utils.UserError` when it is not one of ``settings`` and ``num_frames``."""
    try:
        array = utils.load_array(path, mmap_mode)
    except (OSError, ValueError, EOFError) as error:
        raise utils.UserError(f"{path} cannot be read ({error}): run preprocessing.py again") from None
    frames = settings.frames_of(array.shape)
    if not frames or frames != num_frames or array.dtype != np.dtype(settings.dtype):
        raise utils.UserError(
            f"{path} has shape {array.shape} of {array.dtype}, tracks.csv and spectrogram.json say "
            f"({settings.num_rows}, {num_frames}) of {settings.dtype}: run preprocessing.py with --overwrite"
        )
    return array


def check_finite(array, path):
    """Raises :class:`utils.UserError` where an array, or a part of it, holds NaN or infinity: a loss would, too."""
    if array.dtype.kind != "f":
        return
    half = array.dtype == np.float16  # told by the exponent, in a twentieth of the time that isfinite takes
    if not ((array.view(np.uint16) & 0x7FFF).max() < 0x7C00 if half else np.isfinite(array).all()):
        raise utils.UserError(f"{path} holds values that are not finite: remove it, and run preprocessing.py again")
