"""How an experiment hears a whole collection, and a file beside it: features, and what its linear classifier says.

Axes: N tracks, C crops, G genres, D feature dimension.
"""

from dataclasses import dataclass

import torch

import utils
from data import extractors, logmel
from data.crops import crops_of_file
from evaluation import results
from models import backbones
from training.experiment import Experiment
from training.frozen import NUM_CROPS, Cut, FrozenFeatures, extract
from training.networks import load_classifier
from training.supervised import apply


@dataclass(frozen=True)
class Ear:
    """A frozen network (B, 1, F, T) → (B, D) and the crops it hears of each track.

    head, result: of its linear classifier on the dataset, None where there is none; piece_seconds: length of the
    pieces that a file is heard in, None where crops of the file are enough.
    """

    experiment: Experiment
    backbone: torch.nn.Module
    cut: Cut
    head: torch.nn.Module | None = None
    result: results.Result | None = None
    piece_seconds: float | None = None

    @classmethod
    def of(cls, experiment, folder, device, name=None):
        """As the classifier ``name`` hears; else the best linear one on the dataset of ``folder``, else transfer.py.

        Raises :class:`utils.UserError` where there is neither a classifier nor a pre-trained network.
        """
        settings, head = folder.settings, None
        result = named(experiment, name) if name is not None else best_linear(experiment, folder.dataset)
        if result:
            classifier = load_classifier(result, experiment, device)
            backbone, head = classifier.backbone, classifier.head
            num_frames, num_crops = settings.frames_in(result.crop_seconds), result.num_crops
            whole = result.flags.get("whole", num_crops == 1)
        else:
            backbone = experiment.method(device).encoder()
            whole = experiment.flags.backbone in backbones.WHOLE
            usual = settings.frames_in(experiment.flags.crop_seconds)
            num_frames, num_crops = (int(folder.tracks["frames"].median()), 1) if whole else (usual, NUM_CROPS)
        bf16 = bool(result and result.flags.get("bf16"))  # as the result was computed: the same answers
        cut = Cut(num_frames, num_crops, experiment.normalisation, device, bf16)
        return cls(experiment, backbone, cut, head, result, settings.seconds_in(num_frames) if whole else None)

    @torch.no_grad()
    def hear(self, crops):
        """Features averaged over each track's crops (N, D), and probabilities (N, G) or None, as arrays."""
        features = FrozenFeatures(lambda: self.backbone, self.cut).of(crops)
        says = apply(self.head, features).mean(1).softmax(1).cpu().numpy() if self.head else None
        return features.mean(1).cpu().numpy(), says

    def hear_file(self, path):
        """The features (D,) of an audio file, prepared as predict.py does it. Raises AudioError, UserError."""
        settings, cut = self.experiment.settings, self.cut
        extractor = extractors.build(settings, min_seconds=logmel.LEAST_SECONDS)
        arrays = extractor.pieces(path, self.piece_seconds)[0] if self.piece_seconds else [extractor(path)]
        pieces = [settings.decode(torch.from_numpy(array)) for array in arrays if array is not None]  # None: silent
        known = logmel.known_bands(path, settings) if settings.kind == "spectrogram" else settings.num_rows
        x = crops_of_file(pieces, cut.num_frames, cut.num_crops, cut.normalise, settings, known).to(cut.device)
        return extract(self.backbone, x.split(cut.batch_size), len(x), cut.device, cut.bf16).mean(0).cpu().numpy()


def named(experiment, name):
    """The :class:`evaluation.results.Result` of this name. Raises :class:`utils.UserError` unless it tells genres."""
    result = results.choose(experiment.folder, name)
    if result.task != "genres":
        raise utils.UserError(f"--transfer {name} tells {result.task}, not genres")
    results.check_crops(result)
    return result


def best_linear(experiment, dataset):
    """The :class:`evaluation.results.Result` of the linear probe on the experiment's own network that is best on
    validation tracks of the dataset, None where there is none."""
    found = [results.read(file.parent) for file in sorted(experiment.folder.glob("*/result.json"))]
    fitting = [
        one for one in found
        if (one.task, one.protocol, one.dataset, one.network["kind"]) == ("genres", "linear", dataset, "encoder")
        and one.crop_seconds and one.num_crops and not one.only_rulers
    ]  # fmt: skip
    whole = [one for one in fitting if one.train_split != "validation"] or fitting
    return max(whole, key=results.by_validation, default=None)
