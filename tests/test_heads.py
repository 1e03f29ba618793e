"""The small networks on top of a backbone, against what the papers say of them."""

import pytest
import torch
from torch import nn

from models import heads


def test_projector_and_predictor_are_the_papers():
    projector = heads.projector(64, 32)
    norms = [module for module in projector if isinstance(module, nn.BatchNorm1d)]
    assert len([module for module in projector if isinstance(module, nn.Linear)]) == 3
    assert [norm.affine for norm in norms] == [True, True, False]
    z = projector(torch.randn(100, 64))
    torch.testing.assert_close(z.mean(0), torch.zeros(32), atol=1e-5, rtol=0)
    predictor = heads.predictor(32, 8)
    assert [(m.in_features, m.out_features) for m in predictor if isinstance(m, nn.Linear)] == [(32, 8), (8, 32)]
    assert predictor[-1].bias is not None


@pytest.mark.parametrize("hidden", [64, 4096])
def test_the_other_methods_have_one_hidden_layer_with_a_norm(hidden):
    layers = list(heads.mlp(16, hidden, 8))
    assert [type(layer) for layer in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert (layers[0].out_features, layers[3].out_features) == (hidden, 8)


def test_mlp_head_is_the_originals():
    head = heads.genre_head(2048, 8, hidden=(1024, 512, 128))
    widths = [module.out_features for module in head if isinstance(module, torch.nn.Linear)]
    assert widths == [1024, 512, 128, 8]


def test_standardise_measures_once():
    standardise = heads.Standardise(4)
    x = torch.randn(100, 4) * 7 + 3
    standardise.measure(x)
    torch.testing.assert_close(standardise(x).mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(standardise(x).std(0), torch.ones(4))


def test_the_layers_are_mixed_by_a_softmax():
    mix = heads.MixLayers(3)
    x = torch.randn(5, 3, 7)
    torch.testing.assert_close(mix(x), x.mean(1))
    mix.scores.data = torch.tensor([0.0, 1.0, -2.0])
    weights = torch.tensor([0.0, 1.0, -2.0]).exp() / torch.tensor([0.0, 1.0, -2.0]).exp().sum()
    torch.testing.assert_close(mix(x), sum(w * x[:, layer] for layer, w in enumerate(weights)))


def test_heads_have_the_layers_that_are_asked_for():
    head = heads.genre_head(12, 5, hidden=(8, 4), dropout=(0.2, 0.6), batch_norm=False)
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in head)
    assert [module.p for module in head if isinstance(module, torch.nn.Dropout)] == [0.2, 0.6]
    head = heads.genre_head(12, 5, hidden=(8,), num_layers=3)
    assert head(torch.randn(6, 3, 12)).shape == (6, 5)
    head[0].measure(torch.randn(50, 3, 12) * 4 + 2)
    assert head[0].mean.shape == (3, 12)


def test_a_layer_of_embeddings_is_chosen():
    x = torch.randn(5, 3, 7)
    assert torch.equal(heads.ChooseLayer("2", 3)(x), x[:, 2])
    assert heads.ChooseLayer("all", 3)(x) is x
    assert torch.equal(heads.ChooseLayer("all", 1)(x[:, :1]), x[:, 0])
