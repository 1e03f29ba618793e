"""Measure a linear probe on frozen features beside one forward pass over the same crops.

    python -m benchmarks.probe    on made-up arrays and a network with next to no training; prints Markdown

The forward pass is that of a ResNet-18 over five crops (128 × 64) of every track, in the precision that is fastest
here. The probe is the whole of ``transfer.py --protocol linear``, from its start to its report, run twice, as by
someone who tries another seed. One forward pass comes before the first run and one after it, and it is compared with
their mean: a machine is not equally fast in every minute.
"""

import tempfile
import time
from pathlib import Path

import models
import utils

BANDS, FRAMES, CROPS = 128, 64, 5
TRACKS = 7194  # that the targets are of; fewer have the same fixed costs


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--tracks", type=utils.count, default=1000, help="made-up tracks of 30 s")
    parser.add_argument("--backbone", choices=models.BACKBONES, default="resnet18", help="the network that is probed")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch

from benchmarks.made_up import write_folder
from data import crops
from training.experiment import Experiment
from training.frozen import Cut


def main(args):
    with tempfile.TemporaryDirectory() as work:
        folder = write_folder(Path(work) / "data", BANDS, args.tracks)
        where = ["--data_dir", Path(work) / "data", "--exp_dir", Path(work) / "exp", "--device", args.device]
        begun = ["--num_tracks", 16, "--batch_size", 8, "--num_epochs", 1, "--num_views", 2, "--knn_every", 0]
        begun += ["--crop_seconds", folder.settings.seconds_in(FRAMES), "--backbone", args.backbone]
        experiment = utils.call("train_simsiam.py", *where, "--dataset", folder.dataset, *begun)
        forward, precision = fastest_forward(Experiment.read(experiment), folder, utils.pick_device(args.device))
        flags = [*where, "--exp_path", experiment, "--protocol", "linear", "--num_crops", CROPS]
        before = seconds_of(forward)
        first = seconds_of(lambda: utils.call("transfer.py", *flags, "--seed", 0))
        after = seconds_of(forward)
        second = seconds_of(lambda: utils.call("transfer.py", *flags, "--seed", 1))
    mean = (before + after) / 2
    what = f"{args.tracks} tracks, {CROPS} crops, {args.backbone}, {precision}"
    print("| transfer.py --protocol linear | s | of a forward pass | target |\n|---|---:|---:|---:|")
    print(f"| one forward pass ({what}), before and after the first run | {before:.1f}, {after:.1f} | | |")
    print(f"| first run | {first:.1f} | {first / mean:.2f} | ≤ 1.2 of {TRACKS:,} tracks |")
    print(f"| second run, features kept | {second:.1f} | {second / mean:.2f} | ≤ 10 s of {TRACKS:,} tracks |")


def fastest_forward(experiment, folder, device):
    """(a pass over the crops of all tracks, to be called; its precision: the one in which a few are fastest)."""
    torch.backends.cudnn.benchmark = True
    network = experiment.method(device).encoder().to(memory_format=torch.channels_last)
    held = crops.load(folder, folder.tracks, device)
    few, seconds = torch.arange(min(13, len(held))), {}
    for bf16 in (False, True):
        cut = Cut(FRAMES, CROPS, experiment.normalisation, device, bf16)
        cut.extract(network, held, few, desc=None)
        seconds[cut] = seconds_of(lambda cut=cut: cut.extract(network, held, few, desc=None).sum().item())
    best = min(seconds, key=seconds.get)
    return lambda: best.extract(network, held).sum().item(), "bfloat16" if best.bf16 else "float32"


def seconds_of(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


if __name__ == "__main__":
    utils.run(main, get_args_parser())
