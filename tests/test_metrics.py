"""evaluation.metrics against scikit-learn and against formulas worked by hand."""

import json

import numpy as np
import pytest
import sklearn.metrics

from evaluation import metrics
from utils import UserError

GENRES = ["Blues", "Folk", "Hip-Hop", "Jazz", "Pop", "Rock", "Soul"]


def random_predictions(seed=0, tracks=300, genres=7):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, genres, tracks)
    logits = rng.normal(size=(tracks, genres))
    logits[np.arange(tracks), truth] += 0.8
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(1, keepdims=True), truth


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_metric_equals_scikit_learn(seed):
    probabilities, truth = random_predictions(seed)
    prediction = probabilities.argmax(1)
    result = metrics.summarise(probabilities, truth, GENRES)
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(truth, prediction),
        "top5_accuracy": sklearn.metrics.top_k_accuracy_score(truth, probabilities, k=5),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(truth, prediction),
        "macro_f1": sklearn.metrics.f1_score(truth, prediction, average="macro"),
        "macro_precision": sklearn.metrics.precision_score(truth, prediction, average="macro"),
        "macro_recall": sklearn.metrics.recall_score(truth, prediction, average="macro"),
        "roc_auc": sklearn.metrics.roc_auc_score(truth, probabilities, multi_class="ovr"),
        "average_precision": sklearn.metrics.average_precision_score(
            np.eye(len(GENRES))[truth], probabilities, average="macro"
        ),
        "log_loss": sklearn.metrics.log_loss(truth, probabilities),
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    report = sklearn.metrics.classification_report(truth, prediction, target_names=GENRES, output_dict=True)
    for genre in GENRES:
        theirs = report[genre]
        ours = result["per_genre"][genre]
        assert ours["support"] == theirs["support"]
        assert (ours["precision"], ours["recall"], ours["f1"]) == pytest.approx(
            (theirs["precision"], theirs["recall"], theirs["f1-score"])
        )


def test_confusion_matrix_equals_scikit_learn():
    probabilities, truth = random_predictions()
    ours = metrics.confusion_matrix(probabilities.argmax(1), truth, len(GENRES))
    theirs = sklearn.metrics.confusion_matrix(truth, probabilities.argmax(1))
    assert (ours == theirs).all()


def test_calibration_error_by_hand():
    # two tracks at 0.95 of which one is right, two at 0.65 of which both are: (|.5 - .95| + |1 - .65|) / 2
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.35, 0.65]])
    truth = np.array([0, 1, 1, 1])
    assert metrics.calibration_error(probabilities, truth) == pytest.approx((0.45 + 0.35) / 2)


def test_calibration_error_of_a_calibrated_classifier_is_small():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=20_000)
    truth = (rng.random(20_000)[:, None] > probabilities.cumsum(1)).sum(1)
    assert metrics.calibration_error(probabilities, truth) < 0.02
    assert metrics.calibration_error(np.eye(4)[probabilities.argmax(1)], truth) > 0.3


def test_a_genre_without_test_tracks_is_left_out_of_the_averages_and_named():
    probabilities, truth = random_predictions()
    truth[truth == 2] = 1
    result = metrics.summarise(probabilities, truth, GENRES)
    prediction, present = probabilities.argmax(1), np.unique(truth)
    assert result["genres_without_test_tracks"] == ["Hip-Hop"]
    assert result["per_genre"]["Hip-Hop"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert result["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(truth, prediction, labels=present, average="macro")
    )
    assert result["roc_auc"] == pytest.approx(
        np.mean([sklearn.metrics.roc_auc_score(truth == genre, probabilities[:, genre]) for genre in present])
    )


@pytest.mark.parametrize("genre", [[2], [2, 5]])
def test_top_5_of_tracks_of_one_or_two_of_the_genres(genre):
    probabilities, truth = random_predictions()
    truth[:] = np.resize(genre, len(truth))
    by_hand = np.mean([true in np.argsort(-row)[:5] for row, true in zip(probabilities, truth, strict=True)])
    assert metrics.summarise(probabilities, truth, GENRES)["top5_accuracy"] == pytest.approx(by_hand)


def test_a_classifier_that_knows_nothing_gains_nothing_by_ties():
    truth = np.arange(70) % 7
    result = metrics.summarise(np.full((70, 7), 1 / 7), truth, GENRES)
    assert result["top5_accuracy"] == pytest.approx(5 / 7)
    assert result["accuracy"] == pytest.approx(1 / 7)


def test_log_loss_of_a_softmax_that_rounding_takes_above_one():
    probabilities = np.array([[1 + 1e-7, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert metrics.log_loss(probabilities[:2], np.array([0, 1])) == 0
    assert metrics.log_loss(probabilities[2:], np.array([1])) == pytest.approx(-np.log(np.finfo(float).eps))


@pytest.mark.filterwarnings("ignore:A single label was found")
def test_one_genre_and_few_genres():
    result = metrics.summarise(np.ones((5, 1)), np.zeros(5, int), ["Jazz"])
    assert result["accuracy"] == result["macro_f1"] == 1
    assert result["roc_auc"] is None
    assert result["average_precision"] is None
    assert result["top5_accuracy"] is None


def test_everything_is_plain_json():
    result = metrics.summarise(*random_predictions(tracks=20), GENRES)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_intervals_hold_their_estimate_and_repeat():
    probabilities, truth = random_predictions()
    result = metrics.summarise(probabilities, truth, GENRES)
    for name in ("accuracy", "macro_f1"):
        low, high = result[f"{name}_ci95"]
        assert low < result[name] < high
        assert 0.05 < high - low < 0.2  # ± 1.96 · √(.4 · .6 / 300) is ± 0.055
    assert metrics.summarise(probabilities, truth, GENRES) == result


def test_float32_softmax_is_accepted_and_nonsense_is_not():
    probabilities, truth = random_predictions()
    metrics.summarise(probabilities.astype(np.float32), truth, GENRES)
    with pytest.raises(UserError, match="not finite"):
        metrics.summarise(probabilities * np.nan, truth, GENRES)
    with pytest.raises(UserError, match="softmax"):
        metrics.summarise(np.log(probabilities), truth, GENRES)
    with pytest.raises(UserError, match="no track"):
        metrics.summarise(probabilities[:0], truth[:0], GENRES)
    with pytest.raises(UserError, match="must be"):
        metrics.summarise(probabilities, truth, GENRES[:3])
