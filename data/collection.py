"""A collection: tracks with a genre and a split, what is left out of it, and what makes an array of a track.

Every source (:mod:`data.fma`, :mod:`data.spotify`, :mod:`data.arena`, :mod:`data.vectors`) returns a
:class:`Collection`; here is the one for any folder of genre sub-folders.
"""

import collections
import hashlib
import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

import utils
from data.logmel import SUFFIXES, read_audio
from data.settings import MOST_SECONDS

SPLITS = ("training", "validation", "test")
FOLDS = 10  # of the tracks, by artist: one for validation, one for the test
SMALL = 0.05  # of the tracks: a split that holds less of them is told
LONGEST_NAME = 240  # bytes; file systems take 255, with the ending


@dataclass(frozen=True)
class Track:
    """One track before conversion: where its audio lies and where its array goes."""

    track_id: str
    source: Path
    path: str
    genre_top: str
    split: str
    artist: str = ""  # where nobody knows


@dataclass(frozen=True)
class Collection:
    """What a source offers: the tracks to convert, in order, and (track_id, path, reason) of what it leaves out.

    frames: of each track whose array is there already, in the place that the settings name as ``index_of``; empty
    where arrays are to be made.
    """

    tracks: list
    left_out: list = field(default_factory=list)
    frames: dict = field(default_factory=dict)


class Extractor:
    """Called with a track's source, it returns the array to store, of the shape that its ``settings`` say.

    It is made of settings (the content of spectrogram.json) alone, so that predict.py makes the same array again,
    and can be pickled, for worker processes use it. It raises :class:`data.logmel.AudioError` for a track that cannot
    be used.

    stays_here: True where it holds a network or a table: run by threads, not by worker processes.
    resumes: whether arrays that are there, made with the same settings, are kept.
    min_seconds, max_seconds: audio that is shorter or longer cannot be used.
    """

    stays_here, resumes = False, True

    def __init__(self, settings, min_seconds=0.0, max_seconds=MOST_SECONDS):
        self.settings, self.min_seconds, self.max_seconds = settings, min_seconds, max_seconds

    def __call__(self, source):
        raise NotImplementedError

    def read(self, path, sample_rate):
        """The waveform of an audio file: see :func:`data.logmel.read_audio`."""
        return read_audio(path, sample_rate, self.min_seconds, self.max_seconds)


def find(source, splits_csv=None, suffixes=SUFFIXES):
    """The collection in ``source/<genre>/**/<file>``, the layout of GTZAN and of many others.

    Files that lie in ``source`` itself have no genre and are left out by name.
    A track's id is the file's name without its ending, or its relative path where that is not unique.
    Splits come from ``splits_csv`` (columns track_id,split; tracks it does not name are ``excluded``), or are
    80/10/10 % of every genre, drawn deterministically.

    Raises :class:`utils.UserError`.
    """
    source = Path(source)
    if not source.is_dir():
        raise utils.UserError(f"--source {source} is not a folder")
    files = files_below(source, suffixes, "*/**/*")
    if not files:
        what, more = ("audio", " (or wav, au, flac …)") if suffixes == SUFFIXES else ("embeddings", "")
        raise utils.UserError(f"no {what} under {source}: expected {source}/<genre>/<file>{suffixes[0]}{more}")
    ids = _track_ids(files, source)
    genres = [file.relative_to(source).parts[0] for file in files]
    splits = read_splits(splits_csv, ids) if splits_csv else stratified_splits(genres)
    tracks = [
        Track(track_id, file, array_path(genre, track_id), genre, split)
        for track_id, file, genre, split in zip(ids, files, genres, splits, strict=True)
    ]
    loose = [file for file in files_below(source, suffixes, "*") if not file.is_dir()]
    return Collection(tracks, [(file.name, file, "not in a genre folder") for file in loose])


def array_path(genre, track_id):
    """Where a track's array goes, relative to its dataset's folder: a file of its own, whatever they hold."""
    return f"{file_name(genre)}/{file_name(track_id)}.npy"


def file_name(name):
    """A name as a file can have it: none leads to another folder or is hidden, and no two become the same."""
    written = re.sub(r"^$|^\.|[%/\\\0]", lambda found: "%" + found[0].encode().hex().upper(), name)
    encoded = written.encode(errors="surrogateescape")
    if len(encoded) <= LONGEST_NAME:
        return written
    return f"{encoded[:150].decode(errors='ignore')}%{hashlib.sha256(encoded).hexdigest()[:32]}"


def leave_out_unwritable(found):
    """The collection without the tracks whose names no table can hold, which it leaves out by name."""
    fine, left_out = [], list(found.left_out)
    for track in found.tracks:
        if re.search(utils.UNWRITABLE, track.track_id + track.genre_top + track.artist):
            reason = "its name or artist holds a line break, a control character or bytes of no UTF-8: rename it"
            left_out.append((track.track_id, track.source, reason))
        else:
            fine.append(track)
    return Collection(fine, left_out, found.frames)


def files_below(source, suffixes=SUFFIXES, pattern="**/*"):
    """The files with one of ``suffixes`` in a folder and its sub-folders, sorted; none that is hidden."""
    found = (file for file in source.glob(pattern) if file.suffix.lower() in suffixes and not _hidden(file, source))
    return sorted(found, key=lambda file: file.relative_to(source).as_posix())


def _hidden(file, source):
    """GTZAN and others come with macOS's ``._name.au`` beside every ``name.au``."""
    return any(part.startswith(".") for part in file.relative_to(source).parts)


def _track_ids(files, source):
    count = collections.Counter(file.stem for file in files)
    return [file.stem if count[file.stem] == 1 else file.relative_to(source).as_posix() for file in files]


def stratified_splits(genres, fractions=(0.8, 0.1, 0.1), seed=0):
    """A split for every track, ``fractions`` of every genre; each split gets a track where three are to share.

    genres: list of N genre names → list of N split names. The same list always gives the same splits.
    """
    genres = np.asarray(genres)
    splits = np.full(len(genres), SPLITS[0], dtype=object)
    chance = np.random.default_rng(seed)
    for genre in np.unique(genres):
        members = chance.permutation(np.flatnonzero(genres == genre))
        if len(members) < 3:
            continue
        num_validation, num_test = (max(1, round(fraction * len(members))) for fraction in fractions[1:])
        splits[members[:num_validation]] = SPLITS[1]
        splits[members[num_validation : num_validation + num_test]] = SPLITS[2]
    return splits.tolist()


def read_splits(path, track_ids):
    """Splits of ``track_ids`` from a CSV with columns track_id,split; ``excluded`` for those it leaves out.

    Raises :class:`utils.UserError`.
    """
    named = _read_column("--splits", path, "split")
    splits = [named.get(track_id, "excluded") for track_id in track_ids]
    if not set(splits) & set(SPLITS):
        raise utils.UserError(
            f"--splits {path} names none of these tracks as {', '.join(SPLITS)} (ids look like '{track_ids[0]}')"
        )
    return splits


def _read_column(flag, path, column):
    """{track_id: what stands in ``column``} of a CSV, all text. Raises :class:`utils.UserError`."""
    try:
        table = read_table(flag, path)[["track_id", column]].drop_duplicates()
    except FileNotFoundError:
        raise utils.UserError(f"{flag} {path} does not exist") from None
    except (KeyError, ValueError, pd.errors.ParserError):
        raise utils.UserError(f"{flag} {path} needs the columns track_id,{column}") from None
    twice = table["track_id"][table["track_id"].duplicated()]
    if len(twice):
        name = utils.printable(twice.iloc[0])
        raise utils.UserError(f"{flag} {path} names the track {name} twice, with another {column} each time")
    return dict(zip(table["track_id"], table[column], strict=True))


def read_table(flag, path, **options):
    """A CSV as a table of text; ``options`` of pandas.read_csv.

    Raises :class:`utils.UserError` where two columns have one name, of which pandas renames the second, and what
    reading it raises.
    """
    utils.check_file(path)
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
    twice = header[header.duplicated() & (header != "")]
    if len(twice):
        raise utils.UserError(f"{flag} {path} has the column {utils.printable(twice.iloc[0])} more than once")
    return pd.read_csv(path, **{"dtype": str, "keep_default_na": False, **options})


# ------------------------------------------------------------------ artists


def with_artists(found, path):
    """The collection with the artists that a CSV names (columns track_id,artist), where it names them.

    Raises :class:`utils.UserError`.
    """
    named = _read_column("--metadata", path, "artist")
    if not any(track.track_id in named for track in found.tracks):
        example = found.tracks[0].track_id
        raise utils.UserError(f"--metadata {path} names none of these tracks (ids look like '{example}')")
    return replace(found, tracks=[replace(t, artist=named.get(t.track_id, t.artist)) for t in found.tracks])


def split_by_artist(found):
    """The collection with splits of about 80/10/10 % of every genre that share no artist; says where one is small.

    Raises :class:`utils.UserError` where no artist is known, or there are too few for that.
    """
    if not any(track.artist for track in found.tracks):
        raise utils.UserError(
            "--splits artist: no artist is known; name them in --metadata CSV, with the columns track_id,artist"
        )
    splits = artist_splits([track.genre_top for track in found.tracks], [track.artist for track in found.tracks])
    for split in SPLITS:
        if splits.count(split) < SMALL * len(splits):
            print(
                f"note: {split} has {splits.count(split):,} of {len(splits):,} tracks, since few artists made many "
                "of them: a result on so few is uncertain; --splits CSV gives your own"
            )
    return replace(found, tracks=[replace(t, split=split) for t, split in zip(found.tracks, splits, strict=True)])


def artist_splits(genres, artists, seed=0):
    """A split for every track, near a tenth of every genre for validation and for the test; no artist is in two.

    genres, artists: lists of N names; a track whose artist is "" is on its own → list of N split names. The same
    lists always give the same splits. Raises :class:`utils.UserError`.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # not above: the worker processes draw nothing

    alone = [artist or number for number, artist in enumerate(artists)]
    groups, names = pd.factorize(np.array(alone, dtype=object))
    ((largest, most),) = collections.Counter(genres).most_common(1)
    if len(names) < FOLDS or most < FOLDS:
        raise utils.UserError(
            f"--splits artist needs {FOLDS} artists, and {FOLDS} tracks of a genre; here are {len(names)} artists, "
            f"and {utils.printable(largest)}, the largest genre, has {most} tracks: add tracks, or give your own "
            "splits by --splits CSV"
        )
    splits = np.full(len(genres), SPLITS[0], dtype=object)
    with warnings.catch_warnings():  # that a genre has few tracks: --check says it in our words
        warnings.simplefilter("ignore", UserWarning)
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(groups, genres, groups)
        for split, (_, members) in zip(SPLITS[1:], folds, strict=False):
            splits[members] = split
    return splits.tolist()
