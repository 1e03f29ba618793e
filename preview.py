"""See and hear what each augmentation does.

    python preview.py song.mp3 other.mp3           each file becomes <out>/<name>.png and wavs in <out>/<name>/
    python preview.py --dataset fma_small          two tracks of a spectrogram folder, or the track ids given
    python preview.py --verify DIR                 pitch shift, time stretch and mixup against the waveform's
    python preview.py --benchmark                  clips per second of each family, beside a ResNet-50 step

A track is mixed with the next one on the command line, or with another passage of its own.
"""

import statistics
import time
from fractions import Fraction
from pathlib import Path

import librosa
import matplotlib
import numpy as np
import soundfile
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import augment
import utils
from augment import audio as sound
from augment import image
from data import audio, dataset
from models import backbones

# Axes: B batch, F mel band (row 0 = lowest), T frame.

COLUMNS = 4  # of the figure; with the original, its partner and the whole families the tables fill its rows
COLOURS = {"track": "#1d2733", "spec": "#2a6fb0", "image": "#e07b39", "audio": "#3a9a78"}
HERTZ = (100, 500, 1000, 2000, 4000, 8000, 16000)
MUTED = "#66727f"


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="FILE", help="audio files; with --dataset, track ids")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--dataset", help="take tracks of <data_dir>/<dataset>_npy instead of audio files")
    parser.add_argument("--out", default="preview", help="folder for the pictures and the sounds")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a view, from the middle of the track")
    parser.add_argument("--lam", type=float, help="share of the track itself in mixing (default: each family's own)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other pitches, places and tempos")
    parser.add_argument("--no_wav", action="store_true", help="pictures only: inverting a mel spectrogram takes a while")
    parser.add_argument("--verify", metavar="DIR", help="measure on every audio file under DIR, and print a table")
    parser.add_argument("--benchmark", action="store_true", help="time two views of 16 clips of 48 × 431, and stop")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; for --benchmark")
    return parser


def main(args):
    if args.verify:
        print(verification_table(find_audio(args.verify)))
    elif args.benchmark:
        print(benchmark_table(utils.pick_device(args.device)))
    else:
        preview(args)


# ------------------------------------------------------------------ pictures and sounds


def preview(args):
    names, tracks, settings = read_dataset(args) if args.dataset else read_files(args.names)
    num_frames = max(2, round(args.seconds * settings["sample_rate"] / settings["hop_length"]))
    for index, (name, track) in enumerate(zip(names, tracks, strict=True)):
        x = torch.stack([track, partner_of(tracks, index)]) if len(tracks) > 1 else None
    print(args.out)
