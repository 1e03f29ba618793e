"""Logistic regression with an L2 penalty: scikit-learn's objective, in less time where features are many.

The features of a network lie mostly along few directions, where the loss is curved a thousand times as much as
elsewhere: L-BFGS takes hundreds of small steps. Here it sees the weights in coordinates in which the strongest
directions are as flat as the others; the objective is the same, and so is its lowest point.
Axes: N tracks, D features, C genres, K directions.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

DIRECTIONS, ROWS, PASSES = 256, 2048, 2  # that are made flat; tracks, and passes over them, to find them
CURVATURE = 0.1  # of the log-loss of a track along its logits: at most 1/4, less where it is sure
GRADIENT = 3e-5  # greatest that is left of the mean objective, in the flat coordinates; scikit-learn leaves 1e-4
MOST_STEPS = 1000
REDUCTION = 1e-8  # of the objective by a step, below which there is nothing but what float32 rounds off


class Fit(NamedTuple):
    """inverse_penalty; weight (C, D); bias (C,)."""

    inverse_penalty: float
    weight: torch.Tensor
    bias: torch.Tensor

    def accuracy(self, x, y):
        """The share of x (N, D) whose likeliest genre is y (N,)."""
        return ((x @ self.weight.T + self.bias).argmax(1) == y).float().mean().item()


class Logistic:
    """Regressions of y (N,), numbers of ``num_genres``, on x (N, D), standardised: one for each penalty asked for."""

    def __init__(self, x, y, num_genres):
        self.x, self.target = x, F.one_hot(y, num_genres).to(x.dtype)
        self.directions, self.strengths = strongest_directions(x[:: -(-len(x) // ROWS)])

    def fit(self, inverse_penalty, start=None):
        """The :class:`Fit` whose mean log-loss + ‖weight‖² / (2 N inverse_penalty) is lowest, from another one on.

        Of two genres, whose weights are each other's negative, the penalty counts twice, as scikit-learn's.
        """
        from scipy.optimize import minimize  # slow to import
        from threadpoolctl import threadpool_limits

        (number, width), num_genres = self.x.shape, self.target.shape[1]
        penalty = (2 if num_genres == 2 else 1) / (number * inverse_penalty)
        curvature = CURVATURE * self.strengths + penalty
        scale = (curvature.min() / curvature).sqrt()  # of each direction

        def parts(values):
            """weight (C, D) and bias (C,) of a point in the flat coordinates."""
            rows = torch.from_numpy(values).to(self.x).view(num_genres, width + 1)
            return stretched(rows[:, :-1], self.directions, scale), rows[:, -1]

        def point(weight, bias, scale):
            """What is to be multiplied by ``scale`` along the directions, as the values of one."""
            rows = torch.cat([stretched(weight, self.directions, scale), bias[:, None]], dim=1)
            return rows.double().cpu().numpy().ravel()

        def objective(values):
            weight, bias = parts(values)
            logits = self.x @ weight.T + bias
            log_loss = (logits.logsumexp(1) - (logits * self.target).sum(1)).double().mean()
            error = (logits.softmax(1) - self.target) / number  # (N, C)
            loss = log_loss + penalty / 2 * weight.double().square().sum()
            return loss.item(), point(error.T @ self.x + penalty * weight, error.sum(0), scale)  # by the chain rule

        start = start[1:] if start else (self.x.new_zeros(num_genres, width), self.x.new_zeros(num_genres))
        limits = {"gtol": GRADIENT, "ftol": REDUCTION, "maxiter": MOST_STEPS, "maxls": 50}
        with threadpool_limits(1, "blas"):  # SciPy's own threads, which wait by spinning, take the cores from torch's
            found = minimize(objective, point(*start, 1 / scale), jac=True, method="L-BFGS-B", options=limits)
        if found.nit >= MOST_STEPS:
            print(f"note: the fit of penalty 1/{inverse_penalty:g} was stopped after {MOST_STEPS:,} steps")
        return Fit(inverse_penalty, *parts(found.x))


def strongest_directions(x):
    """(D, K) the axes along which x (N, D) is widest, (K,) its mean square along each (Halko et al. 2011)."""
    width, number = x.shape[1], min(DIRECTIONS, *x.shape)
    chance = torch.randn(width, number, generator=torch.Generator().manual_seed(0)).to(x)
    axes = torch.linalg.qr(chance)[0]
    for _ in range(PASSES):
        axes = torch.linalg.qr(x.T @ (x @ axes))[0]
    along = x @ axes
    strengths, rotation = torch.linalg.eigh(along.T @ along / len(x))
    return axes @ rotation, strengths.clamp_min(0)


def stretched(rows, directions, scale):
    """rows (·, D), each part of them along ``directions`` (D, K) multiplied by ``scale`` (K,)."""
    return rows + ((rows @ directions) * (scale - 1)) @ directions.T
