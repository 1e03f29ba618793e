"""Backbones: a log-mel spectrogram (B, 1, F, T) in, features (B, D) out.

Each has ``num_features`` (D), ``maps(x)``, the list of what its stages make of x, each (B, C, F', T'), and
``stage_features``, the D of each stage when it is read out. Axes: B batch, C channel, F mel band, T frame.
"""

import itertools

import torch
from torch import nn

import utils
from models import samplecnn
from models.readout import num_features, read_out
from models.samplecnn import SampleCNN

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
WAVEFORM = ("samplecnn",)  # these hear waveforms, all others look at spectrograms
WHOLE = ("frames",)  # these summarise any number of frames as well as a few: a track is heard at once


class Backbone(nn.Module):
    """What the spectrogram networks share: the last map is read out by ``pool``, see :mod:`models.readout`."""

    def _describe(self, channels, bands, pool):
        """channels, bands: of each stage's map."""
        self.pool = pool
        self.stage_features = [num_features(c, f, pool) for c, f in zip(channels, bands, strict=True)]
        self.num_features = self.stage_features[-1]

    def maps(self, x):
        raise NotImplementedError

    def forward(self, x):
        return read_out(self.maps(x)[-1], self.pool)


class FrameEncoder(Backbone):
    """Each frame for itself, its neighbours at a glance: what it sounds like, not how it goes on.

    Patches of 16 bands × 3 frames, one in every 8 bands; what they answer along the frequencies is flattened into
    channels, so that nothing is averaged over pitch, and two layers of ``width`` turn it into the frame's features.
    A relative of BYOL-A's encoder (Niizumi et al. 2023), which flattens frequency in the same way, at a tenth of the
    cost. Any number of frames, a whole track too. Without strides in time, its maps have as many frames as its input.
    """

    def __init__(self, num_mels=128, width=512, patches=64):
        super().__init__()
        height = min(16, num_mels)
        self.stage1 = nn.Sequential(
            nn.Conv2d(1, patches, (height, 3), stride=(height // 2, 1), padding=(height // 2, 1), bias=False),
            nn.BatchNorm2d(patches), nn.ReLU(inplace=True),
        )  # fmt: skip
        bands = num_mels // (height // 2) + 1
        self.stage2 = pointwise(patches * bands, width)
        self.stage3 = pointwise(width, width)
        self._describe((patches * bands, width, width), (1, 1, 1), "mean_std_max")

    def maps(self, x):
        x1 = self.stage1(x).flatten(1, 2)[:, :, None]  # (B, patches · bands, 1, T)
        x2 = self.stage2(x1)
        return [x1, x2, self.stage3(x2)]


def pointwise(before, after):
    """A layer for each frame alone."""
    return nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Conv8(nn.Sequential):
    """Eight convolutions, each of which halves both axes, and the mean over what is left: (B, 1, F, T) → (B, 512).

    The encoder of the autoencoder; the last layer, the latent vector, has no ReLU. ``dilation`` spreads the 3 × 3
    filters.
    """

    num_features = 512

    def __init__(self, dilation=1):
        channels = (1, 32, 32, 64, 64, 128, 128, 256)
        layers = [
            nn.Sequential(halving(before, after, dilation), nn.BatchNorm2d(after), nn.ReLU(inplace=True))
            for before, after in itertools.pairwise(channels)
        ]
        super().__init__(*layers, halving(256, 512, dilation), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def maps(self, x):
        """The last map alone."""
        for layer in list(self)[:-2]:
            x = layer(x)
        return [x]


def halving(before, after, dilation):
    return nn.Conv2d(before, after, kernel_size=3, stride=2, padding=dilation, dilation=dilation)


OTHERS = {
    "frames": lambda num_mels: FrameEncoder(num_mels),
    "conv8": lambda num_mels: Conv8(),
    "conv8_dilated": lambda num_mels: Conv8(dilation=2),
    "samplecnn": lambda num_mels: SampleCNN(),
}


def build(name, num_mels=128, pool="average"):
    """One of :data:`models.BACKBONES`, fresh, for spectrograms of ``num_mels`` bands; ``pool``: of the ResNets."""
    if name not in RESNETS:
        return OTHERS[name](num_mels)
    from models.resnet import ResNet  # torchvision takes seconds to import

    return ResNet(name, num_mels, pool)


def default_for(kind):
    """The backbone for arrays of this kind, where none is asked for."""
    return "samplecnn" if kind == "waveform" else "resnet18"


def uses_bf16(asked, device, name, smallest_side):
    """What ``--bf16`` comes to: on a GPU yes unless refused, on a CPU for ``frames``, and for ResNets whose
    views have sides above 32.

    There oneDNN (of torch 2.11) computes strided convolutions wrongly, gradients above all, once a map has shrunk to
    one or two columns, as it always does in conv8.
    """
    if device.type == "cuda":
        return asked is not False
    return bool(asked) and (name == "frames" or (name in RESNETS and smallest_side > 32))


def memory_format(name, device):
    """How weights lie in memory for the fastest steps: channels last, as tensor cores and oneDNN read pictures.

    A CPU makes steps of ``frames``, whose maps are one row high, a sixth faster as they are.
    """
    return torch.contiguous_format if name == "frames" and device.type == "cpu" else torch.channels_last


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
