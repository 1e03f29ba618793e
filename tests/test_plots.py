"""Each picture is written whole, for few and many genres and for data with holes; how they look was looked at."""

import matplotlib.image
import numpy as np
import pytest

from evaluation import metrics, plots


@pytest.fixture
def picture(tmp_path):
    """A path to write to; afterwards it must be a png with something on it and nothing else beside it."""
    path = tmp_path / "picture.png"
    yield path
    pixels = matplotlib.image.imread(path)
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    assert min(pixels.shape[:2]) > 200
    assert max(pixels.shape[:2]) < 2500
    assert (pixels[..., :3] < 0.5).any()


def predictions(genres, tracks=120, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(genres, 0.5), tracks), rng.integers(0, genres, tracks)


def names(genres):
    return [f"Old-Time / Historic {index}" for index in range(genres)]


@pytest.mark.parametrize("genres", [2, 8, 20])
def test_confusion(picture, genres):
    probabilities, truth = predictions(genres)
    plots.confusion(picture, metrics.confusion_matrix(probabilities.argmax(1), truth, genres), names(genres))


def test_confusion_of_a_genre_without_tracks(picture):
    plots.confusion(picture, [[3, 1], [0, 0]], names(2), "two genres")


@pytest.mark.parametrize("genres", [2, 20])
def test_per_genre(picture, genres):
    result = metrics.summarise(*predictions(genres), names(genres))
    plots.per_genre(picture, result["per_genre"])


@pytest.mark.parametrize("genres", [1, 8])
def test_reliability(picture, genres):
    plots.reliability(picture, *predictions(genres))


@pytest.mark.parametrize(("tracks", "dim", "genres"), [(3, 4, 2), (40, 1, 8), (60, 80, 23)])
def test_feature_map(picture, tracks, dim, genres):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(tracks, dim)) * (np.arange(dim) > 0) if dim > 1 else np.ones((tracks, 1))
    plots.feature_map(picture, features, rng.integers(0, genres, tracks), names(genres), subtitle="test tracks")


def test_pca_map_keeps_the_widest_directions():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(200, 1))
    features = np.hstack([wide, wide, wide, rng.normal(size=(200, 1))]).astype(np.float32)
    place = plots._flatten(features, "pca", seed=0)
    assert abs(np.corrcoef(place[:, 0], wide[:, 0])[0, 1]) > 0.99


ROW = {"loss": "-0.8", "std": "0.02", "effective_rank": "30", "lr": "0.03", "clips_per_second": "9", "seconds": "1"}


@pytest.mark.parametrize(
    "rows",
    [
        [ROW | {"epoch": str(epoch), "knn_accuracy": "0.3" if epoch % 2 else ""} for epoch in range(1, 6)],
        [{"epoch": 1, "loss": 0.7}],
        [{"epoch": 1, "loss": 0.7, "lr": 0.0}, {"epoch": 2, "loss": "nan", "lr": 0.0}],
    ],
)
def test_training_curves(picture, rows):
    plots.training_curves(picture, rows, dim=2048)


def test_training_curves_shows_the_columns_that_are_there(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: kept.append(figure))
    plots.training_curves(tmp_path / "a.png", [{"epoch": "1", "loss": "1", "knn_accuracy": ""}])
    plots.training_curves(tmp_path / "a.png", [ROW | {"epoch": "1", "knn_accuracy": "0.2"}])
    assert [len(figure.axes) for figure in kept] == [1, 5]


def test_learning_curves(picture):
    rows = [
        {"epoch": str(e), "train_loss": "2", "validation_loss": "2.1", "validation_accuracy": "0.3"} for e in (1, 2)
    ]
    plots.learning_curves(picture, rows)
