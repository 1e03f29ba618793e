"""export.py: the files answer as the network they are made of, for clips of any number and length."""

import numpy as np
import pytest
import torch
from conftest import call

import export
import utils
from data.crops import Normalisation
from data.settings import Spectrogram
from models import backbones
from training.experiment import Experiment
from training.waveform import FromWaveform

RATE = 16000
# How far a feature and a probability may be apart: the last digit of a power may round one level of the spectrogram
# (0.3 dB) up or down, which moves a few features, and no probability that anybody would notice.
MOST = (0.02, 1e-4)

pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable")


@pytest.fixture
def onnxruntime():
    pytest.importorskip("onnx", reason="needs requirements-optional.txt")
    pytest.importorskip("onnxscript", reason="needs requirements-optional.txt")
    return pytest.importorskip("onnxruntime", reason="needs requirements-optional.txt")


def clips(number, seconds, rate):
    """(B, S) float32: a tone that rises, over noise that swells."""
    chance, time = np.random.default_rng(number), np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (100 + 90 * time) * time)
    noise = chance.normal(0, 0.1, (number, len(time))) * np.linspace(0.1, 1, len(time))
    return (0.3 * tone + noise).astype(np.float32)


def compare(network, folder, onnxruntime, rate, lengths):
    """What both files say of clips of several lengths is what ``network`` says."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    module = torch.export.load(folder / "model.pt2").module()
    for number, seconds in lengths:
        audio = clips(number, seconds, rate)
        with torch.no_grad():
            ours, torchs = network(torch.from_numpy(audio)), module(torch.from_numpy(audio))
        theirs = session.run(None, {"waveform": audio})
        assert len(ours) == len(torchs) == len(theirs)
        for own, other, another, most in zip(ours, torchs, theirs, MOST[: len(ours)], strict=True):
            for answer in (other.numpy(), another):
                apart = np.abs(answer - own.numpy())
                assert (apart < 1e-3).mean() > 0.99
                assert apart.max() < most


def test_the_shipped_model_is_the_same_everywhere(tmp_path, onnxruntime, run_script):
    facts = utils.read_json(run_script(export, f"--out {tmp_path}/out"))
    _, network = export.choose(Experiment.open(str(utils.SHIPPED)), None)
    lengths = [(3, 5), (1, 12.3), (2, 30), (1, facts["least_samples"] / facts["sample_rate"])]
    compare(network, tmp_path / "out", onnxruntime, facts["sample_rate"], lengths)
    assert facts["outputs"]["features"]["shape"] == ["batch", 3584]
    assert len(facts["outputs"]["probabilities"]["genres"]) == 8
    assert "Hip-Hop" in (tmp_path / "out" / "README.md").read_text()
    assert {file.name for file in tmp_path.iterdir()} == {"out"}  # nothing unfinished is left


@pytest.mark.parametrize(("name", "dtype", "normalisation"), [
    ("resnet18", "float16", Normalisation(-40.0, 15.0)),
    ("conv8", "uint8", Normalisation((-40.0,) * 32, (15.0,) * 32)),
])  # fmt: skip
def test_networks_of_crops_are_the_same_everywhere(tmp_path, onnxruntime, name, dtype, normalisation):
    torch.manual_seed(0)
    settings = Spectrogram(sample_rate=RATE, n_fft=512, hop_length=256, n_mels=32, f_max=RATE / 2, dtype=dtype)
    experiment = Experiment(tmp_path, utils.Flags(), settings, normalisation, [], {})
    backbone = backbones.build(name, 32).eval()
    network = FromWaveform(experiment, backbone, num_frames=96, num_crops=3).eval()
    export.write(network, export.describe(experiment, None, network), tmp_path)
    compare(network, tmp_path, onnxruntime, RATE, [(1, 0.5), (2, 3.3), (1, 7)])


def test_an_experiment_without_a_classifier_gives_its_features(pretrained_once):
    experiment = Experiment.read(pretrained_once.experiment)
    result, network = export.choose(experiment, None)
    facts = export.describe(experiment, result, network)
    assert list(facts["outputs"]) == ["features"]
    assert facts["num_crops"] == 5
    assert "features, = network.run" in export.readme(facts)


def test_nothing_is_overwritten_and_nothing_is_guessed(tmp_path, pretrained_once, monkeypatch):
    monkeypatch.setattr(export, "PACKAGES", ())
    where = f"--exp_path {pretrained_once.experiment} --out {tmp_path}"
    with pytest.raises(utils.UserError, match="is there already"):
        call(export, where)
    with pytest.raises(utils.UserError, match="no classifier yet"):
        call(export, f"{where}/new --transfer linear")
    monkeypatch.setattr(export, "PACKAGES", ("onnx_of_nobody",))
    with pytest.raises(utils.UserError, match=r"onnx_of_nobody missing: pip install -r requirements-optional\.txt"):
        call(export, where)
