"""bfloat16 or float32? ``--precision auto`` takes what is faster on this machine, of what is right.

Axes: B batch, F mel band, T frame.
"""

import functools
import statistics
import time
from pathlib import Path

import torch

import utils
from models import backbones
from training import distributed

INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux names them, the last on ARM
WORTH = 1.1  # for less, float32's digits are worth more
MOST_CROPS, MOST_FRAMES = 64, 256  # that are timed
LIKE = {"resnet34": "resnet18", "resnet101": "resnet50", "resnet152": "resnet50"}  # of the same blocks, sooner timed
LEAST_SECONDS = 0.1  # of a step that is worth timing
SECONDS = 1.0  # for all of it


def choose(flags, num_rows, num_frames, device, training):
    """Whether to compute in bfloat16, from the flags precision, bf16, backbone and pool; auto says what it found.

    num_rows, num_frames: of what the backbone sees; training: whether gradients are wanted. Draws nothing by chance.
    """
    asked = {None: flags.precision, True: "bf16", False: "fp32"}[flags.bf16]
    right = backbones.uses_bf16(asked != "fp32", device, flags.backbone, min(num_rows, num_frames))
    if asked == "bf16" and not right and training:
        print(f"note: {flags.backbone} cannot be trained in bfloat16 on this {device}: float32 it is")
    if asked != "auto" or device.type == "cuda":
        return right
    if not distributed.all_say(right and has_bf16(device)):
        return False
    rate = speed_up(flags.backbone, flags.pool, num_rows, min(num_frames, MOST_FRAMES), training)
    rate = distributed.number_from_first(rate)
    bf16 = rate >= WORTH
    least = "" if bf16 else f", taken from {WORTH:g} x on"
    print(f"precision: {'bf16' if bf16 else 'fp32, not bf16'} ({rate:.2f} x fp32's rate here{least})")
    return bf16


def recorded(bf16):
    """The flags that say what was used."""
    return {"precision": "bf16" if bf16 else "fp32", "bf16": bf16}


def has_bf16(device):
    """Whether this is a CPU with instructions for bfloat16, as far as the system tells."""
    cpus = Path("/proc/cpuinfo")
    return device.type == "cpu" and cpus.is_file() and bool(INSTRUCTIONS & set(cpus.read_text().split()))


def speed_up(backbone, pool, num_rows, num_frames, training):
    """How many times as fast as in float32 a step is in bfloat16 on this CPU: the median of a second's pairs."""
    begin = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        network = backbones.build(LIKE.get(backbone, backbone), num_rows, pool).train(training)
        network = network.to(memory_format=backbones.memory_format(backbone, torch.device("cpu")))
        x = torch.randn(MOST_CROPS, 1, num_rows, num_frames)
    number = 2
    while seconds_of(network, x[:number], False) < LEAST_SECONDS and number < MOST_CROPS:
        number *= 2
    step = functools.partial(seconds_of, network, x[:number])
    step(True)  # the first one prepares
    found = []
    while not found or time.perf_counter() - begin < SECONDS:
        found.append((step(False), step(True)))
    return statistics.median(fp32 / bf16 for fp32, bf16 in found)


def seconds_of(network, x, bf16):
    """Seconds for the features of x (B, 1, F, T), and in training mode for their gradients."""
    begin = time.perf_counter()
    with torch.set_grad_enabled(network.training), utils.autocast(x.device, bf16):
        features = network(x)
    if network.training:
        features.float().sum().backward()
    return time.perf_counter() - begin
