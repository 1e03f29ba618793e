"""BYOL: Bootstrap Your Own Latent (Grill et al., NeurIPS 2020)."""

import copy
import math

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models import heads
from models.gather import average, gather
from models.losses import regression_loss as L
from models.method import Method


class BYOL(Method):
    """The online network predicts what a slowly moving average of itself, the target, makes of the other view.

    backbone: module with ``num_features``; dim: of the projections z; pred_dim: width of the hidden layer of
    projector and predictor (both dimensions by default the paper's, section 3.3); ema: τ_base, how slowly the target
    follows.
    """

    def __init__(self, backbone, dim, pred_dim, ema):
        super().__init__(backbone)
        self.ema = ema
        self.projector = heads.mlp(backbone.num_features, pred_dim, dim)
        self.predictor = heads.mlp(dim, pred_dim, dim)
        self.target = copy.deepcopy(self.encoder("projector")).requires_grad_(False)

    def forward(self, x1, x2):
        f, g, q = self.backbone, self.projector, self.predictor
        z1, z2 = g(f(x1)), g(f(x2))  # (B, dim)
        with torch.no_grad():
            t1, t2 = self.target(x1), self.target(x2)  # z'_ξ of the paper
        loss = average(L(q(z1), t2) + L(q(z2), t1))
        return loss, gather(z1.detach())

    def after_step(self, progress):
        """ξ ← τξ + (1 − τ)θ, with τ from τ_base to 1 along half a cosine (section 3.3)."""
        tau = 1 - (1 - self.ema) * (math.cos(math.pi * progress) + 1) / 2
        follow = get_ema_multi_avg_fn(tau)
        follow(list(self.target.parameters()), list(self.encoder("projector").parameters()), None)
