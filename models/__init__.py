"""Self-supervised methods, their backbones and the classifiers on top of them."""

import utils
from models import backbones
from models.autoencoder import Autoencoder
from models.byol import BYOL
from models.simclr import SimCLR
from models.simsiam import SimSiam

METHODS = {"simsiam": SimSiam, "byol": BYOL, "simclr": SimCLR, "autoencoder": Autoencoder}


def build(configuration):
    """The method of an experiment, with fresh weights: ``configuration`` holds method, backbone and its options."""
    method = METHODS[configuration["method"]]
    options = {name: configuration[name] for name in method.options()}
    return method(backbones.build(configuration["backbone"]), **options)


def load(experiment, configuration, device):
    """The method of the experiment in folder ``experiment``, with its trained weights.

    Raises :class:`utils.UserError` when pre.pth is missing, unreadable, or of another network.
    """
    method = build(configuration)
    weights = utils.load_weights(experiment / "pre.pth", device)
    try:
        method.load_state_dict(weights)
    except RuntimeError:
        raise utils.UserError(f"{experiment / 'pre.pth'} does not fit its configuration.json") from None
    return method.to(device)
