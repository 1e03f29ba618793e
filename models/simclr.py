"""SimCLR: A Simple Framework for Contrastive Learning of Visual Representations (Chen et al., ICML 2020)."""

import torch

from models import heads
from models.gather import gather
from models.losses import nt_xent
from models.method import Method


class SimCLR(Method):
    """Each view finds the other view of its track among all views of the batch.

    backbone: module with ``num_features``; dim: of the projections z; temperature: τ, small values weigh the
    hardest negatives most. CLMR (Spijkervet & Burgoyne 2021), SimCLR on music, uses 0.5.
    """

    def __init__(self, backbone, dim, temperature):
        super().__init__(backbone)
        self.temperature = temperature
        self.projector = heads.mlp(backbone.num_features, backbone.num_features, dim)

    def forward(self, x1, x2):
        f, g = self.backbone, self.projector
        z1, z2 = g(f(torch.cat([x1, x2]))).chunk(2)  # (B, dim); both views share BatchNorm statistics
        z1, z2 = gather(z1), gather(z2)  # the tracks of all processes are negatives
        return nt_xent(z1, z2, self.temperature), z1.detach()
