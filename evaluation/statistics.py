"""How sure a number is: bootstrap over tracks or artists, tests for two results on them, spread over seeds.

The tracks of one artist sound alike: they are right and wrong together, and say less than as many tracks of different
artists. Where artists are given, whole artists are drawn.
Axes: N tracks, K kinds of tracks, G artists, R resamples.
"""

import functools

import numpy as np
import scipy  # whose stats take a second to import: it does so when they are first asked for

CONFIDENCE = 0.95
RESAMPLES = 10_000
FEW_ARTISTS = 20  # of fewer, a bootstrap's interval is too narrow


def drawn_together(artists):
    """The artists (N,) as an array where they are what to draw, else None: then it is tracks.

    That is where the artist of every track is known (not ""), and some have several, but not one all of them.
    """
    artists = np.asarray(() if artists is None else artists, dtype=str)
    return artists if "" not in artists and 1 < len(np.unique(artists)) < len(artists) else None


def resample_counts(kinds, num_kinds, artists=None, resamples=RESAMPLES, seed=0):
    """Draw as many tracks, or artists with all their tracks, as there are, with replacement: (R, K) tracks by kind.

    ``kinds`` (N,) numbers what a track is (right and wrong; the cells of a confusion matrix), ``artists`` are (N,)
    names. Who adds the same is the same: a bootstrap needs to know only how many of those were drawn, and that is one
    multinomial draw.
    """
    chance = np.random.default_rng(seed)
    if artists is None:
        counts = np.bincount(kinds, minlength=num_kinds)
        return chance.multinomial(len(kinds), counts / len(kinds), size=resamples)
    alike, counts = np.unique(per_artist(np.eye(num_kinds)[kinds], artists), axis=0, return_counts=True)
    return chance.multinomial(counts.sum(), counts / counts.sum(), size=resamples) @ alike


def per_artist(values, artists):
    """The sum of ``values`` (N, K) over the tracks of each of the ``artists`` (N,): (G, K)."""
    names, number = np.unique(artists, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, number, values)
    return sums


def percentile_interval(draws):
    """``[low, high]`` that holds the middle 95 % of the draws (the percentile bootstrap, Efron 1979)."""
    tail = 50 * (1 - CONFIDENCE)
    return [float(bound) for bound in np.percentile(draws, [tail, 100 - tail])]


def bootstrap_interval(values, artists=None, resamples=RESAMPLES, seed=0):
    """95 % bootstrap interval ``[low, high]`` of the mean of ``values`` (N,), one value per track."""
    distinct, kinds = np.unique(np.asarray(values, dtype=float), return_inverse=True)
    draws = resample_counts(kinds, len(distinct), artists, resamples, seed)
    return percentile_interval(draws @ distinct / draws.sum(1))


def paired_bootstrap(correct_a, correct_b, artists=None, resamples=RESAMPLES, seed=0):
    """Difference in accuracy a − b on the same tracks: ``{"difference": float, "ci95": [low, high]}``.

    ``correct_a`` and ``correct_b`` are (N,) in the same order of tracks, booleans or shares of seeds. Tracks are
    drawn in pairs, so what is hard for both cancels: the interval is narrower than two side by side suggest.
    """
    difference = np.asarray(correct_a, dtype=float) - np.asarray(correct_b, dtype=float)
    return {"difference": float(difference.mean()), "ci95": bootstrap_interval(difference, artists, resamples, seed)}


def mcnemar(correct_a, correct_b):
    """Two-sided p that two classifiers are equally good on the same tracks (McNemar 1947).

    Only the tracks that exactly one of them gets right matter; if they are equally good, each such track is a
    fair coin. The exact binomial test serves for any number of them: no approximation, no correction.
    """
    only_a = int((_booleans(correct_a) & ~_booleans(correct_b)).sum())
    only_b = int((_booleans(correct_b) & ~_booleans(correct_a)).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue)


def sign_flip(correct_a, correct_b, artists=None, parts=1):
    """Two-sided p that two classifiers are equally good on the same artists: :func:`mcnemar` for whole artists.

    If they are equally good, each artist's difference in right tracks could as well have the other sign: a fair coin
    for each artist, or track where no artists are given (Fisher's randomisation test). The distribution of the sum is
    exact, built artist by artist. ``correct_a`` and ``correct_b`` (N,) may be shares of seeds, of which ``parts`` of
    a difference are whole numbers.
    """
    difference = np.rint(parts * (np.asarray(correct_a, dtype=float) - np.asarray(correct_b, dtype=float)))
    sums = difference if artists is None else per_artist(difference[:, None], artists)
    sums = np.abs(sums).astype(int).ravel()
    chance = np.zeros(2 * sums.sum() + 1)  # of each sum from −most to most
    chance[sums.sum()] = 1
    for one in sums[sums > 0]:
        chance = (np.roll(chance, one) + np.roll(chance, -one)) / 2  # what rolls over an end is 0
    reached = np.abs(np.arange(len(chance)) - sums.sum()) >= abs(int(difference.sum()))
    return float(min(chance[reached].sum(), 1))


def share_interval(number, of):
    """Wilson's 95 % interval ``[low, high]`` of the share ``number / of``."""
    return [float(bound) for bound in scipy.stats.binomtest(number, of).proportion_ci(CONFIDENCE, method="wilson")]


def mean_std_interval(values):
    """Spread over seeds: ``{"mean", "std", "ci95", "n"}``, with the sample std and Student's t interval.

    This is the chance in training alone; the chance in which tracks are tested is the bootstrap's. A single
    value has no spread: std and ci95 are None.
    """
    values = np.asarray(values, dtype=float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return {"mean": mean, "std": None, "ci95": None, "n": n}
    std = float(values.std(ddof=1))
    return {"mean": mean, "std": std, "ci95": _t_interval(mean, std / n**0.5, n - 1), "n": n}


def pooled_intervals(conditions):
    """Means of several conditions of few runs each: for each of them ``{"mean", "ci95", "n"}``.

    Two runs say little of their own spread, but all conditions together do: the variance within conditions is
    pooled, as in a one-way analysis of variance, and Student's t has the degrees of freedom of them all. Where no
    condition has two runs, ci95 is None.
    """
    runs = [np.asarray(values, dtype=float) for values in conditions]
    freedom = sum(len(values) - 1 for values in runs)
    if not freedom:
        return [{"mean": float(values.mean()), "ci95": None, "n": len(values)} for values in runs]
    std = (sum(((values - values.mean()) ** 2).sum() for values in runs) / freedom) ** 0.5
    means = [float(values.mean()) for values in runs]
    return [
        {"mean": mean, "ci95": _t_interval(mean, std / len(values) ** 0.5, freedom), "n": len(values)}
        for mean, values in zip(means, runs, strict=True)
    ]


def conditions_differ(runs):
    """Do conditions that were tried with the same seeds differ? ``{"p", "apart"}``, or None of one seed or condition.

    runs: (K conditions, S seeds). A seed is a block: it fixes the first weights, the order and the crops for every
    condition, which a two-way analysis of variance without interaction takes out. ``apart`` is Tukey's honestly
    significant difference: by less than that no two of the K means can be told apart.
    """
    runs = np.asarray(runs, dtype=float)
    if min(runs.shape) < 2:
        return None
    (number, seeds), mean = runs.shape, runs.mean()
    means, freedom = runs.mean(1, keepdims=True), (number - 1) * (seeds - 1)
    variance = ((runs - means - runs.mean(0) + mean) ** 2).sum() / freedom
    between = seeds * ((means - mean) ** 2).sum() / (number - 1)
    if variance < 1e-30:  # every seed says the same
        return {"p": float(between < 1e-30), "apart": 0.0}
    p = scipy.stats.f.sf(between / variance, number - 1, freedom)
    return {"p": float(p), "apart": float(studentized_range(number, freedom) * (variance / seeds) ** 0.5)}


@functools.cache
def studentized_range(number, freedom):
    """The 95 % quantile of Tukey's range of so many means, which takes a twentieth of a second."""
    return scipy.stats.studentized_range.ppf(CONFIDENCE, number, freedom)


def _t_interval(mean, error, freedom):
    """Student's 95 % interval ``[low, high]`` around ``mean``, whose standard error is ``error``."""
    # The error is 0 where all seeds agree; given to scipy as the scale, it would make the interval NaN.
    return [mean + error * float(bound) for bound in scipy.stats.t.interval(CONFIDENCE, freedom)]


def _booleans(correct):
    return np.asarray(correct, dtype=bool)
