"""Frozen features on disk, ``exp/<id>/features/``: the next probe of the same experiment starts from them.

    features/<dataset>_<arrays, weights, code>/<what made them>_<part>.pth

A part is a split, (N, C, D) float32, or "fitted", the buffers that a network has from training tracks. Each file says
what made it and has a check sum, and is taken only where it has the form that is asked for: damage and mistakes are
found, not a forgery, whose values nothing tells from right ones. Axes: N tracks, C crops, D feature dimension.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from pathlib import Path

import torch

import utils

MOST_BYTES = 4 * 2**30  # of an experiment's features; those used last stay
SHELF, FILE = r"(.+)_[0-9a-f]{16}", r"[0-9a-f]{16}_\w+\.pth"  # names: nothing else is ever removed
CODE = ("models", "data", "training")  # rooms whose change may change features, as utils.py's may


class Kept:
    """The features of one network, heard in one way. ``shelf`` is of :func:`shelf_of`, None where nothing is kept."""

    def __init__(self, shelf, made_by):
        self.shelf, self.made_by = shelf, json.dumps(made_by, sort_keys=True)

    def file(self, part):
        return self.shelf / f"{digest_of(self.made_by)}_{part}.pth"

    def has(self, part):
        """Whether there is something, for all that is known without reading it."""
        try:
            return self.shelf is not None and self.file(part).is_file()
        except OSError:  # of a folder that is not ours to read
            return False

    def read(self, part):
        """What :meth:`write` was given, or None where that is not there, or damaged, or of something else."""
        if not self.has(part):
            return None
        try:
            content = utils.load_weights(self.file(part), mapped=True)
        except utils.UserError:
            return None
        with contextlib.suppress(OSError):  # who may only read it cannot say that it was used
            os.utime(self.file(part))
        right = isinstance(content, dict) and content.get("what") == [self.shelf.name, self.made_by, part]
        return content.get("kept") if right else None

    def features(self, part, num_tracks, num_crops):
        """The features (N, C, D) of a split of so many, or None as :meth:`read` says it."""
        found = self.read(part)
        if not is_plain(found) or found.dtype != torch.float32 or found.ndim != 3:
            return None
        if found.shape[:2] != (num_tracks, num_crops) or not found.shape[2]:
            return None
        return found if found.sum().isfinite() else None  # which takes a tenth of looking at each

    def fitted(self, buffers):
        """What training tracks made of a network's ``buffers`` {name: tensor}, of their shapes; None as above."""
        found = self.read("fitted")
        if not isinstance(found, dict) or set(found) != set(buffers):
            return None
        right = (is_plain(one) and fits(one, buffers[name]) for name, one in found.items())
        return found if all(right) else None

    def write(self, part, kept):
        """Keep a tensor or a dict of tensors; where that cannot be, a note says why and nothing else happens."""
        if self.shelf is None:
            return
        content = {"what": [self.shelf.name, self.made_by, part], "kept": kept}
        size = sum(one.nbytes for one in (kept.values() if isinstance(kept, dict) else [kept]))
        try:
            with utils.locked(self.shelf.parent / "writing"):  # not the folder: a killed run's own are removed
                self.shelf.mkdir(parents=True, exist_ok=True)
                make_room(self.shelf, size)
                utils.save_weights(self.file(part), content)
        except (utils.UserError, OSError) as error:
            print(f"note: the features are not kept this time: {error}")


def is_plain(found):
    """Whether what was read is a tensor of numbers in memory, and nothing more that a weight file can hold."""
    strided = isinstance(found, torch.Tensor) and found.layout == torch.strided
    return strided and found.device.type == "cpu" and not found.requires_grad


def fits(found, buffer):
    """Whether a tensor that was read is such a buffer, with numbers in it."""
    return found.shape == buffer.shape and found.dtype == buffer.dtype and bool(found.isfinite().all())


def make_room(shelf, size):
    """Remove what no run will ask for again, then what was used longest ago. Raises :class:`utils.UserError`."""
    if size > min(MOST_BYTES, shutil.disk_usage(shelf).free // 2):
        raise utils.UserError(f"{size / 1e9:.1f} GB are too many (--no-keep_features says nothing of it)")
    shelves = [one for one in shelf.parent.iterdir() if re.fullmatch(SHELF, one.name) and not one.is_symlink()]
    for other in shelves:
        if other != shelf and re.fullmatch(SHELF, other.name)[1] == re.fullmatch(SHELF, shelf.name)[1]:
            shutil.rmtree(other, ignore_errors=True)
    files = [file for one in shelves for file in one.glob("*.pth") if re.fullmatch(FILE, file.name)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        size += file.stat().st_size
        if size > MOST_BYTES:
            file.unlink()


def shelf_of(experiment, folder):
    """Where the features of a :class:`data.folder.Folder`'s arrays are kept.

    It has another name as soon as anything is changed that features depend on: an array, the weights, the code.
    None where ``features`` is a link: what it leads to is not ours to write or to tidy.
    """
    place = experiment.folder / "features"
    if place.is_symlink():
        return None
    weights = experiment.folder / "pre.pth"
    source = [digest_of_arrays(folder), utils.digest(weights) if weights.exists() else None, *made_with()]
    return place / f"{folder.dataset}_{digest_of(json.dumps(source))}"


def digest_of_arrays(folder):
    """Of the tables and of the size and the time of every array, which is cheap: one made again has another time."""
    lines = [(folder.path / name).read_bytes() for name in ("tracks.csv", "spectrogram.json")]
    for path in folder.tracks["path"]:
        with contextlib.suppress(OSError):  # who needs it will say that it is missing
            there = os.stat(os.path.join(folder.base, path))
            lines.append(f"{path},{there.st_size},{there.st_mtime_ns}\n".encode())
    return hashlib.sha256(b"".join(lines)).hexdigest()


def made_with():
    """The versions of what computes features, and a digest of our own."""
    root = Path(__file__).parents[1]
    files = [root / "utils.py", *sorted(file for room in CODE for file in (root / room).glob("*.py"))]
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return [torch.__version__, importlib.metadata.version("scikit-learn"), code]


def digest_of(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]
