"""Self-supervised methods, their backbones and the classifiers on top of them.

What flags can name stands here, with the methods' own defaults: nothing of it takes time to import.
"""

from dataclasses import dataclass, field

import utils

BACKBONES = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("frames", "conv8", "conv8_dilated", "samplecnn"),
)
POOLS = ("average", "mean_std_max")
BASELINES = ("random", "stats", "mfcc", "kmeans")


@dataclass(frozen=True)
class Defaults:
    """What a method is, where no flag of train_simsiam.py says otherwise."""

    options: dict  # the flags that its constructor takes, beside the backbone → their defaults
    before: dict = field(default_factory=dict)  # option → what experiments had before there was such a flag
    default_backbone: str = "frames"
    default_views: int = 2
    most_views: int = 2  # of a track, for ``forward``


METHODS = {
    "simsiam": Defaults(
        {"dim": 512, "proj_dim": 512, "pred_dim": 256, "cov": 0.02, "identity_start": True},
        before={"proj_dim": 0, "cov": 0.0, "identity_start": False},
        default_views=4,
        most_views=16,
    ),
    "byol": Defaults({"dim": 256, "pred_dim": 4096, "ema": 0.99}),
    "simclr": Defaults({"dim": 128, "temperature": 0.5}),
    "autoencoder": Defaults({}, default_backbone="conv8"),
}


def build(configuration, num_mels=128):
    """The method of an experiment, with fresh weights, for spectrograms of ``num_mels`` bands.

    ``configuration`` holds method, backbone, pool and the method's options; older ones lack what came later.
    """
    from models import backbones, methods  # which import torch

    own = METHODS[configuration["method"]]
    options = {name: configuration.get(name, old) for name, old in {**own.options, **own.before}.items()}
    backbone = backbones.build(configuration["backbone"], num_mels, configuration.get("pool", "average"))
    return methods.CLASSES[configuration["method"]](backbone, **options)


def load(experiment, configuration, num_mels, device):
    """The method of the experiment in folder ``experiment``, with its trained weights.

    Raises :class:`utils.UserError` when pre.pth is missing, unreadable, or of another network.
    """
    weights = utils.load_weights(experiment / "pre.pth", device)
    try:
        method = build(configuration, num_mels)
        method.load_state_dict(weights)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError):
        raise utils.UserError(f"{experiment / 'pre.pth'} does not fit its configuration.json") from None
    return method.to(device)
