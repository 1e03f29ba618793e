"""From a record of what made the features to a network, and back."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch

import utils
from data.settings import Embedding, Spectrogram
from evaluation import results
from models import backbones, heads
from models.classifier import Classifier
from training.experiment import Experiment
from training.networks import KINDS, Network, load_classifier, state_of

HEAD = {"hidden": [6], "dropout": [0.5], "batch_norm": True}


@pytest.fixture
def experiment(pretrained_once):
    return Experiment.read(pretrained_once.experiment)


def same(module, other):
    state, theirs = module.state_dict(), other.state_dict()
    return set(state) == set(theirs) and all(torch.equal(state[name], theirs[name]) for name in state)


def test_there_is_a_network_for_every_kind_that_results_name():
    assert set(KINDS) == {"encoder", "trained", "embeddings", *results.BASELINES.values()}


@pytest.mark.parametrize("layer", ["backbone", "projector"])
def test_the_encoder_is_the_experiments(experiment, layer):
    network = Network("encoder", "simsiam", "conv8", layer).backbone_of(experiment)
    assert same(network, experiment.method().encoder(layer))
    fresh = Network("trained", "simsiam", "conv8", layer).backbone_of(experiment)
    assert set(fresh.state_dict()) == set(network.state_dict())
    assert not same(fresh, network)  # its weights come from transfer.pth


def test_random_and_supervised_networks_are_bare_backbones(experiment):
    for kind in ("random", "trained"):
        network = Network(kind, backbone="resnet18", layer="backbone").backbone_of(experiment)
        assert set(network.state_dict()) == set(backbones.build("resnet18").state_dict())


def test_band_statistics_are_of_the_experiments_bands(experiment):
    network = Network("statistics").backbone_of(experiment)
    assert network(torch.randn(2, 1, 32, 40)).shape == (2, 4 * 32)
    assert not network.state_dict()


@pytest.mark.parametrize(("layer", "num_layers", "shape"), [
    ("all", 3, (5, 3, 7)), ("1", 3, (5, 7)), ("all", 1, (5, 7)),
])  # fmt: skip
def test_of_embeddings_a_layer_is_chosen(layer, num_layers, shape):
    there = SimpleNamespace(settings=Embedding(num_layers=num_layers, num_features=7))
    x = torch.randn(5, num_layers, 7)
    out = Network("embeddings", layer=layer).backbone_of(there)(x)
    assert out.shape == shape
    if layer == "1":
        assert torch.equal(out, x[:, 1])


def stored(tmp_path, experiment, record, **changes):
    """A result in ``tmp_path`` with the weights of a fresh classifier, which is returned too."""
    network = dataclasses.replace(record, num_features=512, head=HEAD)
    torch.manual_seed(1)
    classifier = Classifier(network.backbone_of(experiment), heads.genre_head(512, 3, **HEAD))
    weights = state_of(network, lambda: classifier.backbone, classifier.head)
    utils.save_weights(tmp_path / "transfer.pth", weights)
    result = results.Result({}, ["a", "b", "c"], {**dataclasses.asdict(network), **changes}, folder=tmp_path)
    return classifier, result


@pytest.mark.parametrize("record", [
    Network("encoder", "simsiam", "conv8", "backbone"), Network("random", backbone="conv8", seed=3),
    Network("trained", "simsiam", "conv8", "backbone"), Network("trained", backbone="conv8", seed=3),
], ids=lambda record: f"{record.kind} {record.method}")  # fmt: skip
def test_what_is_saved_is_what_is_loaded(tmp_path, experiment, record):
    classifier, result = stored(tmp_path, experiment, record)
    torch.manual_seed(2)  # no chance in loading
    loaded = load_classifier(result, experiment, torch.device("cpu"))
    assert same(loaded, classifier)
    assert not any(module.training for module in loaded.modules())
    whole = "backbone.0.0.weight" in utils.load_weights(tmp_path / "transfer.pth")
    assert whole == (record.kind != "encoder")  # the encoder's weights are in pre.pth


@pytest.mark.parametrize("changes", [
    {"kind": "oracle"}, {"num_features": 16}, {"num_features": None}, {"backbone": "resnet18"}, {"size": 3},
    {"head": {**HEAD, "hidden": [7]}}, {"head": {**HEAD, "width": 1}}, {"kind": "encoder"},
], ids=str)  # fmt: skip
def test_a_record_that_does_not_fit_its_weights_is_refused(tmp_path, experiment, changes):
    _, result = stored(tmp_path, experiment, Network("random", backbone="conv8"), **changes)
    with pytest.raises(utils.UserError, match=r"transfer\.pth does not fit its result\.json"):
        load_classifier(result, experiment, torch.device("cpu"))


def test_weights_that_lack_a_part_are_refused(tmp_path, experiment):
    classifier, result = stored(tmp_path, experiment, Network("random", backbone="conv8"))
    state = copy.copy(classifier.state_dict())
    state.popitem()
    utils.save_weights(tmp_path / "transfer.pth", state)
    with pytest.raises(utils.UserError, match="does not fit"):
        load_classifier(result, experiment, torch.device("cpu"))
    (tmp_path / "transfer.pth").unlink()
    with pytest.raises(utils.UserError, match="does not exist"):
        load_classifier(result, experiment, torch.device("cpu"))


def test_statistics_know_spectrograms_only_by_their_bands(tmp_path):
    there = SimpleNamespace(settings=Spectrogram(n_mels=20))
    assert Network("statistics").backbone_of(there).num_features == 80


@pytest.mark.parametrize(("network", "seeded", "only_rulers"), [
    (Network("encoder", "simsiam", "frames", "backbone"), False, False),
    (Network("encoder", "simsiam", "frames", "stats+backbone"), False, False),
    (Network("encoder", "simsiam", "frames", "backbone+kmeans"), True, False),
    (Network("encoder", "simsiam", "frames", "kmeans+stats"), True, True),
    (Network("kmeans"), True, True), (Network("statistics"), False, True), (Network("mfcc"), False, True),
    (Network("random", backbone="frames", layer="backbone"), True, False),
    (Network("trained", backbone="resnet18", layer="backbone"), False, False),
])  # fmt: skip
def test_a_record_says_what_its_features_depend_on(network, seeded, only_rulers):
    assert (network.seeded, network.only_rulers) == (seeded, only_rulers)
