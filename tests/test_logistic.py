"""Logistic regression against scikit-learn's, and in how few steps."""

import pytest
import scipy.optimize
import torch
from sklearn.linear_model import LogisticRegression

from models import logistic


def features(number=400, width=300, num_genres=3, seed=0):
    """Standardised, along directions of which few are strong, as those of a network are."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % num_genres
    centres = torch.randn(num_genres, width, generator=chance) / 4
    hidden = torch.randn(number, width, generator=chance) + centres[labels]
    mixed = (hidden * 0.9 ** torch.arange(width)) @ torch.randn(width, width, generator=chance)
    return (mixed - mixed.mean(0)) / mixed.std(0), labels


@pytest.mark.parametrize(("number", "width", "num_genres"), [(400, 300, 3), (400, 300, 2), (60, 300, 4), (20, 5, 3)])
@pytest.mark.parametrize("inverse_penalty", [0.001, 0.1])
def test_it_is_scikit_learns(number, width, num_genres, inverse_penalty):
    x, y = features(number, width, num_genres)
    found = logistic.Logistic(x, y, num_genres).fit(inverse_penalty)
    expected = LogisticRegression(C=inverse_penalty, max_iter=5000, tol=1e-7).fit(x.double(), y)
    others, _ = features(50, width, num_genres, seed=1)
    ours = (others @ found.weight.T + found.bias).softmax(1)
    torch.testing.assert_close(ours, torch.from_numpy(expected.predict_proba(others)).float(), atol=2e-3, rtol=0)
    assert found.accuracy(x, y) == pytest.approx(expected.score(x, y), abs=1.5 / number)


def test_where_it_starts_does_not_matter():
    x, y = features()
    regression = logistic.Logistic(x, y, 3)
    path = regression.fit(0.1, regression.fit(0.01, regression.fit(0.001)))
    torch.testing.assert_close(path.weight, regression.fit(0.1).weight, atol=1e-3, rtol=0)


def test_a_fit_that_is_cut_short_says_so(monkeypatch, capsys):
    x, y = features()
    logistic.Logistic(x, y, 3).fit(0.1)
    assert not capsys.readouterr().out
    monkeypatch.setattr(logistic, "MOST_STEPS", 2)
    logistic.Logistic(x, y, 3).fit(0.1)
    assert "penalty 1/0.1 was stopped after 2 steps" in capsys.readouterr().out


def test_strong_directions_made_flat_save_most_of_the_steps(monkeypatch):
    x, y = features()
    steps, minimize = [], scipy.optimize.minimize

    def counted(*args, **options):
        found = minimize(*args, **options)
        steps.append(found.nfev)
        return found

    monkeypatch.setattr(scipy.optimize, "minimize", counted)
    logistic.Logistic(x, y, 3).fit(0.1)
    monkeypatch.setattr(logistic, "DIRECTIONS", 1)
    logistic.Logistic(x, y, 3).fit(0.1)
    assert steps[0] < steps[1] / 3


def test_the_strongest_directions_are_the_principal_axes():
    x, _ = features()
    axes, strengths = logistic.strongest_directions(x)
    expected = torch.linalg.svdvals(x).square() / len(x)
    torch.testing.assert_close(strengths.flip(0)[:20], expected[:20], rtol=1e-3, atol=0)
    torch.testing.assert_close(axes.T @ axes, torch.eye(axes.shape[1]), atol=1e-4, rtol=0)
