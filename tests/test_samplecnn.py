"""SampleCNN and waveforms: the shape of the paper's network, what is stored, and the whole way."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import preprocessing
import train_simsiam
import transfer
import utils
from data import crops as crops_of
from data import extractors, logmel
from data.folder import open_folder
from data.settings import Waveform
from models import backbones, samplecnn

CPU = torch.device("cpu")


def test_it_is_the_papers_network():
    network = samplecnn.SampleCNN().eval()
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv1d)]
    assert [c.out_channels for c in convolutions] == [128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512]
    assert [c.kernel_size[0] for c in convolutions] == [3] * 10 + [1]
    x = torch.randn(1, 1, 1, 59049)
    with torch.no_grad():
        assert network(x).shape == (1, 512)
        assert network.stem(x.flatten(1, 2)).shape == (1, 128, 19683)
        assert network.layers(network.stem(x.flatten(1, 2))).shape == (1, 512, 1)
    assert network.num_features == 512
    with pytest.raises(utils.UserError, match="59049 samples, not 1000"):
        network(torch.randn(1, 1, 1, 1000))


def test_it_learns_a_toy_task():
    """Low against high tones, of random phase."""
    torch.manual_seed(0)
    time = torch.arange(59049) / 22050
    pitch = torch.tensor([200.0, 3000.0]).repeat(3)[:, None]
    y = torch.tensor([0, 1]).repeat(3)
    network = torch.nn.Sequential(samplecnn.SampleCNN(width=1 / 16), torch.nn.Linear(32, 2))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(15):
        x = torch.sin(2 * torch.pi * (pitch * time + torch.rand(6, 1)))[:, None, None]
        loss = torch.nn.functional.cross_entropy(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3


# ------------------------------------------------------------------ waveforms


@pytest.fixture
def music(tmp_path):
    """Ten clips of 3 s in each of two genres, low tones and high ones."""
    chance = np.random.default_rng(0)
    for number in range(20):
        path = tmp_path / "music" / ("low", "high")[number % 2] / f"clip{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(3 * 22050) * (0.05, 0.6)[number % 2] * chance.uniform(0.9, 1.1)) * 0.4
        soundfile.write(path, tone + chance.normal(0, 0.01, tone.shape), 22050)
    return tmp_path / "music"


@pytest.fixture
def waveforms(music, tmp_path, run_script):
    command = f"--dataset tones --source {music} --data_dir {tmp_path}/data --features waveform --min_seconds 1"
    return Path(run_script(preprocessing, f"{command} --workers 1"))


def test_waveforms_come_back_as_they_were(waveforms, music):
    rows = list(csv.DictReader((waveforms / "tracks.csv").open()))
    assert len(rows) == 20
    settings = json.loads((waveforms / "spectrogram.json").read_text())
    assert (settings["features"], settings["dtype"], settings["sample_rate"]) == ("waveform", "int16", 22050)
    stored = np.load(waveforms / rows[0]["path"], allow_pickle=False)
    assert stored.dtype == np.int16
    assert stored.shape == (1, int(rows[0]["frames"])) == (1, 3 * 22050)
    waveform = logmel.read_audio(music / rows[0]["genre_top"] / f"{rows[0]['track_id']}.wav", 22050)
    np.testing.assert_allclose(stored[0] / 32768, waveform, atol=1 / 32768)
    folder = open_folder(waveforms.parent, "tones")
    assert folder.settings == Waveform()
    assert folder.settings.frames_in(folder.settings.default_crop_seconds()) == 59049
    for cache in ("ram", "disk"):
        crops = crops_of.load(folder, folder.split("training"), CPU, cache=cache)
        x = crops.crop(torch.tensor([0]), torch.tensor([100]), 59049)
        assert x.shape == (1, 1, 1, 59049)
        np.testing.assert_allclose(x[0, 0, 0], waveform_of(folder, 0)[100 : 100 + 59049], atol=1e-6)
        assert abs(crops_of.measure_normalisation(crops).std - 0.28) < 0.03  # of a sine of 0.4


def waveform_of(folder, number):
    return np.load(folder.path / folder.split("training")["path"][number])[0] / 32768


def test_check_is_for_spectrograms(waveforms, run_script):
    with pytest.raises(utils.UserError, match="holds waveforms, not spectrograms"):
        run_script(preprocessing, f"--dataset tones --data_dir {waveforms.parent} --check")


def test_loud_samples_do_not_wrap(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.tile([1.0, -1.0, 1.5, -1.5], 8000), 22050, subtype="FLOAT")
    array = extractors.build(Waveform())(tmp_path / "loud.wav")
    assert (array.min(), array.max()) == (-32768, 32767)
    assert (array[0, ::2] == 32767).all()


@pytest.mark.usefixtures("without_pictures")
def test_scratch_without_an_experiment(waveforms, tmp_path, run_script, monkeypatch):
    monkeypatch.setattr(backbones, "SampleCNN", lambda: samplecnn.SampleCNN(width=1 / 16))
    common = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --dataset tones --device cpu --batch_size 4"
    command = f"{common} --protocol scratch --backbone samplecnn --num_crops 2 --num_epochs 1"
    file = Path(run_script(transfer, command))
    result = utils.read_json(file)
    assert (result["backbone"], result["n_test"], result["num_crops"]) == ("samplecnn", 2, 2)
    assert result["crop_seconds"] == pytest.approx(59049 / 22050)
    with pytest.raises(utils.UserError, match="resnet18 takes spectrograms, this dataset holds waveforms"):
        run_script(transfer, command.replace("samplecnn", "resnet18"))
    with pytest.raises(utils.UserError, match="resnet50 takes spectrograms, this dataset holds waveforms"):
        run_script(train_simsiam, f"{common} --backbone resnet50")


def test_samplecnn_wants_waveforms(tiny_folder, tmp_path, run_script):
    common = f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --dataset tiny --device cpu"
    with pytest.raises(utils.UserError, match=r"samplecnn takes waveforms.*--features waveform"):
        run_script(transfer, f"{common} --protocol scratch --backbone samplecnn")
