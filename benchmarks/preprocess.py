"""Measure preprocessing.py beside decoding alone, and beside librosa in one process.

    python -m benchmarks.preprocess

Converts made-up mp3 files: 30 s, 44.1 kHz, stereo, 256 kbit/s. The three take turns, the ratios are medians over the
turns, with the lowest and the highest, and processes are started before: what is measured is how a large collection
goes on. Prints a Markdown table.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import utils

SECONDS, RATE = 30, 44100
SONGS, COPIES, TURNS = 4, 10, 5
HEADER = [
    "processes", "decoding alone, files/s", "preprocessing, files/s", "of decoding alone",
    "librosa in one process, files/s", "times librosa",
]  # fmt: skip


def usable_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--cores", type=utils.count, default=usable_cores(), help="processes that decode and convert")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import librosa
import numpy as np
import soundfile

from benchmarks.steps import spread
from data import extractors, logmel
from data.collection import Track
from data.workers import convert_one, pool_for


def main(args):
    with tempfile.TemporaryDirectory() as folder:
        print_table(args.cores, measure(make_songs(Path(folder)), args.cores))


def make_songs(folder):
    """``SONGS`` different mp3 files of chords that swell over noise, ``COPIES`` of each. Returns their paths."""
    chance, seconds = np.random.default_rng(0), np.arange(SECONDS * RATE) / RATE
    paths = []
    for number in range(SONGS):
        chord = sum(np.sin(2 * np.pi * hertz * seconds) for hertz in chance.uniform(80, 4000, 6))
        song = 0.05 * chord * (1 + np.sin(4 * np.pi * seconds)) + chance.normal(0, 0.02, (2, len(seconds)))
        first = folder / f"{number}.mp3"
        raw = f"-f f32le -ar {RATE} -ac 2 -i pipe: -b:a 256k".split()
        command = [logmel.ffmpeg_binary(), "-loglevel", "error", *raw, str(first)]
        subprocess.run(command, input=song.T.astype("<f4").tobytes(), check=True)
        paths += [first, *(Path(shutil.copy(first, folder / f"{number}_{n}.mp3")) for n in range(1, COPIES))]
    return paths


def measure(paths, cores):
    """Rates in files per second, one of each for each turn: decoding, preprocessing, librosa."""
    extractor = extractors.build(logmel.default_settings())
    tracks = [Track(path.stem, path, f"{path.stem}.npy", "", "") for path in paths]
    turns = []
    with pool_for(extractor, cores) as pool, pool_for(extractor, 1) as alone:
        for turn in utils.progress(range(1 + TURNS), desc="turns"):
            made = paths[0].parent / f"made_{turn}"  # to replace a file takes longer than to write a new one
            jobs = [(track, made, extractor) for track in tracks]
            decoding, preprocessing = rate(pool, decode, paths), rate(pool, convert, jobs)
            turns.append((decoding, preprocessing, rate(alone, by_librosa, paths[::COPIES])))
    return turns[1:]  # in the first, the processes begin and import


def rate(pool, function, jobs):
    start = time.perf_counter()
    for _ in pool.map(function, jobs):
        pass
    return len(jobs) / (time.perf_counter() - start)


def decode(path):
    soundfile.read(path, dtype="float32")


def convert(job):
    _, _, reason = convert_one(job)
    if reason:
        raise utils.UserError(f"{job[0].source} was not converted: {reason}")


def by_librosa(path):
    settings = logmel.default_settings()
    waveform, rate = librosa.load(path, sr=settings.sample_rate)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=rate, n_fft=settings.n_fft, hop_length=settings.hop_length, n_mels=settings.n_mels
    )
    librosa.power_to_db(power, ref=np.max)


def print_table(cores, turns):
    decoding, preprocessing, serial = (statistics.median(rates) for rates in zip(*turns, strict=True))
    of_decoding = spread([turn[1] / turn[0] for turn in turns], 2)
    times = spread([turn[1] / turn[2] for turn in turns], 2)
    cells = [cores, f"{decoding:.1f}", f"{preprocessing:.1f}", of_decoding, f"{serial:.1f}", times]
    for row in (HEADER, ["---:"] * len(HEADER), cells):
        print("|", " | ".join(map(str, row)), "|")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
