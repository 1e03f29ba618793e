"""benchmarks/memory.py: its made-up set is one that the scripts read, and it measures what it says."""

import os
import re
import sys

import pytest

import utils
from benchmarks import memory
from benchmarks.made_up import write_folder
from data.folder import open_folder, read_array


@pytest.fixture
def many(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "FILES", 8)
    memory.write_index(tmp_path / "data" / "many_npy", 200)
    memory.link_arrays(tmp_path / "data" / "many_npy", 200)
    return tmp_path


def test_the_set_is_of_few_files_under_many_names(many):
    folder = open_folder(many / "data", "many")
    files = [folder.file_of(row) for row in folder.tracks.itertuples()]
    assert len(set(files)) == 200
    assert len({os.stat(file).st_ino for file in files}) == 8
    for row in folder.tracks[::50].itertuples():
        assert read_array(folder, row).shape == memory.SHAPE


def test_training_is_cut_off_and_its_peak_is_told(many, monkeypatch, without_pictures, capsys):
    monkeypatch.setattr(memory, "STEPS", 1)
    monkeypatch.setattr(utils, "progress", utils.progress)  # what measure() changes is put back after the test
    monkeypatch.setattr(sys, "argv", [])
    found = memory.measure(f"{memory.TRAIN} --dataset many --data_dir {many}/data --exp_dir {many}/exp".split())
    assert 100 < found < 1e5
    (log,) = (many / "exp").glob("*/train_log.csv")
    assert len(log.read_text().splitlines()) == 2


def test_drawing_is_timed_without_an_array(tmp_path):
    memory.write_index(tmp_path / "million_npy", 300)
    assert re.match(r"300 tracks, opened in .* for each of its 4 steps: less than 1 %", memory.million(tmp_path))


def test_views_are_cut_from_memory_and_from_disk(tmp_path):
    folder = write_folder(tmp_path, bands=16, num_tracks=10, num_files=3)
    found = re.search(r"of 16 × .*: ([\d,]+) a second by --cache ram, ([\d,]+) by", memory.cutting(folder, 4, 2))
    assert all(int(rate.replace(",", "")) > 0 for rate in found.groups())


def test_what_lies_in_the_folder_it_works_in_stays(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.txt").write_text("years of work")
    seen = []
    monkeypatch.setattr(memory, "memory", lambda work, number: seen.append(work) or "table")
    memory.main(memory.get_args_parser().parse_args(["--out", str(tmp_path)]))
    assert [one.name for one in tmp_path.rglob("*")] == ["data", "own.txt"]
    assert seen[0].parent == tmp_path
