"""A worker process of preprocessing.py that dies, as one does where memory runs out."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

import preprocessing
import utils
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


def test_the_death_of_a_worker_is_one_sentence_and_what_is_made_is_kept(tmp_path, monkeypatch, capsys):
    splits = ["training"] * 8 + ["validation", "test"]
    tracks = [Track(f"t{n}", "fatal" if n == 9 else f"t{n}", f"a/{n}.npy", "rock", split)
              for n, split in enumerate(splits)]  # fmt: skip
    (tmp_path / "deadly").touch()
    source = "own", Collection(tracks), Dying(tmp_path / "deadly")
    monkeypatch.setattr(preprocessing, "open_source", lambda args: source)
    parser = SimpleNamespace(parse_args=lambda argv: preprocessing.get_args_parser().parse_args(argv))
    command = ["--data_dir", str(tmp_path), "--workers", "1"]
    made = tmp_path / "own_npy"

    with pytest.raises(SystemExit) as exit_info:
        utils.run(preprocessing.main, parser, [*command[:-1], "2"])
    assert exit_info.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: a worker process died (out of memory?)")
    assert not any("Traceback" in line for line in said)
    assert not (made / "tracks.csv").exists()
    assert not list(made.rglob("*.tmp*"))
    before = {path: path.stat().st_mtime_ns for path in made.glob("a/*.npy")}

    (tmp_path / "deadly").unlink()
    utils.run(preprocessing.main, parser, command)
    assert len((made / "tracks.csv").read_text().splitlines()) == 11
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
