"""Measure pre-training on one GPU, in under five minutes, on made-up arrays.

    python -m benchmarks.gpu                       every block; prints Markdown
    python -m benchmarks.gpu --quick --device cpu  a rehearsal with tiny sizes, for a machine without a GPU

Rate by batch and views, compiled and not, beside a bare loop (bfloat16, channels last) on the same network; what
share of the GPU's arithmetic that is; an epoch of a set of the size of FMA-medium; whether anything in the loop waits
for the GPU; and whether it learns as on a CPU. What has a target is first; a row for which no time is left says so.
"""

import functools
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import augment
import utils

PEAKS = {  # dense bfloat16 TFLOP/s of the data sheets; the first name that is part of the device's
    "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200 NVL": 835, "H200": 989, "A100": 312,
    "L40S": 362, "RTX 4090": 165,
}  # fmt: skip
# in a trace; ``item`` of a GPU's tensor is the first, and a copy from or to memory that is not pinned waits as well
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "Memcpy HtoD (Pageable", "Memcpy DtoH (Device -> Pageable")
EVENTS = ("cudaEventSynchronize",)  # by which the progress bar's loss, a step old, is waited for
WATCHED = 40  # steps, twice as many as lie between two losses that the progress bar shows
LEARNED = 10  # steps of an epoch whose losses are compared: a CPU makes them, too
COUNTED = 8  # clips that the arithmetic is counted on


class Size(NamedTuple):
    """What is measured. seconds: of all blocks, after which no further row is begun."""

    cases: tuple
    batches: tuple
    usual: int  # the batch that all families of views, and the compiled network, are measured with
    steps: int  # of a round, of the usual batch; as many clips of others
    rounds: int
    seconds: float
    tracks: int  # of the large set


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and nothing compiled: does it run?")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto or cuda; cpu with --quick")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.made_up import num_tracks_for, write_folder
from benchmarks.steps import CASES, Case, bare_round, bare_step, by_turns, prepare, real_epoch, real_round, spread

FULL = Size((CASES["resnet50"], CASES["resnet18"], CASES["frames"]), (64, 256, 1024), 256, 20, 2, 255, 25_000)
QUICK = Size((Case("ResNet-18, 32 × 64", "resnet18", 32, 64, 4, "--num_views 2"),), (4, 8), 4, 2, 1, 60, 16)


def main(args):
    device = utils.pick_device(args.device)
    if device.type == "cpu" and not args.quick:
        raise utils.UserError("there is no GPU here, and nothing else is measured: --quick rehearses it on a CPU")
    torch.backends.cudnn.benchmark = True
    size = QUICK if args.quick else FULL
    peak = f"peak {peak_of(device)} TFLOP/s in bfloat16, by its data sheet" if peak_of(device) else "peak not known"
    rehearsal = "; a rehearsal: tiny sizes, which say nothing" if args.quick else ""
    print(f"device: {name_of(device)}, {peak}{rehearsal}")
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(Path(work), size, device, compiled=not args.quick)
        for block in (bench.aimed_at, bench.large_set, bench.waits, bench.learning, bench.others):
            print()
            for row in block():
                print(row, flush=True)


def name_of(device):
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


class Bench:
    """Blocks of rows, which share the networks, each compiled once, and the time."""

    def __init__(self, work, size, device, compiled):
        self.work, self.size, self.device, self.compiled = work, size, device, compiled
        self.networks, self.end, self.last = {}, time.monotonic() + size.seconds, 0.0

    def timed(self, what, cells, row):
        """The row ``what`` and ``row()``, unless there is less time left than the last one took."""
        begin = time.monotonic()
        if begin + self.last > self.end:
            return f"{what} no time left |{' |' * (cells - 1)}"
        line = f"{what} {row()}"
        self.last = time.monotonic() - begin
        return line

    def loop(self, case, batch, aug, compiled, steps=None):
        """The real loop of :mod:`benchmarks.steps`, with an epoch of ``steps`` (default: those of a round)."""
        steps = steps or max(2, self.size.steps * self.size.usual // batch)
        folder = write_folder(self.work, case.bands, num_tracks_for(steps * batch))
        new = (case, compiled) not in self.networks
        loop = prepare(case, aug, batch, folder, self.device, compiled and new)
        method, optimiser = self.networks.setdefault((case, compiled), (loop.method, loop.optimiser))
        return loop._replace(method=method, optimiser=optimiser)

    def aimed_at(self):
        """The rates that have a target."""
        return self.rates([(self.size.usual, aug, self.compiled) for aug in augment.FAMILIES], "≥ 0.92")

    def others(self):
        usual = self.size.usual
        plans = [(batch, "spec", False) for batch in self.size.batches if batch != usual]
        return self.rates([*((usual, aug, False) for aug in augment.FAMILIES if self.compiled), *plans], "")

    def rates(self, plans, target):
        """A row for each network and each of ``plans``: (batch, aug, compiled)."""
        head = "clips/s | of the bare loop | target | TFLOP/s | of the peak | memory: a step's, all"
        yield f"| network | batch | --aug | compiled | {head} |"
        yield "|---|---:|---|---|---:|---:|---|---:|---:|---|"
        for case in self.size.cases:
            for batch, aug, compiled in plans:
                what = f"| {case.name} | {batch} | {aug} | {'yes' if compiled else 'no'} |"
                row = functools.partial(self.rate, case, batch, aug, compiled, target)
                yield self.timed(what, 6, row)

    def rate(self, case, batch, aug, compiled, target):
        """The other cells of a row."""
        on_gpu = self.device.type == "cuda"
        try:
            loop = self.loop(case, batch, aug, compiled)
            x, bf16 = next(iter(loop.views)), on_gpu
            bare_step(loop, x, bf16)  # compiles it, and makes what the optimiser keeps
            loop.optimiser.zero_grad(set_to_none=True)
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(self.device)
                others = torch.cuda.memory_allocated(self.device)
            real, ratios = by_turns(
                lambda: bare_round(loop, x, bf16), lambda: real_round(loop, bf16), self.size.rounds
            )[1:]
        except torch.OutOfMemoryError:
            real = None  # what is emptied here would still be held by the error
        if real is None:
            torch.cuda.empty_cache()
            return "out of memory | | | | | |"
        memory, peak = self.memory(others if on_gpu else 0), peak_of(self.device)
        done = real * batch * self.flops_of_clip(case) / 1e12
        share = f"{done / peak:.0%}" if peak else "–"
        return f"{real * batch:.0f} | {spread(ratios, 3)} | {target} | {done:.3g} | {share} | {memory} |"

    def memory(self, others):
        """The most that was held at once, less ``others`` bytes that were there before, and all of it."""
        if self.device.type != "cuda":
            return "–"
        most = torch.cuda.max_memory_allocated(self.device)
        step = f"{(most - others) / 2**30:.1f} GiB, " if others else ""
        return f"{step}{most / 2**30:.1f} GiB"

    @functools.cache  # noqa: B019 – there is one bench, and it ends with the process
    def flops_of_clip(self, case):
        """Of one track's views, forward and backward, as torch counts them."""
        loop = self.loop(case, COUNTED, "none", False, steps=1)
        with FlopCounterMode(display=False) as counter:
            loss, _ = loop.method(*next(iter(loop.views)))
            loss.backward()
        return counter.get_total_flops() / COUNTED

    def waits(self):
        """An epoch waits at its end; one that is twice as long waits no more often if no step does.

        Only the progress bar waits, for every twentieth loss, by an event that lies a step back.
        """
        steps = WATCHED if self.device.type == "cuda" else self.size.steps
        head = f"in {steps} steps | in {2 * steps} | each further step | events, the same | target"
        yield f"| waits for the GPU | --aug | {head} |"
        yield "|---|---|---:|---:|---:|---:|---:|"
        for aug in augment.FAMILIES:
            row = functools.partial(self.waits_of, aug, steps)
            yield self.timed(f"| {self.size.cases[-1].name} | {aug} |", 5, row)

    def waits_of(self, aug, steps):
        (many, reads), (few, fewer) = (self.waits_in(aug, number) for number in (2 * steps, steps))
        cells = f"{few} | {many} | {(many - few) / steps:g} | {(reads - fewer) / steps:g}"
        return f"{cells if self.device.type == 'cuda' else 'no GPU | | |'} | 0; one in 20 |"

    def waits_in(self, aug, steps):
        """Of the smallest batch: what waits does so once a step, however large it is."""
        case, bf16 = self.size.cases[-1], self.device.type == "cuda"
        loop = self.loop(case, self.size.batches[0], aug, False, steps)
        real_round(loop, bf16)
        on = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bf16 else [])]
        with profile(activities=on) as trace:
            real_round(loop, bf16)
        counted = trace.key_averages()
        return tuple(sum(one.count for one in counted if one.key.startswith(names)) for names in (WAITS, EVENTS))

    def learning(self):
        """The same epochs in float32 on both devices: same seed, same weights, same crops, no augmentation.

        And on the GPU in bfloat16, as it trains by default, and compiled. By SGD: AdamW divides a gradient by its own
        size: where that is nothing but rounding, the step is chance.
        """
        yield "| loss after 1 … 5 short epochs | " + " | ".join("12345") + " | largest difference | target |"
        yield "|---|" + "---:|" * 7
        here, curves = name_of(self.device), []
        runs = [(torch.device("cpu"), False, False, None), (self.device, False, False, 0.01)]
        runs += [(self.device, True, False, 0.02), *([(self.device, True, True, 0.02)] if self.compiled else [])]
        for device, bf16, compiled, target in runs:
            precision = f"{'bfloat16' if bf16 else 'float32'}{', compiled' if compiled else ''}"
            what = f"| {self.size.cases[-1].name}, {precision}, {here if target else 'cpu'} |"
            row = functools.partial(self.losses, curves, device, bf16, compiled, target)
            yield self.timed(what, 7, row)

    def losses(self, curves, device, bf16, compiled, target):
        """The losses of five epochs, which become one more of ``curves``, and how far the first one's are."""
        case = self.size.cases[-1]
        folder = write_folder(self.work, case.bands, num_tracks_for(16 * min(self.size.steps, LEARNED)))
        loop = prepare(case._replace(flags=f"{case.flags} --optim SGD"), "none", 16, folder, device, compiled)
        curves.append([real_epoch(loop, bf16, epoch)["loss"] for epoch in range(1, 6)])
        off = max(abs(one - other) for one, other in zip(curves[0], curves[-1], strict=True))
        cells = " | ".join(f"{loss:.4f}" for loss in curves[-1])
        return f"{cells} | {f'{off:.2g} | ≤ {target}' if target else '|'} |"

    def large_set(self):
        """Loading once, and an epoch, until its row of the log is there."""
        head = "tracks of 30 s | clips/s | s to make and load | s of an epoch | target | of the peak | memory"
        yield f"| a large set | {head} |"
        yield "|---|---:|---:|---:|---:|---:|---:|---|"
        yield self.timed(f"| {self.size.cases[0].name}, batch {self.size.usual} |", 7, self.whole_epoch)

    def whole_epoch(self):
        case, batch, on_gpu = self.size.cases[0], self.size.usual, self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        begin = time.perf_counter()
        loop = self.loop(case, batch, "spec", self.compiled, steps=self.size.tracks // batch)
        loaded = time.perf_counter() - begin
        begin, clips = time.perf_counter(), len(loop.views) * batch
        real_epoch(loop, on_gpu, 1)
        seconds = time.perf_counter() - begin
        peak, done = peak_of(self.device), clips / seconds * self.flops_of_clip(case) / 1e12
        more = f"{f'{done / peak:.0%}' if peak else '–'} | {self.memory(0)}"
        return f"{clips} | {clips / seconds:.0f} | {loaded:.1f} | {seconds:.1f} | ≤ 10 | {more} |"


def peak_of(device):
    """TFLOP/s in bfloat16 by the name of the GPU; None of one that is not in the table."""
    return next((peak for name, peak in PEAKS.items() if name in name_of(device)), None)


if __name__ == "__main__":
    utils.run(main, get_args_parser())
