"""FMA's own list of what its mp3 files are: ``fma_<size>/checksums``, a line of SHA-1 and path for each."""

import concurrent.futures
import hashlib
import os
import re
from pathlib import Path

import utils
from data.folder import inside

NAME = "checksums"


def compare(folder):
    """Every file of ``folder`` that is not as its ``checksums`` says: (files listed, [(path, reason)] in that order).

    Raises :class:`utils.UserError` where the list is missing or is none.
    """
    folder = Path(folder)
    listed, base = read(folder / NAME), os.path.realpath(folder)
    with concurrent.futures.ThreadPoolExecutor() as pool:  # hashing lets other threads run
        reasons = pool.map(lambda path: reason_against(inside(base, path), listed[path]), listed)
        bar = utils.progress(reasons, total=len(listed), unit=" files", desc=f"SHA-1 of {folder.name}")
        return len(listed), [(path, reason) for path, reason in zip(listed, bar, strict=True) if reason]


def read(file):
    """{path: SHA-1} in the order of the list. Raises :class:`utils.UserError`."""
    try:
        utils.check_file(file)
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise utils.UserError(f"{file} does not exist") from None
    except UnicodeDecodeError:
        lines = [""]
    found = [re.fullmatch(r"([0-9a-f]{40}) [ *]([^\0]+)", line) for line in lines]
    if not found or not all(found):
        raise utils.UserError(f"{file} is not a list of SHA-1 and path: unpack FMA's again")
    return {match[2]: match[1] for match in found}


def reason_against(file, sha1):
    """None where ``file`` has this sum, else what is wrong; ``file`` is None for a path that leads elsewhere."""
    if file is None:
        return "leads out of the folder"
    try:
        utils.check_file(file)
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable: {error.strerror or error}"
    return None if digest == sha1 else f"damaged: {os.path.getsize(file):,} bytes of another SHA-1"
