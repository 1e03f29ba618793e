"""Self-supervised methods, their backbones and the classifiers on top of them."""

from models.simsiam import SimSiam

METHODS = {"simsiam": SimSiam}
