"""BYOL, SimCLR and the autoencoder: their losses by hand, what they may and may not move, and the whole way."""

import copy
import math

import numpy as np
import pytest
import torch

import models
from models import backbones, losses
from models.autoencoder import Decoder

OPTIONS = {"dim": 16, "pred_dim": 32, "temperature": 0.5, "ema": 0.9}
SMALL = {"byol": "--dim 16 --pred_dim 32", "simclr": "--dim 16 --temperature 0.2", "autoencoder": ""}


def build(name, backbone="conv8"):
    torch.manual_seed(0)
    return models.build({"method": name, "backbone": backbone, **OPTIONS})


def views(batch=8, size=(32, 40)):
    """Two noisy copies of smooth spectrograms that differ from track to track."""
    torch.manual_seed(1)
    coarse = torch.randn(batch, 1, 4, 4)
    x = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    x = (x - x.mean()) / x.std()
    return x + 0.1 * torch.randn_like(x), x + 0.1 * torch.randn_like(x)


# ------------------------------------------------------------------ losses


def test_nt_xent_equals_the_manual_sum_over_all_views():
    torch.manual_seed(0)
    z1, z2, tau = torch.randn(4, 5), torch.randn(4, 5), 0.3
    rows = [row.double() / row.double().norm() for row in [*z1, *z2]]
    total = 0.0
    for i in range(8):
        others = sum(math.exp(float(rows[i] @ rows[k]) / tau) for k in range(8) if k != i)
        total -= math.log(math.exp(float(rows[i] @ rows[(i + 4) % 8]) / tau) / others)
    assert losses.nt_xent(z1, z2, tau).item() == pytest.approx(total / 8, rel=1e-5)
    assert losses.nt_xent(100 * z1, 0.01 * z2, tau).item() == pytest.approx(total / 8, rel=1e-5)
    assert losses.nt_xent(z1, z1, 0.01) < losses.nt_xent(z1, z2, 0.01)


def test_regression_loss_is_the_squared_distance_of_unit_vectors():
    torch.manual_seed(0)
    q, z = torch.randn(6, 5), torch.randn(6, 5)
    manual = sum(float(((a / a.norm()) - (b / b.norm())).square().sum()) for a, b in zip(q, z, strict=True)) / 6
    assert losses.regression_loss(q, z).item() == pytest.approx(manual, rel=1e-5)


# ------------------------------------------------------------------ every method


@pytest.mark.parametrize("name", ["byol", "simclr", "autoencoder", "simsiam"])
def test_the_loss_falls_on_a_tiny_set(name):
    method = build(name)
    optimiser = torch.optim.Adam(method.parameters(), lr=2e-3)
    first, last = [], []
    for step in range(20):
        loss, z = method(*views(6, (16, 24)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step((step + 1) / 20)
        (first if step < 5 else last).append(loss.item())
    assert z.shape == (6, 512 if name == "autoencoder" else 16)
    assert not z.requires_grad
    assert np.mean(last[-5:]) < np.mean(first) - 0.1 * abs(np.mean(first))


@pytest.mark.parametrize("name", ["byol", "simclr", "autoencoder"])
def test_features_are_those_of_the_backbone_and_every_trained_parameter_learns(name):
    method = build(name, "resnet18")
    x1, x2 = views(4)
    method(x1, x2)[0].backward()
    grouped = [p for parameters, _ in method.parameter_groups() for p in parameters]
    assert len(grouped) == len({id(p) for p in grouped})
    assert all(p.grad is not None for p in grouped)
    assert method.encoder()(x1).shape == (4, 512)
    assert method.encoder("projector")(x1).shape == (4, 512 if name == "autoencoder" else 16)


# ------------------------------------------------------------------ BYOL


def test_the_target_follows_as_the_paper_says():
    method = build("byol")
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    online = [*method.backbone.parameters(), *method.projector.parameters()]
    for progress in (0.25, 0.5, 1.0):
        before = [p.clone() for p in method.target.parameters()]
        tau = 1 - (1 - 0.9) * (math.cos(math.pi * progress) + 1) / 2
        method.after_step(progress)
        for xi, old, theta in zip(method.target.parameters(), before, online, strict=True):
            torch.testing.assert_close(xi, tau * old + (1 - tau) * theta, atol=1e-6, rtol=1e-5)
    assert all(torch.equal(xi, old) for xi, old in zip(method.target.parameters(), before, strict=True))  # τ = 1


def test_nothing_but_the_average_moves_the_target():
    method = build("byol")
    optimiser = torch.optim.SGD([{"params": p} for p, _ in method.parameter_groups()], lr=0.1, weight_decay=0.1)
    before = copy.deepcopy(list(method.target.parameters()))
    loss, _ = method(*views())
    loss.backward()
    optimiser.step()
    assert all(p.grad is None and not p.requires_grad for p in method.target.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, method.target.parameters(), strict=True))
    grouped = {id(p) for parameters, _ in method.parameter_groups() for p in parameters}
    assert not grouped & {id(p) for p in method.target.parameters()}


def test_byol_is_the_symmetric_loss_against_the_target():
    method = build("byol").eval()
    x1, x2 = views()
    f = torch.nn.Sequential(method.backbone, method.projector)
    q1, q2 = method.predictor(f(x1)), method.predictor(f(x2))
    expected = losses.regression_loss(q1, method.target(x2)) + losses.regression_loss(q2, method.target(x1))
    torch.testing.assert_close(method(x1, x2)[0], expected)


# ------------------------------------------------------------------ autoencoder


def test_the_autoencoder_overfits_a_batch():
    method = build("autoencoder")
    x1, x2 = views(4, (16, 20))
    optimiser = torch.optim.Adam(method.parameters(), lr=2e-3)
    for _ in range(100):
        optimiser.zero_grad()
        loss, _ = method(x1, x2)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05 * torch.cat([x1, x2]).var().item()


@pytest.mark.parametrize("size", [(48, 313), (128, 216), (33, 17), (1, 5)])
def test_the_decoder_draws_any_size(size):
    assert Decoder(8)(torch.randn(2, 8), size).shape == (2, 1, *size)


@pytest.mark.parametrize("name", ["conv8", "conv8_dilated"])
def test_the_encoder_is_eight_convolutions_to_512_numbers(name):
    backbone = backbones.build(name).eval()
    convolutions = [module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 8
    assert {module.dilation for module in convolutions} == {(2, 2) if "dilated" in name else (1, 1)}
    for mels, frames in ((48, 1876), (128, 215), (32, 64)):
        assert backbone(torch.randn(2, 1, mels, frames)).shape == (2, 512)
