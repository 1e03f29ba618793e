"""The batch of all processes that train together: each holds an equal part of it. One alone holds the whole.

Every process computes the same loss of the whole batch. The gradient of each is then that of the sum of these losses,
of as many equal ones as there are processes, and the mean over the processes, which DistributedDataParallel takes, is
the gradient that one process finds alone. Axes: B batch, C channel.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce


def gather(x, dim=0):
    """The parts ``x`` of all processes along ``dim``, in their order, with their gradients."""
    return of_all(x, dim) if dist.is_initialized() else x


def of_all(x, dim):
    parts = [torch.zeros_like(x) for _ in range(dist.get_world_size())]
    parts[dist.get_rank()] = x
    return all_reduce(torch.cat(parts, dim))  # a sum with zeros: gloo and nccl both have it, with its gradient


def average(loss):
    """The mean over the processes of a loss that is a mean over the batch: that of the whole batch."""
    return gather(loss[None]).mean() if dist.is_initialized() else loss


def leave_out_of_graphs():
    """From now on ``torch.compile`` leaves alone what passes between processes: its graphs would lose gradients.

    With torch 2.11 and gloo, compiled processes had learned something else, whose loss fell more slowly.
    """
    global of_all
    of_all = torch.compiler.disable(of_all)  # not above: it takes seconds to import
    for norm in (SyncBatchNorm, nn.SyncBatchNorm):  # on a GPU it is torch's own
        norm.forward = torch.compiler.disable(norm.forward)


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the whole batch, as ``torch.nn.SyncBatchNorm`` is, which does not work on a CPU.

    x (B, C, …), as many values in each process.
    """

    def _check_input_dim(self, x):
        """Any will do."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        var, mean = torch.var_mean(x.float(), [0, *range(2, x.ndim)], correction=0)
        means, variances = gather(torch.stack([mean, var])[None]).unbind(1)  # (processes, C) each
        mean, var = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        self._remember(mean.detach(), var.detach(), len(means) * x.numel() / x.shape[1])
        scale = (var + self.eps).rsqrt() * (1 if self.weight is None else self.weight)
        mean, scale, shift = (_along_channels(v, x) for v in (mean, scale, self.bias))
        return ((x.float() - mean) * scale + shift).to(x.dtype)

    def _remember(self, mean, var, count):
        """Running statistics, of the unbiased variance, as torch keeps them; momentum None: their plain mean."""
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var * count / max(1, count - 1), share)


def _along_channels(value, x):
    return 0 if value is None else value.view(1, -1, *[1] * (x.ndim - 2))
