"""data.download against a server that misbehaves, and archives that must not be unpacked; data.checksums."""

import contextlib
import hashlib
import http.server
import io
import os
import re
import stat
import threading
import zipfile
from types import SimpleNamespace
from unittest import mock

import pytest
import urllib3
from conftest import call

import utils
from data import checksums, download, fma

HEADER = ",set,set,track\n,split,subset,genre_top\ntrack_id,,,\n"
METADATA = {"fma_metadata/tracks.csv": (HEADER + "2,training,small,Rock\n").encode()}
SOUND = bytes(range(256)) * 40  # no mp3: nothing here looks into one
AUDIO = {
    "fma_small/checksums": f"{hashlib.sha1(SOUND).hexdigest()}  000/000002.mp3\n".encode(),
    "fma_small/000/000002.mp3": SOUND,
}


def zipped(members, method=zipfile.ZIP_STORED):
    """The bytes of an archive of {name or ZipInfo: bytes}; FMA's have no entries of folders either."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content, method)
    return buffer.getvalue()


def third_of(content):
    """About a third of the bytes, in whole blocks."""
    return len(content) // 3 // 8 * 8


ODD = {  # headers in place of a right Content-Length
    "abc": {"Content-Length": "abc"},
    "compressed": {"Content-Encoding": "gzip"},
    "portal, no ranges": {"Content-Type": "text/html", "Content-Length": 150},
    "short, no ranges": {"Content-Length": 15},
    "none, no ranges": {},
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``, each request by the next word of ``server.plan``; after the last of them, well."""

    def do_GET(self):
        act = self.server.plan.pop(0) if self.server.plan else "well"
        content, begin = self.server.files.get(self.path.strip("/")), 0
        self.server.asked.append((self.path, self.headers["Range"]))
        if content is None or act.isdigit():
            return self.send_error(int(act) if act.isdigit() else 404)
        if self.headers["Range"] and "no ranges" not in act:
            begin = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
            if begin >= len(content):
                return self.send_error(416)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if act in ODD:
            for header, value in ODD[act].items():
                self.send_header(header, value)
        elif act not in ("no length", "endless"):
            self.send_header("Content-Length", len(content) - begin)
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has gone
            while act == "endless":
                self.wfile.write(content)
        well = act in ("well", "no ranges")
        self.wfile.write(content[begin:] if well else content[begin : begin + third_of(content)])
        if act == "stall":
            self.server.gave_up = not self.server.stalled.wait(5)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server of small archives whose sums are the published ones, and a client with little patience."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.plan, server.asked, server.stalled, server.gave_up = [], [], threading.Event(), False
    server.files = {"fma_metadata.zip": zipped(METADATA), "fma_small.zip": zipped(AUDIO, zipfile.ZIP_BZIP2)}
    server.url = f"http://127.0.0.1:{server.server_port}/"
    archives = dict(download.ARCHIVES)
    for name in ("metadata", "small"):
        sha1 = hashlib.sha1(server.files[f"fma_{name}.zip"]).hexdigest()
        archives[name] = (sha1, 1e-9 * len(server.files[f"fma_{name}.zip"]), 1e-4, archives[name][-1])
    monkeypatch.setattr(download, "ARCHIVES", archives)
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    monkeypatch.setattr(download, "PAUSE", 0)
    monkeypatch.setattr(download, "BLOCK", 8)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.stalled.set()
    server.shutdown()
    server.server_close()


def fetched(server, data_dir, size="metadata", more=""):
    call(download, f"--size {size} --data_dir {data_dir} --url {server.url} {more}")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(server, data_dir, match, size="metadata"):
    """The one sentence in which it ends; no folder of FMA is made."""
    with pytest.raises(utils.UserError, match=match) as error:
        fetched(server, data_dir, size)
    assert "\n" not in str(error.value)
    assert not (data_dir / f"fma_{size}").exists()
    assert not list(data_dir.glob(".*"))


# ------------------------------------------------------------------ the whole way


def test_the_sums_and_addresses_are_the_published_ones():
    assert {name: sha1 for name, (sha1, *_) in download.ARCHIVES.items()} == {
        "metadata": "f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
        "small": "ade154f733639d52e35e32f5593efe5be76c6d70",
        "medium": "c67b69ea232021025fca9231fc1c7c1a063ab50b",
    }
    assert download.URL == "https://os.unil.cloud.switch.ch/fma"


def test_one_command_brings_all_that_preprocessing_looks_for(server, tmp_path, run_script):
    command = f"--size small --data_dir {tmp_path}/data --url {server.url}"
    assert run_script(download, command) == f"{tmp_path}/data/fma_small"
    (track,) = fma.find(tmp_path / "data", "small").tracks
    assert track.source.read_bytes() == SOUND
    assert names_in(tmp_path / "data") == ["fma_metadata", "fma_small"]
    assert checksums.compare(tmp_path / "data" / "fma_small") == (1, [])
    asked = len(server.asked)
    run_script(download, command)
    assert len(server.asked) == asked == 2


def test_archives_are_kept_when_they_are_asked_for_or_were_there(server, tmp_path):
    fetched(server, tmp_path, more="--keep_archive")
    assert names_in(tmp_path) == ["fma_metadata", "fma_metadata.zip"]
    (tmp_path / "fma_metadata" / "tracks.csv").unlink()
    (tmp_path / "fma_metadata").rmdir()
    fetched(server, tmp_path)
    assert names_in(tmp_path) == ["fma_metadata", "fma_metadata.zip"]
    assert len(server.asked) == 1


def test_a_folder_that_is_not_fmas_is_left_alone(server, tmp_path):
    (tmp_path / "fma_metadata").mkdir()
    with pytest.raises(utils.UserError, match=r"fma_metadata is there, but without tracks\.csv"):
        fetched(server, tmp_path)
    assert not server.asked


def test_a_full_disk_is_told_before_anything_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setitem(download.ARCHIVES, "metadata", ("", 1e6, 2e6, "tracks.csv"))
    refused(server, tmp_path, r"FMA \(metadata\) needs 3,000,000\.0 GB of disk")
    assert not server.asked


# ------------------------------------------------------------------ a server that misbehaves


@pytest.mark.parametrize(
    ("plan", "ranges"),
    [
        (["drop"], [1]), (["drop"] * 2, [1, 2]), (["stall"], [1]), (["503", "drop", "500", "429"], [0, 1, 1, 1]),
        (["drop", "no ranges"], [1]), (["drop", "no ranges, drop"], [1, 1]),
    ],
)  # fmt: skip
def test_a_broken_connection_is_taken_up_again(server, tmp_path, plan, ranges):
    server.plan, third = list(plan), third_of(server.files["fma_metadata.zip"])
    fetched(server, tmp_path)
    assert (tmp_path / "fma_metadata" / "tracks.csv").read_bytes() == METADATA["fma_metadata/tracks.csv"]
    assert not server.gave_up  # before the client did
    assert [asked for _, asked in server.asked] == [None, *(f"bytes={n * third}-" if n else None for n in ranges)]


def test_it_gives_up_and_goes_on_next_time(server, tmp_path):
    server.plan = ["drop"] + ["503"] * download.TRIES
    refused(server, tmp_path, "cannot be fetched now .*is kept: run the same command again")
    assert names_in(tmp_path) == ["fma_metadata.zip.part"]
    server.asked.clear()
    fetched(server, tmp_path)
    assert server.asked == [("/fma_metadata.zip", f"bytes={third_of(server.files['fma_metadata.zip'])}-")]
    assert names_in(tmp_path) == ["fma_metadata"]


def test_a_server_that_is_not_there(server, tmp_path):
    server.url = "http://127.0.0.1:9/"
    refused(server, tmp_path, r"cannot be fetched now \(ConnectionError\)")


@pytest.mark.parametrize("status", ["404", "403"])
def test_what_the_server_does_not_give_is_not_asked_for_twice(server, tmp_path, status):
    server.plan = [status]
    refused(server, tmp_path, f"the server says {status} .*: check --url")
    assert len(server.asked) == 1


def test_an_address_that_is_none(server, tmp_path):
    server.url = "nowhere"
    refused(server, tmp_path, "check --url")


def test_a_wrong_sum_is_not_unpacked_and_not_kept(server, tmp_path):
    server.files["fma_metadata.zip"] = zipped({"fma_metadata/tracks.csv": b"another"})
    refused(server, tmp_path, "does not have the published SHA-1")
    assert names_in(tmp_path) == []
    (tmp_path / "fma_metadata.zip").write_bytes(b"the user's own")
    refused(server, tmp_path, r"fma_metadata\.zip .*remove it, and it will be fetched")
    assert names_in(tmp_path) == ["fma_metadata.zip"]


def test_an_end_too_early_that_the_server_does_not_tell_is_found_by_the_sum(server, tmp_path):
    server.plan = ["no length"]
    refused(server, tmp_path, "does not have the published SHA-1")
    fetched(server, tmp_path)


def test_what_a_killed_run_has_fetched_whole_is_not_fetched_again(server, tmp_path):
    content = server.files["fma_metadata.zip"]
    (tmp_path / "fma_metadata.zip.part").write_bytes(content)
    fetched(server, tmp_path)
    assert server.asked == [("/fma_metadata.zip", f"bytes={len(content)}-")]
    assert names_in(tmp_path) == ["fma_metadata"]


def test_a_killed_unpacking_is_done_again(server, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "rmtree", lambda *args, **options: None)  # as a kill leaves it
        patch.setattr(download.os, "replace", lambda a, b: stop() if b.name == "fma_metadata" else a.rename(b))
        with pytest.raises(KeyboardInterrupt):
            fetched(server, tmp_path)
    (tmp_path / ".fma_metadata.unpacking" / "fma_metadata" / "left").touch()
    assert names_in(tmp_path) == [".fma_metadata.unpacking", "fma_metadata.zip.fetched"]
    fetched(server, tmp_path)
    assert names_in(tmp_path) == ["fma_metadata"]
    assert names_in(tmp_path / "fma_metadata") == ["tracks.csv"]
    assert len(server.asked) == 1


@pytest.mark.parametrize("act", [act for act in ODD if "no ranges" in act])
def test_a_page_in_place_of_the_rest_does_not_replace_what_has_come(server, tmp_path, act):
    server.plan = ["drop", act]
    refused(server, tmp_path, "something else than the archive .* what has come is kept")
    third = third_of(server.files["fma_metadata.zip"])
    assert (tmp_path / "fma_metadata.zip.part").stat().st_size == third
    fetched(server, tmp_path)
    assert server.asked[-1] == ("/fma_metadata.zip", f"bytes={third}-")


def test_no_more_is_written_than_the_archive_has(server, tmp_path):
    server.plan = ["endless"]
    refused(server, tmp_path, r"is larger than FMA's \(0\.00 GB\), and is not kept")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("act", "match"),
    [("abc", "SHA-1"), ("compressed", "compressed once more"), ("416", "the server says 416 .*: check --url")],
)
def test_an_odd_answer_is_one_sentence(server, tmp_path, act, match):
    server.plan = [act]
    refused(server, tmp_path, match)


@pytest.mark.parametrize("error", [urllib3.exceptions.HTTPError, urllib3.exceptions.LocationParseError])
def test_what_requests_lets_through_is_one_sentence(server, tmp_path, monkeypatch, error):
    monkeypatch.setattr(download.requests, "get", mock.Mock(side_effect=error("x")))
    refused(server, tmp_path, rf"cannot be fetched \({error.__name__}\): check --url")


def test_what_was_damaged_since_it_came_is_not_unpacked(server, tmp_path):
    (tmp_path / "fma_metadata.zip.fetched").write_bytes(zipped({"fma_metadata/tracks.csv": b"another"}))
    refused(server, tmp_path, r"zip\.fetched .* does not have the published SHA-1 .* remove it")


# ------------------------------------------------------------------ unpacking


def unpacked(tmp_path, content):
    (tmp_path / "fma_small.zip").write_bytes(content)
    download.unpack(tmp_path / "fma_small.zip", tmp_path / "fma_small")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_compression_of_zipfile_is_read(tmp_path, method):
    unpacked(tmp_path, zipped(AUDIO, method))
    assert (tmp_path / "fma_small" / "000" / "000002.mp3").read_bytes() == SOUND
    assert names_in(tmp_path) == ["fma_small", "fma_small.zip"]


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name",
    [
        "../x", "fma_small/../../x", "fma_small/../x", "/tmp/x", "x", "fma_small/..\\x", "fma_metadata/x",
        link("fma_small/x"),
    ],
)  # fmt: skip
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    home = tmp_path / "data"
    home.mkdir()
    with pytest.raises(utils.UserError, match=r"x is no file in fma_small/; nothing is unpacked"):
        unpacked(home, zipped({**AUDIO, name: b"/etc/passwd"}))
    assert names_in(home) == ["fma_small.zip"]
    assert names_in(tmp_path) == ["data"]


WHOLE = zipped(AUDIO)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no zip", WHOLE[:-40], WHOLE[: len(WHOLE) // 2], WHOLE.replace(SOUND, SOUND[::-1]), zipped({}),
        WHOLE.replace(b"PK\1\2\x14\3\x14\0\0\0\0\0", b"PK\1\2\x14\3\x14\0\0\0\x09\0"),  # Deflate64
        *(bytes(255 - b if i == 200 else b for i, b in enumerate(zipped(AUDIO, m))) for m in (8, 12, 14)),
    ],
)  # fmt: skip
def test_a_damaged_archive_leaves_nothing(tmp_path, content):
    with pytest.raises(utils.UserError, match=r"fma_small\.zip is (damaged|not FMA's)"):
        unpacked(tmp_path, content)
    assert names_in(tmp_path) == ["fma_small.zip"]


def test_what_does_not_fit_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=len(SOUND)))
    with pytest.raises(utils.UserError, match="GB of disk"):
        unpacked(tmp_path, zipped(AUDIO, zipfile.ZIP_DEFLATED))
    assert names_in(tmp_path) == ["fma_small.zip"]


def test_no_more_is_written_than_an_archive_says_it_holds(tmp_path):
    bomb = zipped(AUDIO, zipfile.ZIP_DEFLATED).replace(len(SOUND).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    with pytest.raises(utils.UserError, match="is damaged"):
        unpacked(tmp_path, bomb)
    assert names_in(tmp_path) == ["fma_small.zip"]


# ------------------------------------------------------------------ the checksums of what is unpacked


def test_damaged_and_missing_files_are_told_in_the_order_of_the_list(tmp_path):
    lines = []
    for name in ("b.mp3", "a.mp3", "c d.mp3", "e.mp3"):
        (tmp_path / name).write_text(name)
        lines.append(f"{hashlib.sha1(name.encode()).hexdigest()}  {name}")
    (tmp_path / "checksums").write_text("\n".join(lines) + "\n")
    assert checksums.compare(tmp_path) == (4, [])
    (tmp_path / "a.mp3").unlink()
    (tmp_path / "c d.mp3").write_text("c d.mp4")
    (tmp_path / "e.mp3").unlink()
    (tmp_path / "e.mp3").mkdir()
    number, damaged = checksums.compare(tmp_path)
    assert number == 4
    assert [path for path, _ in damaged] == ["a.mp3", "c d.mp3", "e.mp3"]
    assert [reason.split(":")[0] for _, reason in damaged] == ["missing", "damaged", "unreadable"]


def test_paths_that_lead_out_of_the_folder_are_not_opened(tmp_path):
    (tmp_path / "fma").mkdir()
    (tmp_path / "outside").write_text("x")
    (tmp_path / "fma" / "link").symlink_to("../outside")
    paths = ["../outside", f"{tmp_path}/outside", "link"]
    sums = [f"{hashlib.sha1(b'x').hexdigest()}  {path}\n" for path in paths]
    (tmp_path / "fma" / "checksums").write_text("".join(sums))
    assert checksums.compare(tmp_path / "fma") == (3, [(path, "leads out of the folder") for path in paths])


def test_a_list_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "checksums")
    with pytest.raises(OSError, match="is not a file"):
        checksums.compare(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"no sum\n", b"\xff\xfe", b"0" * 40 + b"\n", b"0" * 40 + b"  a\0b\n"])
def test_a_list_that_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "checksums").write_bytes(content)
    with pytest.raises(utils.UserError, match="checksums"):
        checksums.compare(tmp_path)
