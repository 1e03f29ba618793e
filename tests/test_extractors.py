"""What audio files are turned into, by the settings alone."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import utils
from data import extractors, logmel
from data.settings import Embedding, Spectrogram, Waveform, settings_of

RATE = 22050


@pytest.fixture
def clip(tmp_path):
    time = np.arange(3 * RATE) / RATE
    soundfile.write(tmp_path / "clip.wav", 0.4 * np.sin(2 * np.pi * 440 * time), RATE)
    return tmp_path / "clip.wav"


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        (replace(logmel.default_settings(), n_mels=40), np.float16),
        (replace(logmel.default_settings(), n_mels=40, dtype="uint8"), np.uint8),
        (Waveform(sample_rate=16000), np.int16),
    ],
)
def test_the_same_array_comes_again_of_settings_that_were_written_down(clip, settings, dtype):
    """By a worker process, which gets it pickled, and by predict.py, which reads configuration.json."""
    extractor = extractors.build(settings)
    array = extractor(clip)
    assert array.dtype == dtype == np.dtype(settings.dtype)
    assert settings.frames_of(array.shape) == array.shape[1] > 0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(extractor))(clip), array)
    np.testing.assert_array_equal(extractors.build(settings_of(settings.to_json()))(clip), array)


def test_log_mels_are_stored_decibels(clip):
    settings = logmel.default_settings()
    expected = logmel.log_mel(logmel.read_audio(clip, RATE), settings).numpy()
    np.testing.assert_allclose(extractors.build(settings)(clip), expected, atol=0.04)


def test_short_clips_are_named(clip):
    for settings in (logmel.default_settings(), Waveform()):
        assert extractors.build(settings, min_seconds=2.9)(clip).shape[1] > 0
        with pytest.raises(logmel.AudioError, match=r"too short: 3\.0 s, 5 s are the least"):
            extractors.build(settings, min_seconds=5)(clip)


@pytest.mark.parametrize("settings", [Spectrogram(features="arena"), Embedding(), Embedding("exp:154874")])
def test_what_no_audio_file_can_be_turned_into_is_refused(settings):
    with pytest.raises(utils.UserError, match=f"'{settings.features}' features cannot be made from audio files"):
        extractors.build(settings)


@pytest.mark.parametrize("settings", [replace(logmel.default_settings(), n_mels=40), Waveform()])
def test_pieces_of_a_long_file_are_what_clips_of_them_would_be(tmp_path, settings):
    loud = 0.4 * np.sin(np.arange(2 * RATE) * 0.1)
    parts = [loud, np.zeros(2 * RATE), 0.05 * np.sin(np.arange(2 * RATE) * 0.3)]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), RATE)
    extractor = extractors.build(settings)
    whole = np.concatenate(parts)
    for overlap in (1, 2):
        pieces, seconds = extractor.pieces(tmp_path / "long.wav", seconds=1.9, overlap=overlap)
        assert seconds == 6
        starts = np.arange(0, 5, 2 / overlap)
        assert [start for start, piece in zip(starts, pieces, strict=True) if piece is None] == [2]  # the silent one
        for start, piece in zip(starts, pieces, strict=True):
            if piece is not None:
                soundfile.write(tmp_path / "clip.wav", whole[int(start * RATE) : int((start + 2) * RATE)], RATE)
                np.testing.assert_array_equal(piece, extractor(tmp_path / "clip.wav"))
        assert len(extractor.pieces(tmp_path / "clip.wav", seconds=30, overlap=overlap)[0]) == 1
