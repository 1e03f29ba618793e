"""What every family is made of: one draw per sample, a partner to mix with, and a resize of one axis.

Axes: B batch, F mel band (row 0 = lowest), T frame. Everything is a whole-batch tensor operation on the
device of its input: no loop over samples, nothing read back from the device. (torchvision.transforms.v2
has flips, erasing and mixing as well, but draws one parameter for the whole batch.)
"""

from collections.abc import Callable
from dataclasses import dataclass

from utils import lazily

torch = lazily("torch")


@dataclass(frozen=True)
class Augmentation:
    """One line of a family's table."""

    summary: str
    probability: float  # of applying it to a sample
    apply: Callable  # (x, on, setup) → x; on (B,) bool: which samples get it
    context: float = 1.0  # how many times the frames of its output it reads
    in_family: bool = True  # False: only when asked for by its own name


@dataclass(frozen=True)
class Setup:
    """What an augmentation may need to know."""

    settings: object  # of the spectrogram folder: f_min, f_max, mel_scale, db_min
    lam: float | None  # weight of the sample itself in mixing; None: what the family draws or fixes
    num_frames: int = 0  # of its output

    def weight(self, on, low, high):
        """(B,) weights of the samples themselves: ``lam``, or drawn from [low, high]; 1 where not ``on``."""
        return draw(on, low, high, 1.0) if self.lam is None else draw(on, self.lam, self.lam, 1.0)


def draw(on, low, high, neutral):
    """One uniform number in [low, high] for each sample, and ``neutral`` where ``on`` (B,) is False."""
    value = low + (high - low) * torch.rand(on.shape, device=on.device)
    return torch.where(on, value, neutral)


def per_sample(value):
    """(B,) → (B, 1, 1, 1), to meet a batch of spectrograms."""
    return value[:, None, None, None]


def partners(x):
    """The batch rolled by a random amount: nobody meets itself, unless it is alone. x: (B, …)."""
    size = len(x)
    shift = torch.randint(1, max(size, 2), (1,), device=x.device)
    return x.index_select(0, (torch.arange(size, device=x.device) + shift) % size)


def centre(x, num_frames):
    """The central ``num_frames`` frames of x (…, T)."""
    start = (x.shape[-1] - num_frames) // 2
    return x[..., start : start + num_frames]


def resample(x, positions, dim):
    """Read x between its rows or frames by linear interpolation; beyond an edge, the edge holds.

    Args:
        x: (B, 1, F, T) dB.
        positions: (B, N) where to read, in rows (``dim=2``) or frames (``dim=3``) of x.
    Returns:
        (B, 1, N, T) or (B, 1, F, N); at whole positions the very values of x.
    """
    last = x.shape[dim] - 1
    positions = positions.clamp(0, last)
    below = positions.long()
    weight = (positions - below)[:, None, :, None] if dim == 2 else (positions - below)[:, None, None, :]
    low, high = (_read(x, index, dim) for index in (below, (below + 1).clamp(max=last)))
    return low.lerp_(high, weight)


def _read(x, index, dim):
    """Rows or frames ``index`` (B, N) of x."""
    if dim == 2:  # whole rows are copied: several times as fast as a gather
        index = index + x.shape[2] * torch.arange(len(x), device=x.device)[:, None]
        return x.flatten(0, 2).index_select(0, index.flatten()).view(len(x), 1, -1, x.shape[3])
    return x.gather(3, index[:, None, None].expand(*x.shape[:3], index.shape[1]))


def stretch_positions(num_input, num_output, scale):
    """(B, num_output) positions, ``scale`` (B,) apart, round the centre of an axis of ``num_input``.

    scale 1 is the central crop: whole positions.
    """
    start = (num_input - num_output) // 2
    middle = (num_output - 1) / 2
    output = torch.arange(num_output, device=scale.device)
    return start + middle + (output - middle) * scale[:, None]
