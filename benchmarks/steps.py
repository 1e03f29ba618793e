"""Measure the steps of pre-training: the real loop beside a bare one, and bfloat16 beside float32.

    python -m benchmarks.steps                 every network and family of views, on made-up arrays; prints Markdown
    python -m benchmarks.steps --compile       the same, compiled
    python -m benchmarks.steps --only frames   one network

The real loop is train_simsiam.py's own epoch: it cuts and augments views, logs and schedules. The bare one has the
same network, loss and optimiser, and always the same views, in the precision and memory format that are fastest here.
Short rounds of both take turns; what is printed is the median of the rounds' ratios, so that what else the machine
does counts for both, and beside it the lowest and the highest of them.
"""

import argparse
import contextlib
import copy
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import augment
import models
import utils


class Case(NamedTuple):
    """A network on views of some size; num_frames None: the default. batch_size: on a CPU."""

    name: str
    backbone: str
    bands: int
    num_frames: int | None
    batch_size: int
    flags: str = ""


CASES = {
    "resnet18": Case("ResNet-18, 128 × 64", "resnet18", 128, 64, 16, "--num_views 2"),
    "resnet50": Case("ResNet-50, 48 × 431", "resnet50", 48, 431, 4, "--num_views 2"),
    "frames": Case("frames, default", "frames", 128, None, 16),
}


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--only", choices=list(CASES), help="measure this network alone")
    parser.add_argument("--rounds", type=utils.count, default=5, help="turns of both loops, for each row")
    parser.add_argument("--batch_size", type=utils.count, help="tracks in a batch (default: a few, 256 on a GPU)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="as train_simsiam.py --compile does")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch

import train_simsiam
from benchmarks.made_up import num_tracks_for, write_folder
from data import crops
from models import backbones
from training.compiled import compile_in_place
from training.loop import schedule
from training.views import TrackViews, Views

FORMATS = (torch.channels_last, torch.contiguous_format)


def main(args):
    device = utils.pick_device(args.device)
    torch.backends.cudnn.benchmark = True
    target, gains = 0.92 if device.type == "cuda" else 0.95, []
    print("| train_simsiam.py, steps/s | --aug | bare loop, at its best | real loop | ratio | target |")
    print("|---|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as work:
        for case in [CASES[args.only]] if args.only else CASES.values():
            size = args.batch_size or (256 if device.type == "cuda" else case.batch_size)
            steps = 20 if device.type == "cuda" else 2
            folder, best = write_folder(Path(work), case.bands, num_tracks_for(steps * size)), None
            for aug in augment.FAMILIES:
                loop = prepare(case, aug, size, folder, device, args.compile)
                best = best or fastest(loop)
                bare, real, ratios = beside_bare(loop, *best, args.rounds)
                what = f"{case.name}, batch {size}, {describe(*best)}"
                print(f"| {what} | {aug} | {bare:.3g} | {real:.3g} | {spread(ratios, 3)} | ≥ {target} |", flush=True)
            default = "bfloat16" if loop.flags.bf16 else "float32"
            gains.append((f"{case.name}, batch {size}", *half_beside_full(loop, args.rounds), default))
    print("\n| train_simsiam.py, steps/s | float32 | bfloat16 | ratio | by default |")
    print("|---|---:|---:|---:|---|")
    for what, full, half, ratios, default in gains:
        print(f"| {what} | {full:.3g} | {half:.3g} | {spread(ratios, 2)} | {default} |")


class Loop(NamedTuple):
    """What train_simsiam.main makes of its flags."""

    flags: utils.Flags
    method: torch.nn.Module
    optimiser: torch.optim.Optimizer
    views: TrackViews
    device: torch.device


def prepare(case, aug, batch_size, folder, device, compiled=False):
    """The :class:`Loop` of a case, on the training tracks of a made-up folder."""
    text = f"--dataset {folder.dataset} --backbone {case.backbone} --aug {aug} --batch_size {batch_size} {case.flags}"
    args = train_simsiam.get_args_parser().parse_args(text.split())
    args.crop_seconds = case.num_frames and folder.settings.seconds_in(case.num_frames)
    with contextlib.redirect_stdout(sys.stderr):  # what is said now would stand in the middle of a table
        flags = train_simsiam.resolve_input(train_simsiam.resolve(args), folder, device)
    train = crops.load(folder, folder.split("training"), device)
    normalise = crops.measure_normalisation(train, per_band=True)
    views = Views(
        train, augment.build(aug, folder.settings), normalise, folder.settings.frames_in(flags.crop_seconds)
    )
    utils.set_seed(0)
    memory_format = backbones.memory_format(flags.backbone, device)
    method = models.build(vars(flags), case.bands).to(device, memory_format=memory_format)
    if compiled:
        with contextlib.redirect_stdout(sys.stderr):
            compile_in_place(method, device)
    epochs = TrackViews(views, batch_size, flags.pair, flags.num_views)
    return Loop(flags, method, optimiser_of(method, flags), epochs, device)


def optimiser_of(method, flags):
    rest = flags.momentum, flags.weight_decay, flags.fix_pred_lr
    lr = train_simsiam.scaled_rate(flags.optim, flags.lr, flags.batch_size)
    return train_simsiam.build_optimiser(method, flags.optim, lr, *rest)


def real_round(loop, bf16):
    """Seconds of a step of train_simsiam.py's epoch, as it measures them itself."""
    return real_epoch(loop, bf16)["seconds"] / len(loop.views)


def real_epoch(loop, bf16, epoch=1):
    """The row of the log that train_simsiam.py's epoch makes."""
    flags, rates = loop.flags.but(bf16=bf16, checkpoint_minutes=0), schedule(loop.optimiser, 10**6, 0)
    return train_simsiam.train_one_epoch(
        loop.method, loop.method, loop.views, loop.optimiser, rates, epoch, flags, loop.device, save=None
    )


def bare_round(loop, x, bf16):
    """Seconds of a step on the views ``x``, which are there already."""
    begin = time.perf_counter()
    for _ in range(len(loop.views)):
        loss = bare_step(loop, x, bf16)
    loss.item()
    return (time.perf_counter() - begin) / len(loop.views)


def bare_step(loop, x, bf16):
    with utils.autocast(loop.device, bf16):
        loss, _ = loop.method(*x)
    loop.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    loop.optimiser.step()
    return loss


def fastest(loop):
    """(bf16, memory format) in which a bare loop is fastest here, of those that compute rightly."""
    x = next(iter(loop.views))
    half = backbones.uses_bf16(True, loop.device, loop.flags.backbone, min(x[0].shape[2:]))
    seconds = {}
    for memory_format in FORMATS:
        other = in_format(loop, memory_format)
        for bf16 in [False, True] if half else [False]:
            bare_round(other, x, bf16)
            seconds[bf16, memory_format] = min(bare_round(other, x, bf16) for _ in range(2))
    return min(seconds, key=seconds.get)


def in_format(loop, memory_format):
    """The loop with another network and optimiser, of the same kind."""
    method = copy.deepcopy(loop.method).to(memory_format=memory_format)
    if loop.method._compiled_call_impl:
        method.compile(dynamic=False)
    return loop._replace(method=method, optimiser=optimiser_of(method, loop.flags))


def describe(bf16, memory_format):
    return f"{'bfloat16' if bf16 else 'float32'} {str(memory_format).removeprefix('torch.')}"


def beside_bare(loop, bf16, memory_format, rounds):
    """(steps/s of the bare loop, of the real one, the rounds' ratios)."""
    bare, x = in_format(loop, memory_format), next(iter(loop.views))
    return by_turns(lambda: bare_round(bare, x, bf16), lambda: real_round(loop, loop.flags.bf16), rounds)


def half_beside_full(loop, rounds):
    """The same of the real loop in float32 and in bfloat16."""
    return by_turns(lambda: real_round(loop, False), lambda: real_round(loop, True), rounds)


def by_turns(one, other, rounds):
    """Both are called once to warm up, and then by turns. Returns the median rate of each, and the turns' ratios."""
    one(), other()
    pairs = [(one(), other()) for _ in range(rounds)]
    rates = [1 / statistics.median(part) for part in zip(*pairs, strict=True)]
    return *rates, [first / second for first, second in pairs]


def spread(ratios, digits):
    """Their median, with the lowest and the highest."""
    middle, low, high = (f"{one(ratios):.{digits}f}" for one in (statistics.median, min, max))
    return f"{middle} [{low}, {high}]"


if __name__ == "__main__":
    utils.run(main, get_args_parser())
