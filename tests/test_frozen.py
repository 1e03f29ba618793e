"""Frozen features: nothing moves, nothing is computed twice, and the kNN monitor counts what it says."""

import numpy as np
import pytest
import torch
from conftest import write_folder
from torch import nn

import utils
from data import crops
from data.folder import labels_of, open_folder
from models import backbones
from training import frozen
from training.frozen import Cut, FeatureMonitor, FrozenFeatures, WholeVectors, evenly, extract, fit_norms

CPU = torch.device("cpu")


class Counting(nn.Module):
    """Mean and deviation of each band; counts the crops that pass."""

    def __init__(self):
        super().__init__()
        self.passed = 0

    def forward(self, x):
        self.passed += len(x)
        return torch.cat([x.mean((1, 3)), x.std((1, 3))], dim=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return open_folder(write_folder(tmp_path_factory.mktemp("frozen"), "tiny"), "tiny")


@pytest.fixture
def held(folder):
    return crops.load(folder, folder.split("training"), CPU)


def cut(num_crops=3, **options):
    return Cut(40, num_crops, crops.Normalisation(-50.0, 10.0), CPU, **options)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "conv8"])
def test_extracting_moves_no_buffer_and_keeps_the_mode(name, training):
    backbone = backbones.build(name).train(training)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    out = extract(backbone, [torch.randn(4, 1, 32, 40), torch.randn(2, 1, 32, 40)], 6, CPU)
    assert out.shape == (6, 512)
    assert not out.requires_grad
    assert {module.training for module in backbone.modules()} == {training}
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


def test_a_cut_hears_even_crops_of_each_track(folder, held):
    tracks = torch.tensor([5, 2])
    found = cut(batch_size=4).extract(Counting(), held, tracks, desc=None)
    assert found.shape == (2, 3, 64)
    for row, track in zip(found, tracks.tolist(), strict=True):
        line = folder.split("training").iloc[track]
        decibels = np.load(folder.path / line.path) * (80 / 255) - 80
        for features, start in zip(row, (0, round((line.frames - 40) / 2), line.frames - 40), strict=True):
            x = (decibels[:, start : start + 40] + 50) / 10
            np.testing.assert_allclose(features[:32], x.mean(1), atol=1e-4)


@pytest.mark.parametrize("batch_size", [2, 5, 64])
def test_norms_see_every_crop_in_batches_that_are_mixed_and_equally_large(held, batch_size):
    tracks = torch.arange(len(held) - 1)  # as many as leave one over
    how = cut(batch_size=batch_size)
    batches = list(how.mixed(held, tracks))
    sizes = {len(x) for x in batches}
    assert max(sizes) - min(sizes) <= 1
    assert 1 < max(sizes) <= batch_size
    seen, every = (torch.cat(list(views)).flatten(1) for views in (batches, how.views(held, tracks)))
    assert not torch.equal(seen, every)  # another order
    torch.testing.assert_close(*(x.double().square().sum(1).sort().values for x in (seen, every)))
    assert all(torch.equal(*pair) for pair in zip(batches, how.mixed(held, tracks), strict=True))


def test_norms_are_measured_without_dropout_and_whole(monkeypatch):
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 2), nn.BatchNorm1d(2)).train()
    network[0].eval()
    x = torch.randn(16, 3)
    monkeypatch.setattr(frozen, "equal_part", None)  # of many processes, only norms that work together share a batch
    fit_norms(network, [x])
    torch.testing.assert_close(network[1].running_var, x.var(0))
    assert [module.training for module in network] == [False, True, True, True]


def test_each_track_passes_once_whoever_asks(held):
    network = Counting()
    frozen = FrozenFeatures(lambda: network, cut())
    first = frozen.of(held, torch.tensor([3, 1]))
    assert network.passed == 2 * 3
    some = frozen.of(held, torch.tensor([1, 7, 3]))
    assert network.passed == 3 * 3
    everything = frozen.of(held)
    assert network.passed == len(held) * 3
    assert torch.equal(frozen.of(held), everything)
    assert network.passed == len(held) * 3
    expected = cut().extract(Counting(), held)
    torch.testing.assert_close(everything, expected)
    torch.testing.assert_close(first, expected[[3, 1]])
    torch.testing.assert_close(some, expected[[1, 7, 3]])


def test_features_that_are_no_numbers_are_refused(held):
    class Broken(Counting):
        def forward(self, x):
            return super().forward(x).log() * 0 + float("nan")

    with pytest.raises(utils.UserError, match="features are not finite"):
        FrozenFeatures(Broken, cut()).of(held)


def test_splits_are_told_apart(folder, held):
    validation = crops.load(folder, folder.split("validation"), CPU)
    frozen = FrozenFeatures(Counting, cut())
    frozen.of(held)
    torch.testing.assert_close(frozen.of(validation), cut().extract(Counting(), validation))


def test_vectors_are_one_crop_and_pass_once():
    class Held:
        array = torch.randn(5, 4, 7)

        def __len__(self):
            return 5

    frozen = FrozenFeatures(nn.Identity, WholeVectors())
    held = Held()
    assert torch.equal(frozen.of(held, torch.tensor([4, 0])), held.array[[4, 0], None])
    assert torch.equal(frozen.of(held), held.array[:, None])
    chosen = FrozenFeatures(lambda: lambda x: x[:, 2], WholeVectors())
    assert chosen.of(held).shape == (5, 1, 7)


def test_the_knn_monitor_is_the_vote_of_the_nearest_central_crops(folder, held):
    """Against a count by hand: cosine, k = 20, each neighbour with the weight exp(s / 0.07)."""
    genres = folder.genres
    validation = crops.load(folder, folder.split("validation"), CPU)
    torch.manual_seed(0)
    noise = torch.randn(32, 32)

    class Muddled(nn.Module):  # so that the vote is not unanimous
        def forward(self, x):
            return x.mean((1, 3)) @ noise

    labels, validation_labels = labels_of(held.rows, genres), labels_of(validation.rows, genres)
    ours = FeatureMonitor(cut(num_crops=1), held, labels, validation, validation_labels)(Muddled())["knn_accuracy"]

    def central(part, row):
        array = np.load(folder.path / row.path) * (80 / 255) - 80
        start = round((row.frames - 40) / 2)
        features = ((array[:, start : start + 40] + 50) / 10).mean(1) @ noise.numpy()
        return features / np.linalg.norm(features)

    bank = [(central(held, row), row.genre_top) for row in held.rows.itertuples()]
    hits = []
    for row in validation.rows.itertuples():
        x, votes = central(validation, row), dict.fromkeys(genres, 0.0)
        for similarity, genre in sorted(((float(x @ y), genre) for y, genre in bank), reverse=True)[:20]:
            votes[genre] += np.exp(similarity / 0.07)
        hits.append(max(votes, key=votes.get) == row.genre_top)
    assert ours == pytest.approx(np.mean(hits))


def test_the_knn_monitor_leaves_the_network_as_it_was(folder, held):
    backbone = backbones.build("conv8").train()
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    labels = labels_of(held.rows, folder.genres)
    FeatureMonitor(cut(num_crops=1), held, labels, held, labels)(backbone)
    assert backbone.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


def test_evenly_is_spread_from_first_to_last():
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    for most in (None, 10, 11):
        assert evenly(10, most).tolist() == list(range(10))
