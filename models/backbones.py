"""Backbones: a log-mel spectrogram (B, 1, F, T) in, features (B, D) out."""

import itertools

import torch
import torchvision
from torch import nn

import utils
from models import samplecnn
from models.samplecnn import SampleCNN

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
NAMES = (*RESNETS, "conv8", "conv8_dilated", "samplecnn")
WAVEFORM = ("samplecnn",)  # these hear waveforms, all others look at spectrograms


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


def conv8(dilation=1):
    """Eight convolutions, each of which halves both axes, and the mean over what is left: (B, 1, F, T) → (B, 512).

    The encoder of the autoencoder; the last layer, the latent vector, has no ReLU. ``dilation`` spreads the 3 × 3
    filters.
    """
    channels = (1, 32, 32, 64, 64, 128, 128, 256)
    layers = [
        nn.Sequential(halving(before, after, dilation), nn.BatchNorm2d(after), nn.ReLU(inplace=True))
        for before, after in itertools.pairwise(channels)
    ]
    backbone = nn.Sequential(*layers, halving(256, 512, dilation), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone.num_features = 512
    return backbone


def halving(before, after, dilation):
    return nn.Conv2d(before, after, kernel_size=3, stride=2, padding=dilation, dilation=dilation)


def build(name):
    """A fresh backbone, one of ``NAMES``."""
    if name in RESNETS:
        return resnet(name)
    return {"conv8": conv8, "conv8_dilated": lambda: conv8(dilation=2), "samplecnn": SampleCNN}[name]()


def default_for(kind):
    """The backbone for arrays of this kind, where none is asked for."""
    return "samplecnn" if kind == "waveform" else "resnet18"


def uses_bf16(asked, device, name, smallest_side):
    """What ``--bf16`` comes to: on a GPU yes unless refused, on a CPU for ResNets whose views have sides above 32.

    There oneDNN (of torch 2.11) computes strided convolutions wrongly, gradients above all, once a map has shrunk to
    one or two columns, as it always does in conv8.
    """
    if device.type == "cuda":
        return asked is not False
    return bool(asked) and name in RESNETS and smallest_side > 32


def check_input(name, kind, num_frames=None):
    """Raises :class:`utils.UserError` when backbone ``name`` does not understand arrays of this kind and length."""
    if (name in WAVEFORM) != (kind == "waveform"):
        wanted, features = ("waveform", "waveform") if name in WAVEFORM else ("spectrogram", "logmel")
        raise utils.UserError(
            f"--backbone {name} takes {wanted}s, this dataset holds {kind}s: choose another backbone, or run "
            f"preprocessing.py --features {features}"
        )
    if name in WAVEFORM and num_frames:
        samplecnn.check_length(num_frames)
