"""Backbones: a log-mel spectrogram (B, 1, F, T) in, features (B, D) out."""

import torch
import torchvision
from torch import nn

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def resnet(name):
    """A ResNet (He et al. 2016) for one-channel input, without its classification layer.

    A module with ``num_features`` (512 for 18 and 34, else 2048): (B, 1, F, T) → (B, num_features).
    The last BatchNorm of each residual branch starts at zero, as in SimSiam's code and Goyal et al. 2017.
    """
    backbone = getattr(torchvision.models, name)(weights=None, zero_init_residual=True)
    backbone.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
    backbone.num_features = backbone.fc.in_features
    backbone.fc = nn.Identity()
    return backbone


class BandStatistics(nn.Module):
    """No network: mean and deviation of every mel band and of its change from frame to frame, a baseline.

    (B, 1, F, T) → (B, 4F), nothing to train.
    """

    def __init__(self, num_mels):
        super().__init__()
        self.num_features = 4 * num_mels

    def forward(self, x):
        x = x.squeeze(1).float()
        change = x.diff(dim=2).abs()
        return torch.cat([x.mean(2), x.std(2), change.mean(2), change.std(2)], dim=1)


def build(name, num_mels=None):
    """A fresh backbone: one of ``RESNETS``, or ``stats``, which needs ``num_mels``."""
    return BandStatistics(num_mels) if name == "stats" else resnet(name)
