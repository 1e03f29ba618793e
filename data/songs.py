"""The audio files that people mean: by their names, by a folder, by a playlist."""

import codecs
import collections
import itertools
import os
import re
from pathlib import Path

from data.collection import files_below

PLAYLISTS = (".m3u", ".m3u8")


def find(names):
    """(files, left out): what ``names`` lead to, in their order and each once; (name, reason) of what is no file.

    A folder stands for the audio files below it, sorted, a playlist for its entries. Any other name is a file, there
    or not. All are text.
    """
    files, left_out = [], []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found = [str(file) for file in files_below(path)]
            if not found:
                left_out.append((name, "no audio below this folder"))
        elif path.suffix.lower() in PLAYLISTS and path.is_file():
            lines = entries(path)
            found = [tidy(path.parent / line) for line in lines if not is_address(line)]
            left_out += [(line, f"an address in {name}, not a file") for line in lines if is_address(line)]
        else:
            found = [name]
        files += found
    return list(dict.fromkeys(files)), left_out


def entries(playlist):
    """The lines of an m3u or m3u8 file that are no comments; UTF-16 with its mark, UTF-8, or else Latin-1."""
    content = playlist.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = (line.strip() for line in re.split(r"[\r\n]+", text))  # splitlines would break names at rarer characters
    return [line for line in lines if line and not line.startswith("#")]


def tidy(path):
    """As text, without "folder/.." where that leads to the same place: behind a link it may not."""
    if "\0" in str(path):  # no file, as who opens it will say
        return str(path)
    short = os.path.normpath(path)
    return short if os.path.realpath(short) == os.path.realpath(path) else str(path)


def is_address(line):
    return re.match(r"\w[\w+.-]+://", line) is not None


def short_names(files):
    """{file: the stem of its name, or where that is another's, too, its path below a folder that all share}."""
    count = collections.Counter(Path(file).stem.casefold() for file in files)  # on some disks A.png is a.png
    paths = {file: Path(file).absolute().parts for file in files}
    levels = zip(*paths.values(), strict=False)
    shared = len(list(itertools.takewhile(lambda parts: len(set(parts)) == 1, levels)))
    return {
        file: Path(file).stem if count[Path(file).stem.casefold()] == 1 else "/".join(parts[shared:])
        for file, parts in paths.items()
    }
