"""The image family: the spectrogram as a picture, values in dB mixed, moved and covered as pixels are.

What is covered is filled with the mean of each band over the batch, about 0 once bands are normalised.
Axes: B batch, F mel band (row 0 = lowest), T frame. x is (B, 1, F, T) in dB, ``on`` (B,) says which samples
are augmented, ``lam`` (B,) is the weight of the sample itself.
"""

from augment.common import Augmentation, draw, partners, per_sample, resample
from utils import lazily

torch = lazily("torch")

LAM = 0.7  # share of the sample itself, where --lam says nothing else
MASK_PART = 0.2  # the widest mask, as a part of its axis
CUTOUT_PART = (0.1, 0.4)  # of each axis
GRID_CELLS = 5
GRID_LIMIT = 0.3  # a cell becomes at most this much narrower or wider


def mixup(x, lam):
    """lam · x + (1 − lam) · partner, in dB (Zhang et al. 2018)."""
    return partners(x).lerp_(x, per_sample(lam))


def cutmix(x, lam):
    """A box with 1 − lam of the area shows the partner (Yun et al. 2019)."""
    side = (1 - lam).sqrt()
    return torch.lerp(x, partners(x), _box(x, side, side))


def mask(x, on):
    """One band of rows and one of frames covered (SpecAugment, Park et al. 2019)."""
    rows = span(x, 2, draw(on, 0, MASK_PART, 0.0))
    frames = span(x, 3, draw(on, 0, MASK_PART, 0.0))
    return cover(x, torch.maximum(rows, frames))


def cutout(x, on):
    """One box covered (DeVries & Taylor 2017)."""
    return cover(x, _box(x, draw(on, *CUTOUT_PART, 0.0), draw(on, *CUTOUT_PART, 0.0)))


def horizontal_flip(x, on):
    """Time runs backwards."""
    return x.flip(3).lerp_(x, per_sample((~on).to(x.dtype)))


def vertical_flip(x, on):
    """The highest band becomes the lowest."""
    return x.flip(2).lerp_(x, per_sample((~on).to(x.dtype)))


def grid_distortion(x, on):
    """Cells of a 5 × 5 grid become up to 30 % wider or narrower; edges stay where they are.

    It is the same along all rows and all frames, so one axis after the other will do.
    """
    return resample(resample(x, _uneven(x, on, 2), 2), _uneven(x, on, 3), 3)


def cover(x, where):
    """Fill the places where ``where`` (broadcast to x) is 1 with the mean of each band over the batch.

    One level for all bands would stand out, loudest in the highest: their means lie up to 50 dB apart.
    """
    return torch.lerp(x, x.mean((0, 1, 3), keepdim=True), where)


def span(x, dim, part):
    """1.0 on round(part · length) neighbouring rows (``dim=2``) or frames (3), anywhere; 0.0 on the others.

    part: (B,) in 0 … 1. Returns (B, 1, F, 1) or (B, 1, 1, T).
    """
    length = x.shape[dim]
    width = (part * length).round()
    start = (torch.rand_like(part) * (length - width)).round()
    place = torch.arange(length, device=x.device)
    inside = (place >= start[:, None]) & (place < (start + width)[:, None])
    return inside.to(x.dtype)[:, None, :, None] if dim == 2 else inside.to(x.dtype)[:, None, None, :]


def _box(x, part_rows, part_frames):
    """(B, 1, F, T): 1.0 in a box of these parts of each axis, anywhere in the picture."""
    return span(x, 2, part_rows) * span(x, 3, part_frames)


def _uneven(x, on, dim):
    """(B, N) positions that cross the axis from end to end in cells of unequal width."""
    length = x.shape[dim]
    widths = 1 + GRID_LIMIT * (2 * torch.rand(len(x), GRID_CELLS, device=x.device) - 1)
    borders = torch.nn.functional.pad(widths.cumsum(1) / widths.sum(1, keepdim=True), (1, 0))
    place = torch.linspace(0, GRID_CELLS, length, device=x.device).expand(len(x), length)
    positions = resample(borders[:, None, None], place, 3)[:, 0, 0] * (length - 1)
    return torch.where(on[:, None], positions, torch.arange(length, device=x.device))


FAMILY = {  # in the order of use; grid distortion's probability is ours, the others are the paper's
    "mixup": Augmentation(
        "weighted mean of two pictures, in dB",
        0.6,
        lambda x, on, setup: mixup(x, setup.weight(on, LAM, LAM)),
    ),
    "cutmix": Augmentation(
        "a box shows another track",
        0.6,
        lambda x, on, setup: cutmix(x, setup.weight(on, LAM, LAM)),
    ),
    "horizontal_flip": Augmentation(
        "time runs backwards",
        0.8,
        lambda x, on, setup: horizontal_flip(x, on),
    ),
    "vertical_flip": Augmentation(
        "high and low exchanged",
        0.8,
        lambda x, on, setup: vertical_flip(x, on),
    ),
    "grid_distortion": Augmentation(
        "cells of a 5 × 5 grid become wider and narrower",
        0.6,
        lambda x, on, setup: grid_distortion(x, on),
    ),
    "mask": Augmentation(
        "a band of rows and one of frames covered",
        0.4,
        lambda x, on, setup: mask(x, on),
    ),
    "cutout": Augmentation(
        "a box covered",
        0.8,
        lambda x, on, setup: cutout(x, on),
    ),
}
