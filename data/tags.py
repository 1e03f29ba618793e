"""Several tags for each track: a table that transfer.py --labels learns from, and two places that it comes from.

    python -m data.tags --dataset fma_small                   all genres of FMA's tracks → <dataset>_npy/tags.csv
    python -m data.tags --magnatagatune annotations_final.csv --out magna      → magna/tags.csv, magna/splits.csv

A table has the columns track_id,tag and a row for each pair; a row with an empty tag names a track that has none. Of
a track that it does not name nobody knows the tags.

Of MagnaTagATune the tags are the 50 most frequent, and the splits by folder: 0 to b training, c validation, d to f
test. Clips without any of these tags are in neither table, as in the list of clips that CLMR and many others use.
"""

import json
from pathlib import Path, PurePosixPath

import utils

COLUMNS = ["track_id", "tag"]
NAME = "tags.csv"
MOST_FREQUENT = 50  # of MagnaTagATune
FOLDERS = {"training": "0123456789ab", "validation": "c", "test": "def"}  # by split


def get_args_parser():
    parser = utils.script_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", help="FMA's spectrogram folder <data_dir>/<dataset>_npy, which gets a tags.csv")
    source.add_argument("--magnatagatune", metavar="CSV", help="its annotations_final.csv")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders and of fma_metadata")
    parser.add_argument("--out", default="magnatagatune", help="with --magnatagatune: the folder of the two tables")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import pandas as pd

from data.collection import read_table


def main(args):
    if args.magnatagatune is not None:
        out = Path(args.out)
        tags, splits = magnatagatune(args.magnatagatune)
        check_ours(out / "splits.csv", ["track_id", "split"])
        check_ours(out / NAME, COLUMNS)
        utils.write_csv(out / "splits.csv", ["track_id", "split"], splits.items())
        write(out, tags)
    else:
        utils.check_name("--dataset", args.dataset)
        out = Path(args.data_dir) / f"{args.dataset}_npy"
        write(out, all_genres(Path(args.data_dir) / "fma_metadata", track_ids(out / "tracks.csv")))
    print(out / NAME)


def check_ours(path, columns):
    """Raises :class:`utils.UserError` where ``path`` is there and is another table than one of these columns."""
    if path.is_file():
        with open(path, "rb") as file:
            if file.readline().strip() == ",".join(columns).encode():
                return
    if path.exists():
        raise utils.UserError(f"{path} is no table of {', '.join(columns)}: it is not replaced; choose another place")


def write(folder, tags):
    """tags.csv of [(track_id, tag)]. Raises :class:`utils.UserError` for none, or where another table is there."""
    if not tags:
        raise utils.UserError(f"no tag is known of any track: {folder / NAME} is not written")
    check_ours(folder / NAME, COLUMNS)
    utils.write_csv(folder / NAME, COLUMNS, tags)
    print(f"{len(tags)} tags of {len({track for track, _ in tags})} tracks")


def write_where_known(folder, metadata):
    """tags.csv of a folder of FMA's tracks; where ``metadata`` does not tell them, a note says so."""
    try:
        tags = all_genres(metadata, track_ids(folder / "tracks.csv"))
    except utils.UserError:
        print(f"note: no {NAME} for --labels: {metadata} does not tell all genres of a track, as FMA's does")
        return
    try:
        write(folder, tags)
    except utils.UserError as error:
        print(f"note: no {NAME} for --labels: {error}")


def track_ids(path):
    """The ids of a tracks.csv. Raises :class:`utils.UserError`."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)["track_id"].tolist()
    except FileNotFoundError:
        raise utils.UserError(f"{path} does not exist: run preprocessing.py first") from None
    except (KeyError, ValueError):
        raise utils.UserError(f"{path} has no column track_id: run preprocessing.py again") from None


def read_tags(path):
    """Such a table, each pair once, as text. Raises :class:`utils.UserError`."""
    try:
        table = read_table("--labels", path)
        longer = not isinstance(table.index, pd.RangeIndex)  # of longer rows pandas makes the first column an index
        table = table[COLUMNS].drop_duplicates()
    except FileNotFoundError:
        raise utils.UserError(f"--labels {path} does not exist") from None
    except UnicodeDecodeError:
        raise utils.UserError(f"--labels {path} is not text in UTF-8: save it as that") from None
    except pd.errors.ParserError:
        longer = True
    except (KeyError, ValueError):
        raise utils.UserError(f"--labels {path} needs the columns {','.join(COLUMNS)}, with commas") from None
    if longer:
        raise utils.UserError(f"--labels {path} has rows longer than its head: a tag with commas needs quotes")
    if any(table[name].str.contains(utils.UNWRITABLE).any() for name in COLUMNS):
        raise utils.UserError(f"--labels {path} has names with line breaks or control characters in them")
    return table


# ------------------------------------------------------------------ sources


def all_genres(metadata, tracks):
    """[(track_id, title)]: every genre that FMA's artists gave these tracks, from ``metadata``, fma_metadata.zip.

    Raises :class:`utils.UserError` where it has no tracks.csv and genres.csv, or they are not FMA's.
    """
    genres_of, title_of = metadata / "tracks.csv", metadata / "genres.csv"
    try:
        columns = pd.read_csv(genres_of, header=[0, 1], index_col=0, low_memory=False)["track", "genres_all"]
        genres = pd.read_csv(title_of, dtype={"title": str}, keep_default_na=False, index_col="genre_id")["title"]
        if genres.index.has_duplicates or not genres.astype(bool).all():
            raise ValueError
        given = {f"{number:06d}": text for number, text in columns.items()}
        return [(track, genres[int(one)]) for track in tracks if track in given for one in json.loads(given[track])]
    except FileNotFoundError as error:
        raise utils.UserError(
            f"{error.filename} does not exist: python -m data.download --size metadata fetches it"
        ) from None
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        raise utils.UserError(f"{genres_of} or {title_of} is not FMA's: unpack fma_metadata.zip again") from None


def magnatagatune(path):
    """[(track_id, tag)] and {track_id: split}, of annotations_final.csv. Raises :class:`utils.UserError`.

    The file is separated by tabs: clip_id, a column of 0 and 1 for each tag, mp3_path. A track's id is the name of
    its file, as preprocessing.py --source gives it.
    """
    split_of = {folder: split for split, folders in FOLDERS.items() for folder in folders}
    try:
        table = pd.read_csv(path, sep="\t", dtype={"clip_id": str, "mp3_path": str})
        files = [PurePosixPath(file) for file in table["mp3_path"]]
        marks = table.drop(columns=["clip_id", "mp3_path"])
        if not marks.isin([0, 1]).all(axis=None) or len({file.stem for file in files}) < len(files):
            raise ValueError
        marks = marks.astype(int)
        split = [split_of[file.parts[0]] for file in files]
    except FileNotFoundError:
        raise utils.UserError(f"--magnatagatune {path} does not exist") from None
    except (KeyError, ValueError, TypeError, IndexError):
        raise utils.UserError(
            f"{path} is not annotations_final.csv (clip_id, a 0 or 1 for each tag, mp3_path, each file once)"
        ) from None
    frequent = marks.sum().sort_values(ascending=False, kind="stable").index[:MOST_FREQUENT]
    marks = marks[frequent].to_numpy()
    tags, splits = [], {}
    for file, where, row in zip(files, split, marks, strict=True):
        if row.any():
            splits[file.stem] = where
            tags += [(file.stem, tag) for tag in frequent[row == 1]]
    return tags, splits


if __name__ == "__main__":
    utils.run(main, get_args_parser())
