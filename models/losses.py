"""Losses as pure functions. Axes: B batch, D dimension of the projection."""

import torch
import torch.nn.functional as F


def negative_cosine_similarity(p, z):
    """D(p, z) = −⟨p/‖p‖, z/‖z‖⟩, averaged over the batch: equation (1) of Chen & He 2021.

    p (B, D) predictions, z (B, D) projections → scalar in [−1, 1]. The caller stops z's gradient.
    """
    return -F.cosine_similarity(p.float(), z.float(), dim=1).mean()


def covariance(z):
    """c(Z) = 1/D Σ_{i≠j} Cov(z)²_ij: the third term of VICReg, equation (4) of Bardes et al. 2022.

    z (B, D) projections → scalar. Where every dimension has unit variance, as after SimSiam's last BatchNorm, it is
    the sum of squared correlations: 0 when no two dimensions say the same.
    """
    z = z.float() - z.float().mean(0)
    with torch.autocast(z.device.type, enabled=False):
        matrix = z.T @ z / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]


def regression_loss(q, z):
    """‖q̄ − z̄‖² = 2 − 2 ⟨q/‖q‖, z/‖z‖⟩, averaged over the batch: equation (2) of Grill et al. 2020.

    q (B, D) predictions, z (B, D) projections of the target network → scalar in [0, 4].
    """
    return 2 - 2 * F.cosine_similarity(q.float(), z.float(), dim=1).mean()


def nt_xent(z1, z2, temperature):
    """Normalised temperature-scaled cross-entropy: equation (1) of Chen et al. 2020, averaged over all 2B views.

    z1, z2 (B, D) projections of two views of the same tracks → scalar. For each view, the other view of its track
    is the right answer among the 2B − 1 other views. In float32: a similarity divided by a small temperature
    needs more digits than bfloat16 has.
    """
    with torch.autocast(z1.device.type, enabled=False):
        z = F.normalize(torch.cat([z1, z2]).float(), dim=1)
        similarity = z @ z.T / temperature
        similarity.fill_diagonal_(-torch.inf)  # no view is its own answer
        other_view = torch.arange(len(z), device=z.device).roll(len(z1))
        return F.cross_entropy(similarity, other_view)


def reconstruction_loss(drawn, x):
    """Mean squared error in float32; of a normalised x it is the share of variance that is not explained."""
    return F.mse_loss(drawn.float(), x.float())
