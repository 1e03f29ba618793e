"""From an audio file to a log-mel spectrogram.

Axes: S sample, F mel band (row 0 = lowest), T frame.
"""

import dataclasses
import functools
import shutil
import warnings
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np
import soundfile
import soxr
import torch
import torchaudio

import utils
from data.settings import Spectrogram

SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".au", ".aif", ".aiff", ".m4a", ".aac", ".opus", ".wma")
SHORT_CLIP = 30  # seconds, as FMA's: settings that this does not fit into memory with are refused
SILENCE = 1e-4  # peak of a full scale of 1, −80 dB: nothing that anybody hears
PASSBAND = 0.8  # of half the sample rate; above it converters and resamplers turn the sound down


class AudioError(Exception):
    """Why one audio file cannot be used, in a few words."""


def default_settings():
    """The settings of preprocessing.py when no flag is given."""
    return Spectrogram(reference="clip maximum")


def read_audio(path, sample_rate, min_seconds=0.0):
    """Read one file as a mono waveform.

    soundfile reads it; what soundfile does not know (m4a, aac …) goes to ffmpeg.

    Returns
    -------
    waveform : float32 (S,), mean of the channels, at ``sample_rate`` Hz

    Raises :class:`AudioError` for what is empty, not audio, truncated, silent or under ``min_seconds``.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError("no such file")
    if path.stat().st_size == 0:
        raise AudioError("empty file (0 bytes)")
    try:
        waveform = _read_with_soundfile(path, sample_rate)
    except soundfile.LibsndfileError:
        waveform = _read_with_ffmpeg(path, sample_rate)
    _check_waveform(waveform, sample_rate, min_seconds)
    return waveform


def _read_with_soundfile(path, sample_rate):
    with soundfile.SoundFile(path) as file:
        declared, native_rate = file.frames, file.samplerate
        waveform = file.read(dtype="float32", always_2d=True).mean(axis=1)
    if len(waveform) < 0.95 * declared:
        raise AudioError(
            f"truncated: {len(waveform) / native_rate:.1f} s of the {declared / native_rate:.1f} s it declares"
        )
    if native_rate != sample_rate and len(waveform):
        waveform = soxr.resample(waveform, native_rate, sample_rate)
    return waveform


def _read_with_ffmpeg(path, sample_rate):
    stream = ffmpeg.input(str(path.resolve())).output("pipe:", format="f32le", ac=1, ar=sample_rate, vn=None)
    try:
        raw, _ = stream.run(cmd=ffmpeg_binary(), capture_stdout=True, capture_stderr=True)
    except ffmpeg.Error:
        raise AudioError("not audio that soundfile or ffmpeg can read") from None
    return np.frombuffer(raw, dtype="<f4")


@functools.cache
def ffmpeg_binary():
    """The ffmpeg on PATH, or the one that the imageio-ffmpeg wheel brings."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


def _check_waveform(waveform, sample_rate, min_seconds):
    seconds = len(waveform) / sample_rate
    if len(waveform) == 0:
        raise AudioError("no audio in the file (0 s)")
    if seconds < min_seconds:
        raise AudioError(f"too short: {seconds:.1f} s, --min_seconds is {min_seconds:g}")
    if not np.isfinite(waveform).all():
        raise AudioError("holds samples that are not finite numbers")
    if np.abs(waveform).max() < SILENCE:
        raise AudioError(f"silent for its whole {seconds:.1f} s")


@functools.lru_cache(maxsize=8)
def mel_filters(sample_rate, n_fft, n_mels, f_min, f_max, mel_scale):
    """Triangular mel filters of equal area (Slaney 1998), as in librosa: (1 + n_fft // 2, F)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty low band is reported once, by check_settings
        return torchaudio.functional.melscale_fbanks(
            1 + n_fft // 2, f_min, f_max, n_mels, sample_rate, norm="slaney", mel_scale=mel_scale
        )


def filters_of(settings):
    """The mel filters that :class:`data.settings.Spectrogram` settings ask for."""
    keys = ("sample_rate", "n_fft", "n_mels", "f_min", "f_max", "mel_scale")
    return mel_filters(*(getattr(settings, key) for key in keys))


def mel_power(waveform, settings):
    """Mel power spectrogram: waveform (…, S) → (…, F, T), T = 1 + S // hop_length, as in librosa."""
    waveform = torch.as_tensor(waveform)
    n_fft = settings.n_fft
    spectrum = torch.stft(
        waveform,
        n_fft,
        settings.hop_length,
        window=torch.hann_window(n_fft, device=waveform.device),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    filters = filters_of(settings).to(waveform.device)
    return filters.T @ spectrum.abs().square()


def log_mel(waveform, settings):
    """Log-mel spectrogram in dB relative to the clip's maximum, clipped at ``db_min``.

    The maximum is that of the whole clip: where frames lie so far apart that they miss most of it, frames between
    them are looked at, too.

    waveform (…, S) float → (…, F, T) float32 in [db_min, 0].
    """
    decibels = loudest = _decibels(waveform, settings)
    if settings.hop_length > settings.n_fft:
        loudest = _decibels(waveform, dataclasses.replace(settings, hop_length=max(1, settings.n_fft // 4)))
    return (decibels - loudest.amax(dim=(-2, -1), keepdim=True)).clamp(settings.db_min, 0)


def _decibels(waveform, settings):
    return 10 * mel_power(waveform, settings).clamp_min(1e-10).log10()


def known_bands(path, settings):
    """How many mel bands, from the lowest, the file tells anything of: all, unless its own sample rate is too low."""
    try:
        nyquist = soundfile.info(path).samplerate / 2
    except soundfile.LibsndfileError:  # what ffmpeg reads
        return settings.n_mels
    if nyquist >= settings.f_max:
        return settings.n_mels
    frequencies = torch.arange(1 + settings.n_fft // 2) * (settings.sample_rate / settings.n_fft)
    upper_edges = ((filters_of(settings) > 0) * frequencies[:, None]).amax(0)
    return max(1, int((upper_edges <= PASSBAND * nyquist).sum()))


def encode(decibels, settings):
    """dB → the array that is stored: float16 dB, or uint8 levels between db_min and db_max."""
    if settings.dtype == "float16":
        return decibels.numpy().astype(np.float16)
    low, high = settings.db_min, settings.db_max
    level = (decibels - low) * (255 / (high - low))
    return level.round().clamp(0, 255).to(torch.uint8).numpy()


def check_size(settings):
    """Raises :class:`utils.UserError` where memory holds neither the mel filters nor the spectrum of a short clip."""
    bins, frames = 1 + settings.n_fft // 2, SHORT_CLIP * settings.sample_rate // settings.hop_length
    filters = 6 * 4 * bins * settings.n_mels  # torchaudio makes them of six arrays of their shape
    clip = 4 * (SHORT_CLIP * settings.sample_rate + (3 * bins + settings.n_mels) * frames)  # bins: complex, and power
    flags = {"sr": "sample_rate", "n_fft": "n_fft", "hop_length": "hop_length", "n_mels": "n_mels"}
    what = " ".join(f"--{flag} {getattr(settings, name)}" for flag, name in flags.items())
    utils.check_memory(max(filters, clip), f"one clip of {SHORT_CLIP} s with {what}")


def check_settings(settings):
    """Raises :class:`utils.UserError` for spectrogram settings that make no spectrogram."""
    nyquist = settings.sample_rate / 2
    if not 0 <= settings.f_min < settings.f_max <= nyquist:
        raise utils.UserError(
            f"--f_min {settings.f_min:g} and --f_max {settings.f_max:g} must satisfy "
            f"0 <= f_min < f_max <= {nyquist:g} Hz (half of --sr)"
        )
    check_size(settings)
    empty = int((filters_of(settings).amax(dim=0) == 0).sum())
    if empty:
        raise utils.UserError(
            f"{empty} of the {settings.n_mels} mel bands would be empty: "
            "lower --n_mels, or raise --n_fft or --f_min"
        )
