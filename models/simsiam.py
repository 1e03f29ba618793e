"""SimSiam: Exploring Simple Siamese Representation Learning (Chen & He, CVPR 2021)."""

from torch import nn

from models import heads
from models.losses import negative_cosine_similarity as D


class SimSiam(nn.Module):
    """Two views of a track predict each other; a stop-gradient keeps the solution from collapsing.

    backbone: module with ``num_features``; dim: of the projections z; pred_dim: of the predictor's bottleneck.
    """

    def __init__(self, backbone, dim=2048, pred_dim=512):
        super().__init__()
        self.backbone = backbone
        self.projector = heads.projector(backbone.num_features, dim)
        self.predictor = heads.predictor(dim, pred_dim)

    def forward(self, x1, x2):
        """Views x1, x2 (B, 1, F, T) → loss (scalar) and projections z1 (B, dim), which the monitors look at."""
        f, g, h = self.backbone, self.projector, self.predictor
        z1, z2 = g(f(x1)), g(f(x2))  # each view has its own BatchNorm statistics
        p1, p2 = h(z1), h(z2)
        loss = D(p1, z2.detach()) / 2 + D(p2, z1.detach()) / 2
        return loss, z1.detach()

    def parameter_groups(self):
        """(parameters, whether --fix_pred_lr holds their learning rate) pairs for the optimiser."""
        encoder = [*self.backbone.parameters(), *self.projector.parameters()]
        return [(encoder, False), (list(self.predictor.parameters()), True)]
