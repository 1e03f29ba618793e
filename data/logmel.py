"""From an audio file to a log-mel spectrogram.

Axes: S sample, F mel band (row 0 = lowest), T frame.
"""

import dataclasses
import functools
import re
import shutil
import struct
import subprocess
import warnings
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np
import soundfile
import soxr
import threadpoolctl
import torch
import torchaudio

import utils
from data.settings import MOST_SECONDS, Spectrogram

SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".au", ".aif", ".aiff", ".m4a", ".aac", ".opus", ".wma")
SHORT_CLIP = 30  # seconds, as FMA's: settings that this does not fit into memory with are refused
LEAST_SECONDS = 0.5  # of what is to be named: of less, any answer would be one of chance
SILENCE = 1e-4  # peak of a full scale of 1, −80 dB: nothing that anybody hears
PASSBAND = 0.8  # of half the sample rate; above it converters and resamplers turn the sound down
LEAST_RATE = 1000  # Hz of a file's own: below it nothing is left of music
BLOCK = 2**22  # samples of each channel that are read at a time: soundfile finds its place in the file anew for each
FRAMES_AT_ONCE = 64  # so that their spectra stay in the processor's cache
BANDS_AT_ONCE = 8  # of a mel spectrogram: more would multiply more zeros, fewer are more calls
UNKNOWN = 2**31 - 2**16  # bytes; from here on, a size in a header stands for "not known", as a pipe writes it
ASF_PROPERTIES = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"  # of wma; 40 on: the size
# what ffmpeg may take a file for: no playlists
CONTAINERS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,flac,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
FFMPEG_SECONDS = 600  # ffmpeg may take for one file


class AudioError(Exception):
    """Why one audio file cannot be used, in a few words."""


def default_settings():
    """The settings of preprocessing.py when no flag is given."""
    return Spectrogram(reference="clip maximum")


def reason_of(error):
    """Why a track failed, in one line: an error of any kind is that of one file, not of the run."""
    if isinstance(error, AudioError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        return "its name is not UTF-8: rename it"
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"


def read_audio(path, sample_rate, min_seconds=0.0, max_seconds=MOST_SECONDS):
    """Read one file as a mono waveform.

    soundfile reads it; what soundfile does not know (m4a, aac …) or would read in part goes to ffmpeg. That a file is
    cut short is known where it says how long it is, or where its end is marked: not of raw aac, of mp3 without a Xing
    header, nor of wav, au and flac that were written into a pipe.

    Returns
    -------
    waveform : float32 (S,), mean of the channels, at ``sample_rate`` Hz

    Raises :class:`AudioError` for what is empty, not audio, truncated, silent, under ``min_seconds`` or over
    ``max_seconds``, and for whatever else is wrong with it.
    """
    try:
        waveform = _read(Path(path), sample_rate, max_seconds)
    except Exception as error:
        raise AudioError(reason_of(error)) from None
    _check_waveform(waveform, sample_rate, min_seconds)
    return waveform


def _read(path, sample_rate, max_seconds):
    if not path.exists():
        raise AudioError("no such file")
    if not path.is_file():
        raise AudioError("not a file")
    if path.stat().st_size == 0:
        raise AudioError("empty file (0 bytes)")
    _check_whole(path)
    if _has_no_length(path):
        return _read_with_ffmpeg(path, sample_rate, max_seconds)
    try:
        return _read_with_soundfile(path, sample_rate, max_seconds)
    except soundfile.LibsndfileError:
        return _read_with_ffmpeg(path, sample_rate, max_seconds)


def _read_with_soundfile(path, sample_rate, max_seconds):
    with soundfile.SoundFile(path) as file:
        rate, blocks, length = file.samplerate, [], 0
        if rate < LEAST_RATE:
            raise AudioError(f"its sample rate of {rate} Hz is too low: {LEAST_RATE} Hz are the least")
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            blocks.append(functools.reduce(np.add, block.T))  # .mean(axis=1) takes 20 times as long
            blocks[-1] /= block.shape[1]
            length += len(block)
            _check_length(length / rate, max_seconds)
        _check_declared(length / rate, file.frames / rate)
    waveform = blocks[0] if len(blocks) == 1 else np.concatenate([np.empty(0, np.float32), *blocks])
    if rate != sample_rate and length:
        waveform = soxr.resample(waveform, rate, sample_rate)
    return waveform


def _read_with_ffmpeg(path, sample_rate, max_seconds):
    only = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}  # a file must not speak of others
    stream = ffmpeg.input(str(path.resolve()), **only).output(
        "pipe:", format="f32le", ac=1, ar=sample_rate, vn=None, t=max_seconds + 1
    )
    with stream.run_async(cmd=ffmpeg_binary(), pipe_stdout=True, pipe_stderr=True) as process:
        try:
            raw, said = process.communicate(timeout=FFMPEG_SECONDS)
        except subprocess.TimeoutExpired:
            raise AudioError(f"ffmpeg was not done with it in {FFMPEG_SECONDS} s") from None
        finally:
            process.kill()
    if process.returncode:
        raise AudioError("not audio that soundfile or ffmpeg can read")
    waveform = np.frombuffer(raw, dtype="<f4").copy()  # torch wants to be able to write
    _check_length(len(waveform) / sample_rate, max_seconds)
    declared = re.search(rb"Duration: (\d+):(\d+):([\d.]+)", said)
    if declared and b"Estimating duration" not in said:
        hours, minutes, seconds = map(float, declared.groups())
        _check_declared(len(waveform) / sample_rate, 3600 * hours + 60 * minutes + seconds)
    return waveform


def _has_no_length(path):
    """Whether an mp3 lacks the number of its frames, Xing's or Fraunhofer's, in the first frame behind its ID3 tag.

    libsndfile then guesses from the bit rate of that frame, and reads no further. Nor does it where the number is
    that of the first of several files that were joined: it goes with fewer bytes than there are.
    """
    with open(path, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            file.seek(10 + sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(head[6:10]))))
            head = file.read(10)
        is_mp3 = len(head) == 10 and head[0] == 255 and head[1] & 0xE6 == 0xE2  # layer III
        left = path.stat().st_size - file.tell()
        named = re.search(rb"(?s)(Xing|Info|VBRI)(.{12})", head + file.read(2000))
    if not is_mp3 or not named:
        return is_mp3
    flags, *numbers = struct.unpack(">III", named[2])  # 1: frames come next; 2: then bytes
    declared = numbers[flags & 1] if flags & 2 and named[1] != b"VBRI" else left
    return declared < 0.95 * left


def _check_whole(path):
    """Raises :class:`AudioError` for a file that has fewer bytes than its header says, or an Ogg without its end."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(4096)
        file.seek(max(0, size - 2**16))
        tail = file.read()
    declared = _declared_bytes(head.ljust(64, b"\0"))
    if size < 0.95 * declared < UNKNOWN:
        raise AudioError(f"truncated: {size:,} bytes of the {declared:,} it declares")
    if head[:4] == b"OggS":
        page = tail[tail.rfind(b"OggS") :].ljust(27, b"\0")
        length = 27 + page[26] + sum(page[27 : 27 + page[26]])
        if not page[5] & 4 or len(page) < length:  # the flag of the last page
            raise AudioError("truncated: it has no last page")


def _declared_bytes(head):
    """The size of a wav, aiff, au or wma file that its first 4096 bytes declare, 0 where they do not."""
    kind = head[:4]
    if kind in (b"RIFF", b"FORM"):
        return 8 + struct.unpack_from("<I" if kind == b"RIFF" else ">I", head, 4)[0]
    if kind == b"RF64":
        return 8 + struct.unpack_from("<Q", head, 20)[0]
    if kind == b".snd":
        return sum(struct.unpack_from(">II", head, 4))  # of the header, of the samples
    place = head.find(ASF_PROPERTIES)
    return struct.unpack_from("<Q", head.ljust(4200, b"\0"), place + 40)[0] if place >= 0 else 0


def _check_declared(seconds, declared):
    if seconds < 0.95 * declared - 0.1:  # encoders pad, and count their padding or do not
        raise AudioError(f"truncated: {seconds:.1f} s of the {declared:.1f} s it declares")


def _check_length(seconds, max_seconds):
    if seconds > max_seconds:
        raise AudioError(f"too long: over {max_seconds / 60:g} minutes, see --max_minutes")


@functools.cache
def ffmpeg_binary():
    """The ffmpeg on PATH, or the one that the imageio-ffmpeg wheel brings."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


def _check_waveform(waveform, sample_rate, min_seconds):
    seconds = len(waveform) / sample_rate
    if len(waveform) == 0:
        raise AudioError("no audio in the file (0 s)")
    if seconds < min_seconds:
        raise AudioError(f"too short: {seconds:.1f} s, {min_seconds:g} s are the least")
    loudest = max(waveform.max(), -waveform.min())
    if not np.isfinite(loudest):
        raise AudioError("holds samples that are not finite numbers")
    if loudest < SILENCE:
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
    return mel_filters(*_filter_settings(settings))


def _filter_settings(settings):
    keys = ("sample_rate", "n_fft", "n_mels", "f_min", "f_max", "mel_scale")
    return [getattr(settings, key) for key in keys]


@functools.lru_cache(maxsize=8)
def filter_banks(sample_rate, n_fft, n_mels, f_min, f_max, mel_scale):
    """The same, a few neighbouring bands at a time, of the bins that they hear alone: [(bands, bins, filters)].

    For spectra as they lie in memory, each bin a real and an imaginary part: ``bins`` is a slice of these parts,
    ``bands`` one of mel bands, filters are (bands, bins).
    """
    filters = mel_filters(sample_rate, n_fft, n_mels, f_min, f_max, mel_scale).numpy()
    banks = []
    for band in range(0, n_mels, BANDS_AT_ONCE):
        some = filters[:, band : band + BANDS_AT_ONCE]
        heard = np.flatnonzero(some.any(axis=1))
        first, end = (heard[0], heard[-1] + 1) if len(heard) else (0, 0)
        parts = np.repeat(some[first:end].T, 2, axis=1)
        banks.append((slice(band, band + BANDS_AT_ONCE), slice(2 * first, 2 * end), parts))
    return banks


def mel_power(waveform, settings):
    """Mel power spectrogram: waveform (…, S) → (…, F, T) float32, T = 1 + S // hop_length, as in librosa."""
    if waveform.ndim > 1:
        return torch.stack([mel_power(one, settings) for one in waveform])
    n_fft = settings.n_fft
    window, banks = torch.hann_window(n_fft), filter_banks(*_filter_settings(settings))
    padded = torch.nn.functional.pad(torch.as_tensor(waveform), (n_fft // 2, n_fft // 2))
    frames = padded.unfold(0, n_fft, settings.hop_length)
    power = np.empty((settings.n_mels, len(frames)), np.float32)
    with libraries().limit(limits=1, user_api="blas"):  # NumPy's threads wait by spinning: here for one another
        for begin in range(0, len(frames), FRAMES_AT_ONCE):
            some = slice(begin, begin + FRAMES_AT_ONCE)
            squares = torch.view_as_real(torch.fft.rfft(frames[some] * window)).square_().flatten(1).numpy()
            for bands, bins, filters in banks:
                power[bands, some] = filters @ squares[:, bins].T
    return torch.from_numpy(power)


@functools.cache
def libraries():
    """Those that compute by threads of their own; to look for them takes longer than a spectrogram."""
    return threadpoolctl.ThreadpoolController()


def mel_power_anywhere(waveform, settings):
    """:func:`mel_power` by plain tensor operations, at a third of its rate: for a GPU, and for what is exported."""
    n_fft = settings.n_fft
    window = torch.hann_window(n_fft, device=waveform.device)
    how = {"window": window, "pad_mode": "constant", "return_complex": True}
    spectrum = torch.stft(waveform, n_fft, settings.hop_length, **how)
    return filters_of(settings).to(waveform.device).T @ spectrum.abs().square()


def log_mel(waveform, settings, power=mel_power):
    """Log-mel spectrogram in dB relative to the clip's maximum, clipped at ``db_min``.

    The maximum is that of the whole clip: where frames lie so far apart that they miss most of it, frames between
    them are looked at, too.

    waveform (…, S) float → (…, F, T) float32 in [db_min, 0]; power: :func:`mel_power`, or the other one.
    """
    decibels = loudest = _decibels(power(waveform, settings))
    if settings.hop_length > settings.n_fft:
        between = dataclasses.replace(settings, hop_length=max(1, settings.n_fft // 4))
        loudest = _decibels(power(waveform, between))
    return (decibels - loudest.amax(dim=(-2, -1), keepdim=True)).clamp(settings.db_min, 0.0)


def _decibels(power):
    return power.clamp_min_(1e-10).log10_().mul_(10.0)


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
    """dB → the array that is stored, see :func:`quantised`.

    Raises :class:`AudioError` for what is not finite: one sample of 1e30 is enough.
    """
    if not np.isfinite(decibels.numpy()).all():
        raise AudioError("its spectrogram is not finite: it holds samples far beyond full scale")
    return quantised(decibels, settings).numpy()


def quantised(decibels, settings):
    """dB → what is stored of them, a tensor: float16 dB, or uint8 levels between db_min and db_max."""
    if settings.dtype == "float16":
        return decibels.half()
    low, high = settings.db_min, settings.db_max
    level = (decibels - low) * (255 / (high - low))
    return level.round().clamp(0.0, 255.0).to(torch.uint8)


def check_size(settings):
    """Raises :class:`utils.UserError` where memory holds neither the mel filters nor the spectrum of a short clip."""
    n_fft, samples = settings.n_fft, SHORT_CLIP * settings.sample_rate
    filters = 6 * 4 * (1 + n_fft // 2) * settings.n_mels  # torchaudio makes them of six arrays of their shape
    some = 3 * n_fft * FRAMES_AT_ONCE  # frames, their spectra, and these by bins
    clip = 4 * (2 * samples + some + 3 * settings.n_mels * samples // settings.hop_length)
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
    if settings.n_fft % 2:
        raise utils.UserError(f"--n_fft {settings.n_fft} is odd: its bins end below half of --sr, mel filters do not")
    check_size(settings)
    empty = int((filters_of(settings).amax(dim=0) == 0).sum())
    if empty:
        raise utils.UserError(
            f"{empty} of the {settings.n_mels} mel bands would be empty: "
            "lower --n_mels, or raise --n_fft or --f_min"
        )
