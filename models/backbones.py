"""Backbones: a log-mel spectrogram (B, 1, F, T) in, features (B, D) out."""

import torchvision
from torch import nn

import utils

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def build(name):
    """A ResNet (He et al. 2016) for one-channel input, without its classification layer.

    Returns a module with ``num_features`` (512 for 18 and 34, else 2048): (B, 1, F, T) → (B, num_features).
    The last BatchNorm of each residual branch starts at zero, as in SimSiam's code and Goyal et al. 2017.
    Raises :class:`utils.UserError` for an unknown name.
    """
    if name not in NAMES:
        raise utils.UserError(f"--backbone {name} is unknown; choose one of {', '.join(NAMES)}")
    backbone = getattr(torchvision.models, name)(weights=None, zero_init_residual=True)
    backbone.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
    backbone.num_features = backbone.fc.in_features
    backbone.fc = nn.Identity()
    return backbone
