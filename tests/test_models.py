"""SimSiam against its formula and its gradients; backbones against what the papers say of them."""

import inspect

import pytest
import torch
from torch import nn

import models
import utils
from models import backbones, losses, methods, rulers

CONFIGURATION = {"method": "simsiam", "backbone": "resnet18", "dim": 32, "pred_dim": 8}


def views(batch=6):
    torch.manual_seed(0)
    return torch.randn(batch, 1, 32, 40), torch.randn(batch, 1, 32, 40)


def test_what_flags_can_name_is_there_and_every_option_is_one_of_the_method():
    assert (*backbones.RESNETS, *backbones.OTHERS) == models.BACKBONES
    assert ("random", *rulers.RULERS) == models.BASELINES
    assert models.METHODS.keys() == methods.CLASSES.keys()
    for name, own in models.METHODS.items():
        assert ["backbone", *own.options] == list(inspect.signature(methods.CLASSES[name]).parameters)
        assert own.before.keys() <= own.options.keys()


def test_loss_equals_the_manual_formula():
    torch.manual_seed(0)
    p, z = torch.randn(5, 7), torch.randn(5, 7)
    manual = -sum(float(a @ b) / (float(a @ a) ** 0.5 * float(b @ b) ** 0.5) for a, b in zip(p, z, strict=True)) / 5
    assert losses.negative_cosine_similarity(p, z).item() == pytest.approx(manual, abs=1e-6)
    assert losses.negative_cosine_similarity(p, 3 * p).item() == pytest.approx(-1)


def test_simsiam_is_the_symmetric_loss_of_predictions_and_projections():
    torch.manual_seed(0)
    method = models.build(CONFIGURATION)
    x1, x2 = views()
    loss, z = method(x1, x2)
    z1, z2 = method.projector(method.backbone(x1)), method.projector(method.backbone(x2))
    p1, p2 = method.predictor(z1), method.predictor(z2)
    cosine = nn.functional.cosine_similarity
    expected = -(cosine(p1, z2).mean() + cosine(p2, z1).mean()) / 2
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(z, z1)


def test_gradient_stops_at_the_projections():
    """With the predictor's output held, nothing else may move the encoder: all gradient flows through p."""
    torch.manual_seed(0)
    method = models.build(CONFIGURATION)
    hold = method.predictor.register_forward_hook(lambda module, inputs, output: output.detach().requires_grad_())
    loss, z = method(*views())
    loss.backward()
    assert not z.requires_grad
    assert all(p.grad is None for p in [*method.backbone.parameters(), *method.projector.parameters()])
    hold.remove()
    method(*views())[0].backward()
    assert all(p.grad is not None for p in method.parameters())


def test_learning_rate_groups_cover_every_parameter_once():
    method = models.build(CONFIGURATION)
    grouped = [p for parameters, _ in method.parameter_groups() for p in parameters]
    assert {id(p) for p in grouped} == {id(p) for p in method.parameters()}
    assert len(grouped) == len(list(method.parameters()))
    fixed = [p for parameters, is_predictor in method.parameter_groups() if is_predictor for p in parameters]
    assert {id(p) for p in fixed} == {id(p) for p in method.predictor.parameters()}


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_backbones_take_one_channel_and_any_size(name, width):
    backbone = backbones.build(name).eval()
    with torch.no_grad():
        for mels, frames in ((128, 216), (48, 431), (32, 33)):
            assert backbone(torch.randn(1, 1, mels, frames)).shape == (1, width)
    assert backbone.num_features == width


@pytest.mark.parametrize(("name", "blocks"), [("resnet101", 33), ("resnet152", 50)])
def test_deep_backbones_are_what_they_are_called(name, blocks):
    with torch.device("meta"):
        backbone = backbones.build(name)
    stages = [getattr(backbone, f"layer{i}") for i in range(1, 5)]
    assert sum(len(stage) for stage in stages) == blocks


def test_band_statistics_are_means_and_deviations():
    x = torch.randn(3, 1, 8, 50)
    statistics = rulers.BandStatistics(8)
    features = statistics(x)
    assert features.shape == (3, statistics.num_features)
    change = x[:, 0].diff(dim=2).abs()
    for place, expected in enumerate((x[:, 0].mean(2), x[:, 0].std(2), change.mean(2), change.std(2))):
        torch.testing.assert_close(features[:, 8 * place : 8 * place + 8], expected)


def test_bfloat16_is_used_where_it_is_asked_for_and_right():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [backbones.uses_bf16(asked, cuda, "conv8", 8) for asked in (None, True, False)] == [True, True, False]
    assert [backbones.uses_bf16(asked, cpu, "resnet18", 64) for asked in (None, True, False)] == [False, True, False]
    assert not backbones.uses_bf16(True, cpu, "conv8", 64)
    assert not backbones.uses_bf16(True, cpu, "resnet18", 32)


def test_weights_lie_as_the_device_reads_them_fastest():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    asked = [("frames", cpu), ("frames", cuda), ("resnet18", cpu)]
    last, first = torch.channels_last, torch.contiguous_format
    assert [backbones.memory_format(*one) for one in asked] == [first, last, last]


@pytest.mark.parametrize("size", [(128, 64), (48, 33)])
def test_gradients_in_bfloat16_are_those_in_float32(size):
    """Of every convolution, on the smallest views that --bf16 is used for; rounding makes 0.4, a wrong one over 1."""
    torch.manual_seed(0)
    backbone = backbones.build("resnet18").to(memory_format=torch.channels_last).train()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # some begin at zero, and nothing would pass
    x, target = torch.randn(8, 1, *size), torch.randn(8, 512)
    gradients = []
    for bf16 in (False, True):
        with utils.autocast(torch.device("cpu"), bf16):
            loss = (backbone(x).float() * target).mean()
        backbone.zero_grad()
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in backbone.named_parameters() if p.ndim == 4})
    for name, exact in gradients[0].items():
        assert (gradients[1][name] - exact).norm() < 0.6 * exact.norm(), name


def test_a_backbone_hears_or_sees_and_says_what_it_needs():
    for name in models.BACKBONES:
        hears = name == "samplecnn"
        backbones.check_input(name, "waveform" if hears else "spectrogram", 60000)
        with pytest.raises(utils.UserError, match=f"{name} takes {'waveform' if hears else 'spectrogram'}s"):
            backbones.check_input(name, "spectrogram" if hears else "waveform")
        widths = {"resnet50": 2048, "resnet101": 2048, "resnet152": 2048, "frames": 3 * 512}
        assert backbones.build(name).num_features == widths.get(name, 512)
    with pytest.raises(utils.UserError, match="59049 samples, not 59048"):
        backbones.check_input("samplecnn", "waveform", 59048)
    assert [backbones.default_for(kind) for kind in ("waveform", "spectrogram")] == ["samplecnn", "resnet18"]
