"""Fetch FMA, check it and unpack it: all that preprocessing.py --size needs.

    python -m data.download --size small       8.0 GB to fetch, 17 GB of disk: 8,000 clips of 30 s, and the metadata
    python -m data.download --size medium      24 GB to fetch, 50 GB of disk: 25,000 clips, and the metadata
    python -m data.download --size metadata    0.36 GB to fetch, 1.9 GB of disk: tracks, genres and splits alone

Makes <data_dir>/fma_<size> and <data_dir>/fma_metadata. It can be stopped and run again: what has come is kept, and
what is there already is not fetched again. A connection that breaks or stalls is tried again by itself.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import time
import zipfile
from pathlib import Path, PurePosixPath

import requests
import urllib3

import utils

URL = "https://os.unil.cloud.switch.ch/fma"  # and the sums: the README of https://github.com/mdeff/fma
ARCHIVES = {  # published SHA-1, GB of the archive and of what is in it, and a file to know the folder by
    "metadata": ("f0df49ffe5f2a6008d7dc83c6915b31835dfe733", 0.36, 1.5, "tracks.csv"),
    "small": ("ade154f733639d52e35e32f5593efe5be76c6d70", 7.7, 7.7, "*/*.mp3"),
    "medium": ("c67b69ea232021025fca9231fc1c7c1a063ab50b", 24, 24, "*/*.mp3"),
}
PATIENCE = 30  # seconds without a byte, after which a connection counts as broken
TRIES = 5  # in a row that bring nothing: then it gives up
PAUSE = 1  # seconds before the next try, and twice as many after each that brings nothing
MARGIN = 0.1  # by which an archive may be smaller or larger than it is published, for those sizes are rounded
BLOCK = 2**14  # bytes that are read at once: of these, a broken connection loses what has come


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument(
        "--size", choices=list(ARCHIVES), required=True, help="small and medium also fetch the metadata"
    )
    parser.add_argument("--data_dir", default="data", help="folder in which fma_<size> and fma_metadata are made")
    parser.add_argument("--url", default=URL, help="where the archives are: any mirror will do, sums are checked")
    parser.add_argument(
        "--keep_archive", action="store_true",
        help="keep fma_<size>.zip when it is unpacked (one that was there before is kept anyway, and not fetched)",
    )  # fmt: skip
    return parser


def main(args):
    data_dir = Path(args.data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    with utils.locked(data_dir / "fma"):
        missing = [name for name in dict.fromkeys(["metadata", args.size]) if not is_there(data_dir, name)]
        for name in missing:
            shutil.rmtree(unfinished(data_dir / f"fma_{name}"), ignore_errors=True)
        check_space(data_dir, sum(bytes_needed(data_dir, name) for name in missing), f"FMA ({', '.join(missing)})")
        for name in missing:
            obtain(name, data_dir, args.url, args.keep_archive)
    print(data_dir / f"fma_{args.size}")


def is_there(data_dir, name):
    """Whether the folder of an archive is made. Raises :class:`utils.UserError` where something else has its name."""
    folder, mark = data_dir / f"fma_{name}", ARCHIVES[name][-1]
    if any(folder.glob(mark)):
        print(f"{folder} is there already")
        return True
    if os.path.lexists(folder):
        raise utils.UserError(f"{folder} is there, but without {mark}, as FMA's has it: move it away")
    return False


def bytes_needed(data_dir, name):
    """Of the disk: for what is still to come of an archive, and for what is in it."""
    _, packed, unpacked, _ = ARCHIVES[name]
    archive = data_dir / f"fma_{name}.zip"
    came = sum(size_of(file) for file in (archive, fetched_of(archive), part_of(archive)))
    return max(0, 1e9 * packed - came) + 1e9 * unpacked


def check_space(folder, num_bytes, what):
    """Raises :class:`utils.UserError` where ``num_bytes`` do not fit onto the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise utils.UserError(
            f"{what} needs {num_bytes / 1e9:,.1f} GB of disk, and {free / 1e9:,.1f} GB are free at {folder}: "
            "make room, or choose another --data_dir"
        )


def obtain(name, data_dir, url, keep):
    """Make ``data_dir/fma_<name>``: fetch the archive unless it is there, check its sum, unpack it."""
    folder, archive, (sha1, packed, *_) = data_dir / f"fma_{name}", data_dir / f"fma_{name}.zip", ARCHIVES[name]
    if archive.exists():
        check_sum(archive, sha1, "it is damaged or another version: remove it, and it will be fetched")
        print(f"{archive} was there before, and is kept")
        return unpack(archive, folder)
    fetched = fetched_of(archive)  # a name of its own, by which the next run knows what may be removed
    if fetched.exists():
        check_sum(fetched, sha1, "it was damaged since it came: remove it, and it will be fetched again")
    else:
        fetch_whole(f"{url.rstrip('/')}/{archive.name}", part_of(archive), fetched, sha1, 1e9 * packed)
    unpack(fetched, folder)
    if keep:
        os.replace(fetched, archive)
    else:
        fetched.unlink()


# ------------------------------------------------------------------ fetching


def part_of(archive):
    """Where an archive is until it is whole."""
    return archive.with_name(f"{archive.name}.part")


def fetched_of(archive):
    """Where it is then, until it is unpacked."""
    return archive.with_name(f"{archive.name}.fetched")


def fetch_whole(address, part, fetched, sha1, size):
    """Fetch ``address``, of about ``size`` bytes, as ``part``; it becomes ``fetched`` when its sum is right."""
    fetch(address, part, size)
    try:
        check_sum(part, sha1, f"{address} is not FMA's, or was damaged on the way: try again, or another --url")
    except utils.UserError:
        part.unlink()  # nothing tells which bytes are wrong
        raise
    os.replace(part, fetched)


def fetch(address, part, size):
    """Fetch ``address`` into the file ``part``, going on from what that holds already, over broken connections.

    Raises :class:`utils.UserError` when ``TRIES`` in a row bring nothing, or the server has no such file of about
    ``size`` bytes.
    """
    failed = 0
    while True:
        before = size_of(part)
        try:
            return fetch_rest(address, part, size)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if not is_passing(error):
                raise utils.UserError(f"{address} cannot be fetched ({reason_of(error)}): check --url") from None
            failed = 0 if size_of(part) > before else failed + 1
            came = f"{size_of(part) / 1e9:.2f} GB"
            if failed == TRIES:
                raise utils.UserError(
                    f"{address} cannot be fetched now ({reason_of(error)}); what has come ({came}) is kept: "
                    "run the same command again to go on from there"
                ) from None
            print(f"the connection broke ({reason_of(error)}): going on at {came}")
            time.sleep(PAUSE * 2**failed)


def fetch_rest(address, part, size):
    """One request for what ``part`` lacks of ``address``, of about ``size`` bytes.

    Raises requests.RequestException, or urllib3's HTTPError, where it breaks off, and :class:`utils.UserError` where
    something else comes.
    """
    came = size_of(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={came}-"} if came else {})
    with requests.get(address, headers=headers, stream=True, timeout=PATIENCE) as response:
        if came and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # it is whole; its sum decides
        response.raise_for_status()
        length = length_of(response)
        if came and not response.headers.get("Content-Range", "").startswith(f"bytes {came}-"):
            check_whole(response, length, size)
            came = 0  # a server that knows no ranges begins again
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise utils.UserError(f"{address} comes compressed once more, unasked: try another --url")
        total = None if length is None else came + length
        bar = utils.progress(total=total, initial=came, unit="B", unit_scale=True, desc=part.stem)
        with bar, open(part, "ab" if came else "wb") as file:
            for block in response.iter_content(BLOCK):
                file.write(block)
                bar.update(len(block))
                if file.tell() > (1 + MARGIN) * size:
                    part.unlink()
                    raise utils.UserError(
                        f"{address} is larger than FMA's ({size / 1e9:.2f} GB), and is not kept: try another --url"
                    )


def length_of(response):
    """The bytes that are to come, None where the server does not say it."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def check_whole(response, length, size):
    """Raises :class:`utils.UserError` unless an answer that begins again is of about ``size`` bytes, and no page.

    The login of a wireless network answers so; it must not replace what has come.
    """
    kind = response.headers.get("Content-Type", "")
    if length is None or abs(length - size) > MARGIN * size or kind.startswith("text/html"):
        raise utils.UserError(
            f"{response.url} answers with something else than the archive ({utils.printable(kind) or 'no type'}, "
            f"{'unknown' if length is None else length} bytes); what has come is kept: "
            "run the same command again to go on from there, or check --url"
        )


def size_of(file):
    return file.stat().st_size if file.exists() else 0


def is_passing(error):
    """Whether it is worth trying again."""
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    response = getattr(error, "response", None)  # urllib3's own have none
    busy = response is not None and (response.status_code >= 500 or response.status_code == 429)
    return isinstance(error, broken) or busy


def reason_of(error):
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server says {response.status_code} {utils.printable(response.reason)}"
    return type(error).__name__


# ------------------------------------------------------------------ checking


def check_sum(file, sha1, advice):
    """Raises :class:`utils.UserError` where the SHA-1 of ``file`` is not ``sha1``, the published one."""
    digest, size = hashlib.sha1(usedforsecurity=False), file.stat().st_size
    bar = utils.progress(total=size, unit="B", unit_scale=True, desc=f"SHA-1 of {file.name}")
    with bar, open(file, "rb") as opened:
        while block := opened.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != sha1:
        raise utils.UserError(f"{file} ({size / 1e9:.2f} GB) does not have the published SHA-1 {sha1}; {advice}")


# ------------------------------------------------------------------ unpacking


def unfinished(folder):
    """Where a folder is until it is whole."""
    return folder.with_name(f".{folder.name}.unpacking")


def unpack(archive, folder):
    """Unpack a zip archive whose every member lies in ``<folder's name>/``, to ``folder``: all of it or nothing.

    FMA's are written by Python's own zipfile, with bzip2, which not every other program reads.
    Raises :class:`utils.UserError` on an archive that is damaged, would write elsewhere, or does not fit.
    """
    beside = unfinished(folder)
    try:
        with readable(archive), zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            check_members(members, archive, folder)
            total = sum(member.file_size for member in members)  # zipfile never writes more than that
            check_space(folder.parent, total, f"what is in {archive}")
            with utils.progress(total=total, unit="B", unit_scale=True, desc=f"unpacking {folder.name}") as bar:
                for member in members:
                    packed.extract(member, beside)
                    bar.update(member.file_size)
        os.replace(beside / folder.name, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def readable(archive):
    """Whatever is wrong with the bytes of ``archive`` becomes a :class:`utils.UserError`."""
    try:
        yield
    except utils.UserError:
        raise
    except Exception as error:  # of zipfile, and of each of its compressions another
        if isinstance(error, OSError) and error.errno:  # of the disk
            raise
        raise utils.UserError(f"{archive} is damaged ({type(error).__name__}): remove it and try again") from None


def check_members(members, archive, folder):
    """Raises :class:`utils.UserError` unless every member is a file or a folder in ``<folder's name>/``."""
    for member in members:
        parts, kind = PurePosixPath(member.filename).parts, stat.S_IFMT(member.external_attr >> 16)
        inside = parts[:1] == (folder.name,) and ".." not in parts and "\\" not in member.filename
        if not inside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            name = utils.printable(member.filename)
            raise utils.UserError(f"{archive} is not FMA's: {name} is no file in {folder.name}/; nothing is unpacked")
    if not members:
        raise utils.UserError(f"{archive} is not FMA's: it is empty")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
