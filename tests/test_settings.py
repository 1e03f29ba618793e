"""The three kinds of settings: to JSON and back, how they differ, what they refuse, and what depends on the kind."""

import dataclasses
import json

import pytest
import torch

import utils
from data import settings
from data.settings import Embedding, Spectrogram, Waveform, read_settings, settings_of

SPECTROGRAM = {
    "features": "logmel", "dtype": "uint8", "db_min": -80.0, "db_max": 0.0, "reference": "clip maximum",
    "n_mels": 128, "sample_rate": 22050, "n_fft": 2048, "hop_length": 1710, "f_min": 0.0, "f_max": 11025.0,
    "mel_scale": "slaney",
}  # fmt: skip
WAVEFORM = {"features": "waveform", "sample_rate": 16000, "hop_length": 1, "n_mels": 1, "dtype": "int16"}
EMBEDDING = {
    "features": "music2vec", "model": "m", "sample_rate": 16000, "window_seconds": 30.0, "num_layers": 13,
    "num_features": 768, "dtype": "float32",
}  # fmt: skip
CONTENTS = [(SPECTROGRAM, Spectrogram), (WAVEFORM, Waveform), (EMBEDDING, Embedding)]


@pytest.mark.parametrize(("content", "kind"), CONTENTS)
@pytest.mark.parametrize("more", [{}, {"by": "other hands", "nested": {"a": [1]}}])
def test_json_comes_back_as_it_was(content, kind, more, tmp_path):
    there = settings_of(content | more)
    assert type(there) is kind
    assert there.to_json() == content | more
    assert settings_of(there.to_json()) == there
    utils.write_json(tmp_path / "spectrogram.json", there.to_json())
    assert read_settings(tmp_path / "spectrogram.json") == there
    there.to_json()["by"] = "nobody"
    assert there.to_json() == content | more


@pytest.mark.parametrize("made", [Spectrogram(), Waveform(), Embedding()])
def test_defaults_come_back_from_json_too(made):
    assert settings_of(json.loads(json.dumps(made.to_json()))) == made


def test_the_kinds_are_told_apart_by_what_they_hold():
    assert [settings_of(content).kind for content, _ in CONTENTS] == ["spectrogram", "waveform", "embedding"]
    assert settings_of(SPECTROGRAM | {"features": "arena"}).kind == "spectrogram"
    assert settings_of(EMBEDDING | {"features": "waveform"}).kind == "embedding"


@pytest.mark.parametrize(("content", "kind"), CONTENTS)
def test_settings_cannot_be_changed(content, kind):
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings_of(content).dtype = "float16"


def test_differences_are_named_from_one_to_the_other():
    here, there = settings_of(SPECTROGRAM), settings_of(SPECTROGRAM | {"hop_length": 512, "db_min": -60})
    assert here.differences(here) == []
    assert here.differences(there) == ["hop_length 1710 → 512", "db_min -80.0 → -60"]
    assert here.differences(there, apart_from=here.storage) == ["hop_length 1710 → 512"]
    assert here.differences(settings_of(WAVEFORM)) == ["spectrogram → waveform"]
    other = settings_of(EMBEDDING | {"model": "n", "seed": 1})
    assert settings_of(EMBEDDING).differences(other) == ["model m → n", "seed None → 1"]
    assert other.differences(settings_of(EMBEDDING)) == ["model n → m", "seed 1 → None"]
    without = settings_of({name: SPECTROGRAM[name] for name in SPECTROGRAM if name != "reference"})
    assert without.differences(here) == ["reference None → clip maximum"]


def test_where_and_how_values_are_stored_is_no_difference_to_a_network():
    here = settings_of(SPECTROGRAM)
    there = settings_of(SPECTROGRAM | {"dtype": "float16", "db_min": -90.0, "index_of": "/elsewhere"})
    assert len(here.differences(there)) == 3
    assert here.differences(there, apart_from=here.storage) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must be a JSON object"),
        ({}, "lacks sample_rate, hop_length, n_mels, dtype"),
        ({"features": "waveform"}, "lacks sample_rate, dtype"),
        ({"num_layers": 3}, "lacks num_features"),
        (SPECTROGRAM | {"n_mels": "128"}, "n_mels is '128', not of type int"),
        (SPECTROGRAM | {"n_mels": 128.0}, "n_mels is 128.0, not of type int"),
        (SPECTROGRAM | {"n_mels": True}, "n_mels is True, not of type int"),
        (SPECTROGRAM | {"n_mels": None}, "n_mels is None, not of type int"),
        (SPECTROGRAM | {"f_max": "high"}, "f_max is 'high', not of type float"),
        (SPECTROGRAM | {"f_max": False}, "f_max is False, not of type float"),
        (SPECTROGRAM | {"dtype": "object"}, "dtype object is none of uint8, int16, float16, float32"),
        (SPECTROGRAM | {"dtype": ["uint8"]}, "not of type str"),
        (SPECTROGRAM | {"features": 1}, "not of type str"),
        (SPECTROGRAM | {"hop_length": 0}, "hop_length is 0, not from 1 to 2147483647"),
        (WAVEFORM | {"sample_rate": -1}, "sample_rate is -1, not from 1 to 2147483647"),
        (SPECTROGRAM | {"db_min": 0.0, "db_max": 0.0}, "db_min is not below db_max"),
        (SPECTROGRAM | {"mel_scale": "x"}, "mel_scale x is none of slaney, htk"),
        (SPECTROGRAM | {"f_min": 900.0, "f_max": 800.0}, "f_min 900 and f_max 800 are no range"),
        (SPECTROGRAM | {"f_min": 0.0, "f_max": 1e9}, "are no range below"),
        (EMBEDDING | {"num_layers": 0}, "num_layers is 0, not from 1 to 2147483647"),
        (EMBEDDING | {"num_features": [12]}, "not of type int"),
    ],
)
def test_wrong_contents_are_refused_in_a_sentence_that_says_where(content, message):
    with pytest.raises(utils.UserError, match=message) as error:
        settings_of(content, where="here.json")
    assert str(error.value).startswith("here.json")
    assert "\n" not in str(error.value)


def test_a_whole_number_is_a_float_too():
    assert settings_of(SPECTROGRAM | {"f_max": 8000, "db_min": -80}).f_max == 8000


def test_a_file_that_is_missing_or_no_json_is_named(tmp_path):
    with pytest.raises(utils.UserError, match=r"spectrogram\.json does not exist"):
        read_settings(tmp_path / "spectrogram.json")
    (tmp_path / "spectrogram.json").write_text("{")
    with pytest.raises(utils.UserError, match=r"spectrogram\.json is not readable JSON"):
        read_settings(tmp_path / "spectrogram.json")


# ------------------------------------------------------------------ what depends on the kind


def test_seconds_and_frames():
    coarse = settings_of(SPECTROGRAM | {"hop_length": 2205})
    assert (coarse.frames_in(6.4), coarse.seconds_in(64)) == (64, pytest.approx(6.4))
    assert coarse.frames_in(0.0) == 1
    assert coarse.default_crop_seconds() == pytest.approx(6.4)  # 64 frames
    assert Spectrogram().default_crop_seconds() == 5.0
    assert Spectrogram().frames_in(5.0) == 215
    wave = Waveform(sample_rate=16000)
    assert wave.frames_in(wave.default_crop_seconds()) == 59049
    assert wave.frames_in(2.0) == 32000


def test_the_frames_of_an_array_are_its_columns_where_the_rows_fit():
    assert Spectrogram(n_mels=48).frames_of((48, 100)) == 100
    assert Waveform().frames_of((1, 100)) == 100
    assert Embedding(num_layers=4, num_features=12).frames_of((4, 12)) == 12
    for made, shape in (
        (Spectrogram(n_mels=48), (47, 100)), (Spectrogram(n_mels=48), (48,)), (Waveform(), (2, 100)),
        (Embedding(num_layers=4, num_features=12), (4, 13)), (Embedding(num_layers=4, num_features=12), (12,)),
    ):  # fmt: skip
        assert made.frames_of(shape) == 0


def test_bytes_of_a_frame():
    assert settings_of(SPECTROGRAM).bytes_per_frame == 128
    assert Spectrogram(n_mels=48, dtype="float32").bytes_per_frame == 192
    assert Waveform().bytes_per_frame == 2


def test_what_is_stored_is_decoded():
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(settings_of(SPECTROGRAM).decode(levels), torch.tensor([-80.0, -64.0, 0.0]))
    shifted = settings_of(SPECTROGRAM | {"db_min": -100.0, "db_max": -49.0})
    torch.testing.assert_close(shifted.decode(levels), torch.tensor([-100.0, -89.8, -49.0]))
    assert levels.tolist() == [0, 51, 255]
    halves = torch.tensor([-80.0, -12.5], dtype=torch.float16)
    torch.testing.assert_close(Spectrogram().decode(halves), torch.tensor([-80.0, -12.5]))
    samples = torch.tensor([-32768, 0, 16384], dtype=torch.int16)
    torch.testing.assert_close(Waveform().decode(samples), torch.tensor([-1.0, 0.0, 0.5]))
    vectors = torch.tensor([1.5, -700.0])
    torch.testing.assert_close(Embedding().decode(vectors), vectors)


def test_every_dtype_is_one_of_numpy_and_of_torch():
    for name in settings.DTYPES:
        assert torch.empty(1, dtype=getattr(torch, name)).numpy().dtype == name


def test_real_folders(real_datasets):
    for name, rate, hop in (("fma_small_coarse", 44100, 10335), ("gtzan_coarse", 22050, 1710)):
        file = real_datasets / f"{name}_npy" / "spectrogram.json"
        there = read_settings(file)
        assert (there.kind, there.dtype, there.n_mels) == ("spectrogram", "uint8", 128)
        assert (there.sample_rate, there.hop_length, there.more) == (rate, hop, {})
        assert there.to_json() == json.loads(file.read_text())
