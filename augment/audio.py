"""The audio family: what would be done to the waveform, done to its log-mel spectrogram.

Axes: B batch, F mel band (row 0 = lowest), T frame. x is (B, 1, F, T) in dB.
"""

import math

import torch

from augment.common import Augmentation, draw, partners, per_sample, resample, stretch_positions

LAM = 0.7  # share of the sample itself, where --lam says nothing else
SEMITONES = (-4.0, 4.0)
RATES = (0.6, 1.5)


def mixup(x, lam):
    """The sound of both: lam of the power is the sample's own, 1 − lam its partner's.

    Adding waveforms adds power (their phases do not agree), so this is not a mean of decibels. It is the
    log-mixup-exp of Niizumi et al. (BYOL-A, 2021). lam: (B,) in 0 … 1.
    """
    return add_power(x + _level(lam), partners(x) + _level(1 - lam))


def add_power(a, b):
    """10 log10(10^(a/10) + 10^(b/10)) without leaving decibels; −inf adds nothing."""
    return torch.maximum(a, b) + 10 / math.log(10) * torch.log1p(torch.exp(-(a - b).abs() * math.log(10) / 10))


def time_stretch(x, rate, num_frames):
    """Play at ``rate`` (B,) times the speed at the same pitch: (B, 1, F, T) → (B, 1, F, num_frames)."""
    return resample(x, stretch_positions(x.shape[3], num_frames, rate), 3)


def pitch_shift(x, semitones, settings):
    """Multiply every frequency by 2^(semitones/12) at the same tempo. semitones: (B,).

    Band m of the result shows what the input has at the frequency of m divided by that factor, on the mel
    scale that made the spectrogram. Beyond the highest band there is nothing to read: the edge holds.
    """
    num_bands = x.shape[2]
    low, high = (
        hertz_to_mel(torch.tensor(float(settings[key])), settings["mel_scale"]).item()
        for key in ("f_min", "f_max")
    )
    step = (high - low) / (num_bands + 1)  # the centre of band m is at low + (m + 1) step
    bands = torch.arange(num_bands, device=x.device)
    hertz = mel_to_hertz(low + (bands + 1) * step, settings["mel_scale"])
    source = hertz_to_mel(hertz / 2 ** (semitones[:, None] / 12), settings["mel_scale"])
    positions = (source - low) / step - 1
    positions = torch.where(semitones[:, None] == 0, bands.to(positions.dtype), positions)
    return resample(x, positions, 2)


# Slaney's scale: linear up to 1000 Hz, then 27 steps for each factor of 6.4. HTK's: 2595 log10(1 + f/700).
SLANEY_STEP, SLANEY_BREAK, SLANEY_LOG = 200 / 3, 1000.0, math.log(6.4) / 27


def hertz_to_mel(hertz, scale):
    """Elementwise, on tensors; scale is "slaney" or "htk"."""
    if scale == "htk":
        return 2595 / math.log(10) * torch.log1p(hertz / 700)
    above = torch.log(hertz.clamp(min=SLANEY_BREAK) / SLANEY_BREAK) / SLANEY_LOG
    return hertz.clamp(max=SLANEY_BREAK) / SLANEY_STEP + above


def mel_to_hertz(mel, scale):
    """The inverse of :func:`hertz_to_mel`."""
    if scale == "htk":
        return 700 * torch.expm1(mel * math.log(10) / 2595)
    knee = SLANEY_BREAK / SLANEY_STEP
    return mel.clamp(max=knee) * SLANEY_STEP * torch.exp((mel - knee).clamp(min=0) * SLANEY_LOG)


def _level(weight):
    return per_sample(10 * torch.log10(weight))


FAMILY = {  # in the order of use
    "time_stretch": Augmentation(
        "0.6 to 1.5 times as fast at the same pitch",
        0.6,
        lambda x, on, setup: time_stretch(x, draw(on, *RATES, 1.0), setup.num_frames),
        context=RATES[1],
    ),
    "pitch_shift": Augmentation(
        "up to 4 semitones up or down at the same tempo",
        0.6,
        lambda x, on, setup: pitch_shift(x, draw(on, *SEMITONES, 0.0), setup.settings),
    ),
    "mixup": Augmentation(
        "two tracks sound together: power is added, not dB",
        0.6,
        lambda x, on, setup: mixup(x, setup.weight(on, LAM, LAM)),
    ),
}
