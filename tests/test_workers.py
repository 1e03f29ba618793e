"""A worker process of preprocessing.py that dies, as one does where memory runs out."""

import multiprocessing
import os
import signal
import sys

import numpy as np

import preprocessing
from data import workers
from data.collection import Collection, Extractor, Track
from data.settings import Embedding


class Dying(Extractor):
    """A vector of ones; the process that is given ``fatal`` while the file ``deadly`` exists is killed."""

    def __init__(self, deadly):
        super().__init__(Embedding(num_layers=1, num_features=3))
        self.deadly = deadly

    def __call__(self, source):
        if source == "fatal" and self.deadly.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return np.ones((1, 3), np.float32)


def test_the_track_of_which_a_worker_dies_is_named_and_the_others_are_made(tmp_path, monkeypatch, capsys):
    splits = ["training"] * 8 + ["validation", "test"]
    tracks = [Track(f"t{n}", "fatal" if n == 3 else f"t{n}", f"a/{n}.npy", "rock", split)
              for n, split in enumerate(splits)]  # fmt: skip
    (tmp_path / "deadly").touch()
    source = "own", Collection(tracks), Dying(tmp_path / "deadly")
    fork = multiprocessing.get_context("fork")  # does not import anything again
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: fork)
    monkeypatch.setattr(preprocessing, "open_source", lambda args: source)
    parser = preprocessing.get_args_parser()
    made = tmp_path / "own_npy"

    preprocessing.main(parser.parse_args(["--data_dir", str(tmp_path), "--workers", "2"]))
    said = capsys.readouterr().out
    assert "a worker process died (out of memory?)" in said
    assert "t3: the process that converted it died, twice (out of memory?)" in said
    assert len((made / "tracks.csv").read_text().splitlines()) == 10
    assert not list(made.rglob("*.tmp*"))
    before = {path: path.stat().st_mtime_ns for path in made.glob("a/*.npy")}

    (tmp_path / "deadly").unlink()
    preprocessing.main(parser.parse_args(["--data_dir", str(tmp_path), "--workers", "1"]))
    assert len((made / "tracks.csv").read_text().splitlines()) == 11
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_what_libraries_write_is_not_seen_and_errors_are(capfd, monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    before = os.dup(2)
    try:
        workers.quiet_libraries()
        os.write(2, b"[src/libmpg123] a note\n")
        print("an error of ours", file=sys.stderr)
        sys.stderr.close()
    finally:
        os.dup2(before, 2)
        os.close(before)
    assert capfd.readouterr().err == "an error of ours\n"
