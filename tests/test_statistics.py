"""evaluation.statistics against published values, scipy and simulations."""

import numpy as np
import pytest
import scipy.stats

from evaluation import statistics


@pytest.mark.parametrize("accuracy", [0.45, 0.8])
def test_bootstrap_interval_covers_the_truth(accuracy):
    rng = np.random.default_rng(0)
    correct = rng.random((500, 300)) < accuracy
    intervals = [statistics.bootstrap_interval(row, resamples=1000, seed=i) for i, row in enumerate(correct)]
    covered = np.mean([low <= accuracy <= high for low, high in intervals])
    assert 0.93 <= covered <= 0.98


def test_paired_bootstrap_covers_the_difference_and_is_narrower_than_unpaired():
    rng = np.random.default_rng(1)
    covered, width, unpaired = [], [], []
    for seed in range(500):
        difficulty = rng.random(300)  # shared by both classifiers: right when it is below their accuracy
        a, b = difficulty + 0.1 * rng.normal(size=300) < 0.5, difficulty + 0.1 * rng.normal(size=300) < 0.45
        interval = statistics.paired_bootstrap(a, b, resamples=1000, seed=seed)["ci95"]
        covered.append(interval[0] <= 0.05 <= interval[1])
        width.append(interval[1] - interval[0])
        unpaired.append(2 * 1.96 * np.sqrt((a.var() + b.var()) / 300))
    assert np.mean(covered) >= 0.93
    assert np.mean(width) < 0.7 * np.mean(unpaired)


def test_bootstrap_equals_a_plain_one_on_values_that_are_all_different():
    values = np.random.default_rng(0).gamma(2, size=200)
    plain = scipy.stats.bootstrap((values,), np.mean, method="percentile", rng=0, n_resamples=9999)
    ours = statistics.bootstrap_interval(values)
    assert ours == pytest.approx([plain.confidence_interval.low, plain.confidence_interval.high], abs=0.01)


def test_resamples_keep_the_number_of_tracks():
    draws = statistics.resample_counts([3, 0, 7], resamples=50)
    assert draws.shape == (50, 3)
    assert (draws.sum(1) == 10).all()
    assert (draws[:, 1] == 0).all()


def test_mcnemar_of_published_tables():
    def pair(both, only_a, only_b, neither):
        counts = [both, only_a, only_b, neither]
        return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)

    # Agresti (2002), approval of the prime minister: 150 and 86 discordant of 1600, χ² = 17.4
    assert statistics.mcnemar(*pair(794, 150, 86, 570)) == pytest.approx(3.7e-5, rel=0.1)
    # 2 of 12 discordant: 2 · (1 + 12 + 66) / 2¹²
    assert statistics.mcnemar(*pair(20, 2, 10, 5)) == pytest.approx(2 * 79 / 4096)
    assert statistics.mcnemar(*pair(20, 10, 2, 5)) == pytest.approx(2 * 79 / 4096)
    assert statistics.mcnemar(*pair(20, 0, 0, 5)) == 1


def test_mcnemar_keeps_its_level():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 1000, 200)) < 0.5
    rejected = np.mean([statistics.mcnemar(x, y) < 0.05 for x, y in zip(a, b, strict=True)])
    assert 0.02 <= rejected <= 0.06


def test_seeds():
    result = statistics.mean_std_interval([0.40, 0.42, 0.47])
    reference = scipy.stats.ttest_1samp([0.40, 0.42, 0.47], 0).confidence_interval(0.95)
    assert result["mean"] == pytest.approx(0.43)
    assert result["std"] == pytest.approx(0.0360555)
    assert result["ci95"] == pytest.approx(list(reference))
    assert statistics.mean_std_interval([0.4]) == {"mean": 0.4, "std": None, "ci95": None, "n": 1}


def test_seeds_that_agree_have_an_interval_of_no_width():
    assert statistics.mean_std_interval([0.5, 0.5, 0.5]) == {"mean": 0.5, "std": 0.0, "ci95": [0.5, 0.5], "n": 3}
    assert statistics.pooled_intervals([[0.5, 0.5], [0.4]])[1]["ci95"] == [0.4, 0.4]


def test_pooled_intervals_are_those_of_a_one_way_analysis_of_variance():
    runs = [[0.40, 0.44], [0.50, 0.48], [0.39]]
    within = (2 * 0.02**2 + 2 * 0.01**2) / 2  # two degrees of freedom: t = 4.3027
    first, _, last = statistics.pooled_intervals(runs)
    assert first["mean"] == pytest.approx(0.42)
    assert first["ci95"] == pytest.approx(
        [0.42 - 4.3027 * (within / 2) ** 0.5, 0.42 + 4.3027 * (within / 2) ** 0.5], rel=1e-4
    )
    assert last["ci95"][1] - 0.39 == pytest.approx(4.3027 * within**0.5, rel=1e-4)
    assert statistics.pooled_intervals([[0.4], [0.5]])[0] == {"mean": 0.4, "ci95": None, "n": 1}


def test_conditions_differ_when_their_means_lie_further_apart_than_their_runs():
    assert statistics.conditions_differ([[0.40, 0.41], [0.50, 0.51], [0.60, 0.61]]) < 0.001
    assert statistics.conditions_differ([[0.40, 0.50], [0.41, 0.49]]) > 0.5
    assert statistics.conditions_differ([[0.4], [0.5]]) is None
