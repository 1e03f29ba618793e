"""Embeddings that are there already, arrays (L, D) that some network made of a track: how they are adopted.

Axes: N tracks, L layer (hidden state), D feature dimension.
"""

from pathlib import Path

import numpy as np
import pandas as pd

import utils
from data import collection
from data.logmel import AudioError
from data.settings import Embedding

INDEX = ("track_id", "genre_top", "split", "artist")


class Adopted(collection.Extractor):
    """The extractor that takes each track's vectors as they are: source → (L, D) float32.

    ``vectors`` maps a track's ``source`` to its array, or is None where ``source`` is itself an .npy file.
    """

    stays_here, resumes = True, False

    def __init__(self, source, shape, vectors=None):
        num_layers, num_features = (1, *shape)[-2:]
        super().__init__(Embedding(num_layers=num_layers, num_features=num_features, more={"source": str(source)}))
        self.vectors = vectors

    def __call__(self, path):
        array = np.atleast_2d(read_vectors(path) if self.vectors is None else self.vectors[path])
        if not self.settings.frames_of(array.shape):
            expected = self.settings.num_layers, self.settings.num_features
            raise AudioError(f"has the shape {array.shape}, not {expected} as the first track")
        if not np.isfinite(array).all():
            raise AudioError("holds values that are not finite numbers")
        return array.astype(np.float32)


def adopt(source, splits_csv=None):
    """(:class:`data.collection.Collection`, extractor) of the vectors at ``source``.

    ``preprocessing.py --help`` shows the forms that they may have. Raises :class:`utils.UserError`.
    """
    source = Path(source)
    exported = (source / "features.npy").is_file() and (source / "tracks.csv").is_file()
    if source.is_dir() and not exported:
        found = collection.find(source, splits_csv, suffixes=(".npy",))
        return found, Adopted(source, first_shape(found.tracks))
    read = read_exported if exported else {".npz": read_npz, ".csv": read_csv}.get(source.suffix.lower())
    if not read or not source.exists():
        raise utils.UserError(f"--source {source} is neither a folder nor an .npz or .csv file of embeddings")
    if not exported:
        utils.check_file(source)
    index, array = read(source)
    if array.ndim not in (2, 3) or len(array) != len(index) or not array.size:
        raise utils.UserError(f"{source} has embeddings of shape {array.shape} for {len(index)} tracks")
    tracks = tracks_of(index, source, splits_csv)
    vectors = dict(zip((track.source for track in tracks), array, strict=True))
    return collection.Collection(tracks), Adopted(source, array.shape[1:], vectors)


def first_shape(tracks):
    """The shape of the first readable array. Raises :class:`utils.UserError` when there is none."""
    for track in tracks:
        try:
            return read_vectors(track.source).shape
        except AudioError:
            continue
    raise utils.UserError(f"not one of {len(tracks)} .npy files is an array (D,) or (L, D), such as {track.source}")


def read_vectors(path):
    """One .npy of shape (D,) or (L, D). Raises :class:`data.logmel.AudioError`."""
    try:
        array = utils.load_array(path)
    except (OSError, ValueError, EOFError):
        raise AudioError("not an array that can be read") from None
    if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind not in "fiu":
        raise AudioError(f"an array of {array.dtype} of shape {array.shape}, not of numbers (D,) or (L, D)")
    return array


def read_npz(path):
    """(index with text columns, embeddings (N, D) or (N, L, D)). Raises :class:`utils.UserError`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            index = pd.DataFrame({name: arrays[name].astype(str) for name in INDEX if name in arrays})
            return _checked(index, path), arrays["embeddings"].astype(np.float32)
    except utils.UserError:
        raise
    except Exception:  # of zip, of zlib, of Python's syntax: what is broken says so in many ways
        raise utils.UserError(f"{path} needs the arrays embeddings, track_id, genre_top, none of objects") from None


def read_csv(path):
    """(index with text columns, embeddings (N, D)). Raises :class:`utils.UserError`."""
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(INDEX, str), keep_default_na=False)
        numbers = table.drop(columns=[name for name in INDEX if name in table])
        return _checked(table, path), numbers.to_numpy(np.float32)
    except (ValueError, KeyError, pd.errors.ParserError):
        raise utils.UserError(f"{path} needs the columns track_id and genre_top, and else only numbers") from None


def read_exported(folder):
    """(index with text columns, embeddings (N, D)) of ``transfer.py --save_features``."""
    try:
        index = pd.read_csv(folder / "tracks.csv", dtype=str, keep_default_na=False)
        return _checked(index, folder / "tracks.csv"), utils.load_array(folder / "features.npy")
    except (ValueError, KeyError, EOFError):
        raise utils.UserError(f"{folder} is not what transfer.py --save_features writes: run that again") from None


def _checked(index, path):
    twice = index["track_id"][index["track_id"].duplicated()]
    if len(twice):
        raise utils.UserError(f"{path} has the track_id {twice.iloc[0]} more than once")
    return index[["track_id", "genre_top", *(name for name in INDEX[2:] if name in index)]]


def tracks_of(index, source, splits_csv=None):
    """Tracks of an index table; splits come from ``splits_csv``, or its column split, or are drawn."""
    ids, genres = index["track_id"].tolist(), index["genre_top"].tolist()
    artists = index.get("artist", pd.Series("", index=index.index))
    if splits_csv:
        splits = collection.read_splits(splits_csv, ids)
    elif "split" in index:
        splits = index["split"].tolist()
    else:
        splits = collection.stratified_splits(genres)
    return [
        collection.Track(name, f"{source}/{name}", collection.array_path(genre, name), genre, split, artist)
        for name, genre, split, artist in zip(ids, genres, splits, artists, strict=True)
    ]
