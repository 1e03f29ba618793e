"""What an audio file can be turned into, one array per track: ``--features`` of preprocessing.py.

An extractor is made of nothing but a settings dict, the content of spectrogram.json, so that predict.py makes the
same array again. It can be pickled (worker processes use it) and offers

    extractor = features.build(settings, min_seconds)
    extractor.settings            what goes into spectrogram.json; its "features" is the key in ``KINDS``
    extractor(path)               audio file → the array to store, (rows, T); raises audio.AudioError
    extractor.frames(shape)       T of a finished array of this shape, 0 when that is not one of these
    extractor.stays_here          True when it holds a network or a table: run by threads, not by worker processes
    extractor.resumes             whether arrays that are there, made with the same settings, are kept

To add one: a class with these, and ``settings_from(flags)``, which picks its settings from the flags of
preprocessing.py; then a line in ``KINDS``. settings["n_mels"] is the number of rows, settings["hop_length"] the
samples from one column to the next, settings["dtype"] one that :func:`data.dataset.decode` knows.

Axes: F mel band (row 0 = lowest), S sample, T frame.
"""

import numpy as np

import utils
from data import audio, music2vec


class LogMel:
    """Log-mel spectrogram in dB relative to the clip's maximum: (F, T) float16 or uint8."""

    stays_here, resumes = False, True

    def __init__(self, settings, min_seconds=0.0):
        self.settings, self.min_seconds = settings, min_seconds

    @staticmethod
    def settings_from(flags):
        """Raises :class:`utils.UserError` for flags that make no spectrogram."""
        settings = audio.default_settings()
        settings.update(
            sample_rate=flags.sr,
            n_fft=flags.n_fft,
            hop_length=flags.hop_length,
            n_mels=flags.n_mels,
            f_min=flags.f_min,
            f_max=flags.sr / 2 if flags.f_max is None else flags.f_max,
            mel_scale=flags.mel_scale,
            dtype=flags.dtype,
        )
        audio.check_settings(settings)
        return settings

    def __call__(self, path):
        waveform = audio.read_audio(path, self.settings["sample_rate"], self.min_seconds)
        return audio.encode(audio.log_mel(waveform, self.settings), self.settings)

    def frames(self, shape):
        return shape[1] if len(shape) == 2 and shape[0] == self.settings["n_mels"] else 0


class Waveform:
    """The mono waveform itself: (1, S) int16 of a full scale of 32768, a spectrogram of one row and hop 1."""

    stays_here, resumes = False, True

    def __init__(self, settings, min_seconds=0.0):
        self.settings, self.min_seconds = settings, min_seconds

    @staticmethod
    def settings_from(flags):
        return {
            "features": "waveform",
            "sample_rate": flags.sr,
            "hop_length": 1,
            "n_mels": 1,
            "dtype": "int16",
        }

    def __call__(self, path):
        waveform = audio.read_audio(path, self.settings["sample_rate"], self.min_seconds)
        return np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16)[None]

    def frames(self, shape):
        return shape[1] if len(shape) == 2 and shape[0] == 1 else 0


KINDS = {"logmel": LogMel, "waveform": Waveform, "music2vec": music2vec.Music2Vec}


def build(settings, min_seconds=0.0):
    """The extractor that made a folder with these settings; clips under ``min_seconds`` are an AudioError.

    Raises :class:`utils.UserError` when no audio file can be turned into such arrays here.
    """
    kind = settings.get("features", "logmel")
    if kind not in KINDS:
        raise utils.UserError(f"'{kind}' features cannot be made from audio files, only {', '.join(KINDS)}")
    return KINDS[kind](settings, min_seconds)
