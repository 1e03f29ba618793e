"""SimSiam: Exploring Simple Siamese Representation Learning (Chen & He, CVPR 2021)."""

import torch

from models import heads
from models.gather import gather
from models.losses import covariance
from models.losses import negative_cosine_similarity as D
from models.method import Method


class SimSiam(Method):
    """The views of a track predict each other; a stop-gradient keeps the solution from collapsing.

    backbone: module with ``num_features``; dim: of the projections z; proj_dim: width of the projector's one hidden
    layer, 0 for the paper's two, as wide as the features; pred_dim: of the predictor's bottleneck;
    their defaults: :data:`models.METHODS`.

    Two things are not the paper's. On small collections z gathers in a few directions, and these keep it from that:
    cov: weight of VICReg's covariance term on z, 0 for the paper's loss; identity_start: the predictor is z + h(z),
    and begins as the identity, so that the first steps already pull the views of a track together. With more than two
    views, each predicts the mean of the others' projections: FastSiam (Pototzky et al. 2022).
    """

    def __init__(self, backbone, dim, proj_dim, pred_dim, cov, identity_start):
        super().__init__(backbone)
        self.projector = heads.projector(backbone.num_features, dim, proj_dim)
        self.predictor = heads.predictor(dim, pred_dim)
        if identity_start:
            self.predictor = heads.Residual(self.predictor)
        self.cov = cov

    def forward(self, *views):
        f, g, h = self.backbone, self.projector, self.predictor
        z = torch.stack([g(f(x)) for x in views]).float()  # (V, B, dim); each view has its own BatchNorm statistics
        p = torch.stack([h(one) for one in z])
        z, p = gather(z, dim=1), gather(p, dim=1)  # of all processes
        target = (z.sum(0) - z).detach()  # of each view: the other one, or the direction of the others' mean
        loss = D(p.flatten(0, 1), target.flatten(0, 1))
        if self.cov:
            loss = loss + self.cov * torch.stack([covariance(one) for one in z]).mean()
        return loss, z[0].detach()

    def parameter_groups(self):
        encoder = [*self.backbone.parameters(), *self.projector.parameters()]
        return [(encoder, False), (list(self.predictor.parameters()), True)]
