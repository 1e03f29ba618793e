"""Small networks that sit on a backbone's features. Axes: B batch, N tracks, D dimension, C genres."""

import itertools

import torch
from torch import nn


def projector(num_features, dim, width=0):
    """SimSiam's projection MLP: 3 layers, BatchNorm on each, none affine at the output.

    "The projection MLP (in f) has BN applied to each fully-connected layer, including its output fc. Its output
    fc has no ReLU. This MLP has 3 layers." (Chen & He 2021, section 3). (B, num_features) → (B, dim). With a
    ``width`` it has 2 layers, the hidden one of that width.
    """
    widths = [width] if width else [num_features, num_features]
    layers = []
    for before, after in itertools.pairwise([num_features, *widths]):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], dim, bias=False), nn.BatchNorm1d(dim, affine=False))


def predictor(dim, pred_dim):
    """SimSiam's prediction MLP, a bottleneck of two layers: (B, dim) → (B, dim).

    "The prediction MLP (h) has BN applied to its hidden fc layers. Its output fc does not have BN … or ReLU."
    """
    return nn.Sequential(
        nn.Linear(dim, pred_dim, bias=False), nn.BatchNorm1d(pred_dim), nn.ReLU(inplace=True),
        nn.Linear(pred_dim, dim),
    )  # fmt: skip


class Residual(nn.Module):
    """x + module(x), starting as the identity: the last layer of ``module`` starts at zero."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        nn.init.zeros_(module[-1].weight)
        nn.init.zeros_(module[-1].bias)

    def forward(self, x):
        return x + self.module(x)


def mlp(num_features, hidden, dim):
    """Two layers, BatchNorm and ReLU between them: SimCLR's projector, BYOL's projector and predictor.

    "a linear layer with output size 4096 followed by batch normalization, rectified linear units (ReLU), and a final
    linear layer" (Grill et al. 2020, section 3.3). (B, num_features) → (B, dim).
    """
    return nn.Sequential(
        nn.Linear(num_features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True),
        nn.Linear(hidden, dim),
    )  # fmt: skip


class Standardise(nn.Module):
    """(B, D) or (B, L, D) features → zero mean, unit deviation of each, measured once; constant ones become 0."""

    def __init__(self, num_features):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))

    def measure(self, features):
        self.mean.copy_(features.mean(0))
        std = features.std(0)  # where a few tracks all say the same, another one may say anything
        self.std.copy_(torch.where(std > 1e-6, std, torch.inf))

    def forward(self, x):
        return (x - self.mean).div_(self.std)  # in place: a copy of wide features takes longer than to divide them


class ChooseLayer(nn.Module):
    """Embeddings (B, L, D) → those of one layer (B, D), or, where ``layer`` is "all" of several, as they are."""

    def __init__(self, layer, num_layers):
        super().__init__()
        only = 0 if num_layers == 1 else None
        self.layer = only if layer == "all" else int(layer)

    def forward(self, x):
        return x if self.layer is None else x[:, self.layer]


class MixLayers(nn.Module):
    """(B, L, D) → (B, D): the weighted sum of the layers of SUPERB (Yang et al. 2021).

    The weights, a softmax of one score for each layer, are learned with the head.
    """

    def __init__(self, num_layers):
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(num_layers))

    def forward(self, x):
        return torch.einsum("l,bld->bd", self.weights(), x)

    def weights(self):
        return self.scores.softmax(0)


def genre_head(num_features, num_genres, hidden=(), dropout=0.5, batch_norm=True, num_layers=1):
    """Standardised features (B, D) → logits (B, C), through ``hidden`` layers with BatchNorm and dropout.

    hidden=() is the linear probe; (1024, 512, 128) is the head of the original work. ``dropout`` is one share for
    all hidden layers, or one for each. With num_layers above 1 the features are (B, L, D), mixed by
    :class:`MixLayers` after each layer is standardised.
    """
    shares = dropout if isinstance(dropout, (list, tuple)) else [dropout] * len(hidden)
    layers, width = [Standardise(num_features)], num_features
    if num_layers > 1:
        layers = [Standardise((num_layers, num_features)), MixLayers(num_layers)]
    for next_width, share in zip(hidden, shares, strict=True):
        norm = [nn.BatchNorm1d(next_width)] if batch_norm else []
        layers += [nn.Linear(width, next_width), *norm, nn.ReLU(), nn.Dropout(share)]
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, num_genres))
