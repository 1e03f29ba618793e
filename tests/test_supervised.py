"""The supervised loop by what it keeps, stops at and holds; the rates of the stages; the heads it trains."""

import copy
import functools

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

import utils
from models import backbones, heads
from models.classifier import Classifier
from models.samplecnn import SampleCNN
from training import supervised
from training.options import LINEAR
from training.supervised import (
    Recipe,
    apply,
    average_into,
    batch_size_for,
    fit,
    fit_head,
    layer_wise,
    norms_of,
)
from training.views import LabelledFeatures


def clusters(num_genres=3, per_genre=20, crops=2, dim=8, seed=0):
    """Features (N, C, D) around a centre for each genre, and their labels."""
    chance = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(num_genres, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(num_genres).repeat_interleave(per_genre)
    return 4 + 3 * (centres[labels, None] + torch.randn(len(labels), crops, dim, generator=chance)), labels


def recipe(**changes):
    return Recipe(**{"num_epochs": 4, "batch_size": 10, "lr": 0.02, "weight_decay": 0.01, "quiet": True, **changes})


class Judge:
    """Says what it is told, epoch after epoch: (accuracy, confidence) pairs; remembers the weights it was shown."""

    labels = torch.zeros(4, dtype=torch.long)

    def __init__(self, said):
        self.said, self.states = list(said), []

    def __call__(self, network):
        accuracy, confidence = self.said[len(self.states)]
        self.states.append(copy.deepcopy(network.state_dict()))
        right = torch.arange(4) < round(4 * accuracy)
        return torch.where(right[:, None], torch.tensor([confidence, 0.0]), torch.tensor([0.0, 0.1]))[:, None]


def fit_told(said, keep_start=False, **changes):
    torch.manual_seed(0)
    network = nn.Linear(8, 2)
    features, labels = clusters(2)
    judge = Judge(said)
    batches = LabelledFeatures(features, labels, 10)
    groups = [{"params": list(network.parameters()), "lr": 0.02}]
    log, chosen = fit(network, groups, batches, judge, Judge.labels, recipe(**changes), keep_start=keep_start)
    kept = [all(torch.equal(a, b) for a, b in zip(state.values(), network.state_dict().values(), strict=True))
            for state in judge.states]  # fmt: skip
    return log, chosen, kept


def test_the_best_epoch_is_kept_and_of_equals_the_one_with_the_lowest_loss():
    log, chosen, kept = fit_told([(0.5, 1), (0.75, 1), (0.75, 3), (0.25, 9)])
    assert chosen == {"epoch": 3, "by": "validation", "validation_accuracy": 0.75}
    assert kept == [False, False, True, False]
    assert [row["epoch"] for row in log] == [1, 2, 3, 4]
    assert [row["validation_accuracy"] for row in log] == [0.5, 0.75, 0.75, 0.25]
    assert all(row["train_loss"] > 0 for row in log)


def test_of_equals_in_everything_the_first_is_kept():
    assert fit_told([(0.5, 1)] * 4)[1]["epoch"] == 1


def test_epoch_nought_is_what_it_starts_with_and_may_be_the_best():
    log, chosen, kept = fit_told([(1.0, 2), (0.5, 1), (0.75, 1), (0.75, 3), (0.25, 9)], keep_start=True)
    assert chosen == {"epoch": 0, "by": "validation", "validation_accuracy": 1.0}
    assert kept == [True, False, False, False, False]
    assert log[0]["train_loss"] is None


def test_without_validation_the_last_epoch_is_kept():
    _, chosen, kept = fit_told([(1.0, 3), (0.75, 1), (0.5, 1)], keep_start=True, num_epochs=2, on_validation=False)
    assert chosen == {"epoch": 2, "by": "the last epoch", "validation_accuracy": 0.5}
    assert kept == [False, False, True]


def test_patience_stops_so_many_epochs_after_the_best():
    said = [(0.25, 1), (0.5, 1), (0.25, 1), (0.25, 1), (1.0, 1), (0.25, 1)]
    log, chosen, _ = fit_told(said, patience=2, num_epochs=6)
    assert (len(log), chosen["epoch"]) == (4, 2)
    log, chosen, _ = fit_told(said, patience=3, num_epochs=6)
    assert (len(log), chosen["epoch"]) == (6, 5)
    assert len(fit_told(said, patience=0, num_epochs=6)[0]) == 6


@pytest.mark.parametrize("lr", [0.0, 0.01])
def test_a_rate_of_nought_moves_no_weight(lr):
    network = nn.Linear(8, 3)
    before = copy.deepcopy(network.state_dict())
    features, labels = clusters()
    groups = [{"params": list(network.parameters()), "lr": lr}]
    judge = functools.partial(apply, features=features)
    fit(network, groups, LabelledFeatures(features, labels, 10), judge, labels, recipe(num_epochs=1, weight_decay=1))
    assert all(torch.equal(before[name], after) for name, after in network.state_dict().items()) == (lr == 0)


def test_the_average_of_the_weights_is_what_is_judged_and_kept():
    """Of a tenth of the steps at first, then of a hundred; counts of batches are copied, not averaged."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 2), nn.BatchNorm1d(2))
    averaged = copy.deepcopy(network)
    expected = averaged[0].weight.clone()
    for step in (1, 5, 2000):
        torch.nn.init.normal_(network[0].weight)
        network(torch.randn(4, 8))
        average_into(averaged, network, step)
        share = max(0.01, 10 / (10 + step))
        expected = (1 - share) * expected + share * network[0].weight
    torch.testing.assert_close(averaged[0].weight, expected)
    assert averaged[1].num_batches_tracked == 3
    _, _, kept = fit_told([(0.5, 1), (0.75, 1), (0.25, 1), (0.25, 1)], average=True)
    assert kept == [False, True, False, False]


def test_the_same_seed_trains_the_same_head():
    features, labels = clusters()
    options = {"hidden": [6], "dropout": [0.5], "batch_norm": True}

    def weights(seed):
        utils.set_seed(seed)
        head, _, _ = fit_head(features, labels, features, labels, 3, options, recipe(seed=seed))
        return head[1].weight

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


# ------------------------------------------------------------------ what is held


@pytest.mark.parametrize("keep_start", [True, False])
def test_what_is_measured_is_set_after_each_epoch_and_before_it_is_judged(keep_start):
    """Of the weights that are judged and kept; what training starts with is judged as it came."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = Classifier(body, heads.genre_head(4, 2))
    x, labels = torch.randn(20, 1, 5, 5) + 3, torch.arange(2).repeat(10)
    settled, judged = [], []

    def settle(one):
        settled.append(one)
        one.backbone[1].running_mean.fill_(len(settled))

    def judge(one):
        judged.append(one.backbone[1].running_mean.tolist())
        return one.eval()(x).detach()[:, None]

    groups, batches = layer_wise(network, 0.05, 0.5), [(x[:10], labels[:10]), (x[10:], labels[10:])]
    settings = recipe(num_epochs=2, average=True, on_validation=False)
    fit(network, groups, batches, judge, labels, settings, settle, keep_start)
    assert judged == [[0.0] * 4, [1.0] * 4, [2.0] * 4][0 if keep_start else 1 :]
    assert settled[0] is settled[1] is not network  # the running average of its weights
    for kept, last in zip(network.state_dict().values(), settled[1].state_dict().values(), strict=True):
        assert torch.equal(kept, last)


def test_norms_are_found_wherever_they_stand():
    projector = heads.projector(512, 16)
    assert len(norms_of(nn.Sequential(backbones.build("resnet18"), projector))) == 20 + 3
    assert len(norms_of(SampleCNN(width=1 / 16))) == 11
    assert len(norms_of(backbones.build("conv8"))) == 7
    assert len(norms_of(nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.LayerNorm(2)))) == 3


# ------------------------------------------------------------------ rates of the stages


def rates_by_name(network, groups):
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rate) == sum(len(group["params"]) for group in groups)  # each parameter once
    return {name: rate[id(parameter)] for name, parameter in network.named_parameters()}


def test_each_stage_of_a_resnet_learns_at_a_share_of_the_one_above():
    network = Classifier(backbones.build("resnet18"), heads.genre_head(512, 3))
    rates = rates_by_name(network, layer_wise(network, 0.01, 0.5))
    expected = {"head": 1, "layer4": 0.5, "layer3": 0.25, "layer2": 0.125, "layer1": 0.0625, "conv1": 0.03125,
                "bn1": 0.03125}  # fmt: skip
    for name, rate in rates.items():
        stage = name.removeprefix("backbone.").split(".")[0]
        assert rate == pytest.approx(0.01 * expected[stage]), name
    assert set(rates_by_name(network, layer_wise(network, 0.01, 1.0)).values()) == {0.01}


def test_a_projector_is_a_stage_of_its_own():
    backbone = backbones.build("resnet18")
    network = Classifier(nn.Sequential(backbone, heads.projector(512, 16)), heads.genre_head(16, 3))
    rates = rates_by_name(network, layer_wise(network, 1.0, 0.5))
    assert {rate for name, rate in rates.items() if name.startswith("head")} == {1.0}
    assert {rate for name, rate in rates.items() if name.startswith("backbone.1")} == {0.5}
    assert rates["backbone.0.layer4.0.conv1.weight"] == 0.25
    assert rates["backbone.0.conv1.weight"] == rates["backbone.0.bn1.weight"] == 0.5**6


@pytest.mark.parametrize(("name", "stages"), [("conv8", 9), ("samplecnn", 4)])
def test_other_backbones_have_stages_too(name, stages):
    network = Classifier(backbones.build(name), heads.genre_head(512, 3))
    groups = layer_wise(network, 1.0, 0.5)
    assert [group["lr"] for group in groups] == [0.5**height for height in range(stages)]
    rates = rates_by_name(network, groups)
    assert rates["backbone.stem.0.weight" if name == "samplecnn" else "backbone.0.0.weight"] == 0.5 ** (stages - 1)


def test_without_a_projector_there_is_none_to_train():
    network = Classifier(nn.Sequential(backbones.build("conv8"), nn.Identity()), heads.genre_head(512, 3))
    assert len(layer_wise(network, 1.0, 0.5)) == 9


# ------------------------------------------------------------------ heads


def test_one_layer_is_logistic_regression_on_the_mean_of_the_crops():
    (features, labels), (validation, validation_labels) = clusters(), clusters(seed=1)
    head, log, chosen = fit_head(features, labels, validation, validation_labels, 3, LINEAR, recipe())
    scaler = StandardScaler().fit(features.mean(1))
    fit_ = LogisticRegression(C=chosen["C"], max_iter=5000).fit(scaler.transform(features.mean(1)), labels)
    expected = fit_.predict_proba(scaler.transform(validation.mean(1)))
    ours = apply(head, validation).mean(1).softmax(1)
    torch.testing.assert_close(ours, torch.tensor(expected).float(), atol=0.02, rtol=0)
    assert log == []
    accuracy = (ours.argmax(1) == validation_labels).float().mean().item()
    assert chosen["validation_accuracy"] == pytest.approx(accuracy)


def test_hidden_layers_learn_by_epochs():
    (features, labels), (validation, validation_labels) = clusters(), clusters(seed=1)
    options = {"hidden": [16], "dropout": [0.1], "batch_norm": True}
    torch.manual_seed(0)
    head, log, chosen = fit_head(features, labels, validation, validation_labels, 3, options, recipe(num_epochs=8))
    assert len(log) == 8
    assert chosen["validation_accuracy"] > 0.8
    assert not head.training
    logits = apply(head, validation)
    assert logits.shape == (60, 2, 3)
    torch.testing.assert_close(logits[:, 1], head(validation[:, 1]).detach())


def test_several_layers_are_mixed_by_learned_weights():
    (features, labels), (validation, validation_labels) = clusters(crops=1), clusters(crops=1, seed=1)
    mute = lambda x: torch.stack([torch.randn(x.shape), x, torch.randn(x.shape)], dim=2)  # noqa: E731
    torch.manual_seed(0)
    options = {**LINEAR, "num_layers": 3}
    head, log, _ = fit_head(
        mute(features), labels, mute(validation), validation_labels, 3, options, recipe(num_epochs=15, lr=0.1)
    )
    assert len(log) == 15
    assert head[1].weights().argmax() == 1
    assert head[0].mean.shape == (3, 8)


def test_what_is_constant_stays_out_of_an_averaged_head():
    features, _ = clusters()
    features[..., 0] = 1
    head = heads.genre_head(features.shape[-1], 3, **LINEAR)
    head[0].measure(features.flatten(0, 1))
    assert head[0].std.isinf().any()
    averaged = copy.deepcopy(head)
    average_into(averaged, head, step=5)
    assert apply(averaged, features).isfinite().all()


def test_hidden_layers_need_a_batch_that_can_be_filled():
    features, labels = clusters()
    options = {"hidden": [4], "dropout": [0.0], "batch_norm": True}
    with pytest.raises(utils.UserError, match="between 2 and the 60"):
        fit_head(features, labels, features, labels, 3, options, recipe(batch_size=61))


def test_the_batches_of_a_small_collection_are_small_unless_asked_for():
    assert [batch_size_for(None, num_train) for num_train in (3, 30, 256, 5000)] == [2, 7, 64, 64]
    assert batch_size_for(30, 30) == 30


def test_each_process_has_as_many_tracks_of_the_default_batch(monkeypatch):
    monkeypatch.setattr(supervised.distributed, "num_processes", lambda: 2)
    assert [batch_size_for(None, num_train) for num_train in (3, 30, 100, 5000)] == [2, 6, 24, 64]
    assert batch_size_for(25, 100) == 25  # what is asked for is refused elsewhere, not changed
