"""What does a large set cost in memory, and in time beside the network?

    python -m benchmarks.memory                 peak memory of train_simsiam.py for each --cache, on 200,000 tracks
    python -m benchmarks.memory --million       time beside the network: to draw a million tracks, to cut views

The tracks are made up: 256 files of (48, 64) uint8, each under hundreds of names by hard links, for to write so many
would take longer than to measure. Training is the script's own, cut off after 50 steps. What it takes on 1,000 of the
tracks is its baseline: the imports, the network and its optimiser, a batch. What is above grows with the set.
Prints a Markdown table and removes what it made.
"""

import itertools
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import utils

SHAPE = (48, 64)  # mel bands × frames of a made-up array: 3,072 bytes
FILES = 256
FEW = 1000  # tracks of the baseline
STEPS = 50  # of training, in which all that grows with the set is there
TRAIN = (
    "--method simsiam --backbone conv8 --dim 32 --pred_dim 8 --num_views 2 --crop_seconds 3 --aug none --device cpu "
    "--num_epochs 1 --batch_size 64 --knn_every 0"
)
GENRES = ("Folk", "Rock")


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--num_tracks", type=utils.count, default=200_000, help="of the large set")
    parser.add_argument("--million", action="store_true", help="measure the time between steps, not the memory")
    parser.add_argument("--out", default="exp/memory", help="folder to work in, in one of its own")
    parser.add_argument("--measure", metavar="FLAGS", help="for itself: run train_simsiam.py and print its peak")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import numpy as np
import torch

import augment
import models
from benchmarks.made_up import write_folder
from data import crops
from data.folder import open_folder
from training.views import TrackViews, Views

COLUMNS = ("--cache", "tracks", "arrays, MB", "peak, MB", "baseline, MB", "above it, MB", "× arrays")


def main(args):
    out = Path(args.out)
    if args.measure:
        print(measure(args.measure.split()))
        return
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="memory_", dir=out) as work:  # what else lies there is somebody's
        if args.million:
            write_index(Path(work) / "data" / "million_npy", 1_000_000)
            print(million(Path(work) / "data"))
            print(cutting(write_folder(Path(work) / "data", 128, num_tracks=800)))
        else:
            print(memory(Path(work), args.num_tracks))


# ------------------------------------------------------------------ memory


def memory(out, num_tracks):
    """The table of peak memory for each --cache, as Markdown."""
    for name, number in (("few", FEW), ("many", num_tracks)):
        write_index(out / "data" / f"{name}_npy", number)
        link_arrays(out / "data" / f"{name}_npy", number)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    stored = num_tracks * SHAPE[0] * SHAPE[1] / 1e6
    for cache in ("ram", "disk"):
        baseline, peak = (in_a_process(out, name, cache) for name in ("few", "many"))
        above = peak - baseline
        numbers = stored, peak, baseline, above
        cells = [cache, f"{num_tracks:,}", *(f"{n:.0f}" for n in numbers), f"{above / stored:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def in_a_process(out, dataset, cache):
    """What :func:`measure` finds in a process of its own: the peak is of a process's whole life."""
    flags = f"{TRAIN} --dataset {dataset} --data_dir {out}/data --exp_dir {out}/exp --cache {cache}"
    command = [sys.executable, "-m", "benchmarks.memory", "--out", str(out), "--measure", flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path.cwd())
    if done.returncode:
        raise utils.UserError(f"a run failed: {done.stderr.strip()[-300:]}")
    return float(done.stdout.splitlines()[-1])


def measure(flags):
    """Train for ``STEPS`` steps. Returns the peak of this process in MB."""
    bar = utils.progress
    utils.progress = lambda iterable, **options: bar(itertools.islice(iterable, STEPS), **options)
    script = str(Path(__file__).parents[1] / "train_simsiam.py")
    sys.argv = [script, *flags]
    runpy.run_path(script, run_name="__main__")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def write_index(folder, number):
    """tracks.csv and spectrogram.json of a folder of so many training tracks."""
    folder.mkdir(parents=True)
    with open(folder / "tracks.csv", "w", encoding="utf-8") as file:
        file.write("track_id,path,genre_top,split,frames\n")
        for track in range(number):
            file.write(f"{track:07d},{path_of(track)},{GENRES[track % 2]},training,{SHAPE[1]}\n")
    utils.write_json(folder / "spectrogram.json", {
        "features": "logmel", "sample_rate": 22050, "n_fft": 2048, "hop_length": 2205, "n_mels": SHAPE[0],
        "f_min": 0.0, "f_max": 11025.0, "mel_scale": "slaney", "dtype": "uint8", "db_min": -80.0, "db_max": 0.0,
    })  # fmt: skip


def path_of(track):
    return f"{track // 1000:04d}/{track:07d}.npy"


def link_arrays(folder, number):
    """``FILES`` arrays of chance under the names of all tracks."""
    chance = np.random.default_rng(0)
    for track in range(number):
        file = folder / path_of(track)
        if track % 1000 == 0:
            file.parent.mkdir()
        if track < FILES:
            np.save(file, chance.integers(0, 256, SHAPE, dtype=np.uint8))
        else:
            os.link(folder / path_of(track % FILES), file)


# ------------------------------------------------------------------ time between the steps


def million(data_dir, batch_size=64, num_views=4):
    """What drawing an epoch costs for each of its steps, beside a step of the default network, in words.

    CPU time: whatever else the machine does has no part in it.
    """
    begin = time.process_time()
    folder = open_folder(data_dir, "million")
    held = crops.load(folder, folder.split("training"), torch.device("cpu"), "disk")
    opened = time.process_time() - begin
    cut = Views(held, augment.build("none", folder.settings), None, num_frames=15)
    views = TrackViews(cut, batch_size, "disjoint", num_views)
    begin = time.process_time()
    num_steps = sum(1 for _ in views.requests())
    each = (time.process_time() - begin) / num_steps
    step = seconds_of_step(batch_size, num_views)
    return (
        f"{len(held):,} tracks, opened in {opened:.1f} s; drawing an epoch takes {1e6 * each:.0f} µs for each of its "
        f"{num_steps:,} steps: less than 1 % of any step over {1e5 * each:.1f} ms, and {each / step:.4%} of one on "
        f"this CPU, {1e3 * step:.0f} ms (frames, float32, {num_views} views of {batch_size} × 64 × 64, "
        "batch × bands × frames)"
    )


def cutting(folder, batch_size=64, num_views=4):
    """How many views of the default length are cut and augmented in a second, of each ``--cache``, in words."""
    rows, settings, rates = folder.split("training"), folder.settings, {}
    for cache in ("ram", "disk"):
        held = crops.load(folder, rows, torch.device("cpu"), cache)
        num_frames = settings.frames_in(settings.default_crop_seconds())
        cut = Views(held, augment.build("spec", settings), crops.measure_normalisation(held), num_frames)
        views = TrackViews(cut, batch_size, "disjoint", num_views)
        for _ in range(2):  # the first brings the files into memory
            begin = time.perf_counter()
            number = sum(len(x) for batch in views for x in batch)
            rates[cache] = number / (time.perf_counter() - begin)
    return (
        f"views of {settings.num_rows} × {num_frames}, cut and augmented (spec): {rates['ram']:,.0f} a second by "
        f"--cache ram, {rates['disk']:,.0f} by --cache disk from files that the system holds in memory"
    )


def seconds_of_step(batch_size, num_views, repeats=3):
    """Forward and backward of the default method on small spectrograms, the fastest of a few."""
    method = models.build({"method": "simsiam", "backbone": "frames"}, num_mels=64)
    x = torch.randn(num_views, batch_size, 1, 64, 64)
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        method(*x)[0].backward()
        times.append(time.process_time() - begin)
    return min(times)


if __name__ == "__main__":
    utils.run(main, get_args_parser())
