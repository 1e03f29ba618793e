"""The Kakao arena collection (Melon Playlist Dataset, Ferraro et al. 2021): 700,000 songs that come as log-mels.

    <source>/song_meta.json             a list of {"id": 12, "song_gn_gnr_basket": ["GN0100"], …}
    <source>/arena_mel/<n>/<id>.npy     (48, 1876) float32: 48 mel bands, 30 s

The arrays stay where they are, and nothing is written there: spectrogram.json names that folder as ``index_of``, and
the paths of tracks.csv are relative to it. Only the arrays' headers are read.
"""

import collections
import concurrent.futures
import functools
import io
import json
import os
from pathlib import Path

import numpy as np

import utils
from data.collection import Collection, Track, stratified_splits
from data.settings import Spectrogram

SHAPE = (48, 1876)
CHUNK = 1000  # songs that a thread looks at in one go
UNKNOWN = "GN9000"  # the genre code of a song without a genre
FRACTIONS = (0.7, 0.1, 0.2)  # training and validation share the 80 % that the published work trained on


def find(source, top_genres):
    """The collection as a :class:`data.collection.Collection` whose arrays are there, in ``source/arena_mel``.

    Good are songs of exactly one known genre, one of the ``top_genres`` most frequent, with an array of the right
    shape. Named as left out are arrays of another shape, songs without an array and arrays without a song.
    Raises :class:`utils.UserError`.
    """
    source = Path(source).resolve()
    genre_of = read_genres(source / "song_meta.json")
    path_of = find_arrays(source / "arena_mel")
    usable = [song for song in path_of if genre_of.get(song)]
    reasons = dict(zip(usable, reasons_against([path_of[song] for song in usable]), strict=True))
    failed = {song: reason for song, reason in reasons.items() if reason}
    failed |= {song: "not in song_meta.json" for song in path_of if song not in genre_of}
    failed |= {song: "no array in arena_mel" for song, genre in genre_of.items() if genre and song not in path_of}

    count = collections.Counter(genre_of[song] for song, reason in reasons.items() if not reason)
    top = set(sorted(count, key=lambda genre: (-count[genre], genre))[:top_genres])
    good = in_order(song for song, reason in reasons.items() if not reason and genre_of[song] in top)
    if not good:
        example = next((f": song {song}, {reason}" for song, reason in failed.items()), "")
        raise utils.UserError(f"{source} has no song of exactly one known genre with an array of {SHAPE}{example}")
    splits = dict(zip(good, stratified_splits([genre_of[song] for song in good], FRACTIONS), strict=True))
    place = {song: os.path.relpath(path_of[song], source / "arena_mel") for song in good}
    tracks = [Track(song, path_of[song], place[song], genre_of[song], splits[song]) for song in good]
    left_out = [(song, path_of.get(song, ""), failed[song]) for song in in_order(failed)]
    return Collection(tracks, left_out, frames=dict.fromkeys(good, SHAPE[1]))


def is_arena(source):
    """Whether a folder has the collection's form."""
    return (Path(source) / "song_meta.json").is_file() and (Path(source) / "arena_mel").is_dir()


def in_order(songs):
    """Sorted as numbers, though ids are text."""
    return sorted(songs, key=lambda song: (len(song), song))


def read_genres(path):
    """{song id: its genre, or None where it has none or several}. Raises :class:`utils.UserError`."""
    try:
        with open(path, encoding="utf-8") as file:
            return {str(song["id"]): only_genre(song["song_gn_gnr_basket"]) for song in json.load(file)}
    except FileNotFoundError:
        raise utils.UserError(f"{path} does not exist: --source is its folder and that of arena_mel") from None
    except (ValueError, KeyError, TypeError):
        raise utils.UserError(f"{path} needs to be a list of songs with id and song_gn_gnr_basket") from None


def only_genre(basket):
    known = set(basket) - {UNKNOWN}
    return known.pop() if len(known) == 1 else None


def find_arrays(folder):
    """{song id: path} of every .npy one level down. Raises :class:`utils.UserError` when there is none."""
    if not folder.is_dir():
        raise utils.UserError(f"{folder} is not a folder: --source is the folder of song_meta.json and arena_mel")
    groups = [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        names = list(pool.map(os.listdir, groups))
    found = {
        name[: -len(".npy")]: f"{group}/{name}"
        for group, files in zip(groups, names, strict=True)
        for name in files
        if name.endswith(".npy")
    }
    if not found:
        raise utils.UserError(f"{folder} holds no <n>/<song_id>.npy")
    return found


def reasons_against(paths):
    """For each array None, or why it cannot be used, from its header and size alone."""
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:  # threads wait for the disk, not for each other
        answers = pool.map(lambda chunk: [reason_against(path) for path in chunk], chunks)
        bar = utils.progress(answers, total=len(chunks), unit="k songs", desc="headers")
        return [reason for chunk in bar for reason in chunk]


def reason_against(path):
    header, size = right_header()
    try:
        with open(path, "rb", buffering=0) as file:
            if file.read(len(header)) == header:
                there = os.fstat(file.fileno()).st_size
                return None if there == size else f"truncated: {there} bytes of {size}"
        array = utils.load_array(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return "not a readable .npy file"
    if array.shape != SHAPE:
        return f"shape {array.shape}, not {SHAPE}"
    return None if array.dtype == np.float32 else f"{array.dtype}, not float32"


@functools.cache
def right_header():
    """The first bytes of such an array's file as numpy writes them, and the bytes of the whole file."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": SHAPE})
    return buffer.getvalue(), len(buffer.getvalue()) + 4 * SHAPE[0] * SHAPE[1]


def settings_of(tracks, source, sample=200):
    """What goes into spectrogram.json: the settings of the collection's paper, and the range of the values there are.

    db_min and db_max are measured on ``sample`` evenly chosen of the ``tracks``; augmentations take db_min for
    silence. ``index_of`` says that the arrays stay in ``source``: nothing is ever written there.
    """
    chosen = [tracks[i] for i in np.linspace(0, len(tracks) - 1, min(sample, len(tracks))).astype(int)]
    arrays = [utils.load_array(track.source) for track in chosen]
    return Spectrogram(
        features="arena",  # not "logmel": nobody can make the same from an audio file
        sample_rate=16000,
        n_fft=512,
        hop_length=256,
        n_mels=SHAPE[0],
        f_min=0.0,
        f_max=8000.0,
        db_min=round(float(min(array.min() for array in arrays)), 2),
        db_max=round(float(max(array.max() for array in arrays)), 2),
        dtype="float32",
        more={"index_of": str(Path(source).resolve() / "arena_mel")},
    )
