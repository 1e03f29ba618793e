"""Logistic regression with an L2 penalty: scikit-learn's objective, in a fifth of its steps where features are many.

The features of a network lie mostly along few directions, where the loss is curved a thousand times as much as
elsewhere: L-BFGS takes hundreds of small steps. Here it sees coordinates in which the strongest directions are as
flat as the others; the objective is the same, and so is its lowest point.
Axes: N tracks, D features, C genres, K directions.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

DIRECTIONS, PASSES = 256, 2  # that are made flat; over the features to find them
CURVATURE = 0.1  # of the log-loss of a track along its logits: at most 1/4, less where it is sure
GRADIENT = 3e-5  # greatest that is left of the mean objective, in the flat coordinates; scikit-learn leaves 1e-4
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
        self.directions, self.strengths = strongest_directions(x)
        self.along = x @ self.directions  # (N, K)

    def fit(self, inverse_penalty, start=None):
        """The :class:`Fit` whose mean log-loss + ‖weight‖² / (2 N inverse_penalty) is lowest, from another one on.

        Of two genres, whose weights are each other's negative, the penalty counts twice, as scikit-learn's.
        """
        from scipy.optimize import minimize  # slow to import

        (number, width), num_genres = self.x.shape, self.target.shape[1]
        penalty = (2 if num_genres == 2 else 1) / (number * inverse_penalty)
        curvature = CURVATURE * self.strengths + penalty
        scale = (curvature.min() / curvature).sqrt()  # of each direction
        flat = self.x + (self.along * (scale - 1)) @ self.directions.T  # as stretched() makes it

        def objective(values):
            weight, bias = torch.from_numpy(values).to(flat).view(num_genres, -1).split([width, 1], dim=1)
            logits = flat @ weight.T + bias.T
            log_loss = (logits.logsumexp(1) - (logits * self.target).sum(1)).double().mean()
            error = (logits.softmax(1) - self.target) / number  # (N, C)
            shrunk = stretched(weight, self.directions, scale**2)
            loss = log_loss + penalty / 2 * (weight * shrunk).double().sum()
            gradient = torch.cat([error.T @ flat + penalty * shrunk, error.sum(0)[:, None]], dim=1)
            return loss.item(), gradient.double().cpu().numpy().ravel()

        weight, bias = start[1:] if start else (flat.new_zeros(num_genres, width), flat.new_zeros(num_genres))
        begin = torch.cat([stretched(weight, self.directions, 1 / scale), bias[:, None]], dim=1)
        limits = {"gtol": GRADIENT, "ftol": REDUCTION, "maxiter": 1000, "maxls": 50}
        found = minimize(objective, begin.double().cpu().numpy().ravel(), jac=True, method="L-BFGS-B", options=limits)
        weight, bias = torch.from_numpy(found.x).to(flat).view(num_genres, -1).split([width, 1], dim=1)
        return Fit(inverse_penalty, stretched(weight, self.directions, scale), bias[:, 0])


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
