"""Which file each array of a folder was made from, ``made_from.csv``: the array of another file is never kept for it.

Folders made before there was such a file have none: what lies in them is taken for made from what is there now.
"""

import os

import pandas as pd

import utils

COLUMNS = ["path", "source", "bytes", "mtime_ns"]  # of the array in the folder, of the file from --source


def describe(tracks, base):
    """{path of the array: (path of the file from ``base``, bytes, mtime)}, all text, of tracks that have a file."""
    found = {}
    for track in tracks:
        try:
            there = os.stat(track.source)
        except (OSError, ValueError):  # converting it will say what is wrong with it
            continue
        source = utils.printable(os.path.relpath(track.source, base))
        found[track.path] = (source, str(there.st_size), str(there.st_mtime_ns))
    return found


def update(folder, now):
    """Remove the arrays that were made from other files than ``now`` (of :func:`describe`); returns how many.

    What a link leads to elsewhere stays: whoever converts it will say so.
    ``made_from.csv`` is written after that and before any array is made: at no moment is it wrong.
    """
    before = _read(folder / "made_from.csv")
    outdated = [folder / path for path in now if before.get(path, now[path]) != now[path]]
    within = os.path.join(os.path.realpath(folder), "")
    outdated = [file for file in outdated if file.exists() and os.path.realpath(file).startswith(within)]
    if outdated:
        (folder / "tracks.csv").unlink(missing_ok=True)  # it speaks of what is removed
    for file in outdated:
        file.unlink()
    utils.write_csv(folder / "made_from.csv", COLUMNS, [(path, *rest) for path, rest in {**before, **now}.items()])
    return len(outdated)


def _read(file):
    if not file.exists():
        return {}
    try:
        utils.check_file(file)
        table = pd.read_csv(file, dtype=str, keep_default_na=False)[COLUMNS]
    except (ValueError, KeyError, pd.errors.ParserError):
        raise utils.UserError(f"{file} needs the columns {','.join(COLUMNS)}: run with --overwrite") from None
    return {path: tuple(rest) for path, *rest in table.itertuples(index=False)}
