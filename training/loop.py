"""What the pre-training loop and the supervised loop share: the schedule, the sum of losses, and when to stop.

Axes: none; a loss is a scalar.
"""

import functools
import math

import torch

import utils


def schedule(optimiser, num_steps, warmup_steps, done=0):
    """Linear warm-up, then half a cosine; groups with ``fixed`` keep their rate. ``done`` steps were made before."""
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group.get("base_lr", group["lr"]))  # base_lr: in older checkpoints
    cosine = functools.partial(utils.cosine_schedule, num_steps=num_steps, warmup_steps=warmup_steps)
    factors = [(lambda step: 1.0) if group.get("fixed") else cosine for group in optimiser.param_groups]
    return torch.optim.lr_scheduler.LambdaLR(optimiser, factors, last_epoch=done - 1)


class MeanLoss:
    """The mean loss of an epoch, summed on the device: reading it waits for the GPU, so it is read rarely."""

    def __init__(self, device, epoch, every=20):
        self.total, self.steps = torch.zeros((), device=device), 0
        self.epoch, self.every = epoch, every

    def add(self, loss, bar):
        """Shows the loss in the progress bar, now and then, and stops where it is not finite."""
        self.total += loss.detach()
        if self.steps % self.every == 0:
            bar.set_postfix(loss=f"{self._finite(loss.item()):.4f}")
        self.steps += 1

    def value(self):
        return self._finite(self.total.item() / max(1, self.steps))

    def _finite(self, loss):
        if not math.isfinite(loss):
            raise utils.UserError(
                f"the loss is not finite in epoch {self.epoch}; what was saved before it is kept: "
                "start again with a smaller --lr"
            )
        return loss
