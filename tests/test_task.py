"""The splits that a classifier is trained and judged on, and the subsets of their labels."""

import itertools

import pytest
import torch
from conftest import write_folder

import utils
from data.folder import open_folder
from training.task import Task

CPU = torch.device("cpu")


def ids(crops):
    return crops.rows["track_id"].tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return open_folder(write_folder(tmp_path_factory.mktemp("task"), "tiny", counts=(9, 3, 2)), "tiny")


def test_training_and_validation_change_places(folder):
    there, back = Task(folder, CPU), Task(folder, CPU, train_split="validation")
    assert ids(there.train) == ids(back.validation)
    assert ids(there.validation) == ids(back.train)
    assert ids(there.test) == ids(back.test) == folder.split("test")["track_id"].tolist()
    for task in (there, back):
        for labels, part in zip(task.labels, (task.train, task.validation, task.test), strict=True):
            assert [task.genres[label] for label in labels] == part.rows["genre_top"].tolist()


def test_testing_on_validation_holds_it_once(folder):
    task = Task(folder, CPU, test_split="validation")
    assert task.test is task.validation
    assert torch.equal(task.labels[2], task.labels[1])


def test_what_is_trained_on_is_not_tested_on(folder):
    with pytest.raises(utils.UserError, match="would test on the tracks that it trains on"):
        Task(folder, CPU, train_split="validation", test_split="validation")


def test_one_genre_is_no_task(tmp_path):
    data_dir = write_folder(tmp_path, "tiny")
    file = data_dir / "tiny_npy" / "tracks.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *(line for line in lines if "Folk" in line)]) + "\n")
    with pytest.raises(utils.UserError, match="only 'Folk'"):
        Task(open_folder(data_dir, "tiny"), CPU)


def test_a_track_that_is_named_twice_is_refused_before_anything_is_trained(tmp_path):
    data_dir = write_folder(tmp_path, "tiny")
    file = data_dir / "tiny_npy" / "tracks.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[-1] + "\n")
    with pytest.raises(utils.UserError, match=r"tracks.csv names '0000.*' more than once"):
        Task(open_folder(data_dir, "tiny"), CPU)


def test_subsets_are_stratified_and_nested(folder):
    task = Task(folder, CPU)
    small = {}
    for seed in (0, 1):
        subsets = [set(task.subset(size, seed).tolist()) for size in (3, 7, 16, 27)]
        assert [len(subset) for subset in subsets] == [3, 7, 16, 27]
        for lesser, larger in itertools.pairwise(subsets):
            assert lesser < larger
        for subset in subsets:
            counts = torch.bincount(task.labels[0][sorted(subset)], minlength=3)
            assert counts.max() - counts.min() <= 1
        small[seed] = subsets[1]
    assert small[0] != small[1]


def test_a_share_of_the_labels_is_at_least_one_of_each_genre(folder):
    task = Task(folder, CPU)
    assert len(task.labelled(1.0, 0)) == 27
    assert len(task.labelled(0.5, 0)) == 14
    assert sorted(task.labels[0][task.labelled(0.01, 0)].tolist()) == [0, 1, 2]
