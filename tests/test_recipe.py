"""What the default recipe is made of, piece by piece, and benchmarks/recipe.py, which searched for it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import call
from sklearn.linear_model import Ridge
from torch import nn

import models
import train_simsiam
import utils
from benchmarks import recipe
from data import crops
from data.folder import open_folder
from evaluation import monitors
from models import heads, losses
from models.backbones import build
from models.simsiam import SimSiam
from training import trials
from training.frozen import fit_norms


@pytest.fixture(autouse=True)
def arrays(monkeypatch):
    """What the collection is known by; there is none where the runs are made up."""
    monkeypatch.setattr(trials, "open_folder", lambda *where, **kinds: None)
    monkeypatch.setattr(trials, "digest_of_arrays", lambda folder: "a" * 64)


@pytest.fixture
def held(tiny_folder):
    folder = open_folder(tiny_folder, "tiny")
    return crops.load(folder, folder.split("training"), torch.device("cpu"))


@pytest.mark.parametrize("length", [10, 25, 30])
def test_pairs_do_not_overlap_and_stay_inside(held, length):
    torch.manual_seed(0)
    tracks = torch.arange(len(held)).repeat(200)
    first, second = held.disjoint_starts(tracks, length)
    early, late = torch.minimum(first, second), torch.maximum(first, second)
    assert (late - early >= length).all()
    assert (early >= 0).all()
    assert (late + length <= held.lengths[tracks]).all()
    assert 0.4 < (first < second).float().mean() < 0.6  # neither view is always the earlier one
    assert early.min() == 0
    assert ((late + length) == held.lengths[tracks]).any()


def test_crops_of_short_tracks_are_anywhere(held):
    torch.manual_seed(0)
    tracks = torch.zeros(500, dtype=torch.long)
    room = int(held.lengths[0]) - 50  # of 60 to 89 frames
    for starts in held.disjoint_starts(tracks, 50):
        assert starts.unique().tolist() == list(range(room + 1))


def test_four_crops_of_a_track_lie_apart(held):
    torch.manual_seed(0)
    tracks = torch.arange(len(held)).repeat(50)
    starts = held.disjoint_starts(tracks, 15, 4)
    assert (starts.sort(0).values.diff(dim=0) >= 15).all()  # of 60 to 89 frames
    assert (starts >= 0).all()
    assert (starts + 15 <= held.lengths[tracks]).all()
    assert (starts.argmin(0).bincount() > len(tracks) / 8).all()  # each is the earliest now and then


def test_of_several_views_each_predicts_the_mean_of_the_others():
    torch.manual_seed(0)
    method = SimSiam(build("resnet18", pool="average"), dim=8, proj_dim=8, pred_dim=4, cov=0.0, identity_start=True)
    views = torch.randn(3, 6, 1, 32, 32)
    z = [method.projector(method.backbone(x)) for x in views]
    p = [method.predictor(one) for one in z]
    terms = [F.cosine_similarity(p[i], (z[(i + 1) % 3] + z[(i + 2) % 3]) / 2).mean() for i in range(3)]
    torch.testing.assert_close(method(*views)[0], -sum(terms) / 3)


def test_each_band_has_its_own_mean_and_deviation(held):
    normalise = crops.measure_normalisation(held, per_band=True, num_frames=50)
    x = normalise(torch.cat(list(held.every_crop(50, 1, 24))))
    torch.testing.assert_close(x.mean((0, 1, 3)), torch.zeros(32), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 1, 3)), torch.ones(32), atol=1e-3, rtol=0)
    again = crops.Normalisation.of({"mean": list(normalise.mean), "std": list(normalise.std)})
    assert again == normalise


def test_covariance_is_vicregs_third_term():
    z = torch.randn(20, 6)
    matrix = np.cov(z.numpy().T)
    expected = (matrix**2).sum() - (np.diag(matrix) ** 2).sum()
    assert losses.covariance(z).item() == pytest.approx(expected / 6, rel=1e-4)


def test_the_covariance_term_moves_simsiams_loss_and_zero_is_the_papers():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 32))
    backbone.num_features = 32
    x1, x2 = torch.randn(2, 16, 1, 8, 8)
    method = SimSiam(backbone, dim=8, proj_dim=16, pred_dim=4, cov=0.0, identity_start=True)
    plain, z1 = method(x1, x2)
    method.cov = 0.5
    z2 = method.projector(backbone(x2))
    expected = plain + 0.5 * (losses.covariance(z1) + losses.covariance(z2)) / 2
    torch.testing.assert_close(method(x1, x2)[0], expected)


def test_the_predictor_starts_as_the_identity_and_learns():
    predictor = heads.Residual(heads.predictor(8, 4))
    z = torch.randn(5, 8)
    assert torch.equal(predictor(z), z)
    predictor(z).square().sum().backward()
    assert predictor.module[-1].weight.grad.abs().max() > 0


def test_the_projector_has_the_papers_three_layers_or_two_of_a_width():
    def widths(projector):
        return [layer.out_features for layer in projector if isinstance(layer, nn.Linear)]

    assert widths(heads.projector(12, 5)) == [12, 12, 5]
    assert widths(heads.projector(12, 5, 7)) == [7, 5]


def test_only_matrices_decay():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4))
    backbone.num_features = 4
    method = SimSiam(backbone, **models.METHODS["simsiam"].options)
    optimiser = train_simsiam.build_optimiser(method, "AdamW", 1e-3, 0.9, 0.05, fix_pred_lr=True)
    for group in optimiser.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(method.parameters()))
    assert [group["fixed"] for group in optimiser.param_groups] == [False, False, True, True]


def test_adamws_rate_grows_with_the_root_of_the_batch():
    assert train_simsiam.scaled_rate("AdamW", 0.001, 256) == pytest.approx(0.002)
    assert train_simsiam.scaled_rate("SGD", 0.06, 128) == pytest.approx(0.03)


def test_the_quick_probe_is_ridge_regression():
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 3, 90)
    x = chance.normal(size=(90, 12)) + 0.8 * np.eye(3)[labels].repeat(4, axis=1)
    mean, std = x[:60].mean(0), x[:60].std(0)
    scaled = (x - mean) / std
    theirs = Ridge(alpha=12).fit(scaled[:60], np.eye(3)[labels[:60]])  # standardised rows have 12 for a square
    expected = (theirs.predict(scaled[60:]).argmax(1) == labels[60:]).mean()
    tensors = [torch.from_numpy(part) for part in (x[:60], labels[:60], x[60:], labels[60:])]
    assert float(monitors.ridge_accuracy(*tensors)) == pytest.approx(expected)
    assert expected > 0.5


def test_norms_are_fitted_to_what_is_shown():
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4)).eval()
    x = 5 + 3 * torch.randn(32, 1, 4, 4)
    fit_norms(network, [x[:16], x[16:]])
    seen = network[0](x)
    torch.testing.assert_close(network[1].running_mean, seen.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    assert not network.training
    assert network[1].momentum == 0.1


@pytest.fixture
def ran(monkeypatch):
    """The flags and epochs that the search has asked for, in place of running them."""
    asked = []

    def trial(common, train_flags, transfer_flags, num_epochs):
        asked.append((train_flags.strip(), num_epochs))
        score = {"--a": 0.3, "--b": 0.5, "--c": 0.4}.get(train_flags, 0.2)
        return {
            "knn_accuracy": 0.1, "linear_accuracy": score, "loss": -0.2, "effective_rank": 5.0, "backbone_rank": 7.0,
            "minutes": 1.0, "experiment": "exp/1",
        }  # fmt: skip

    monkeypatch.setattr(recipe.trials, "trial", trial)
    return asked


def test_the_search_keeps_the_better_and_goes_on(tmp_path, ran):
    (tmp_path / "mine.txt").write_text("first: --a\nsecond: --b\nthird: --c\n")
    command = f"--candidates {tmp_path}/mine.txt --epochs 2,4 --keep 0.34 --num_seeds 2 --out {tmp_path}/out"
    call(recipe, command)
    assert ran == [("--a", 2), ("--b", 2), ("--c", 2)] * 2 + [("--b", 4)] * 2
    lines = (tmp_path / "out" / "recipe.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["second", "second", "third", "first"]
    call(recipe, command)  # nothing is run again
    assert len(ran) == 8
    with pytest.raises(utils.UserError, match="a candidate is a line"):
        recipe.read_candidates("no flags here")


def test_names_and_flags_of_any_kind_are_known_again(tmp_path, ran):
    (tmp_path / "mine.txt").write_text("null:\n1: --a\nnan: null\ta\n")
    for _ in range(2):
        call(recipe, f"--candidates {tmp_path}/mine.txt --epochs 1 --num_seeds 1 --out {tmp_path}/out")
    assert ran == [("", 1), ("--a", 1), ("null\ta", 1)]
    names = [line.split("|")[1].strip() for line in (tmp_path / "out" / "recipe.md").read_text().splitlines()[2:]]
    assert sorted(names) == ["1", "nan", "null"]


def test_a_candidate_asked_for_twice_is_run_once(tmp_path, ran):
    call(recipe, f"--only BYOL,BYOL --epochs 1 --num_seeds 1 --out {tmp_path}/out")
    assert ran == [("--method byol", 1)]


@pytest.mark.parametrize(("content", "message"), [
    (b"a: --x\nb: --note 'open", "candidate b: .* is no text of flags"),
    (b"a: --x\nb: --y\na : --z", "two candidates 'a'"),
    ("größer: --x".encode("latin-1"), r"mine\.txt is not text in UTF-8"),
    (b"# nothing", "there must be a candidate"),
])  # fmt: skip
def test_bad_candidates_are_refused_before_the_first_run(tmp_path, ran, content, message):
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(utils.UserError, match=message):
        call(recipe, f"--candidates {tmp_path}/mine.txt --out {tmp_path}/out")
    assert not ran
    assert not (tmp_path / "out").exists()


def test_a_table_that_somebody_has_changed_is_refused(tmp_path, ran):
    command = f"--only BYOL --epochs 1 --num_seeds 1 --out {tmp_path}/out"
    call(recipe, command)
    table = tmp_path / "out" / "recipe.csv"
    table.write_text(table.read_text().replace("-0.2", "low"))
    with pytest.raises(utils.UserError, match=r"recipe\.csv has no finite number as loss"):
        call(recipe, command)


def test_one_search_at_a_time_writes_a_table(tmp_path, ran):
    command = f"--only BYOL --epochs 1 --num_seeds 1 --out {tmp_path}/out"
    with utils.locked(tmp_path / "out"), pytest.raises(utils.UserError, match="works on the same"):
        call(recipe, command)
    assert not ran
    call(recipe, command)
    assert len(ran) == 1
