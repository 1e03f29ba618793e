"""The linear probe, against scikit-learn."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
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
    torch.testing.assert_close(ours, expected, atol=0.02, rtol=0)
    accuracy = (ours.argmax(1) == labels[validation]).float().mean().item()
    assert chosen["validation_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 1.5 / num_genres
