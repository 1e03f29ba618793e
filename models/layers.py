"""Which features of a network a classifier gets: ``--layer``, one or several, joined by "+".

    backbone           what the backbone gives its projector
    projector          the projections themselves
    stage1, stage2 …   the map of a stage, read out as the last one is
    stats, mfcc, kmeans    those of a ruler (:mod:`models.rulers`) beside the network, of bands normalised as its are

Axes: B batch, F mel band, T frame, D features.
"""

import torch
from torch import nn

import utils
from models.readout import read_out
from models.rulers import RULERS


def encoder(backbone, projector, layer="backbone", num_mels=128):
    """The network that makes features (B, D): the backbone itself, or others of its layers.

    projector: None for a backbone that was not pre-trained. Raises :class:`utils.UserError` as :class:`Layers`.
    """
    if layer == "backbone":
        return backbone
    if layer == "projector" and projector:
        return nn.Sequential(backbone, projector)
    return Layers(backbone, projector, layer, num_mels)


class Layers(nn.Module):
    """(B, 1, F, T) → (B, D): the chosen features of a network, and of rulers, side by side.

    Where the network was pre-trained, the weights in ``pretrained`` are pre.pth's, not this one's.
    Raises :class:`utils.UserError` for a layer that there is not.
    """

    def __init__(self, backbone, projector, layer, num_mels):
        super().__init__()
        self.names = layer.split("+")
        stages = stages_of(backbone)
        known = ["backbone", *(["projector"] if projector else []), *stages, *RULERS]
        for name in self.names:
            if name not in known:
                raise utils.UserError(f"--layer {layer}: there is no '{name}', only {', '.join(known)}, joined by +")
        self.pretrained = nn.ModuleDict({"backbone": backbone})
        if "projector" in self.names:
            self.pretrained["projector"] = projector
        self.rulers = nn.ModuleDict({name: RULERS[name](num_mels) for name in self.names if name in RULERS})
        self.stages = stages
        widths = dict(zip(stages, getattr(backbone, "stage_features", ()), strict=True))
        widths["backbone"] = backbone.num_features
        widths["projector"] = projector and width_of(projector, backbone.num_features)
        widths.update({name: ruler.num_features for name, ruler in self.rulers.items()})
        self.widths = [widths[name] for name in self.names]
        self.num_features = sum(self.widths)

    def fit(self, batches, seed=0):
        """Shows training spectrograms to the rulers, which need to see some."""
        for ruler in self.rulers.values():
            ruler.fit(batches, seed)

    def forward(self, x):
        found = {name: ruler(x) for name, ruler in self.rulers.items()}
        if set(self.names) & set(self.stages):
            maps = self.pretrained["backbone"].maps(x)
            for name, stage in zip(self.stages, maps, strict=True):
                if name in self.names:
                    found[name] = read_out(stage, self.pretrained["backbone"].pool)
            last = read_out(maps[-1], self.pretrained["backbone"].pool)
        elif {"backbone", "projector"} & set(self.names):
            last = self.pretrained["backbone"](x)
        if "backbone" in self.names:
            found["backbone"] = last
        if "projector" in self.names:
            found["projector"] = self.pretrained["projector"](last)
        return torch.cat([found[name].float() for name in self.names], dim=1)


def stages_of(backbone):
    """The names of its stages, lowest first; the last one's features are the backbone's. None of a plain network."""
    return [f"stage{number}" for number in range(1, len(getattr(backbone, "stage_features", ())) + 1)]


def num_features(network):
    """D of what a method's ``encoder`` returns, or any module with ``num_features``."""
    if hasattr(network, "num_features"):
        return network.num_features
    backbone, projector = network
    return width_of(projector, backbone.num_features)


def width_of(projector, otherwise):
    """The width of a projector's output."""
    linear = [module for module in projector.modules() if isinstance(module, nn.Linear)]
    return linear[-1].out_features if linear else otherwise
