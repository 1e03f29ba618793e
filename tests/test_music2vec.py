"""music2vec embeddings, with a small random model of the same class, saved to disk and loaded as the real one is."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import predict
import preprocessing
import transfer
import utils
from data import extractors, music2vec
from data.logmel import AudioError
from data.settings import Embedding

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a Data2VecAudioModel of 3 layers, width 16, and the convolutions of music2vec-v1."""
    torch.manual_seed(0)
    config = transformers.Data2VecAudioConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=2, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    transformers.Data2VecAudioModel(config).save_pretrained(folder)
    return folder


def extractor_for(model, window_seconds=2.0, min_seconds=0.0):
    return extractors.build(music2vec.settings_of(str(model), window_seconds), min_seconds=min_seconds)


def noise(seconds, seed=0):
    samples = round(seconds * 16000)
    envelope = np.linspace(0.1, 1, samples)  # so that windows differ, also in level
    return (envelope * np.random.default_rng(seed).normal(0, 0.1, samples)).astype(np.float32)


@torch.no_grad()
def by_the_model(model, waveform):
    """The model's own hidden states of one normalised input, averaged over time, and how many frames there are."""
    network = transformers.Data2VecAudioModel.from_pretrained(model).eval()
    x = torch.from_numpy((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7))[None]
    states = network(x, output_hidden_states=True).hidden_states
    return torch.stack([state[0].mean(0) for state in states]).numpy(), states[0].shape[1]


def test_hidden_states_are_the_models_own(model):
    waveform = noise(1.5)
    ours = extractor_for(model).embed(waveform).cpu().numpy()
    expected, _ = by_the_model(model, waveform)
    assert ours.shape == (4, 16)  # what enters the first layer, and three layers
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert np.abs(ours[0] - ours[3]).max() > 0.01


def test_windows_are_as_if_each_ran_alone_weighted_by_length(model):
    """20 whole windows, in batches of 8, 8 and 4, and a shorter rest: no padding, no window sees another."""
    waveform = noise(20 * 0.5 + 0.3)
    ours = extractor_for(model, window_seconds=0.5).embed(waveform).cpu().numpy()
    alone = [by_the_model(model, waveform[begin : begin + 8000]) for begin in range(0, len(waveform), 8000)]
    expected = np.average([state for state, _ in alone], axis=0, weights=[frames for _, frames in alone])
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_batching_changes_nothing(model, monkeypatch):
    waveform = noise(4)
    together = extractor_for(model, window_seconds=0.5).embed(waveform)
    monkeypatch.setattr(music2vec, "WINDOWS_AT_ONCE", 1)
    torch.testing.assert_close(extractor_for(model, window_seconds=0.5).embed(waveform), together, atol=1e-4, rtol=0)


def test_a_rest_too_short_for_one_frame_is_left_out(model):
    extractor = extractor_for(model, window_seconds=0.5)
    assert music2vec.receptive_field(extractor.network.config) == 400
    waveform = noise(0.5 + 399 / 16000)
    torch.testing.assert_close(extractor.embed(waveform), extractor.embed(waveform[:8000]))
    with pytest.raises(AudioError, match="too short"):
        extractor.embed(waveform[:399])


def test_silence_in_the_middle_stays_finite(model):
    waveform = noise(2)
    waveform[8000:16000] = 0
    assert extractor_for(model, window_seconds=0.5).embed(waveform).isfinite().all()


def test_settings_name_the_model_and_the_shape(model):
    settings = extractor_for(model).settings
    assert settings == Embedding(
        "music2vec", num_layers=4, num_features=16,
        more={"model": str(model), "sample_rate": 16000, "window_seconds": 2.0},
    )  # fmt: skip
    with pytest.raises(utils.UserError, match="too short: give at least"):
        music2vec.settings_of(str(model), 0.05)


def test_the_models_own_normalisation_is_used(model, tmp_path):
    """A model that says do_normalize false gets the waveform as it is."""
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    waveform = noise(1) * 0.1
    assert (extractor_for(folder).embed(waveform) - extractor_for(model).embed(waveform)).abs().max() > 0.01


def test_bad_models_get_one_sentence(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    other = tmp_path / "other"
    transformers.Wav2Vec2Config(hidden_size=16, num_attention_heads=2).save_pretrained(other)
    lacking, empty = tmp_path / "lacking", tmp_path / "empty"
    shutil.copytree(model, lacking)
    deeper = json.loads((lacking / "config.json").read_text()) | {"num_hidden_layers": 4}
    (lacking / "config.json").write_text(json.dumps(deeper))
    shutil.copytree(model, empty, ignore=shutil.ignore_patterns("*.safetensors"))
    for name, message in (
        ("m-a-p/music2vec-v1", "without a network, download it elsewhere and give its folder"),
        (tmp_path / "nowhere", "is not a folder with a model in it"),
        (other, "is a wav2vec2 model"),
        (lacking, "lacks 16 weights"),
        (empty, "is not a folder with a model in it"),
    ):
        with pytest.raises(utils.UserError, match=message) as error:
            _ = extractor_for(name).network
        assert "\n" not in str(error.value)


def test_without_transformers_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    music2vec._transformers.cache_clear()
    with pytest.raises(utils.UserError, match=r"requirements-optional\.txt"):
        extractor_for(model)
    monkeypatch.undo()
    music2vec._transformers.cache_clear()


@pytest.fixture
def source(real_datasets, tmp_path):
    """Five real clips of each of two genres, and a broken one."""
    clips = real_datasets / "gtzan_audio"
    if not clips.is_dir():
        pytest.skip("no gtzan_audio here")
    for genre in ("classical", "metal"):
        (tmp_path / "music" / genre).mkdir(parents=True)
        for clip in sorted((clips / genre).glob("*.mp3"))[:5]:
            shutil.copy(clip, tmp_path / "music" / genre)
    (tmp_path / "music" / "metal" / "broken.mp3").write_text("no music")
    return tmp_path / "music"


@pytest.fixture
def command(source, model, tmp_path):
    return f"--dataset own --source {source} --data_dir {tmp_path}/data --features music2vec --model {model} " \
        "--window_seconds 5 --workers 2"  # fmt: skip


def test_real_clips_become_embeddings(model, source, command, run_script):
    """With a stop on the way, a broken file and a change of settings."""
    folder = Path(run_script(preprocessing, command))
    rows = list(csv.DictReader((folder / "tracks.csv").open()))
    assert len(rows) == 10
    assert "not audio" in (folder / "failed.csv").read_text()
    array = np.load(folder / rows[0]["path"], allow_pickle=False)
    assert (array.shape, array.dtype, rows[0]["frames"]) == ((4, 16), np.float32, "16")
    clip = next(source.glob(f"*/{rows[0]['track_id']}.mp3"))
    np.testing.assert_allclose(extractor_for(model, 5.0)(clip), array, atol=1e-4)

    made = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.npy")}
    (folder / rows[3]["path"]).unlink()
    run_script(preprocessing, command)
    again = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.npy")}
    assert [path for path in made if made[path] != again[path]] == [folder / rows[3]["path"]]
    with pytest.raises(utils.UserError, match=r"window_seconds 5\.0 → 3\.0"):
        run_script(preprocessing, command.replace("--window_seconds 5", "--window_seconds 3"))


def test_the_whole_path_on_real_clips(source, command, tmp_path, run_script, capsys):
    """audio → embeddings → classifier → audio."""
    run_script(preprocessing, command)
    file = run_script(transfer, f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --dataset own --batch_size 4 "
                                "--hidden 8 --num_epochs 3 --device cpu")  # fmt: skip
    result = json.loads(Path(file).read_text())
    assert (result["backbone"], result["layer"], result["num_layers"], result["n_test"]) == ("music2vec", "all", 4, 2)
    assert sum(result["layer_weights"]) == pytest.approx(1, abs=1e-5)

    row = next(csv.DictReader((Path(file).parent / "predictions.csv").open()))
    clip = next(source.glob(f"*/{row['track_id']}.mp3"))
    predict.main(predict.get_args_parser().parse_args(
        f"--exp_path {Path(file).parent.parent} --json --device cpu {clip}".split()
    ))  # fmt: skip
    answer = json.loads(capsys.readouterr().out)[0]
    for genre, probability in answer["genres"].items():
        assert probability == pytest.approx(float(row[f"p: {genre}"]), abs=1e-4)
