"""What an audio file can be turned into, one array per track: ``--features`` of preprocessing.py.

To add one: a subclass of :class:`Extractor` and a line in ``KINDS``; what it makes is described by one of the types
of :mod:`data.settings`.

Axes: F mel band (row 0 = lowest), S sample, T frame.
"""

import numpy as np

import utils
from data import logmel, music2vec
from data.collection import Extractor


class OfWaveform(Extractor):
    """What is made of a waveform (S,) by ``of``."""

    def __call__(self, path):
        return self.of(self.read(path, self.settings.sample_rate))

    def pieces(self, path, seconds, overlap=1):
        """(arrays, seconds of the file): equal pieces, about ``seconds`` long, each as if a clip; None where silent.

        With an ``overlap`` of 2, pieces begin half their length apart, and every second is one without.
        """
        waveform = self.read(path, self.settings.sample_rate)
        number = max(1, round(len(waveform) / (seconds * self.settings.sample_rate)))
        edges = np.linspace(0, len(waveform), overlap * number + 1).astype(int)
        pieces = [waveform[begin:end] for begin, end in zip(edges[:-overlap], edges[overlap:], strict=True)]
        arrays = [self.of(piece) if np.abs(piece).max() >= logmel.SILENCE else None for piece in pieces]
        return arrays, len(waveform) / self.settings.sample_rate

    def of(self, waveform):
        raise NotImplementedError


class LogMel(OfWaveform):
    """Log-mel spectrogram in dB relative to the clip's maximum: (F, T) float16 or uint8."""

    def of(self, waveform):
        return logmel.encode(logmel.log_mel(waveform, self.settings), self.settings)


class Waveform(OfWaveform):
    """The mono waveform itself: (1, S) int16 of a full scale of 32768, a spectrogram of one row and hop 1."""

    def of(self, waveform):
        return np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16)[None]


KINDS = {"logmel": LogMel, "waveform": Waveform, "music2vec": music2vec.Music2Vec}


def build(settings, **limits):
    """The extractor that made a folder with these settings; ``limits`` are those of :class:`Extractor`.

    Raises :class:`utils.UserError` when no audio file can be turned into such arrays here.
    """
    if settings.features not in KINDS:
        raise utils.UserError(
            f"'{settings.features}' features cannot be made from audio files, only {', '.join(KINDS)}"
        )
    return KINDS[settings.features](settings, **limits)
