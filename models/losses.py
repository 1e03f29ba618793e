"""Losses as pure functions. Axes: B batch, D dimension of the projection."""

import torch.nn.functional as F


def negative_cosine_similarity(p, z):
    """D(p, z) = −⟨p/‖p‖, z/‖z‖⟩, averaged over the batch: equation (1) of Chen & He 2021.

    p (B, D) predictions, z (B, D) projections → scalar in [−1, 1]. The caller stops z's gradient.
    """
    return -F.cosine_similarity(p, z, dim=1).mean()
