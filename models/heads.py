"""Small networks that sit on a backbone's features. Axes: B batch, D dimension."""

from torch import nn


def projector(num_features, dim):
    """SimSiam's projection MLP: 3 layers, BatchNorm on each, none affine at the output.

    "The projection MLP (in f) has BN applied to each fully-connected layer, including its output fc. Its output
    fc has no ReLU. This MLP has 3 layers." (Chen & He 2021, section 3). (B, num_features) → (B, dim).
    """
    return nn.Sequential(
        nn.Linear(num_features, num_features, bias=False), nn.BatchNorm1d(num_features), nn.ReLU(inplace=True),
        nn.Linear(num_features, num_features, bias=False), nn.BatchNorm1d(num_features), nn.ReLU(inplace=True),
        nn.Linear(num_features, dim, bias=False), nn.BatchNorm1d(dim, affine=False),
    )  # fmt: skip


def predictor(dim, pred_dim):
    """SimSiam's prediction MLP, a bottleneck of two layers: (B, dim) → (B, dim).

    "The prediction MLP (h) has BN applied to its hidden fc layers. Its output fc does not have BN … or ReLU."
    """
    return nn.Sequential(
        nn.Linear(dim, pred_dim, bias=False), nn.BatchNorm1d(pred_dim), nn.ReLU(inplace=True),
        nn.Linear(pred_dim, dim),
    )  # fmt: skip
