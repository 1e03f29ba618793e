"""SimSiam: Exploring Simple Siamese Representation Learning (Chen & He, CVPR 2021)."""

from typing import ClassVar

from models import heads
from models.losses import covariance
from models.losses import negative_cosine_similarity as D
from models.method import Method


class SimSiam(Method):
    """Two views of a track predict each other; a stop-gradient keeps the solution from collapsing.

    backbone: module with ``num_features``; dim: of the projections z; proj_dim: width of the projector's one hidden
    layer, 0 for the paper's two, as wide as the features; pred_dim: of the predictor's bottleneck.

    Two things are not the paper's. On small collections z gathers in a few directions, and these keep it from that:
    cov: weight of VICReg's covariance term on z, 0 for the paper's loss; identity_start: the predictor is z + h(z),
    and begins as the identity, so that the first steps already pull the two views of a track together.
    """

    before: ClassVar[dict] = {"proj_dim": 0, "cov": 0.0, "identity_start": False}

    def __init__(self, backbone, dim=512, proj_dim=512, pred_dim=256, cov=0.02, identity_start=True):
        super().__init__(backbone)
        self.projector = heads.projector(backbone.num_features, dim, proj_dim)
        self.predictor = heads.predictor(dim, pred_dim)
        if identity_start:
            self.predictor = heads.Residual(self.predictor)
        self.cov = cov

    def forward(self, x1, x2):
        f, g, h = self.backbone, self.projector, self.predictor
        z1, z2 = g(f(x1)), g(f(x2))  # (B, dim); each view has its own BatchNorm statistics
        p1, p2 = h(z1), h(z2)
        loss = D(p1, z2.detach()) / 2 + D(p2, z1.detach()) / 2
        if self.cov:
            loss = loss + self.cov * (covariance(z1) + covariance(z2)) / 2
        return loss, z1.detach()

    def parameter_groups(self):
        encoder = [*self.backbone.parameters(), *self.projector.parameters()]
        return [(encoder, False), (list(self.predictor.parameters()), True)]
