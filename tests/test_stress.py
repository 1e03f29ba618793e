"""A short stress test, and that the long one would find what it looks for."""

import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

import utils
from benchmarks import stress
from data import synthetic

PREPROCESSING = stress.JOBS[0]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    synthetic.write_corpus(folder / "data", num_tracks=24, seconds=1)
    return folder


@pytest.fixture
def job(corpus, tmp_path):
    """Preprocessing, with what it begins with and what an uninterrupted run leaves: (folder, seconds, writes)."""
    return stress.uninterrupted(PREPROCESSING, tmp_path / "job", corpus)


@pytest.fixture
def made(corpus, tmp_path):
    """Spectrograms, and a few kinds of files with what reads them."""
    shutil.copytree(corpus, tmp_path / "files")
    stress.run_to_end(stress.ALONE, tmp_path / "files")
    array = min(tmp_path.glob("files/data/*_npy/*/*.npy")).relative_to(tmp_path / "files")
    kinds = {kind.name: kind for kind in stress.kinds_of("none", str(array))}
    check, again = kinds["tracks.csv"].commands
    readers = {"npy": check, "tracks.csv": check, "spectrogram.json": check, "made_from.csv": again}
    return tmp_path / "files", [kinds[name]._replace(commands=(reader,)) for name, reader in readers.items()]


def test_what_is_killed_or_finds_the_disk_full_goes_on_to_the_same_end(job):
    folder, seconds, writes = job
    assert writes > 24
    bar, chance = mock.Mock(), np.random.default_rng(0)
    rows = [stress.kill(PREPROCESSING, folder, seconds, 2, chance, bar)]
    rows.append(stress.fill(PREPROCESSING, folder, writes, 2, bar))
    assert [(row.count, row.faults, row.lost) for row in rows] == [(2, [], 0)] * 2
    assert {len(line.split("|")) for line in stress.table(rows).splitlines()} == {8}


def test_a_script_that_leaves_half_a_file_is_found(job, monkeypatch):
    @contextlib.contextmanager
    def in_place(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        yield Path(path)

    monkeypatch.setattr(utils, "atomic_path", in_place)
    (fault,) = stress.fill(PREPROCESSING, job[0], 20, 1, mock.Mock()).faults or [""]
    assert "is broken" in fault


def test_an_end_that_is_another_is_found(job):
    folder = job[0]
    shutil.rmtree(folder / "work", ignore_errors=True)
    shutil.copytree(folder / "after", folder / "work")
    assert not stress.differences(folder / "work", folder / "after")
    tracks = folder / "work" / "data" / "fma_small_npy" / "tracks.csv"
    tracks.write_text(tracks.read_text().replace("training", "test", 1))
    (tracks.parent / "more.csv").touch()
    size = (folder / "after" / "data" / "fma_small_npy" / "tracks.csv").stat().st_size
    found = stress.differences(folder / "work", folder / "after")
    assert found == {"data/fma_small_npy/tracks.csv": size, "data/fma_small_npy/more.csv": 0}


def test_damaged_files_are_one_sentence_or_an_answer(made):
    folder, kinds = made
    for number, kind in enumerate(kinds):
        row = stress.damage(kind, folder, [[0, number, case] for case in range(10)], mock.Mock())
        assert not row.faults
        assert row.memory < stress.MEMORY


def test_a_reader_that_fails_or_hangs_is_found(made, monkeypatch):
    folder, (_, tracks, *_) = made
    monkeypatch.setattr(stress, "SECONDS", 1)
    slow = tracks._replace(damage=lambda content, chance: time.sleep(60))
    (fault,) = stress.damage(slow, folder, [[0, 0, 0]], mock.Mock()).faults
    assert "ended with -14" in fault
    monkeypatch.setattr(utils, "check_file", mock.Mock(side_effect=[*[None] * 50, KeyError("x")]))
    row = stress.damage(tracks, folder, [[0, 1, case] for case in range(20)], mock.Mock())
    assert any("KeyError" in fault or "StopIteration" in fault for fault in row.faults)


def test_a_folder_of_something_else_is_not_emptied(tmp_path):
    (tmp_path / "files").mkdir()
    with pytest.raises(utils.UserError, match="holds something else"):
        stress.make_room(tmp_path)
    (tmp_path / "stress.md").touch()
    stress.make_room(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["stress.md"]


def test_which_answers_are_wrong():
    right = (0, "Rock 90%", "")
    assert stress.what_is_wrong(right, right, "other") is None
    assert stress.what_is_wrong((0, "Rock 10%", ""), right, "none") is None
    assert stress.what_is_wrong((2, "", "error: x is damaged\n"), right, "any") is None
    for found, wrong in (
        ((0, "Rock 10%", ""), "other"), (right, "any"), (("ValueError: x", "", ""), "none"), ((1, "", ""), "none"),
        ((2, "", "error: a\nb\n"), "none"), ((2, "", "error: out of memory\n"), "none"),
    ):  # fmt: skip
        assert stress.what_is_wrong(found, right, wrong), found


def test_one_bit_of_one_weight(tmp_path):
    state = {"a": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last), "b": torch.ones(5)}
    utils.save_weights(tmp_path / "a.pth", state)
    for seed in range(10):
        changed = stress.reweighted((tmp_path / "a.pth").read_bytes(), np.random.default_rng(seed))
        (tmp_path / "b.pth").write_bytes(changed)
        found = utils.load_weights(tmp_path / "b.pth")
        assert sum((found[name] != state[name]).sum().item() for name in state) == 1


def test_processes_of_a_group_are_seen():
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.setsid()
        os.write(writing, b".")
        time.sleep(60)
        os._exit(0)
    os.read(reading, 1)
    assert stress.members(process) == [str(process)]
    assert stress.end_of(process, 0.05) is None  # and it is ended
    os.waitpid(process, 0)
    assert stress.members(process) == []


def test_mutations_are_repeated_by_their_seed():
    content = json.dumps({"a": [1, {"b": "c"}], "d": 2.5}).encode()
    one, two = ([stress.mutated(content, np.random.default_rng(seed)) for seed in range(40)] for _ in range(2))
    assert one == two
    assert len(set(one)) > 30
    assert sum(changed.startswith(b"{") and changed.endswith(b"}") for changed in one) > 10
