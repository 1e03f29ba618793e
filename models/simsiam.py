"""SimSiam: Exploring Simple Siamese Representation Learning (Chen & He, CVPR 2021)."""

from models import heads
from models.losses import negative_cosine_similarity as D
from models.method import Method


class SimSiam(Method):
    """Two views of a track predict each other; a stop-gradient keeps the solution from collapsing.

    backbone: module with ``num_features``; dim: of the projections z; pred_dim: of the predictor's bottleneck.
    """

    def __init__(self, backbone, dim=2048, pred_dim=512):
        super().__init__(backbone)
        self.projector = heads.projector(backbone.num_features, dim)
        self.predictor = heads.predictor(dim, pred_dim)

    def forward(self, x1, x2):
        f, g, h = self.backbone, self.projector, self.predictor
        z1, z2 = g(f(x1)), g(f(x2))  # (B, dim); each view has its own BatchNorm statistics
        p1, p2 = h(z1), h(z2)
        loss = D(p1, z2.detach()) / 2 + D(p2, z1.detach()) / 2
        return loss, z1.detach()

    def parameter_groups(self):
        encoder = [*self.backbone.parameters(), *self.projector.parameters()]
        return [(encoder, False), (list(self.predictor.parameters()), True)]
