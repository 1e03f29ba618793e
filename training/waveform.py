"""Networks that hear waveforms: the log-mel, the crops and the normalisation of an experiment in one module.

Axes: B batch, S sample, F mel band, T frame, K crops, D feature dimension, C genres.
"""

import dataclasses

import torch
from torch import nn

import utils
from data import logmel
from data.crops import cut_evenly
from evaluation import results
from models import backbones
from training.frozen import NUM_CROPS
from training.labels import KINDS, Genres
from training.networks import load_classifier


class FromWaveform(nn.Module):
    """Waveforms (B, S), −1 to 1 → (features (B, D),), with a head (features, probabilities (B, C)).

    They are at ``settings.sample_rate``, and go the way of a file through predict.py, in one piece: what is too short
    for the crops is repeated.

    network: (B, 1, F, T) → (B, D), head: (B, D) → logits (B, C), both in eval mode; num_frames: of each of
    ``num_crops``, spread evenly, or None for one that is the whole; answer: logits → probabilities.
    """

    def __init__(self, experiment, network, head=None, num_frames=None, num_crops=1, answer=Genres.answer):
        super().__init__()
        self.settings, self.normalise = experiment.settings, experiment.normalisation
        self.network, self.head, self.answer = network, head, answer
        self.num_frames, self.num_crops = num_frames, num_crops

    def forward(self, waveform):
        x = self.crops(self.spectrogram(waveform))
        features = self.network(x)
        mean = features.float().unflatten(0, (self.num_crops, -1)).mean(0)
        if self.head is None:
            return (mean,)
        logits = self.head(features).float().unflatten(0, (self.num_crops, -1))
        return mean, self.answer(logits.mean(0))

    def spectrogram(self, waveform, hop_length=None):
        """(B, S) → (B, F, T), normalised, as precise as what is stored; at ``hop_length``, or its own."""
        settings = dataclasses.replace(self.settings, hop_length=hop_length or self.settings.hop_length)
        decibels = logmel.log_mel(waveform, settings, logmel.mel_power_anywhere)
        silent = waveform.abs().amax(-1) < logmel.SILENCE  # its maximum is nothing to measure by
        decibels = torch.where(silent[:, None, None], settings.db_min, decibels)
        return self.normalise(settings.decode(logmel.quantised(decibels, settings)))

    def crops(self, x):
        """(B, F, T) → (K · B, 1, F, num_frames), crop after crop."""
        if self.num_frames is None:
            return x.unsqueeze(1)
        crops = cut_evenly(x.flatten(0, 1), self.num_frames, self.num_crops)  # (K, 1, B · F, num_frames)
        return crops.reshape(-1, 1, x.shape[1], self.num_frames)


def pretrained(experiment):
    """The backbone as the pre-training left it: (B, S) → (B, D). Raises :class:`utils.UserError`."""
    check_logmel(experiment)
    backbone = experiment.method().encoder().eval()
    if experiment.flags.backbone in backbones.WHOLE:
        return FromWaveform(experiment, backbone)
    num_frames = experiment.settings.frames_in(experiment.flags.crop_seconds)
    return FromWaveform(experiment, backbone, num_frames=num_frames, num_crops=NUM_CROPS)


def classifying(experiment, result):
    """The classifier of a result, with the crops it was tested by: (B, S) → (B, D), (B, C). Raises UserError."""
    check_logmel(experiment)
    results.check_crops(result)
    classifier = load_classifier(result, experiment, "cpu")
    num_frames = experiment.settings.frames_in(result.crop_seconds)
    answer = KINDS[result.task].answer
    return FromWaveform(experiment, classifier.backbone, classifier.head, num_frames, result.num_crops, answer)


def check_logmel(experiment):
    """Raises :class:`utils.UserError` for an experiment on what is not made of waveforms here, or is one itself."""
    if experiment.settings.features != "logmel":
        raise utils.UserError(
            f"experiment {experiment.folder} is on '{experiment.settings.features}' arrays: only what was trained on "
            "log-mels of this suite can hear waveforms by itself"
        )
