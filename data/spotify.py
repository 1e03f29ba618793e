"""The Spotify Tracks Dataset: a CSV of tracks and genres, and the user's own audio previews.

Real file: dataset.csv of "Spotify Tracks Dataset" on Kaggle, 114 genres of 1,000 rows; it comes without audio.
"""

from pathlib import Path

import pandas as pd

import utils
from data import collection

COLUMNS = ["track_id", "track_genre"]
ARTISTS = "artists"  # several of them are joined by ;


def is_metadata(path):
    """Whether a file is a CSV that names genres, as the dataset's does."""
    try:
        utils.check_file(path)
        return "track_genre" in pd.read_csv(path, nrows=0)
    except (OSError, ValueError):
        return False


def read_metadata(path):
    """Each track and genre once, in the file's order: a table of text, columns track_id, track_genre and artist.

    The artist is the first of the file's ``artists``, empty where it has none.
    Raises :class:`utils.UserError` when the file is missing or has no such columns.
    """
    try:
        table = collection.read_table("--metadata", path, keep_default_na=True)
        artists = table.get(ARTISTS, pd.Series("", index=table.index))
        table = table[COLUMNS].assign(artist=artists.fillna("").str.partition(";")[0])
    except FileNotFoundError:
        raise utils.UserError(f"--metadata {path} does not exist") from None
    except (KeyError, ValueError, pd.errors.ParserError):
        raise utils.UserError(f"--metadata {path} needs the columns {','.join(COLUMNS)}") from None
    return table.dropna().drop_duplicates(COLUMNS, ignore_index=True)


def choose_genres(table, genres=None, num_genres=None):
    """Names in alphabetical order: those in ``genres``, or the first ``num_genres``, or all.

    Raises :class:`utils.UserError` for a genre that the table does not have.
    """
    there = sorted(set(table["track_genre"]))
    if genres:
        unknown = sorted(set(genres) - set(there))
        if unknown:
            raise utils.UserError(f"--genres {', '.join(unknown)} is not in the metadata; it has: {', '.join(there)}")
        return sorted(set(genres))
    if num_genres is not None and not 2 <= num_genres <= len(there):
        raise utils.UserError(f"--num_genres {num_genres} must be between 2 and the {len(there)} of the metadata")
    return there[:num_genres]


def find(source, metadata, genres=None, num_genres=None, splits_csv=None):
    """A :class:`data.collection.Collection`, without the tracks that stand under several of the genres.

    Those have no single right answer. The audio of a track is ``source/<track_id>.mp3``, there or
    not, so that the splits do not depend on what has been downloaded so far.
    Raises :class:`utils.UserError`.
    """
    source = Path(source)
    if not source.is_dir():
        raise utils.UserError(f"--source {source} is not a folder")
    table = read_metadata(metadata)
    table = table[table["track_genre"].isin(choose_genres(table, genres, num_genres))]
    several = table["track_id"].duplicated(keep=False)
    rows = table[~several].sort_values("track_id")
    if rows.empty:
        raise utils.UserError(f"--metadata {metadata} has no track that stands under one genre only")
    ids, names = rows["track_id"].tolist(), rows["track_genre"].tolist()
    splits = collection.read_splits(splits_csv, ids) if splits_csv else collection.stratified_splits(names)
    left_out = [
        (track_id, source / f"{track_id}.mp3", f"stands under several of the genres: {', '.join(sorted(group))}")
        for track_id, group in table[several].groupby("track_id")["track_genre"]
    ]
    tracks = [
        collection.Track(
            track_id, source / f"{track_id}.mp3", collection.array_path(genre, track_id), genre, split, artist
        )
        for track_id, genre, split, artist in zip(ids, names, splits, rows["artist"], strict=True)
    ]
    return collection.Collection(tracks, left_out)
