"""Genre classifiers on a backbone. Axes: B batch, F mel band, T frame, D features, C genres."""

import torch
from torch import nn


class Classifier(nn.Module):
    """A backbone (all of it trained, or frozen) and a head: (B, 1, F, T) → logits (B, C)."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x):
        return self.head(self.backbone(x))


class Standardise(nn.Module):
    """(B, D) features → zero mean, unit deviation, measured once on training features."""

    def __init__(self, num_features):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))

    def measure(self, features):
        self.mean.copy_(features.mean(0))
        self.std.copy_(features.std(0).clamp_min(1e-6))
        return self

    def forward(self, x):
        return (x - self.mean) / self.std


def linear_head(num_features, num_genres):
    """One layer on standardised features."""
    return nn.Sequential(Standardise(num_features), nn.Linear(num_features, num_genres))


def mlp_head(num_features, num_genres, hidden=(1024, 512, 128), dropout=0.5):
    """The head of the original work, 1024-512-128, with BatchNorm and dropout, on standardised features."""
    layers = [Standardise(num_features)]
    for width_in, width_out in zip((num_features, *hidden), hidden, strict=False):
        layers += [nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], num_genres))
