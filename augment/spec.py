"""The spectrogram-native family: gentle views made for log-mels, the default.

Axes: B batch, F mel band (row 0 = lowest), T frame. x is (B, 1, F, T) in dB, ``on`` (B,) says which samples
are augmented.
"""

from augment import audio
from augment.common import Augmentation, draw, per_sample, resample, stretch_positions
from augment.image import cover, span

LAM = (0.8, 1.0)  # share of the sample itself, where --lam says nothing else
SCALE_FREQUENCY = (0.85, 1.15)
SCALE_TIME = (0.8, 1.25)
GAIN = (-3.0, 3.0)  # dB
MASK_PART = 0.15


def resized_crop(x, on, num_frames):
    """A window of another size, resized to the usual one (BYOL-A, Niizumi et al. 2021).

    The window is 0.85 to 1.15 times as high and 0.8 to 1.25 times as long, and slides along the bands as far
    as the difference in height allows. (B, 1, F, T) → (B, 1, F, num_frames).
    """
    num_bands = x.shape[2]
    height = draw(on, *SCALE_FREQUENCY, 1.0)
    slide = draw(on, -0.5, 0.5, 0.0) * (height - 1).abs() * num_bands
    rows = stretch_positions(num_bands, num_bands, height) + slide[:, None]
    frames = stretch_positions(x.shape[3], num_frames, draw(on, *SCALE_TIME, 1.0))
    return resample(resample(x, frames, 3), rows, 2)


def gain(x, on, floor):
    """Up to 3 dB louder or softer, within floor … 0 dB."""
    return (x + per_sample(draw(on, *GAIN, 0.0))).clamp(floor, 0)


def time_mask(x, on):
    """One stretch of at most 15 % of the frames covered with the sample's mean (Park et al. 2019)."""
    return cover(x, span(x, 3, draw(on, 0, MASK_PART, 0.0)))


def frequency_mask(x, on):
    """One stretch of at most 15 % of the bands covered with the sample's mean (Park et al. 2019)."""
    return cover(x, span(x, 2, draw(on, 0, MASK_PART, 0.0)))


FAMILY = {  # in the order of use
    "resized_crop": Augmentation(
        "a crop of 0.85–1.15 × the bands and 0.8–1.25 × the frames, resized",
        1.0,
        lambda x, on, setup: resized_crop(x, on, setup.num_frames),
        context=SCALE_TIME[1],
    ),
    "log_mixup": Augmentation(
        "another track softly in the background (power is added)",
        1.0,
        lambda x, on, setup: audio.mixup(x, setup.weight(on, *LAM)),
    ),
    "gain": Augmentation(
        "up to 3 dB louder or softer",
        1.0,
        lambda x, on, setup: gain(x, on, setup.settings.db_min),
    ),
    "time_mask": Augmentation(
        "up to 15 % of the frames covered",
        0.5,
        lambda x, on, setup: time_mask(x, on),
        in_family=False,
    ),
    "frequency_mask": Augmentation(
        "up to 15 % of the bands covered",
        0.5,
        lambda x, on, setup: frequency_mask(x, on),
        in_family=False,
    ),
}
