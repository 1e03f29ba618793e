"""evaluation.monitors on representations whose std, rank and neighbours are known."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from evaluation import monitors
from models.simsiam import SimSiam


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def healthy(batch=512, dim=64):
    return torch.randn(batch, dim, generator=generator())


def test_std_is_one_over_root_d_when_healthy_and_nought_when_collapsed():
    assert float(monitors.normalised_std(healthy())) == pytest.approx(64**-0.5, rel=0.02)
    assert float(monitors.normalised_std(torch.ones(32, 64))) == pytest.approx(0, abs=1e-7)
    assert float(monitors.normalised_std(100 * healthy())) == pytest.approx(
        float(monitors.normalised_std(healthy())), rel=1e-5
    )


def test_std_against_numpy():
    z = healthy(20, 7)
    rows = z.numpy() / np.linalg.norm(z.numpy(), axis=1, keepdims=True)
    assert float(monitors.normalised_std(z)) == pytest.approx(rows.std(0).mean(), rel=1e-5)


def test_effective_rank_counts_equal_directions():
    basis = torch.linalg.qr(torch.randn(64, 64, generator=generator())).Q
    for rank in (2, 5, 20):
        rows = torch.cat([basis[:rank], -basis[:rank]])  # centred, equal singular values
        assert float(monitors.effective_rank(rows + 3)) == pytest.approx(rank, rel=1e-3)


def test_effective_rank_by_its_formula():
    z = healthy(40, 10) * torch.linspace(0.1, 3, 10)
    singular = np.linalg.svd(z.numpy() - z.numpy().mean(0), compute_uv=False)
    share = singular / singular.sum()
    assert float(monitors.effective_rank(z)) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_effective_rank_of_a_point_and_a_line_is_one(dtype):
    point = torch.randn(1, 64, generator=generator()).expand(100, 64)  # whose mean is rounded
    assert float(monitors.effective_rank(point.to(dtype))) == pytest.approx(1)
    assert float(monitors.effective_rank(torch.zeros(16, 8, dtype=dtype))) == pytest.approx(1)
    line = torch.linspace(-1, 1, 128)[:, None] * torch.randn(1, 64, generator=generator())
    assert float(monitors.effective_rank(line)) == pytest.approx(1, abs=0.01)


def test_effective_rank_sees_through_the_rounding_of_bfloat16():
    """Three directions beside a far mean: rounded, all 64 are there, as noise."""
    three = torch.randn(512, 3, generator=generator()) @ torch.randn(3, 64, generator=generator())
    z = (3 + 0.05 * three).bfloat16()
    assert float(monitors.effective_rank(z.float())) > 5
    assert float(monitors.effective_rank(z)) == pytest.approx(3, abs=0.5)
    good = torch.randn(512, 64, generator=generator()).bfloat16()
    assert float(monitors.effective_rank(good)) == pytest.approx(float(monitors.effective_rank(good.float())))


def test_collapse_warning_fires_on_the_collapsed_only():
    dim = 64
    measure = lambda z: (monitors.normalised_std(z), monitors.effective_rank(z), dim, len(z))  # noqa: E731
    assert monitors.collapse_warning(*measure(healthy())) is None
    point = torch.randn(1, dim, generator=generator()) + 0.001 * healthy()
    assert "collapsing: std 0.0" in monitors.collapse_warning(*measure(point))
    few = torch.randn(512, 4, generator=generator()) @ torch.randn(4, dim, generator=generator())
    assert float(monitors.normalised_std(few)) > 0.9 * dim**-0.5  # its std alone looks healthy
    assert "effective rank 4.0 (" in monitors.collapse_warning(*measure(few))
    assert monitors.collapse_warning(*measure(healthy(dim=8))[:2], 8, 512) is None
    assert monitors.collapse_warning(float("nan"), 10.0, dim, 512)
    assert "--lr" in monitors.collapse_warning(0.0, 1.0, dim, 512)


def test_of_few_rows_no_high_rank_is_asked():
    few = healthy()[:8]
    std, rank = monitors.normalised_std(few), monitors.effective_rank(few)
    assert rank < monitors.MIN_RANK
    assert monitors.collapse_warning(std, rank, few.shape[1], len(few)) is None
    line = torch.linspace(-1, 1, 8)[:, None] * torch.randn(1, 64, generator=generator())
    assert "collapsing" in monitors.collapse_warning(std, monitors.effective_rank(line), 64, 8)


def train_simsiam():
    """The projections of a small SimSiam network after 150 steps on noisy vectors, and its loss."""
    torch.manual_seed(0)
    data = torch.randn(512, 32)
    backbone = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64))
    backbone.num_features = 64
    method = SimSiam(backbone, dim=64, proj_dim=0, pred_dim=16, cov=0, identity_start=False)  # the paper's
    optimiser = torch.optim.SGD(method.parameters(), lr=0.2, momentum=0.9)
    for _ in range(150):
        x = data[torch.randperm(512)[:256]]
        loss, z = method(*(x + 0.5 * torch.randn_like(x) for _ in range(2)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return z.data, loss.item()


def test_the_warning_tells_a_sabotaged_simsiam_from_a_good_one(monkeypatch):
    good, loss = train_simsiam()
    monkeypatch.setattr(torch.Tensor, "detach", lambda tensor: tensor)  # the stop-gradient
    sabotaged, lower_loss = train_simsiam()
    assert lower_loss < loss  # which is why the loss cannot tell
    assert monitors.collapse_warning(monitors.normalised_std(good), monitors.effective_rank(good), 64, 256) is None
    assert monitors.collapse_warning(monitors.normalised_std(sabotaged), monitors.effective_rank(sabotaged), 64, 256)


def clusters(tracks, dim=16, genres=5, seed=0):
    centre = torch.randn(genres, dim, generator=generator(99))
    labels = torch.randint(genres, (tracks,), generator=generator(seed))
    return centre[labels] + 1.2 * torch.randn(tracks, dim, generator=generator(seed + 1)), labels


@pytest.mark.parametrize("k", [1, 20, 10_000])
def test_knn_equals_scikit_learn(k):
    train, train_labels = clusters(400)
    test, labels = clusters(150, seed=5)
    reference = KNeighborsClassifier(min(k, 400), metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    reference.fit(train.double().numpy(), train_labels.numpy())
    expected = reference.score(test.double().numpy(), labels.numpy())
    ours = float(monitors.knn_accuracy(train, train_labels, test, labels, k=k, chunk=64))
    assert 0.3 < expected < 1
    assert ours == pytest.approx(expected, abs=0.007)


def test_knn_does_not_depend_on_the_chunk():
    train, test = clusters(200), clusters(101, seed=5)
    values = {float(monitors.knn_accuracy(*train, *test, chunk=chunk)) for chunk in (1, 7, 1000)}
    assert len(values) == 1
