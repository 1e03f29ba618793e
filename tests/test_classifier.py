"""The linear probe, against scikit-learn."""

import warnings

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from models import classifier, heads


def clusters(num_genres, per_genre=40, spread=2.0):
    centres = 2 * torch.randn(num_genres, 16)
    labels = torch.arange(num_genres).repeat_interleave(per_genre)
    return 5 + 3 * (centres[labels] + spread * torch.randn(len(labels), 16)), labels


@pytest.mark.parametrize("num_genres", [2, 5])
def test_linear_probe_equals_scikit_learn(num_genres):
    torch.manual_seed(0)
    features, labels = clusters(num_genres)
    train, validation = torch.arange(0, len(labels), 2), torch.arange(1, len(labels), 2)
    head = heads.genre_head(16, num_genres)
    chosen = classifier.fit_linear_probe(
        head, features[train], labels[train], features[validation], labels[validation]
    )
    scaler = StandardScaler().fit(features[train])
    fit = LogisticRegression(C=chosen["C"], max_iter=5000).fit(scaler.transform(features[train]), labels[train])
    expected = torch.tensor(fit.predict_proba(scaler.transform(features[validation]))).float()
    with torch.no_grad():
        ours = head(features[validation]).softmax(1)
    torch.testing.assert_close(ours, expected, atol=0.005, rtol=0)
    accuracy = (ours.argmax(1) == labels[validation]).float().mean().item()
    assert chosen["validation_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 1.5 / num_genres


def test_the_path_finds_the_penalty_that_all_fits_from_nothing_would():
    torch.manual_seed(2)
    (features, labels), (others, truth) = clusters(4, spread=4.0), clusters(4, spread=4.0)
    scaler = StandardScaler().fit(features)
    x, y, validation_x = scaler.transform(features), labels.numpy(), scaler.transform(others)
    alone = [LogisticRegression(C=c, max_iter=5000, tol=1e-6).fit(x, y) for c in classifier.INVERSE_PENALTIES]
    scores = [fit.score(validation_x, truth.numpy()) for fit in alone]
    tensors = torch.from_numpy(x).float(), labels, torch.from_numpy(validation_x).float(), truth
    found = classifier.best_of_path(*tensors, 4)
    expected = alone[scores.index(max(scores))]
    assert found.inverse_penalty == expected.C
    torch.testing.assert_close(found.weight, torch.from_numpy(expected.coef_).float(), rtol=1e-3, atol=1e-4)


def test_weak_penalties_that_fall_behind_are_not_tried(monkeypatch):
    tried = []

    class Fit:
        def __init__(self, inverse_penalty):
            self.inverse_penalty = inverse_penalty

        def accuracy(self, x, y):
            return {0.0001: 0.3, 0.001: 0.5, 0.01: 0.4, 0.1: 0.5, 1.0: 0.4, 10.0: 0.45}[self.inverse_penalty]

    class Regression:
        def __init__(self, *known):
            pass

        def fit(self, inverse_penalty, start):
            assert [start.inverse_penalty] == tried[-1:] if start else not tried
            tried.append(inverse_penalty)
            return Fit(inverse_penalty)

    monkeypatch.setattr(classifier, "Logistic", Regression)
    assert classifier.best_of_path(*[None] * 5).inverse_penalty == 0.001  # of equals, the strongest
    assert tried == [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0]
    monkeypatch.setattr(Fit, "accuracy", lambda self, x, y: 1 - self.inverse_penalty)
    tried.clear()
    assert classifier.best_of_path(*[None] * 5).inverse_penalty == 0.0001
    assert tried == [0.0001, 0.001, 0.01]


def probe_without_validation(features, labels, validation_labels):
    head = heads.genre_head(16, int(labels.max()) + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = features[: len(labels)], labels, features[: len(validation_labels)], validation_labels
        chosen = classifier.fit_linear_probe(head, *known, on_validation=False)
    return head, chosen


@pytest.mark.parametrize(("per_genre", "folds"), [(40, 5), (3, 3)])
def test_without_validation_the_penalty_is_scikit_learns_cross_validation(per_genre, folds):
    torch.manual_seed(1)
    features, labels = clusters(4, per_genre, spread=4.0)
    _, chosen = probe_without_validation(features, labels, labels)
    x = StandardScaler().fit_transform(features)
    penalties, regression = {"C": classifier.INVERSE_PENALTIES}, LogisticRegression(max_iter=1000)
    search = GridSearchCV(regression, penalties, scoring="neg_log_loss", cv=folds).fit(x, labels)
    assert chosen["C"] == search.best_params_["C"]
    assert chosen["by"] == f"{folds}-fold cross-validation"


def test_validation_labels_that_are_not_asked_change_nothing():
    torch.manual_seed(1)
    features, labels = clusters(4, spread=4.0)
    (head, chosen), (other, told) = (probe_without_validation(features, labels, y) for y in (labels, labels.flip(0)))
    assert torch.equal(head[-1].weight, other[-1].weight)
    assert chosen["validation_accuracy"] > told["validation_accuracy"]
    assert (chosen["C"], chosen["by"]) == (told["C"], told["by"])


def test_genres_of_one_track_stop_nothing():
    torch.manual_seed(1)
    features, labels = clusters(4, spread=0.1)
    few = torch.tensor([0, *range(40, 43), *range(80, 120)])  # of the first genre one track, of the second three
    _, chosen = probe_without_validation(features[few], labels[few], labels[few])
    assert chosen["by"] == "3-fold cross-validation"
    assert chosen["validation_accuracy"] > 0.9
    for almost_one_each in ([0, 40, 80, 120], [0, 1, 40, 80]):
        known = features[almost_one_each], labels[almost_one_each]
        _, chosen = probe_without_validation(*known, known[1])
        assert (chosen["C"], chosen["by"]) == (classifier.DEFAULT, "default")
