"""The numbers of one classifier on the test tracks, each as scikit-learn defines it.

Axes: N tracks, C genres, R resamples. scikit-learn is imported where it is used: that takes a second.
"""

import numpy as np

from evaluation.statistics import bootstrap_interval, drawn_together, percentile_interval, resample_counts
from utils import UserError

CALIBRATION_BINS = 15


def summarise(probabilities, truth, genres, artists=None, seed=0):
    """Every number of result.json that depends on the predictions alone, as plain Python values.

    probabilities: (N, C), rows that sum to one; truth: (N,) indices into ``genres``, a list of C names.
    artists: (N,) names, "" where one is unknown. Intervals resample artists, or tracks (``resampled``, and how many,
    ``n_resampled``): see :func:`evaluation.statistics.drawn_together`.
    Macro averages are over the genres that have test tracks; ``genres_without_test_tracks`` names the others.
    ROC-AUC and average precision are one-vs-rest and None where undefined (all tracks of one genre);
    ``top5_accuracy`` is None for five genres or fewer, where it says nothing.
    Raises :class:`UserError` when there is no track, or ``probabilities`` are not finite or do not sum to one.
    """
    import sklearn.metrics

    probabilities, truth = _checked(probabilities, truth, genres)
    correct = probabilities.argmax(1) == truth
    matrix = confusion_matrix(probabilities.argmax(1), truth, len(genres))
    artists = drawn_together(artists)
    precision, recall, f1 = precision_recall_f1(matrix)
    support = matrix.sum(1)
    present = support > 0
    columns = zip(genres, precision, recall, f1, support, strict=True)
    return {
        "accuracy": float(correct.mean()),
        "accuracy_ci95": bootstrap_interval(correct, artists, seed=seed),
        "top5_accuracy": top_accuracy(probabilities, truth, 5) if len(genres) > 5 else None,
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": macro_f1(matrix),
        "macro_f1_ci95": macro_f1_interval(probabilities.argmax(1), truth, len(genres), artists, seed=seed),
        "macro_precision": float(precision[present].mean()),
        "macro_recall": float(recall[present].mean()),
        "roc_auc": _one_vs_rest(sklearn.metrics.roc_auc_score, probabilities, truth),
        "average_precision": _one_vs_rest(sklearn.metrics.average_precision_score, probabilities, truth),
        "log_loss": log_loss(probabilities, truth),
        "calibration_error": calibration_error(probabilities, truth),
        "n_test": len(truth),
        "resampled": "tracks" if artists is None else "artists",
        "n_resampled": len(truth) if artists is None else len(np.unique(artists)),
        "genres_without_test_tracks": [genres[index] for index in np.flatnonzero(~present)],
        "per_genre": {
            genre: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for genre, p, r, f, n in columns
        },
    }


def confusion_matrix(prediction, truth, num_genres):
    """(C, C) counts: row = true genre, column = predicted genre."""
    import sklearn.metrics

    return sklearn.metrics.confusion_matrix(truth, prediction, labels=range(num_genres))


def precision_recall_f1(matrix):
    """Each (…, C), from confusion counts (…, C, C); 0 where nothing was predicted or there is no track."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(float)
    predicted, support = matrix.sum(-2), matrix.sum(-1)
    return (
        hits / np.maximum(predicted, 1),
        hits / np.maximum(support, 1),
        2 * hits / np.maximum(predicted + support, 1),
    )


def macro_f1(matrix):
    """Mean F1 over the genres that have tracks, from the confusion counts (C, C)."""
    return float(precision_recall_f1(matrix)[2][matrix.sum(1) > 0].mean())


def macro_f1_interval(prediction, truth, num_genres, artists=None, resamples=2_000, seed=0):
    """95 % bootstrap interval ``[low, high]`` of macro F1; prediction, truth: (N,) indices of genres."""
    cells = truth * num_genres + prediction  # of the confusion matrix
    draws = resample_counts(cells, num_genres**2, artists, resamples, seed).reshape(-1, num_genres, num_genres)
    f1, there = precision_recall_f1(draws)[2], draws.sum(2) > 0  # a draw without a genre says nothing of it
    return percentile_interval((f1 * there).sum(1) / there.sum(1))


def log_loss(probabilities, truth):
    """Mean of −log p(true genre) in nats; p is clipped at the smallest step of float64, as in scikit-learn.

    Its own ``log_loss`` refuses what we have to judge: a float32 softmax that rounding takes above 1, and one genre.
    """
    true = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(true, np.finfo(float).eps, 1)).mean())


def top_accuracy(probabilities, truth, k):
    """Share of tracks whose true genre is among the k most probable of more than k genres.

    Of equally probable genres only as many count as there is room for: a classifier that knows nothing gains nothing.
    """
    import sklearn.metrics

    return sklearn.metrics.top_k_accuracy_score(truth, probabilities, k=k, labels=range(probabilities.shape[1]))


def calibration_bins(probabilities, truth, bins=CALIBRATION_BINS):
    """Tracks, mean confidence and accuracy in equal-width bins of confidence; each (bins,), NaN where empty."""
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == truth
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # (low, high], as Guo et al.
    number = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        return (
            number,
            np.bincount(index, confidence, bins) / number,
            np.bincount(index, correct, bins) / number,
        )


def calibration_error(probabilities, truth, bins=CALIBRATION_BINS):
    """Expected calibration error: |confidence − accuracy| of each bin, weighted by tracks (Guo et al. 2017)."""
    number, confidence, accuracy = calibration_bins(probabilities, truth, bins)
    return float(np.nansum(number * np.abs(confidence - accuracy)) / number.sum())


def _checked(probabilities, truth, genres):
    probabilities, truth = np.asarray(probabilities, dtype=float), np.asarray(truth, dtype=np.int64)
    if len(truth) == 0:
        raise UserError("there is no track to test on; check the split column of tracks.csv")
    if probabilities.shape != (len(truth), len(genres)):
        raise UserError(f"probabilities {probabilities.shape} must be ({len(truth)} tracks, {len(genres)} genres)")
    if not np.isfinite(probabilities).all():
        raise UserError("the classifier's probabilities are not finite: training diverged; use a lower --lr")
    if probabilities.min() < 0 or np.abs(probabilities.sum(1) - 1).max() > 1e-2:
        raise UserError("each track's probabilities must be at least 0 and sum to 1; give softmax outputs")
    return probabilities, truth


def _one_vs_rest(score, probabilities, truth):
    """Mean over the genres that have test tracks; None when one genre has all of them."""
    present = np.unique(truth)
    if len(present) < 2:
        return None
    return float(np.mean([score(truth == genre, probabilities[:, genre]) for genre in present]))
