"""From the last maps of a network to one vector: how frequency and time are summarised.

Axes: B batch, C channel, F mel band (or what is left of it), T frame (or what is left of it).
"""

import torch
import torch.nn.functional as F

SUMMARIES = {
    "mean": lambda x: x.mean(2),
    "std": lambda x: (x.var(2, correction=0) + 1e-4).sqrt(),  # 1e-4: a finite gradient where nothing changes
    "max": lambda x: x.amax(2),
}


def over_time(x, summaries):
    """(B, C, T) → (B, len(summaries) · C)."""
    return torch.cat([SUMMARIES[name](x) for name in summaries], dim=1)


def read_out(x, pool):
    """Maps (B, C, F, T) → (B, D), in float32.

    "average": over frequency and time, as ResNets do it: D = C. "mean_std_max": frequency is kept as channels, time
    is summarised by its mean, deviation and maximum: D = 3 · C · F.
    """
    if pool == "average":
        return F.adaptive_avg_pool2d(x, 1).flatten(1)
    return over_time(x.float().flatten(1, 2), ("mean", "std", "max"))


def num_features(channels, bands, pool):
    """D of :func:`read_out`."""
    return channels if pool == "average" else 3 * channels * bands
