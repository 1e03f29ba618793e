"""The methods by name; what each takes and its defaults: :data:`models.METHODS`."""

from models.autoencoder import Autoencoder
from models.byol import BYOL
from models.simclr import SimCLR
from models.simsiam import SimSiam

CLASSES = {"simsiam": SimSiam, "byol": BYOL, "simclr": SimCLR, "autoencoder": Autoencoder}
