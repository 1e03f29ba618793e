"""Networks that hear waveforms answer as predict.py does of the file."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch
from conftest import call

import predict
import transfer
import utils
from data.settings import Waveform
from evaluation import results
from training import waveform
from training.experiment import Experiment

pytestmark = pytest.mark.usefixtures("without_pictures")


def music(seconds, rate, seed=0):
    """(S,) float32: tones that come and go over noise, the way that music has loud and quiet moments."""
    chance, time = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    pitches, speeds = chance.uniform(60, 6000, 5), chance.uniform(1, 9, 5)
    tones = np.sin(2 * np.pi * pitches[:, None] * time) * np.sin(speeds[:, None] * time)
    return (0.1 * tones.sum(0) + chance.normal(0, 0.01, time.shape)).astype(np.float32)


@pytest.fixture
def answer(tmp_path, capsys):
    """What predict.py says of a waveform: probabilities in the order of ``genres``."""

    def ask(clip, rate, genres, experiment):
        soundfile.write(tmp_path / "clip.wav", clip, rate, subtype="FLOAT")
        capsys.readouterr()
        call(predict, f"--exp_path {experiment} --json --device cpu {tmp_path}/clip.wav")
        (said,) = json.loads(capsys.readouterr().out)
        return [said["genres"][genre] for genre in genres]

    return ask


def heard(experiment, clip):
    result = results.choose(experiment.folder, None)
    with torch.no_grad():
        features, probabilities = waveform.classifying(experiment, result)(torch.from_numpy(clip)[None])
    assert features.shape == (1, result.network["num_features"])
    return probabilities[0].tolist(), result.genres


@pytest.mark.parametrize("seconds", [5, 12.3, 30])
def test_the_shipped_model_answers_as_predict_does(seconds, answer):
    experiment = Experiment.open(str(utils.SHIPPED))
    clip = music(seconds, experiment.settings.sample_rate)
    said, genres = heard(experiment, clip)
    assert said == pytest.approx(answer(clip, experiment.settings.sample_rate, genres, utils.SHIPPED), abs=1e-5)


def test_crops_are_averaged_as_predict_does(pretrained, answer):
    call(transfer, pretrained.transfer("--dataset tiny --protocol mlp --hidden 8 --num_epochs 1 --num_crops 3"))
    experiment = Experiment.read(pretrained.experiment)
    for seconds in (1, 20):  # shorter than a crop, and longer than all three
        clip = music(seconds, 22050)
        said, genres = heard(experiment, clip)
        assert said == pytest.approx(answer(clip, 22050, genres, pretrained.experiment), abs=1e-5)


def test_the_pretrained_network_needs_no_classifier(pretrained_once):
    experiment = Experiment.read(pretrained_once.experiment)
    network = waveform.pretrained(experiment)
    clips = torch.from_numpy(np.stack([music(9, 22050), music(9, 22050, seed=1), np.zeros(9 * 22050, np.float32)]))
    with torch.no_grad():
        (features,) = network(clips)
        alone = torch.cat([network(clip[None])[0] for clip in clips])
    assert features.shape == (3, 512)
    assert features.isfinite().all()  # silence, too
    torch.testing.assert_close(features, alone)
    assert (features[0] - features[1]).abs().max() > 1e-3


def test_only_networks_on_log_mels_hear_waveforms(pretrained_once):
    experiment = dataclasses.replace(Experiment.read(pretrained_once.experiment), settings=Waveform())
    with pytest.raises(utils.UserError, match="on 'waveform' arrays"):
        waveform.pretrained(experiment)
