"""What every self-supervised method offers to the training loop. Axes: B batch, F mel band, T frame."""

from torch import nn

from models import layers


class Method(nn.Module):
    """A backbone (whose features are kept), a projector, and whatever else the method trains them with."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.projector = nn.Identity()

    def forward(self, x1, x2):
        """Views (B, 1, F, T) → the loss (scalar) and projections (B, D) without gradient, for the monitors."""
        raise NotImplementedError

    def parameter_groups(self):
        """Pairs (parameters, whether ``--fix_pred_lr`` holds their learning rate) for the optimiser."""
        return [([p for p in self.parameters() if p.requires_grad], False)]

    def after_step(self, progress):
        """Called after every optimiser step; progress runs from 0 to 1 over the whole training."""

    def encoder(self, layer="backbone", num_mels=128):
        """The network that makes features (B, D): the ``backbone``, or others of :mod:`models.layers`."""
        return layers.encoder(self.backbone, self.projector, layer, num_mels)
