"""The audio family: what would be done to the waveform, done to its log-mel spectrogram.

Axes: B batch, F mel band (row 0 = lowest), T frame. x is (B, 1, F, T) in dB.
"""

import math

from augment.common import Augmentation, draw, partners, per_sample, resample, stretch_positions
from utils import lazily

torch = lazily("torch")

LAM = 0.7  # share of the sample itself, where --lam says nothing else
SEMITONES = (-4.0, 4.0)
RATES = (0.6, 1.5)
NEPER = math.log(10) / 10  # exp(NEPER · dB) is power


def mixup(x, lam):
    """The sound of both: 10 log10(lam · 10^(x/10) + (1 − lam) · 10^(partner/10)).

    Adding waveforms adds power (their phases do not agree), so this is not a mean of decibels. It is the
    log-mixup-exp of BYOL-A (Niizumi et al. 2021). lam: (B,), the share of the power that is the sample's own.
    """
    lam = per_sample(lam)
    power = torch.exp(x * NEPER)
    mixed = partners(power).lerp_(power, lam).log_().div_(NEPER)
    return torch.lerp(x, mixed, (lam < 1).to(x.dtype))  # lam = 1: the very values


def time_stretch(x, rate, num_frames):
    """Play at ``rate`` (B,) times the speed at the same pitch: (B, 1, F, T) → (B, 1, F, num_frames)."""
    return resample(x, stretch_positions(x.shape[3], num_frames, rate), 3)


def pitch_shift(x, semitones, settings):
    """Multiply every frequency by 2^(semitones/12) at the same tempo. semitones: (B,).

    Band m of the result shows what the input has at the frequency of m divided by that factor, on the mel
    scale that made the spectrogram. A shift down finds nothing to read above the highest band: the edge holds,
    so that no black bar gives the shift away. The level stays: a real shift spreads the same power over
    frequencies 2^(semitones/12) times as wide, one gain for all, which is lost in dB below the maximum.
    """
    bands = torch.arange(x.shape[2], device=x.device)
    hertz = band_to_hertz(bands, x.shape[2], settings)
    source = hertz_to_band(hertz / 2 ** (semitones[:, None] / 12), x.shape[2], settings)
    return resample(x, torch.where(semitones[:, None] == 0, bands, source), 2)  # unshifted: the very values


def band_to_hertz(band, num_bands, settings):
    """Centre frequency of a band, a tensor of any shape, whole or not."""
    low, step = _mel_axis(num_bands, settings)
    return mel_to_hertz(low + (band + 1) * step, settings.mel_scale)


def hertz_to_band(hertz, num_bands, settings):
    """The inverse of :func:`band_to_hertz`."""
    low, step = _mel_axis(num_bands, settings)
    return (hertz_to_mel(hertz, settings.mel_scale) - low) / step - 1


def _mel_axis(num_bands, settings):
    """Mel of f_min, and the distance between centres: num_bands triangles share num_bands + 2 corners."""
    edges = torch.tensor([settings.f_min, settings.f_max], dtype=torch.float64)
    low, high = hertz_to_mel(edges, settings.mel_scale).tolist()
    return low, (high - low) / (num_bands + 1)


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
