"""What the arrays of a folder are: spectrograms, waveforms or embeddings, and every setting that made them.

spectrogram.json holds one of these three; :func:`read_settings` turns it into its type and ``to_json`` back. Whatever
depends on the kind of input asks the type: its ``kind``, seconds ↔ frames, decoding, the shape of an array.

Axes: F mel band (row 0 = lowest), T frame, S sample, L layer, D feature dimension.
"""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import ClassVar

import numpy as np

import utils

DTYPES = ("uint8", "int16", "float16", "float32")
MEL_SCALES = ("slaney", "htk")
MOST_SECONDS = 3600.0  # of one file: an hour of audio takes 4 GB while its spectrogram is computed
LEAST_FRAMES = 64  # of a crop: less leaves a ResNet, which divides by 32, nothing to see
WAVEFORM_CROP = 3**10  # samples that a SampleCNN hears at once: 59049, 2.7 s at 22,050 Hz


class Settings:
    """What the three kinds share."""

    kind: ClassVar[str]
    storage: ClassVar[tuple] = ("dtype",)  # how and where values are stored, which changes nothing of their meaning

    def to_json(self):
        """The content of spectrogram.json."""
        known = {name: value for name, value in asdict(self).items() if value != ""}
        return {**known.pop("more"), **known}

    def differences(self, other, apart_from=()):
        """``["hop_length 512 → 256", …]`` from these settings to ``other``, but for the names in ``apart_from``."""
        if self.kind != other.kind:
            return [f"{self.kind} → {other.kind}"]
        before, after = self.to_json(), other.to_json()
        names = [name for name in {**before, **after} if name not in apart_from]
        return [f"{n} {before.get(n)} → {after.get(n)}" for n in names if before.get(n) != after.get(n)]

    def frames_of(self, shape):
        """The columns of an array of this shape, 0 when a track's array cannot have it."""
        return shape[1] if len(shape) == 2 and shape[0] == self.num_rows else 0

    @property
    def bytes_per_frame(self):
        return self.num_rows * np.dtype(self.dtype).itemsize


class Timed(Settings):
    """Arrays (rows, T) whose columns are moments in time: crops can be cut from them."""

    @property
    def num_rows(self):
        return self.n_mels

    def frames_in(self, seconds):
        if not math.isfinite(seconds) or seconds < 0:
            raise utils.UserError(f"{seconds:g} seconds are no length of a crop")
        return max(1, round(seconds * self.sample_rate / self.hop_length))

    def seconds_in(self, frames):
        return frames * self.hop_length / self.sample_rate


@dataclass(frozen=True)
class Spectrogram(Timed):
    """Log-mel spectrograms (F, T) in dB; ``features`` names who made them: logmel (this suite), arena …"""

    kind: ClassVar[str] = "spectrogram"
    storage: ClassVar[tuple] = ("dtype", "db_min", "db_max", "index_of")

    features: str = "logmel"
    sample_rate: int = 22050
    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    f_min: float = 0.0
    f_max: float = 11025.0
    mel_scale: str = "slaney"
    reference: str = ""  # what 0 dB is
    db_min: float = -80.0
    db_max: float = 0.0
    dtype: str = "float16"
    more: dict = field(default_factory=dict)  # what other hands have written beside

    def default_crop_seconds(self):
        """5 s, or as long as 64 frames take where the frames are coarse."""
        return max(5.0, round(self.seconds_in(LEAST_FRAMES), 2))

    def decode(self, stored):
        """What is stored, a tensor of any shape → dB, float32."""
        x = stored.float()
        return x.mul_((self.db_max - self.db_min) / 255).add_(self.db_min) if self.dtype == "uint8" else x


@dataclass(frozen=True)
class Waveform(Timed):
    """Mono waveforms (1, S), int16 of a full scale of 32768."""

    kind: ClassVar[str] = "waveform"

    features: str = "waveform"
    sample_rate: int = 22050
    hop_length: int = 1
    n_mels: int = 1
    dtype: str = "int16"
    more: dict = field(default_factory=dict)

    def default_crop_seconds(self):
        """What a SampleCNN hears at once."""
        return self.seconds_in(WAVEFORM_CROP)

    def decode(self, stored):
        """What is stored → −1 to 1, float32."""
        return stored.float() / 32768


@dataclass(frozen=True)
class Embedding(Settings):
    """Vectors (L, D) that some network made of a track; ``more`` says which network and how."""

    kind: ClassVar[str] = "embedding"

    features: str = "embeddings"
    num_layers: int = 1
    num_features: int = 1
    dtype: str = "float32"
    more: dict = field(default_factory=dict)

    @property
    def num_rows(self):
        return self.num_layers

    def frames_of(self, shape):
        return self.num_features if tuple(shape) == (self.num_layers, self.num_features) else 0

    def decode(self, stored):
        return stored.float()


REQUIRED = {
    Spectrogram: ("sample_rate", "hop_length", "n_mels", "dtype"),
    Waveform: ("sample_rate", "dtype"),
    Embedding: ("num_layers", "num_features"),
}


def settings_of(content, where="the settings"):
    """The settings that a dict holds, the content of spectrogram.json or of a configuration's ``spectrogram``.

    Raises :class:`utils.UserError`, which says ``where``, when something is missing or is of another type.
    """
    if not isinstance(content, dict):
        raise utils.UserError(f"{where} must be a JSON object")
    kind = Spectrogram
    if "num_layers" in content:
        kind = Embedding
    elif content.get("features") == "waveform":
        kind = Waveform
    known = {one.name: one.type for one in fields(kind) if one.name != "more"}
    missing = [name for name in REQUIRED[kind] if name not in content]
    if missing:
        raise utils.UserError(f"{where} lacks {', '.join(missing)}")
    for name in known.keys() & content.keys():
        allowed = (int, float) if known[name] is float else known[name]
        if not isinstance(content[name], allowed) or isinstance(content[name], bool):
            raise utils.UserError(f"{where}: {name} is {content[name]!r}, not of type {known[name].__name__}")
        if known[name] is int and not 1 <= content[name] < 2**31:  # a rate, a length, a number of rows
            raise utils.UserError(f"{where}: {name} is {content[name]}, not from 1 to {2**31 - 1}")
        if known[name] is float and not math.isfinite(content[name]):
            raise utils.UserError(f"{where}: {name} is not a finite number")
    if content.get("dtype", "float32") not in DTYPES:
        raise utils.UserError(f"{where}: dtype {content['dtype']} is none of {', '.join(DTYPES)}")
    if content.get("db_min", -80.0) >= content.get("db_max", 0.0):
        raise utils.UserError(f"{where}: db_min is not below db_max")
    if content.get("mel_scale", "slaney") not in MEL_SCALES:
        raise utils.UserError(f"{where}: mel_scale {content['mel_scale']} is none of {', '.join(MEL_SCALES)}")
    low, high, nyquist = content.get("f_min", 0.0), content.get("f_max", 0.0), content.get("sample_rate", 0) / 2
    if kind is Spectrogram and "f_max" in content and not 0 <= low < high <= nyquist:
        raise utils.UserError(f"{where}: f_min {low:g} and f_max {high:g} are no range below {nyquist:g} Hz")
    if not isinstance(content.get("index_of", ""), str):
        raise utils.UserError(f"{where}: index_of is {content['index_of']!r}, not a folder")
    more = {name: value for name, value in content.items() if name not in known}
    return kind(**{name: content[name] for name in known.keys() & content.keys()}, more=more)


def read_settings(path):
    """The settings in a spectrogram.json. Raises :class:`utils.UserError`."""
    return settings_of(utils.read_json(path), where=str(path))
