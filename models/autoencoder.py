"""A convolutional autoencoder: a latent vector from which the spectrogram can be drawn again.

Axes: B batch, F mel band, T frame, D latent dimension.
"""

import itertools

import torch
from torch import nn

from models.gather import average, gather
from models.losses import reconstruction_loss
from models.method import Method

CHANNELS = (512, 256, 128, 128, 64, 64, 32, 32, 1)  # of the eight transposed convolutions, from the latent up


class Autoencoder(Method):
    """Every view is squeezed through its features, the latent vector, and drawn from them again.

    backbone: module with ``num_features``, by default ``conv8``, eight convolutions down to a 512-d latent vector.
    """

    def __init__(self, backbone):
        super().__init__(backbone)
        self.decoder = Decoder(backbone.num_features)

    def forward(self, x1, x2):
        x = torch.cat([x1, x2])
        z = self.backbone(x)  # (2B, D)
        loss = average(reconstruction_loss(self.decoder(z, x.shape[2:]), x))
        return loss, gather(z.detach().chunk(2)[0])


class Decoder(nn.Module):
    """(B, D) → (B, 1, F, T) of any size: eight transposed convolutions, each of which doubles both axes.

    The latent vector stands at every place of the smallest map beside that place's coordinates, so that one set of
    weights draws any size (the spatial broadcast decoder of Watters et al. 2019).
    """

    def __init__(self, num_features):
        super().__init__()
        self.first = nn.Conv2d(num_features + 2, CHANNELS[0], kernel_size=1)
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(width, next_width, kernel_size=3, stride=2, padding=1)
            for width, next_width in itertools.pairwise(CHANNELS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in CHANNELS[:-1])

    def forward(self, z, size):
        sizes = [tuple(size)]
        for _ in self.layers:
            sizes.append(tuple(-(-n // 2) for n in sizes[-1]))  # what a convolution of stride 2 leaves
        sizes.reverse()
        x = self.first(torch.cat([z[:, :, None, None].expand(-1, -1, *sizes[0]), coordinates(z, sizes[0])], dim=1))
        for norm, layer, next_size in zip(self.norms, self.layers, sizes[1:], strict=True):
            x = layer(norm(x).relu(), output_size=next_size)
        return x


def coordinates(z, size):
    """(B, 2, F, T): each place's mel band and frame, from −1 to 1."""
    axes = [torch.linspace(-1, 1, n, device=z.device, dtype=z.dtype) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(z), -1, -1, -1)
