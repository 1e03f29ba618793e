"""Spectrogram folders of noise to measure on: speed asks for arrays of a size, not for music."""

from dataclasses import replace

import numpy as np

import utils
from data import logmel
from data.folder import COLUMNS, open_folder

GENRES = 7
SECONDS = 30


def num_tracks_for(training):
    """So many tracks that at least ``training`` of them are for training."""
    return 10 * -(-training // 8)


def write_folder(data_dir, bands, num_tracks, num_files=64):
    """A folder of uint8 log-mels (bands, 30 s) in 7 genres, of which eight tracks of ten are for training.

    Tracks share ``num_files`` files: made quickly, and loaded like any others. Those of one file are of one
    genre: a head that could learn nothing would look for it longer than any real one.
    Returns a :class:`data.folder.Folder`.
    """
    settings = replace(logmel.default_settings(), n_mels=bands, dtype="uint8")
    frames, dataset, chance = settings.frames_in(SECONDS), f"made_up_{bands}", np.random.default_rng(0)
    path = data_dir / f"{dataset}_npy"
    for number in range(num_files):
        utils.save_array(path / f"{number}.npy", chance.integers(0, 256, (bands, frames), dtype=np.uint8))
    splits = (*["training"] * 8, "validation", "test")
    rows = [
        (f"{n:06d}", f"{n % num_files}.npy", f"genre {n % num_files % GENRES}", splits[n % len(splits)], frames)
        for n in range(num_tracks)
    ]
    utils.write_csv(path / "tracks.csv", COLUMNS, rows)
    utils.write_json(path / "spectrogram.json", settings.to_json())
    return open_folder(data_dir, dataset)
