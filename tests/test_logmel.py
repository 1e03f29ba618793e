"""Audio files to log-mel spectrograms, against librosa and with files that are broken in every way."""

import subprocess
from dataclasses import replace

import librosa
import numpy as np
import pytest
import soundfile
import torch

import utils
from data import logmel

RATE = 22050


def tone(seconds=6.0, rate=RATE):
    time = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 440 * time) + 0.05 * np.sin(2 * np.pi * 3000 * time)).astype(np.float32)


def librosa_log_mel(waveform, settings):
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=settings.sample_rate, n_fft=settings.n_fft, hop_length=settings.hop_length,
        n_mels=settings.n_mels, fmin=settings.f_min, fmax=settings.f_max, htk=settings.mel_scale == "htk",
    )  # fmt: skip
    return librosa.power_to_db(mel, ref=np.max, top_db=80)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_mels": 48, "hop_length": 256},
        {"mel_scale": "htk", "n_mels": 64},
        {"n_mels": 13, "n_fft": 4096},
        {"f_min": 50.0, "f_max": 8000.0, "n_mels": 96},
    ],
)  # fmt: skip
def test_log_mel_equals_librosa(changes):
    settings = replace(logmel.default_settings(), **changes)
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    waveform = tone(3.0) + noise * np.linspace(0, 1, 3 * RATE, dtype=np.float32)
    ours = logmel.log_mel(waveform, settings).numpy()
    theirs = librosa_log_mel(waveform, settings)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_log_mel_of_real_clips_is_within_a_tenth_of_a_decibel(real_datasets):
    settings = logmel.default_settings()
    files = sorted(real_datasets.glob("gtzan_audio/*/*.mp3"))[::10]
    assert len(files) == 5
    for file in files:
        ours = logmel.log_mel(logmel.read_audio(file, RATE), settings).half().numpy()
        theirs = librosa_log_mel(librosa.load(file, sr=RATE)[0], settings)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 0.1


def test_a_batch_is_the_same_as_its_clips_one_by_one():
    settings = logmel.default_settings()
    batch = torch.stack([torch.from_numpy(tone(2.0)), torch.randn(2 * RATE) * 0.1])
    both = logmel.log_mel(batch, settings)
    torch.testing.assert_close(both[1], logmel.log_mel(batch[1], settings))
    torch.testing.assert_close(logmel.log_mel(batch, settings, logmel.mel_power_anywhere), both, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("ending", "subtype"), [("wav", "PCM_16"), ("flac", None), ("ogg", None), ("mp3", None), ("au", None)]
)
def test_reads_stereo_at_any_rate_as_mono(tmp_path, ending, subtype):
    path = tmp_path / f"clip.{ending}"
    left = tone(3.0, 44100)
    soundfile.write(path, np.stack([left, 0 * left], axis=1), 44100, subtype=subtype)
    waveform = logmel.read_audio(path, RATE)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) / RATE - 3.0) < 0.1
    assert np.abs(waveform[RATE : 2 * RATE]).max() == pytest.approx(np.abs(left).max() / 2, rel=0.1)


def test_reads_m4a_through_ffmpeg(tmp_path):
    soundfile.write(tmp_path / "clip.wav", tone(3.0), RATE)
    command = [logmel.ffmpeg_binary(), "-loglevel", "error", "-i", tmp_path / "clip.wav", tmp_path / "clip.m4a"]
    subprocess.run(command, check=True)
    waveform = logmel.read_audio(tmp_path / "clip.m4a", RATE)
    assert abs(len(waveform) / RATE - 3.0) < 0.15


@pytest.mark.parametrize("playlist", ["ffconcat version 1.0\nfile six.mp3\n", "#EXTM3U\n#EXTINF:6,\nsix.mp3\n"])
@pytest.mark.parametrize("name", ["x.mp3", "x.m3u8"])
def test_a_playlist_is_not_followed(tmp_path, playlist, name):
    soundfile.write(tmp_path / "six.mp3", tone(), RATE)
    (tmp_path / name).write_text(playlist)
    with pytest.raises(logmel.AudioError, match="not audio that soundfile or ffmpeg can read"):
        logmel.read_audio(tmp_path / name, RATE)


def test_broken_files_are_named(tmp_path):
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("this is not music\n" * 500)
    soundfile.write(tmp_path / "whole.mp3", tone(20.0), RATE)
    whole = (tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "truncated.mp3").write_bytes(whole[: len(whole) // 2])
    soundfile.write(tmp_path / "silent.wav", np.zeros(10 * RATE), RATE)
    soundfile.write(tmp_path / "short.mp3", tone(1.5), RATE)
    soundfile.write(tmp_path / "infinite.wav", np.full(10 * RATE, np.inf, np.float32), RATE, subtype="FLOAT")
    reasons = {
        "missing.mp3": "no such file", "empty.mp3": "empty", "text.mp3": "not audio", "truncated.mp3": "truncated",
        "silent.wav": "silent", "short.mp3": "too short: 1.", "infinite.wav": "finite",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(logmel.AudioError, match=reason):
            logmel.read_audio(tmp_path / name, RATE, min_seconds=5)
    assert len(logmel.read_audio(tmp_path / "whole.mp3", RATE, min_seconds=5)) > 19 * RATE


def test_uint8_levels_are_within_half_a_step():
    settings = replace(logmel.default_settings(), dtype="uint8")
    decibels = torch.linspace(-80, 0, 1000).view(10, 100)
    level = logmel.encode(decibels, settings)
    assert level.dtype == np.uint8
    np.testing.assert_allclose(-80 + level * (80 / 255), decibels, atol=80 / 255 / 2 + 1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f_max": 20000.0}, r"--f_max 20000 must satisfy 0 <= f_min < f_max <= 11025 Hz"),
        ({"f_min": 9000.0, "f_max": 8000.0}, "--f_min 9000 and --f_max 8000 must satisfy"),
        ({"f_min": -1.0}, "--f_min -1"),
        ({"n_mels": 4000}, "of the 4000 mel bands would be empty"),
        ({"n_mels": 10**9}, "one clip of 30 s with .*--n_mels 1000000000 would need about"),
        ({"n_fft": 10**9}, "would need about"),
        ({"sample_rate": 10**9, "hop_length": 1}, "would need about"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(utils.UserError, match=message):
        logmel.check_settings(replace(logmel.default_settings(), **changes))


def test_frames_far_apart_are_relative_to_the_loudest_moment_of_the_whole_clip():
    """Not of the frames that are kept: the same clip is as loud in every hop."""
    settings = logmel.default_settings()
    waveform = tone(3.0)
    waveform[7 * 4410 : 8 * 4410] *= 10  # 20 dB, between two frames of the coarse hop
    fine = logmel.log_mel(waveform, settings)
    coarse = logmel.log_mel(waveform, replace(settings, hop_length=22016))
    torch.testing.assert_close(coarse, fine[:, ::43], atol=0.01, rtol=0)
    assert coarse.max() < -19


@pytest.mark.parametrize(("rate", "highest"), [(44100, 22050), (22050, 0.8 * 11025), (8000, 0.8 * 4000)])
def test_bands_that_a_file_of_a_lower_rate_tells_of(tmp_path, rate, highest):
    settings = replace(logmel.default_settings(), sample_rate=44100, f_max=22050.0)
    soundfile.write(tmp_path / "clip.wav", tone(1.0, rate), rate)
    known = logmel.known_bands(tmp_path / "clip.wav", settings)
    edges = librosa.mel_frequencies(settings.n_mels + 2, fmax=22050)[2:]  # the upper ones
    assert known == pytest.approx((edges <= highest + 1).sum(), abs=1)  # an FFT bin is wider than a low band
    (tmp_path / "clip.m4a").write_text("what only ffmpeg reads")
    assert logmel.known_bands(tmp_path / "clip.m4a", settings) == settings.n_mels


def test_files_that_were_joined_are_heard_to_the_end(tmp_path):
    for name, hertz in (("one", 300), ("two", 700)):
        tone = 0.3 * np.sin(2 * np.pi * hertz * np.arange(2 * 22050) / 22050)
        soundfile.write(tmp_path / f"{name}.mp3", tone, 22050, format="MP3")
    (tmp_path / "both.mp3").write_bytes(b"".join((tmp_path / f"{name}.mp3").read_bytes() for name in ("one", "two")))
    alone, both = (logmel.read_audio(tmp_path / f"{name}.mp3", 22050) for name in ("one", "both"))
    assert len(alone) == pytest.approx(2 * 22050, abs=2500)
    assert len(both) == pytest.approx(4 * 22050, abs=5000)
    assert np.abs(np.fft.rfft(both[-22050:]))[600:800].argmax() == 100  # 700 Hz at its end
