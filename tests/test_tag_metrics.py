"""The areas of tags against scikit-learn's, and how sure they are."""

import numpy as np
import pytest
import scipy.special
from sklearn.metrics import average_precision_score, roc_auc_score

import utils
from evaluation import tag_metrics

TAGS = ["calm", "fast", "loud"]


def made(tracks=60, skill=1.0, seed=0):
    """(probabilities, truth), each (N, 3), with many probabilities that are the same."""
    chance = np.random.default_rng(seed)
    truth = chance.random((tracks, 3)) < [0.2, 0.5, 0.7]
    logits = chance.normal(size=truth.shape) + skill * truth
    return np.round(1 / (1 + np.exp(-logits)), 1), truth


def test_areas_are_those_of_scikit_learn():
    probabilities, truth = made()
    found = tag_metrics.summarise(probabilities, truth, TAGS)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(truth, probabilities, average="macro"))
    assert found["pr_auc"] == pytest.approx(average_precision_score(truth, probabilities, average="macro"))
    assert tag_metrics.macro_pr_auc(probabilities, truth) == found["pr_auc"]
    for i, tag in enumerate(TAGS):
        row = found["per_tag"][tag]
        assert row["roc_auc"] == pytest.approx(roc_auc_score(truth[:, i], probabilities[:, i]))
        assert row["pr_auc"] == pytest.approx(average_precision_score(truth[:, i], probabilities[:, i]))
        assert row["n_test"] == truth[:, i].sum()


def test_a_draw_is_a_weight_of_each_track():
    probabilities, truth = made()
    drawn = tag_metrics.drawn_tracks(60, resamples=3)
    assert drawn.sum(1).tolist() == [60, 60, 60]
    found = tag_metrics.areas(probabilities, truth, drawn)
    for r, weights in enumerate(drawn):
        for tag in range(3):
            judged = truth[:, tag], probabilities[:, tag]
            assert found[0, r, tag] == pytest.approx(roc_auc_score(*judged, sample_weight=weights))
            assert found[1, r, tag] == pytest.approx(average_precision_score(*judged, sample_weight=weights))


def test_whole_artists_are_drawn():
    artists = np.repeat([f"{number}" for number in range(12)], 5)
    drawn = tag_metrics.drawn_tracks(60, artists, resamples=20).reshape(20, 12, 5)
    assert (drawn == drawn[:, :, :1]).all()
    assert (drawn[:, :, 0].sum(1) == 12).all()
    found = tag_metrics.summarise(*made(), TAGS, artists)
    assert (found["resampled"], found["n_resampled"]) == ("artists", 12)


def test_intervals_hold_the_figure_and_shrink_with_the_tracks():
    few, many = (tag_metrics.summarise(*made(tracks), TAGS) for tracks in (60, 960))
    for figure in tag_metrics.FIGURES:
        (low, high), (lower, higher) = few[f"{figure}_ci95"], many[f"{figure}_ci95"]
        assert low < few[figure] < high
        assert 2 < (high - low) / (higher - lower) < 8  # √16


def test_a_rare_tag_has_an_interval_of_the_draws_that_hold_it():
    probabilities, truth = made()
    truth[:, 0] = False
    truth[3, 0] = True
    row = tag_metrics.summarise(probabilities, truth, TAGS)["per_tag"]["calm"]
    assert np.isfinite([*row["roc_auc_ci95"], *row["pr_auc_ci95"]]).all()


def test_a_paired_difference_is_narrower_than_two_intervals():
    probabilities, truth = made()
    other = np.clip(probabilities + np.random.default_rng(1).normal(0, 0.02, truth.shape), 0, 1)
    paired = tag_metrics.paired_difference(probabilities, other, truth)
    alone = tag_metrics.summarise(probabilities, truth, TAGS)["pr_auc_ci95"]
    difference = tag_metrics.macro_pr_auc(probabilities, truth) - tag_metrics.macro_pr_auc(other, truth)
    assert paired["difference"] == difference
    assert paired["ci95"][1] - paired["ci95"][0] < (alone[1] - alone[0]) / 2
    assert tag_metrics.paired_difference(other, other, truth)["ci95"] == [0, 0]


@pytest.mark.parametrize(("change", "message"), [
    (lambda p, t: (p, t * 0), "'calm' is on none"),
    (lambda p, t: (p, t | True), "'calm' is on all"),
    (lambda p, t: (p * np.nan, t), "not finite"),
    (lambda p, t: (p + 1, t), "between 0 and 1"),
    (lambda p, t: (p[:, :2], t), "must be"),
    (lambda p, t: (p[:0], t[:0]), "no track"),
])  # fmt: skip
def test_what_cannot_be_judged(change, message):
    with pytest.raises(utils.UserError, match=message):
        tag_metrics.summarise(*change(*made()), TAGS)


def test_intervals_cover_the_truth_where_tags_are_rare():
    """Of tags on 2 % of the tracks the percentiles of the draws would lie too high, and mostly miss it."""
    rng = np.random.default_rng(0)

    def draw(number):
        truth = rng.random((number, 8)) < 0.02
        truth[:2] = [[True] * 8, [False] * 8]
        return scipy.special.expit(rng.normal(size=truth.shape) + 1.5 * truth), truth

    expected = tag_metrics.macro_pr_auc(*draw(50_000))
    found = [tag_metrics.summarise(*draw(400), list("abcdefgh"))["pr_auc_ci95"] for _ in range(12)]
    assert sum(low <= expected <= high for low, high in found) >= 9
