"""The numbers of one tagger on the test tracks: areas under the ROC and precision-recall curves, tag by tag.

Axes: N tracks, C tags, R resamples.
"""

import numpy as np

from evaluation.statistics import drawn_together, percentile_interval
from utils import UserError

RESAMPLES = 1_000  # each walks down the ranking of every tag
AT_ONCE = 100  # resamples held in memory
FIGURES = ("roc_auc", "pr_auc")


def summarise(probabilities, truth, tags, artists=None, seed=0):
    """Every number of result.json that depends on the predictions alone, as plain Python values.

    probabilities: (N, C), each on its own between 0 and 1; truth: (N, C) of 0 and 1; tags: C names; artists: (N,)
    names, "" where one is unknown. ``roc_auc`` and ``pr_auc`` (average precision) are means over the tags. Intervals
    resample tracks, or artists as in :func:`evaluation.metrics.summarise`; a draw without a positive track of a tag
    says nothing of that tag. ``n_test`` of a tag are the test tracks that have it.
    Raises :class:`UserError` where there is no track, a tag is on none or all of them, or probabilities are none.
    """
    probabilities, truth = _checked(probabilities, truth, tags)
    artists = drawn_together(artists)
    found = areas(probabilities, truth, np.ones((1, len(truth)), dtype=int))[:, 0]
    drawn = areas(probabilities, truth, drawn_tracks(len(truth), artists, seed=seed))
    macro, spread = found.mean(1), _mean(drawn)
    numbers = {}
    for figure, value, draws in zip(FIGURES, macro, spread, strict=True):
        numbers |= {figure: float(value), f"{figure}_ci95": _interval(value, draws)}
    return {
        **numbers,
        "n_test": len(truth),
        "resampled": "tracks" if artists is None else "artists",
        "n_resampled": len(truth) if artists is None else len(np.unique(artists)),
        "per_tag": {tag: _row(truth[:, i], found[:, i], drawn[:, :, i]) for i, tag in enumerate(tags)},
    }


def _row(truth, found, drawn):
    """What is said of one tag; truth (N,), found (2,), drawn (2, R)."""
    row = {"n_test": int(truth.sum())}
    for figure, value, draws in zip(FIGURES, found, drawn, strict=True):
        row |= {figure: float(value), f"{figure}_ci95": _interval(value, draws)}
    return row


def _mean(drawn):
    """Over the tags (…, C) of which the draw says something; NaN where that is none."""
    there = np.isfinite(drawn)
    with np.errstate(invalid="ignore"):
        return np.where(there, drawn, 0).sum(-1) / there.sum(-1)


def _interval(value, draws, least=0.0):
    """The basic bootstrap interval of ``value``, between ``least`` and 1.

    Not the percentiles themselves: a positive track that is drawn twice raises its own precision, so that draws of
    the average precision lie too high, by more than their spread where positives are few.
    """
    low, high = percentile_interval(draws[np.isfinite(draws)])
    return [float(np.clip(2 * value - bound, least, 1)) for bound in (high, low)]


def macro_pr_auc(probabilities, truth):
    """Mean over the tags of the average precision; both (N, C), and any score that ranks the tracks will do."""
    everyone = np.ones((1, len(truth)), dtype=int)
    return float(areas(np.asarray(probabilities), np.asarray(truth).astype(bool), everyone)[1].mean())


def paired_difference(probabilities_a, probabilities_b, truth, artists=None, seed=0):
    """Difference in macro PR-AUC a − b on the same tracks: ``{"difference": float, "ci95": [low, high]}``.

    All (N, C). The same tracks, or artists, are drawn for both, so that what is hard for both cancels.
    """
    truth = np.asarray(truth).astype(bool)
    drawn = drawn_tracks(len(truth), artists, seed=seed)
    a, b = (_mean(areas(one, truth, drawn)[1]) for one in (probabilities_a, probabilities_b))
    difference = macro_pr_auc(probabilities_a, truth) - macro_pr_auc(probabilities_b, truth)
    return {"difference": difference, "ci95": _interval(difference, a - b, least=-1.0)}


def drawn_tracks(num_tracks, artists=None, resamples=RESAMPLES, seed=0):
    """How often each track is drawn, (R, N): with replacement, whole artists (N,) where they are given."""
    groups = np.arange(num_tracks) if artists is None else np.unique(artists, return_inverse=True)[1]
    number = groups.max() + 1
    return np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=resamples)[:, groups]


def areas(scores, truth, weights):
    """ROC-AUC and average precision (2, R, C) of scores and truth (N, C), ``weights`` (R, N) of the tracks."""
    parts = [weights[start : start + AT_ONCE] for start in range(0, len(weights), AT_ONCE)]
    tags = range(truth.shape[1])
    return np.concatenate([
        np.stack([_areas_of_tag(scores[:, tag], truth[:, tag], part) for tag in tags], axis=2) for part in parts
    ], axis=1)  # fmt: skip


def _areas_of_tag(scores, truth, weights):
    """(2, R) of scores (N,), truth (N,) booleans; NaN where all that was drawn is of one kind.

    As in scikit-learn, tracks that score alike pass the threshold together.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of those that score alike
    weights, truth = weights[:, order], truth[order]
    hits, misses = (np.cumsum(weights * kind, axis=1)[:, last] for kind in (truth, ~truth))
    new_hits, new_misses = (np.diff(passed, axis=1, prepend=0) for passed in (hits, misses))
    with np.errstate(invalid="ignore"):
        ranked = (new_misses * (hits - new_hits / 2)).sum(1) / (hits[:, -1] * misses[:, -1])
        precise = (new_hits * hits / np.maximum(hits + misses, 1)).sum(1) / hits[:, -1]
    return np.stack([ranked, np.where(misses[:, -1] > 0, precise, np.nan)])


def _checked(probabilities, truth, tags):
    probabilities, truth = np.asarray(probabilities, dtype=float), np.asarray(truth).astype(bool)
    if len(truth) == 0:
        raise UserError("there is no track to test on; check the split column of tracks.csv")
    if not probabilities.shape == truth.shape == (len(truth), len(tags)):
        raise UserError(f"probabilities {probabilities.shape} must be ({len(truth)} tracks, {len(tags)} tags)")
    if not np.isfinite(probabilities).all():
        raise UserError("the classifier's probabilities are not finite: training diverged; use a lower --lr")
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise UserError("probabilities must be between 0 and 1; give sigmoid outputs")
    for tag, on in zip(tags, truth.T, strict=True):
        if on.all() or not on.any():
            raise UserError(f"the tag '{tag}' is on {'all' if on.all() else 'none'} of the tracks: nothing to rank")
    return probabilities, truth
