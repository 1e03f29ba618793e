"""ResNets for spectrograms. Apart from the other backbones because torchvision takes seconds to import.

Axes: B batch, F mel band, T frame.
"""

import itertools

import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from models.backbones import Backbone

SHAPES = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}


class ResNet(torchvision.models.ResNet, Backbone):
    """A ResNet (He et al. 2016) for one-channel input, without its classification layer.

    The last BatchNorm of each residual branch starts at zero, as in SimSiam's code and Goyal et al. 2017.
    """

    def __init__(self, name, num_mels=128, pool="average"):
        block, layers = SHAPES[name]
        super().__init__(block, layers, zero_init_residual=True)
        self.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.fc = nn.Identity()
        channels = [width * block.expansion for width in (64, 128, 256, 512)]
        bands = [-(-num_mels // 2**halvings) for halvings in (2, 3, 4, 5)]
        self._describe(channels, bands, pool)

    def maps(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return list(itertools.accumulate((self.layer1, self.layer2, self.layer3, self.layer4), _apply, initial=x))[1:]

    def forward(self, x):
        return Backbone.forward(self, x)


def _apply(x, layer):
    return layer(x)
