"""Experiment folders: what is written is what is read, and what is none of ours gets one sentence."""

import dataclasses
import json
import os
import shutil

import pandas as pd
import pytest
import torch

import utils
from data.crops import Normalisation
from data.settings import Embedding, Spectrogram
from training.experiment import Experiment, tidy


class Folder:
    """As much of a spectrogram folder as an experiment asks for."""

    def __init__(self, settings):
        self.settings, self.genres = settings, ["Folk", "Rock"]

    def split(self, name):
        return pd.DataFrame({"track_id": ["1", "2"], "frames": [80, 70]})


def new(tmp_path, settings=None, normalisation=None):
    flags = utils.Flags(method=None, backbone="resnet18", dataset="tiny", lr=0.0)
    return Experiment.new(flags, Folder(settings or Spectrogram(n_mels=32)), normalisation).made(tmp_path / "exp")


@pytest.mark.parametrize("settings", [
    Spectrogram(n_mels=32, dtype="uint8", more={"made": "by hand"}), Embedding(num_layers=3, num_features=5),
])  # fmt: skip
def test_what_is_written_is_what_is_read(tmp_path, settings):
    made = new(tmp_path, settings, Normalisation(-40.5, 12.25) if settings.kind == "spectrogram" else None)
    again = Experiment.read(made.folder)
    assert vars(again.flags) == vars(made.flags)
    assert (again.settings, again.normalisation, again.genres, again.versions, again.folder) == (
        made.settings, made.normalisation, made.genres, made.versions, made.folder,
    )  # fmt: skip


def test_an_experiment_is_made_once(tmp_path):
    made = new(tmp_path)
    assert made.made(tmp_path / "exp") is made
    assert list((tmp_path / "exp").iterdir()) == [made.folder]


def test_an_experiment_that_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(utils, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        new(tmp_path)
    assert not list((tmp_path / "exp").iterdir())


def test_empty_folders_of_experiments_are_removed_when_they_are_old(tmp_path):
    for name in ("100000", "200000", "300000", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "300000" / "mine.txt").touch()
    for name in ("200000", "300000", "notes"):
        os.utime(tmp_path / name, (0, 0))
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["100000", "300000", "notes"]


def test_it_is_opened_by_id_and_by_path(pretrained_once):
    _, exp_dir, folder = pretrained_once
    for name, where in ((folder.name, exp_dir), (str(folder), "nowhere")):
        assert Experiment.open(name, where).folder == folder
    with pytest.raises(utils.UserError, match=f"there are: {folder.name}"):
        Experiment.open("000000", exp_dir)


def test_older_configurations_say_less(tmp_path):
    made = new(tmp_path, normalisation=Normalisation(-40.5, 12.25))
    file = made.folder / "configuration.json"
    content = utils.read_json(file)
    del content["versions"], content["flags"]["method"]
    utils.write_json(file, content)
    again = Experiment.read(made.folder)
    assert (again.flags.method, again.flags.backbone, again.versions) == (None, "resnet18", {})


@pytest.mark.parametrize("change", [
    lambda content: content.pop("flags"), lambda content: content.pop("spectrogram"),
    lambda content: content.pop("genres"), lambda content: content.update(normalisation={"mean": 1}),
    lambda content: content.update(normalisation={"mean": "loud", "std": 1}),
    lambda content: content.update(flags=[1]), lambda content: content.update(spectrogram={"n_mels": 4}),
])  # fmt: skip
def test_what_is_no_configuration_gets_one_sentence(tmp_path, change):
    made = new(tmp_path)
    file = made.folder / "configuration.json"
    content = utils.read_json(file)
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(utils.UserError, match=r"configuration\.json") as error:
        Experiment.read(made.folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[]", "null", "{", "3"])
def test_other_json_is_none_either(tmp_path, text):
    (tmp_path / "configuration.json").write_text(text)
    with pytest.raises(utils.UserError, match=r"configuration\.json"):
        Experiment.read(tmp_path)


def test_the_pretrained_method_comes_with_its_weights(pretrained_once):
    experiment = Experiment.read(pretrained_once.experiment)
    weights = torch.load(experiment.folder / "pre.pth", weights_only=True)
    state = experiment.method().state_dict()
    assert set(state) == set(weights)
    assert all(torch.equal(state[name], weights[name]) for name in weights)


def test_a_log_that_is_no_file_is_not_waited_for(tmp_path):
    made = new(tmp_path)
    os.mkfifo(made.folder / "train_log.csv")
    made = dataclasses.replace(made, flags=made.flags.but(method="simsiam", num_epochs=3))
    assert made.epochs == (0, 3)


def test_without_pretraining_there_is_no_method(tmp_path):
    with pytest.raises(utils.UserError, match="no pre-trained network"):
        new(tmp_path).method()


def test_weights_that_do_not_fit_are_refused(pretrained):
    folder = pretrained.experiment
    weights = torch.load(folder / "pre.pth", weights_only=True)
    weights.popitem()
    torch.save(weights, folder / "pre.pth")
    with pytest.raises(utils.UserError, match="does not fit its configuration"):
        Experiment.read(folder).method()
    shutil.move(folder / "pre.pth", folder / "moved.pth")
    with pytest.raises(utils.UserError, match="does not exist"):
        Experiment.read(folder).method()
