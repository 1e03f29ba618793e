"""The audio of a folder's tracks: where it lies, and a few seconds of it small enough to stand inside a page."""

import base64
import io
from pathlib import Path

import numpy as np
import soundfile

import utils
from data.logmel import SUFFIXES, read_audio

CLIP_RATE = 24_000  # Hz: what opus knows, and enough to tell a song by


def find_audio(tracks, audio):
    """The audio file of each row of ``tracks`` below the folder ``audio``, or None: a list.

    A file is a track's where its path is that of the track's array but for the ending (``000/000002.mp3``,
    ``rock/song.wav``), or where it alone has the track's id as its name. Raises :class:`utils.UserError`.
    """
    audio = Path(audio)
    if not audio.is_dir():
        raise utils.UserError(f"--audio {audio} is not a folder")
    by_path, by_name = {}, {}
    for file in sorted(audio.glob("**/*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            path = file.relative_to(audio)
            by_path.setdefault(path.with_suffix("").as_posix(), file)
            by_name[file.stem] = None if file.stem in by_name else file
    return [
        by_path.get(row.path.removesuffix(".npy")) or by_name.get(row.track_id) for row in tracks.itertuples()
    ]


def clip(path, seconds):
    """``seconds`` from the middle of an audio file, mono, as a data URI of Ogg Opus. Raises AudioError."""
    waveform = read_audio(path, CLIP_RATE)
    length = round(seconds * CLIP_RATE)
    start = max(0, (len(waveform) - length) // 2)
    file = io.BytesIO()
    soundfile.write(file, np.asarray(waveform[start : start + length]), CLIP_RATE, format="OGG", subtype="OPUS")
    return "data:audio/ogg;base64," + base64.b64encode(file.getvalue()).decode()
