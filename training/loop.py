"""What the pre-training loop and the supervised loop share: the schedule, the sum of losses, and when to stop.

Axes: none; a loss is a scalar.
"""

import collections
import functools
import math
import time

import torch

import utils


def schedule(optimiser, num_steps, warmup_steps, done=0):
    """Linear warm-up, then half a cosine; groups with ``fixed`` keep their rate. ``done`` steps were made before."""
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group.get("base_lr", group["lr"]))  # base_lr: in older checkpoints
    cosine = functools.partial(utils.cosine_schedule, num_steps=num_steps, warmup_steps=warmup_steps)
    factors = [(lambda step: 1.0) if group.get("fixed") else cosine for group in optimiser.param_groups]
    return torch.optim.lr_scheduler.LambdaLR(optimiser, factors, last_epoch=done - 1)


class Arriving:
    """A number on its way from the device: reading it waits for what a GPU was to do before, not after."""

    def __init__(self, value):
        self.value = value.to("cpu", non_blocking=True)
        self.event = torch.cuda.current_stream(value.device).record_event() if value.is_cuda else None

    def read(self):
        if self.event:
            self.event.synchronize()
        return self.value.item()


class MeanLoss:
    """The mean loss of an epoch, summed on the device.

    Now and then a loss is sent to the progress bar. It is read a step later, when a GPU has the next step to do: one
    that is waited for with nothing left to do stands still until the next is launched.
    """

    def __init__(self, device, epoch, every=20):
        self.total, self.steps = torch.zeros((), device=device), 0
        self.epoch, self.every, self.arriving = epoch, every, None

    def add(self, loss, bar):
        """Shows the loss of the step before, now and then, and stops where it is not finite."""
        self.total += loss.detach()
        if self.arriving:
            bar.set_postfix(loss=f"{self._finite(self.arriving.read()):.4f}", refresh=False)
        self.arriving = Arriving(loss.detach()) if self.steps % self.every == 0 else None
        self.steps += 1

    def value(self):
        return self._finite(self.total.item() / max(1, self.steps))

    def _finite(self, loss):
        if not math.isfinite(loss):
            raise utils.UserError(
                f"the loss is not finite in epoch {self.epoch}: start again with a smaller --lr "
                "(of a pre-training, what was saved before it is kept)"
            )
        return loss


class EpochSoFar:
    """What an epoch of pre-training has come to: with the weights, all it takes to go on in the middle of it.

    device, epoch: as of :class:`MeanLoss`; batches: so many of the last projections are kept, for the monitors.
    """

    def __init__(self, device, epoch, batches):
        self.loss = MeanLoss(device, epoch)
        self.projections = collections.deque(maxlen=batches)
        self.begin = self.kept = time.perf_counter()

    def add(self, loss, z, bar):
        self.loss.add(loss, bar)
        self.projections.append(z)

    def is_due(self, minutes):
        """Whether so many minutes have passed since this was last said; never of 0 minutes."""
        now = time.perf_counter()
        due = minutes > 0 and now - self.kept >= 60 * minutes
        self.kept = now if due else self.kept
        return due

    @property
    def seconds(self):
        return time.perf_counter() - self.begin

    def state(self):
        self.loss.value()  # what is not finite is not saved over what was
        return {
            "steps": self.loss.steps, "loss": self.loss.total, "projections": list(self.projections),
            "seconds": self.seconds, "chance": utils.chance_state(),
        }  # fmt: skip

    def go_on_from(self, state):
        """Puts back what :meth:`state` has said, the state of chance too."""
        device = self.loss.total.device
        self.loss.steps, self.loss.total = state["steps"], state["loss"].to(device, copy=True)
        self.projections.extend(z.to(device) for z in state["projections"])
        self.begin -= state["seconds"]
        utils.restore_chance(state["chance"])
