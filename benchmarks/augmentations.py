"""Measure the augmentations: how near they come to the waveform's, and how fast they are.

    python -m benchmarks.augmentations --verify DIR    beside the same thing done by librosa to the waveforms in DIR
    python -m benchmarks.augmentations --speed         clips per second of each family, beside a ResNet-50 step

What they look and sound like shows preview.py. Prints Markdown tables.
"""

# Axes: B batch, F mel band (row 0 = lowest), T frame.

import math
import statistics
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import augment
import utils

SHIFTS, RATES, SHARE = (-4, -2, 3), (Fraction(7, 10), Fraction(7, 5)), 0.7  # what --verify tries
BATCH, BANDS, FRAMES = 16, 48, 431  # what --speed times


def get_args_parser():
    parser = utils.script_parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--verify", metavar="DIR", help="folder of audio files, searched to the bottom")
    what.add_argument("--speed", action="store_true", help="time every family")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda, for --speed")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import librosa
import numpy as np
import torch

from augment import audio, image
from data import logmel
from data.crops import cut_evenly
from models import backbones


def main(args):
    rows = verify(find_audio(args.verify)) if args.verify else measure_speed(utils.pick_device(args.device))
    for row in rows:
        print("|", " | ".join(row), "|")


# ------------------------------------------------------------------ against the waveform


def find_audio(folder):
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in logmel.SUFFIXES)
    if not paths:
        raise utils.UserError(f"there is no audio file under {folder}")
    return paths


def read_waveform(path, sample_rate):
    try:
        return logmel.read_audio(path, sample_rate)
    except logmel.AudioError as error:
        raise utils.UserError(f"{path}: {error}") from None


def verify(paths):
    """Rows of a table: the audio family beside the same thing done to the waveform by librosa."""
    settings = logmel.default_settings()
    waveforms = [read_waveform(path, settings.sample_rate) for path in paths]
    pairs = list(zip(waveforms, waveforms[1:] + waveforms[:1], strict=True))
    rows = [["done to the spectrogram", "up to Hz", "r, mean", "r, lowest", "r if not done", "mean dB off"]]
    rows += [["---"] + ["---:"] * 5]
    for shift in SHIFTS:
        trials = [try_pitch_shift(waveform, shift, settings) for waveform in waveforms]
        rows.append(summary(f"pitch shift {shift:+d}", trials, highest_shared(shift, settings)))
    for rate in RATES:
        trials = [try_time_stretch(waveform, rate, settings) for waveform in waveforms]
        rows.append(summary(f"time stretch {float(rate):g}", trials, settings.f_max))
    for name, mix in (("mixup", audio.mixup), ("mean of the dB", image.mixup)):
        trials = [try_mixup(*pair, mix, settings) for pair in pairs]
        rows.append(summary(f"{name}, lam {SHARE}", trials, settings.f_max))
    return rows


def summary(name, trials, highest):
    """One row of the table from (done, truth, input) of each clip, each (F, T) dB."""
    reached = [correlation(done, truth) for done, truth, _ in trials]
    before = [correlation(untouched, truth) for _, truth, untouched in trials]
    off = statistics.mean((done - truth).mean().item() for done, truth, _ in trials)
    means = statistics.mean(reached), min(reached), statistics.mean(before)
    return [name, f"{highest:.0f}", *(f"{r:.3f}" for r in means), f"{off:+.1f}"]


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


def try_pitch_shift(waveform, semitones, settings):
    """(done, truth, input) over the bands that the truth can contain."""
    truth = truth_of(librosa.effects.pitch_shift(waveform, sr=settings.sample_rate, n_steps=semitones), settings)
    x = logmel.log_mel(waveform, settings)
    done = audio.pitch_shift(x[None, None], torch.tensor([float(semitones)]), settings)[0, 0]
    highest = torch.tensor(highest_shared(semitones, settings))
    bands = int(audio.hertz_to_band(highest, len(x), settings)) + 1
    return relative(done)[:bands], truth[:bands], x[:bands]


def highest_shared(semitones, settings):
    """A shift down leaves nothing above f_max · 2^(semitones/12)."""
    return settings.f_max * min(1.0, 2 ** (semitones / 12))


def try_time_stretch(waveform, rate, settings):
    """(done, truth, middle of the input); rate is a Fraction n/d."""
    truth = truth_of(librosa.effects.time_stretch(waveform, rate=float(rate)), settings)
    x = logmel.log_mel(waveform, settings)
    # 2nk + 1 frames of the input and 2dk + 1 of the output have the same middle
    n, d = rate.as_integer_ratio()
    k = min((x.shape[1] - 1) // (2 * n), (truth.shape[1] - 1) // (2 * d))
    done = audio.time_stretch(x[None, None, :, : 2 * n * k + 1], torch.tensor([float(rate)]), 2 * d * k + 1)[0, 0]
    return relative(done), truth[:, : 2 * d * k + 1], cut_evenly(x, 2 * d * k + 1, 1)[0, 0]


def try_mixup(waveform, partner, mix, settings):
    """(done, truth, input); two waveforms of the same maximum in dB, the truth is their weighted sum."""
    length = min(len(waveform), len(partner))
    first, second = (levelled(part[:length], settings) for part in (waveform, partner))
    x = logmel.log_mel(np.stack([first, second]), settings)[:, None]
    truth = truth_of(math.sqrt(SHARE) * first + math.sqrt(1 - SHARE) * second, settings)
    return relative(mix(x, torch.full((2,), SHARE))[0, 0]), truth, x[0, 0]


def levelled(waveform, settings):
    return waveform / math.sqrt(mel_power(waveform, settings).max())


def truth_of(waveform, settings):
    """librosa's log-mel of a waveform, dB relative to its maximum: (F, T)."""
    power = torch.from_numpy(mel_power(waveform, settings))
    return relative(10 * power.clamp_min(1e-10).log10())


def mel_power(waveform, settings):
    return librosa.feature.melspectrogram(
        y=waveform, sr=settings.sample_rate, n_fft=settings.n_fft, hop_length=settings.hop_length,
        n_mels=settings.n_mels, fmin=settings.f_min, fmax=settings.f_max, htk=settings.mel_scale == "htk",
    )  # fmt: skip


def relative(decibels):
    return (decibels - decibels.max()).clamp_min(-80)


# ------------------------------------------------------------------ speed


def measure_speed(device):
    """Rows of a table: two views of a batch in each family, beside one SimSiam-like step of a ResNet-50."""
    settings = replace(logmel.default_settings(), n_mels=BANDS)
    step = seconds_of(training_step(device), device, repeats=3)
    rows = [[f"two views of {BATCH} × {BANDS} × {FRAMES}", "ms", "clips/s", "of a ResNet-50 step"]]
    rows += [["---"] + ["---:"] * 3]
    for family in augment.FAMILIES:
        augmentation = augment.build(family, settings)
        x = -80 * torch.rand(BATCH, 1, BANDS, round(FRAMES * augmentation.context), device=device)
        seconds = seconds_of(lambda x=x, f=augmentation: (f(x, FRAMES), f(x, FRAMES)), device, repeats=50)
        rows.append([family, f"{1000 * seconds:.1f}", f"{BATCH / seconds:.0f}", f"{seconds / step:.2%}"])
    rows.append([f"ResNet-50 step ({device.type})", f"{1000 * step:.0f}", f"{BATCH / step:.1f}", ""])
    return rows


def training_step(device):
    """A function: forward and backward of two views, and one step of SGD."""
    network = backbones.build("resnet50").to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4)
    x = torch.randn(BATCH, 1, BANDS, FRAMES, device=device)

    def step():
        with utils.autocast(device, device.type == "cuda"):
            loss = (network(x) - network(x.flip(3))).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def seconds_of(function, device, repeats):
    """Median duration, after one call to warm up."""
    durations = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations[1:])


if __name__ == "__main__":
    utils.run(main, get_args_parser())
