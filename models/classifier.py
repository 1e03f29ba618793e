"""Genre classifiers on a backbone. Axes: B batch, N tracks, F mel band, T frame, D features, C genres."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import utils
from models.logistic import Logistic

INVERSE_PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
DEFAULT = 0.01
LEAST_BEHIND = 2
MOST_FOLDS = 5


class Classifier(nn.Module):
    """A backbone (trained too, or frozen) and a head: (B, 1, F, T) → logits (B, C)."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x):
        return self.head(self.backbone(x))


def fit_linear_probe(head, features, labels, validation_features, validation_labels, on_validation=True):
    """Logistic regression on standardised features, which fills ``head`` in place.

    features (N, D), labels (N,). Its L2 penalty is chosen on validation, or else by :func:`cross_validate`, where the
    validation labels have no part. Returns {"C": inverse penalty, "by": what chose it, "validation_accuracy": …}.
    """
    standardise, linear = head[0], head[-1]
    standardise.measure(features)
    x, validation_x = standardise(features), standardise(validation_features)
    if on_validation:
        best, by = best_of_path(x, labels, validation_x, validation_labels, linear.out_features), "validation"
    else:
        inverse_penalty, by = cross_validate(x.cpu().numpy(), labels.cpu().numpy())
        best = Logistic(x, labels, linear.out_features).fit(inverse_penalty)
    fill(linear, best)
    reached = best.accuracy(validation_x, validation_labels)
    return {"C": best.inverse_penalty, "by": by, "validation_accuracy": reached}


def refit_linear_probe(head, features, labels, inverse_penalty):
    """As :func:`fit_linear_probe`, by a penalty that is chosen already."""
    head[0].measure(features)
    fill(head[-1], Logistic(head[0](features), labels, head[-1].out_features).fit(inverse_penalty))


@torch.no_grad()
def fill(linear, fit):
    """Puts a :class:`models.logistic.Fit` into a layer."""
    linear.weight.copy_(fit.weight)
    linear.bias.copy_(fit.bias)


def fit_tag_probe(head, features, labels, validation_features, validation_labels, score):
    """A logistic regression for each tag on standardised features, side by side, which fill ``head`` in place.

    features (N, D), labels (N, C) of 0 and 1. All share the L2 penalty, the one of the highest ``score`` (logits,
    labels) → number on validation; of equals the strongest. Returns (inverse penalty, its score).
    """
    standardise, linear = head[0], head[-1]
    standardise.measure(features)
    x, validation_x = (standardise(part).double() for part in (features, validation_features))
    fit, best = copy.deepcopy(linear).double(), None
    for inverse_penalty in utils.progress(INVERSE_PENALTIES, desc="penalties"):
        fit_side_by_side(fit, x, labels.double(), inverse_penalty)  # from where the one before has ended
        reached = score(fit(validation_x), validation_labels)
        if best is None or reached > best[1]:
            best, weights = (inverse_penalty, reached), copy.deepcopy(fit.state_dict())
    linear.load_state_dict(weights)
    return best


def refit_tag_probe(head, features, labels, inverse_penalty):
    """As :func:`fit_tag_probe`, by a penalty that is chosen already."""
    head[0].measure(features)
    fit = copy.deepcopy(head[-1]).double()
    fit_side_by_side(fit, head[0](features).double(), labels.double(), inverse_penalty)
    head[-1].load_state_dict(fit.state_dict())


def fit_side_by_side(linear, x, y, inverse_penalty):
    """Full-batch L-BFGS on the sum of the tags' objectives, whose lowest point is that of each; x (N, D), y (N, C).

    In float64: the line search would stall on what float32 rounds off.
    """
    optimiser = torch.optim.LBFGS(
        linear.parameters(), max_iter=1000, tolerance_grad=1e-5, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def objective():
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(linear(x), y, reduction="sum")
        loss = (loss + linear.weight.square().sum() / (2 * inverse_penalty)) / len(x)
        loss.backward()
        return loss

    optimiser.step(objective)


def best_of_path(x, y, validation_x, validation_y, num_genres):
    """The :class:`models.logistic.Fit` that is right most often on validation; of equals, of the strongest penalty.

    From the strongest on, each starts where the one before ended. The weakest take the longest, and are the worst
    where tracks are few: when two in a row are behind the best, the rest are not tried.
    """
    regression, fit, best, reached, behind = Logistic(x, y, num_genres), None, None, -1.0, 0
    for inverse_penalty in utils.progress(INVERSE_PENALTIES, desc="penalties"):
        fit = regression.fit(inverse_penalty, fit)
        score = fit.accuracy(validation_x, validation_y)
        behind = behind + 1 if score < reached else 0
        if score > reached:
            best, reached = fit, score
        if behind == LEAST_BEHIND:
            break
    return best


def cross_validate(x, y):
    """(inverse penalty, what chose it): the lowest log-loss on tracks that are held out of x (N, D) and y (N,).

    Five folds, fewer where a genre has fewer tracks; genres of one track are left out of it, and where that leaves no
    two genres the penalty is ``DEFAULT``. Accuracy would be too coarse: of 60 tracks a few are right by chance.
    Folds are not shuffled: neighbours in a collection are often of one album, and mostly stay together.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    sizes = np.bincount(y)[y]  # of each track's genre
    x, y = x[sizes > 1], y[sizes > 1]
    if len(np.unique(y)) < 2:
        return DEFAULT, "default"
    folds = StratifiedKFold(min(MOST_FOLDS, sizes[sizes > 1].min()))
    scores = [
        cross_val_score(LogisticRegression(C=c, max_iter=1000), x, y, cv=folds, scoring="neg_log_loss").mean()
        for c in INVERSE_PENALTIES
    ]
    return INVERSE_PENALTIES[np.argmax(scores)], f"{folds.n_splits}-fold cross-validation"
