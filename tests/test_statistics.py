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
    draws = statistics.resample_counts(np.repeat([0, 2], [3, 7]), 3, resamples=50)
    assert draws.shape == (50, 3)
    assert (draws.sum(1) == 10).all()
    assert (draws[:, 1] == 0).all()


# ------------------------------------------------------------------ artists


def simulated(simulations=200, artists=60, each=5, accuracy=0.5):
    """Right or wrong (simulations, artists · each), the tracks of an artist alike; and the artists of the tracks."""
    chance = np.random.default_rng(0)
    own = chance.beta(accuracy, 1 - accuracy, (simulations, artists, 1))  # intra-artist correlation 1 / 2
    correct = chance.random((simulations, artists, each)) < own
    return correct.reshape(simulations, -1), np.repeat(np.arange(artists).astype(str), each)


def test_over_artists_the_interval_covers_the_truth_and_over_tracks_it_does_not():
    correct, artists = simulated()
    intervals = np.array([
        [statistics.bootstrap_interval(row, who, resamples=1000, seed=seed) for seed, row in enumerate(correct)]
        for who in (artists, None)
    ])  # fmt: skip
    over_artists, over_tracks = ((intervals[..., 0] <= 0.5) & (intervals[..., 1] >= 0.5)).mean(1)
    assert 0.90 <= over_artists <= 0.99
    assert over_tracks < 0.85


def test_artists_are_drawn_with_all_their_tracks():
    kinds, artists = np.array([0, 0, 1, 2, 1]), np.array(["a", "a", "a", "b", "c"])
    draws = statistics.resample_counts(kinds, 3, artists, resamples=500)
    assert {tuple(row) for row in draws.astype(int)} == {  # three times one of (2, 1, 0), (0, 0, 1), (0, 1, 0)
        (2 * a, a + c, 3 - a - c) for a in range(4) for c in range(4 - a)
    }  # fmt: skip


def test_each_track_its_own_artist_is_no_artist():
    values, names = np.random.default_rng(0).random(40) < 0.4, [str(n) for n in range(40)]
    alone = statistics.bootstrap_interval(values, names)
    assert alone == pytest.approx(statistics.bootstrap_interval(values), abs=0.026)
    assert statistics.drawn_together(names) is None
    assert statistics.drawn_together(["a", "b", "", "a"]) is None  # one is unknown
    assert statistics.drawn_together(["a", "a"]) is None
    assert statistics.drawn_together(None) is None
    assert list(statistics.drawn_together(["a", "b", "a"])) == ["a", "b", "a"]


def test_the_sign_flip_test_is_mcnemars_where_each_track_has_its_artist():
    a, b = np.random.default_rng(0).random((2, 60)) < [[0.6], [0.4]]
    names = [str(n) for n in range(60)]
    assert statistics.sign_flip(a, b, names) == pytest.approx(statistics.mcnemar(a, b))
    assert statistics.sign_flip(a, a, names) == 1
    # differences of artists 3 and −1: of ±3 ± 1, all four sums are at least as far from 0 as 2
    a, b = np.array([1, 1, 1, 0, 1]), np.array([0, 0, 0, 1, 1])
    assert statistics.sign_flip(a, b, list("aaabb")) == 1
    # 3 and 1: two of four
    assert statistics.sign_flip(a, [0, 0, 0, 0, 0], list("aaabb")) == pytest.approx(0.5)


def test_the_sign_flip_test_of_means_over_seeds_is_that_of_all_sign_patterns():
    chance = np.random.default_rng(3)
    a, b = ((chance.random((3, 10)) < share).mean(0) for share in (0.8, 0.4))
    difference = a - b
    signs = 1 - 2 * ((np.arange(2**10)[:, None] >> np.arange(10)) & 1)
    expected = (np.abs(signs @ difference) >= abs(difference.sum()) - 1e-9).mean()
    assert statistics.sign_flip(a, b, parts=9) == pytest.approx(expected)
    assert 0.001 < expected < 0.9


def test_over_artists_the_test_keeps_its_level_and_over_tracks_it_does_not():
    (a, artists), chance = simulated(), np.random.default_rng(1)
    b = np.where(chance.random((200, 60, 1)) < 0.5, 1 - a.reshape(200, 60, 5), a.reshape(200, 60, 5)).reshape(200, -1)
    p = np.array([[statistics.sign_flip(x, y, artists), statistics.mcnemar(x, y)] for x, y in zip(a, b, strict=True)])
    over_artists, over_tracks = (p < 0.05).mean(0)
    assert over_artists <= 0.08
    assert over_tracks > 0.15


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


def test_two_conditions_of_the_same_seeds_differ_as_the_paired_t_test_says():
    a, b = [0.40, 0.44, 0.52], [0.43, 0.48, 0.53]
    found, paired = statistics.conditions_differ([a, b]), scipy.stats.ttest_rel(b, a)
    assert found["p"] == pytest.approx(paired.pvalue)
    low, high = paired.confidence_interval(0.95)
    assert found["apart"] == pytest.approx((high - low) / 2, rel=1e-4)


def test_conditions_differ_when_their_means_lie_further_apart_than_seeds_explain():
    assert statistics.conditions_differ([[0.40, 0.50], [0.42, 0.521], [0.44, 0.54]])["p"] < 0.01  # the seeds do not
    assert statistics.conditions_differ([[0.40, 0.50], [0.41, 0.49]])["p"] > 0.5
    assert statistics.conditions_differ([[0.40, 0.50], [0.41, 0.51]]) == {"p": 0.0, "apart": 0.0}
    assert statistics.conditions_differ([[0.40, 0.50], [0.40, 0.50]]) == {"p": 1.0, "apart": 0.0}
    assert statistics.conditions_differ([[0.4], [0.5]]) is None
    assert statistics.conditions_differ([[0.4, 0.5]]) is None


def test_false_alarms_are_as_rare_as_said_and_tukeys_bound_holds():
    chance = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        runs = chance.normal(0, 2, 3) + chance.normal(0, 1, (5, 3))  # the same five conditions, seeds that differ
        test = statistics.conditions_differ(runs)
        found.append((test["p"] < 0.05, np.ptp(runs.mean(1)) > test["apart"]))
    assert np.mean(found, axis=0) == pytest.approx([0.05, 0.05], abs=0.02)


def test_the_interval_of_a_share_is_wilsons():
    z, share, n = 1.959964, 18 / 30, 30
    middle, reach = share + z**2 / (2 * n), z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    expected = [(middle - reach) / (1 + z**2 / n), (middle + reach) / (1 + z**2 / n)]
    assert statistics.share_interval(18, 30) == pytest.approx(expected, rel=1e-5)
