"""training.heard: the features and predictions of a whole collection are those of transfer.py and predict.py."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from conftest import call

import train_simsiam
import transfer
from data import crops, logmel
from data.folder import open_folder
from data.settings import read_settings
from evaluation import results
from training.experiment import Experiment
from training.heard import Ear, best_linear

CPU = torch.device("cpu")


@pytest.fixture
def ear_of(pretrained, without_pictures):
    folder = open_folder(pretrained.data_dir, "tiny")
    return lambda: Ear.of(Experiment.open(str(pretrained.experiment)), folder, CPU)


def hear(ear, pretrained):
    folder = open_folder(pretrained.data_dir, "tiny")
    return ear.hear(crops.load(folder, folder.tracks, CPU)), folder


def test_without_a_classifier_there_are_features_only(pretrained, ear_of):
    ear = ear_of()
    (features, says), folder = hear(ear, pretrained)
    assert ear.result is says is None
    assert features.shape == (len(folder.tracks), ear.backbone.num_features)


def test_what_it_says_of_test_tracks_is_what_transfer_wrote(pretrained, ear_of):
    call(transfer, pretrained.transfer("--protocol linear"))
    ear = ear_of()
    (_, says), folder = hear(ear, pretrained)
    expected = results.read(pretrained.experiment / "tiny_linear")
    assert ear.result.name == expected.name
    test = folder.tracks["split"] == "test"
    assert list(folder.tracks["track_id"][test]) == list(expected.predictions.index)
    np.testing.assert_allclose(says[test], expected.probabilities, atol=2e-6)


def test_it_computes_as_the_classifier_did(pretrained, without_pictures, tmp_path):
    """conv8 has no bfloat16 on a CPU; the frame encoder has, and answers otherwise in it."""
    network = "--dataset tiny --backbone frames --dim 32 --pred_dim 8 --batch_size 8 --num_epochs 1"
    call(train_simsiam, f"{pretrained.where} {network} --exp_dir {tmp_path}/frames")
    (folder,) = (tmp_path / "frames").iterdir()
    where = f"--data_dir {pretrained.data_dir} --exp_dir {tmp_path}/frames --exp_path {folder.name} --device cpu"
    call(transfer, f"{where} --protocol linear --bf16")
    ear = Ear.of(Experiment.open(str(folder)), open_folder(pretrained.data_dir, "tiny"), CPU)
    (_, says), tiny = hear(ear, pretrained)
    assert ear.cut.bf16
    wrote = ear.result.probabilities
    np.testing.assert_allclose(says[tiny.tracks["split"] == "test"], wrote, atol=1e-4)
    plain = dataclasses.replace(ear, cut=dataclasses.replace(ear.cut, bf16=False))
    assert abs(hear(plain, pretrained)[0][1][tiny.tracks["split"] == "test"] - wrote).max() > 1e-4


def test_only_a_linear_probe_on_the_own_network_and_dataset_speaks(pretrained, without_pictures):
    call(transfer, pretrained.transfer("--protocol linear --baseline stats"))
    call(transfer, pretrained.transfer("--protocol linear --layer stats"))
    call(transfer, pretrained.transfer("--protocol mlp --hidden 8 --num_epochs 1"))
    experiment = Experiment.open(str(pretrained.experiment))
    assert best_linear(experiment, "tiny") is None
    call(transfer, pretrained.transfer("--protocol linear"))
    assert best_linear(experiment, "tiny").protocol == "linear"
    assert best_linear(experiment, "other") is None


def test_a_file_is_heard_as_the_track_made_of_it(pretrained, ear_of, tmp_path):
    """The array of a file, put in the place of a track, has the features of the file."""
    chance = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * chance.normal(size=8 * 22050), 22050)
    settings = read_settings(pretrained.data_dir / "tiny_npy" / "spectrogram.json")
    array = logmel.encode(logmel.log_mel(logmel.read_audio(tmp_path / "a.wav", 22050), settings), settings)
    folder = open_folder(pretrained.data_dir, "tiny")
    row = folder.tracks.iloc[[0]].assign(frames=array.shape[1])
    np.save(folder.path / row["path"].iloc[0], array)
    ear = ear_of()
    features, _ = ear.hear(crops.load(folder, row, CPU))
    np.testing.assert_allclose(ear.hear_file(tmp_path / "a.wav"), features[0], rtol=1e-4, atol=1e-5)
