"""FMA, the Free Music Archive dataset (Defferrard et al. 2017): which tracks, genres and splits.

Real files: https://github.com/mdeff/fma (fma_small.zip, fma_medium.zip, fma_metadata.zip), fetched by data.download.
"""

from pathlib import Path

import pandas as pd

import utils
from data.collection import Collection, Track

# Subsets nest: medium is everything marked small *or* medium, 25,000 tracks.
SUBSETS = {"small": ["small"], "medium": ["small", "medium"]}
HOMEPAGE = "https://github.com/mdeff/fma"


def read_tracks_csv(path):
    """Read FMA's tracks.csv, whose header takes three lines (two column levels and the index name).

    Returns a table with text columns track_id (six digits), genre_top (missing: NaN), split, subset and artist (an
    id; empty where the file does not say it).
    Raises :class:`utils.UserError` when the file is missing or is not FMA's.
    """
    wanted = [("set", "split"), ("set", "subset"), ("track", "genre_top")]
    try:
        utils.check_file(path)
        everything = pd.read_csv(path, header=[0, 1], index_col=0, low_memory=False)
        table, ids = everything[wanted].copy(), everything.index.astype(int)
    except FileNotFoundError:
        raise utils.UserError(
            f"{path} does not exist: python -m data.download --size metadata fetches it "
            f"(fma_metadata.zip of {HOMEPAGE})"
        ) from None
    except (ValueError, KeyError, IndexError, UnicodeDecodeError, pd.errors.ParserError):
        raise utils.UserError(
            f"{path} is not FMA's tracks.csv (three header lines, columns set.split, set.subset, "
            f"track.genre_top): unpack fma_metadata.zip from {HOMEPAGE} again"
        ) from None
    table.columns = ["split", "subset", "genre_top"]
    artist = everything.get(("artist", "id"), pd.Series(index=everything.index, dtype=object))
    table["artist"] = [_as_text(one) for one in artist]
    table.insert(0, "track_id", [f"{number:06d}" for number in ids])
    return table.reset_index(drop=True)


def select(table, size):
    """The rows of ``read_tracks_csv`` that belong to FMA-``size`` and have a top genre."""
    rows = table[table["subset"].isin(SUBSETS[size]) & table["genre_top"].notna()]
    return rows.sort_values("track_id").reset_index(drop=True)


def find(data_dir, size):
    """FMA-``size`` as a :class:`data.collection.Collection`.

    Raises :class:`utils.UserError` when the audio folder or the metadata is missing.
    """
    audio_dir = Path(data_dir) / f"fma_{size}"
    if not any(audio_dir.glob("*/*.mp3")):
        raise utils.UserError(
            f"no audio under {audio_dir}, such as {audio_dir}/000/000002.mp3: python -m data.download --size {size} "
            f"fetches it (fma_{size}.zip of {HOMEPAGE})"
        )
    table = select(read_tracks_csv(Path(data_dir) / "fma_metadata" / "tracks.csv"), size)
    return Collection([
        Track(
            track_id=row.track_id,
            source=audio_dir / row.track_id[:3] / f"{row.track_id}.mp3",
            path=f"{row.track_id[:3]}/{row.track_id}.npy",
            genre_top=row.genre_top,
            split=row.split,
            artist=row.artist,
        )
        for row in table.itertuples()
    ])  # fmt: skip


def _as_text(number):
    """An artist's id: a column in which some are missing holds floats."""
    if pd.isna(number):
        return ""
    return f"{number:.0f}" if isinstance(number, float) else str(number)
