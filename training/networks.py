"""What made the features of a classifier, written once as a record, and the one way from a record to a network.

Axes: B batch, F mel band, T frame, L layer, D feature dimension, C genres.
"""

import dataclasses
from dataclasses import dataclass

import models
import utils
from models import backbones, heads, layers, rulers
from models.classifier import Classifier
from models.rulers import RULERS


@dataclass(frozen=True)
class Network:
    """The record of a classifier's network: result.json holds it as ``network``.

    kind: a key of ``KINDS``; method, backbone, pool: of the experiment; layer: see :mod:`models.layers`, of
    embeddings "all" or a number; seed: of random weights; num_features: D; head: options of
    :func:`models.heads.genre_head`; pretrained: digest of the pre.pth that it needs, None in older ones.
    """

    kind: str
    method: str | None = None
    backbone: str | None = None
    layer: str | None = None
    pool: str = "average"
    seed: int | None = None
    num_features: int | None = None
    head: dict = dataclasses.field(default_factory=dict)
    pretrained: str | None = None

    @property
    def saved_whole(self):
        """Whether transfer.pth holds all weights; else only the head's, the others are pre.pth."""
        return self.kind != "encoder"

    @property
    def seeded(self):
        """Whether its features depend on a seed, and on training tracks that it is shown."""
        return self.kind == "random" or any(RULERS[name].seeded for name in {self.kind, *self.layers} & {*RULERS})

    @property
    def only_rulers(self):
        """Whether no network has a part in its features."""
        return not self.backbone or self.layers <= {*RULERS}

    @property
    def layers(self):
        """What is side by side in ``layer``."""
        return set((self.layer or "backbone").split("+"))

    @property
    def start(self):
        """The record of what it was before labels trained it."""
        return dataclasses.replace(self, kind="encoder") if self.kind == "trained" and self.method else self

    def backbone_of(self, experiment):
        """The module that makes features, as it is before any label is seen: (B, 1, F, T) → (B, D)."""
        if self.seed is not None:
            utils.set_seed(self.seed)
        return KINDS[self.kind](self, experiment)


def pretrained(network, experiment):
    """The experiment's network up to the layer; raises :class:`utils.UserError` for another than the record's."""
    check_digest(experiment.folder / "pre.pth", network.pretrained)
    return experiment.method().encoder(network.layer, experiment.settings.num_rows)


def untrained(network, experiment):
    """The architecture whose weights the labels train: the experiment's up to the layer, or a bare backbone."""
    if network.method:
        bands = experiment.settings.num_rows
        return models.build(vars(experiment.flags), bands).encoder(network.layer, bands)
    return bare(network, experiment)


def bare(network, experiment):
    """A backbone with random weights, or layers of it."""
    bands = experiment.settings.num_rows
    backbone = backbones.build(network.backbone, bands, network.pool)
    return layers.encoder(backbone, None, network.layer or "backbone", bands)


# kind → (record, experiment) → module
KINDS = {
    "encoder": pretrained,
    "random": bare,
    "trained": untrained,
    "statistics": lambda network, experiment: rulers.BandStatistics(experiment.settings.n_mels),
    "mfcc": lambda network, experiment: rulers.MFCCStatistics(experiment.settings.n_mels),
    "kmeans": lambda network, experiment: rulers.KMeansDictionary(experiment.settings.n_mels),
    "embeddings": lambda network, experiment: heads.ChooseLayer(network.layer, experiment.settings.num_layers),
}


def state_of(network, build, head):
    """The weights that transfer.pth has to hold for the record ``network``; ``build()`` is what is below ``head``."""
    if network.saved_whole:
        return Classifier(build(), head).state_dict()
    rulers = build().rulers.state_dict() if network.layers & {*RULERS} else {}
    parts = {"backbone.rulers.": rulers, "head.": head.state_dict()}
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}


def load_classifier(result, experiment, device):
    """The classifier of a :class:`evaluation.results.Result`, in eval mode.

    Raises :class:`utils.UserError` when a weight file is missing, is not the one of the result or does not fit it.
    """
    file = result.folder / "transfer.pth"
    check_digest(file, result.weights)
    weights = utils.load_weights(file, device)
    try:
        network = Network(**result.network)
        head = heads.genre_head(network.num_features, len(result.genres), **network.head)
        classifier = Classifier(network.backbone_of(experiment), head)
        expected = state_of(network, lambda: classifier.backbone, head)
        if set(weights) != set(expected):
            raise KeyError
        classifier.load_state_dict({**classifier.state_dict(), **weights})
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError):
        raise utils.UserError(f"{file} does not fit its result.json") from None
    return classifier.to(device).eval()


def check_digest(file, digest):
    """Raises :class:`utils.UserError` for a file that has not this :func:`utils.digest`, where one is known."""
    if digest and utils.digest(file) != digest:
        raise utils.UserError(f"{file} is damaged, or not what the result was made with: make or fetch it again")
