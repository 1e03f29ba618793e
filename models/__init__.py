"""Self-supervised methods, their backbones and the classifiers on top of them."""

import utils
from models import backbones
from models.autoencoder import Autoencoder
from models.byol import BYOL
from models.simclr import SimCLR
from models.simsiam import SimSiam

METHODS = {"simsiam": SimSiam, "byol": BYOL, "simclr": SimCLR, "autoencoder": Autoencoder}


def build(configuration, num_mels=128):
    """The method of an experiment, with fresh weights, for spectrograms of ``num_mels`` bands.

    ``configuration`` holds method, backbone, pool and the method's options; older ones lack what came later.
    """
    method = METHODS[configuration["method"]]
    options = {name: configuration.get(name, old) for name, old in {**method.options(), **method.before}.items()}
    backbone = backbones.build(configuration["backbone"], num_mels, configuration.get("pool", "average"))
    return method(backbone, **options)


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
