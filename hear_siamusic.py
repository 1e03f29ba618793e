"""The interface of HEAR 2021, the Holistic Evaluation of Audio Representations (Turian et al. 2022).

    model = hear_siamusic.load_model()                        the model that ships with this suite
    model = hear_siamusic.load_model("exp/154874")
    embeddings = hear_siamusic.get_scene_embeddings(audio, model)
    embeddings, timestamps = hear_siamusic.get_timestamp_embeddings(audio, model)

A scene is embedded by the features of the pre-trained backbone, a moment by a column of its last map, before time is
summarised. HEAR asks for a moment every 50 ms. Where the log-mels are coarser (those of the shipped model have a
column in 234 ms), they are made at a hop that is a whole part of theirs (a fifth: 46.9 ms), and the network looks at
each set of columns that are as far apart as it knows them. ResNets and conv8 halve the time axis themselves: their
moments are 32 and 256 columns apart.
"""

# Axes: B sounds, S sample, F mel band, T frame, M moment, D feature dimension.

import math

import torch
from torch import nn

import utils
from training import waveform
from training.experiment import Experiment

SOUNDS_AT_ONCE = 16
APART = 0.05  # seconds between moments, at most, where the network allows it
PROBE = 1024  # frames, to see what becomes of them


class Model(nn.Module):
    """What HEAR asks for: sample_rate in Hz, scene_embedding_size, timestamp_embedding_size.

    stride: frames between the columns of the last map; parts: of the hop, each with a moment of its own;
    apart: seconds between moments.
    """

    def __init__(self, experiment):
        super().__init__()
        self.hear, settings = waveform.pretrained(experiment), experiment.settings
        self.sample_rate = settings.sample_rate
        self.scene_embedding_size = self.hear.network.num_features
        _, columns, self.timestamp_embedding_size = self.columns(torch.zeros(1, settings.n_mels, PROBE)).shape
        self.stride = PROBE // columns
        self.parts = math.ceil(settings.seconds_in(1) / APART) if self.stride == 1 else 1
        self.hop_length = settings.hop_length // self.parts
        self.apart = self.stride * self.hop_length / self.sample_rate

    def columns(self, x):
        """(B, F, T), normalised → (B, M, D)."""
        return self.hear.network.maps(x.unsqueeze(1))[-1].float().flatten(1, 2).transpose(1, 2)

    def scenes(self, audio):
        """(B, S) → (B, D)."""
        return self.hear(audio)[0]

    def moments(self, audio):
        """(B, S) → (B, M, D); the first moment is at 0 s, each frame's window is centred at its moment."""
        x = self.hear.spectrogram(audio, self.hop_length)
        found = [self.columns(x[..., part :: self.parts]) for part in range(min(self.parts, x.shape[-1]))]
        moments = x.new_empty(len(x), sum(one.shape[1] for one in found), self.timestamp_embedding_size)
        for part, one in enumerate(found):
            moments[:, part :: self.parts] = one
        return moments


@torch.no_grad()
def load_model(model_file_path=""):
    """The :class:`Model` of an experiment folder, on the CPU, in eval mode. Raises :class:`utils.UserError`."""
    return Model(Experiment.open(str(model_file_path or utils.SHIPPED))).eval()


def get_scene_embeddings(audio, model):
    """audio (B, S) from −1 to 1, at ``model.sample_rate`` → (B, D) float32, on the model's device.

    Raises :class:`utils.UserError` for what is no such audio.
    """
    return _in_parts(model.scenes, audio, model)


def get_timestamp_embeddings(audio, model):
    """audio as above → embeddings (B, M, D) and timestamps in ms (B, M), both float32, on the model's device."""
    embeddings = _in_parts(model.moments, audio, model)
    moments = torch.arange(embeddings.shape[1], device=embeddings.device) * (1000 * model.apart)
    return embeddings, moments.expand(len(embeddings), -1)


@torch.no_grad()
def _in_parts(embed, audio, model):
    if not isinstance(audio, torch.Tensor) or not audio.is_floating_point():
        raise utils.UserError("audio must be a tensor of floating-point numbers from -1 to 1")
    if audio.ndim != 2 or not audio.numel():
        raise utils.UserError(f"audio must be (n_sounds, n_samples), not {tuple(audio.shape)}")
    if not audio.isfinite().all():
        raise utils.UserError("audio holds values that are not finite numbers")
    device = next(model.parameters()).device
    return torch.cat([embed(part.to(device, torch.float32)) for part in audio.split(SOUNDS_AT_ONCE)])
