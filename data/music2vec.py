"""music2vec embeddings (Li et al. 2022), or those of any other Data2VecAudioModel (Baevski et al. 2022).

MAP-Music2Vec: A Simple and Effective Baseline for Self-Supervised Music Audio Representation Learning. Its
music2vec-v1 was trained on 30 s clips at 16 kHz: 7 convolutions down to 50 frames in a second, 12 layers of 768.
Hugging Face's transformers, an optional requirement, is imported here and nowhere else.

Axes: S sample, W window, T frame, L hidden state (0 = what enters the first layer), D feature dimension.
"""

import functools
import threading

import torch

import utils
from data.collection import Extractor
from data.logmel import AudioError
from data.settings import Embedding

WINDOWS_AT_ONCE = 8  # of 30 s: about 4 GB while they run


class Music2Vec(Extractor):
    """All hidden states of the model, averaged over the whole track: (L, D) float32.

    The waveform is cut into windows of ``window_seconds``; windows of one length run together and the shorter
    rest runs on its own, so nothing is padded and no window sees another. Each frame counts the same.
    """

    stays_here = True

    def __init__(self, settings, **limits):
        super().__init__(settings, **limits)
        self.lock = threading.Lock()  # threads read audio ahead of the one that holds the network

    def __call__(self, path):
        waveform = self.read(path, self.settings.more["sample_rate"])
        with self.lock:
            return self.embed(waveform).cpu().numpy()

    @functools.cached_property
    def network(self):
        network = load_network(self.settings.more["model"])
        return network.to(utils.pick_device("auto"))

    @functools.cached_property
    def prepare(self):
        return _preparation(self.settings.more["model"])

    @torch.inference_mode()
    def embed(self, waveform):
        """waveform (S,) → (L, D). Raises :class:`data.logmel.AudioError` when not one frame fits into it."""
        length = round(self.settings.more["window_seconds"] * self.settings.more["sample_rate"])
        total, num_frames = 0, 0
        for windows in cut(waveform, length, least=receptive_field(self.network.config)):
            x = self.prepare(list(windows), sampling_rate=self.settings.more["sample_rate"], return_tensors="pt")
            states = self.network(x.input_values.to(self.network.device), output_hidden_states=True).hidden_states
            total = total + torch.stack([state.sum((0, 1)) for state in states])
            num_frames += states[0].shape[:2].numel()
        if not num_frames:
            raise AudioError("too short for the model: give a larger --min_seconds")
        return total / num_frames


def settings_of(model, window_seconds):
    """The settings of what ``model``, a folder or a name, makes of windows of this length.

    Raises :class:`utils.UserError` when there is no such model, or it is of another class.
    """
    if window_seconds < 0.1:
        raise utils.UserError(f"--window_seconds {window_seconds:g} is too short: give at least 0.1")
    config = _load("Data2VecAudioConfig", model)
    rate = _preparation(model).sampling_rate
    more = {"model": model, "sample_rate": rate, "window_seconds": window_seconds}
    return Embedding("music2vec", config.num_hidden_layers + 1, config.hidden_size, more=more)


def cut(waveform, length, least):
    """(S,) → arrays (W, length) of up to ``WINDOWS_AT_ONCE`` windows, then the rest (1, ·) if it has ``least``."""
    whole = len(waveform) // length
    windows = waveform[: whole * length].reshape(whole, length)
    groups = [windows[i : i + WINDOWS_AT_ONCE] for i in range(0, whole, WINDOWS_AT_ONCE)]
    rest = waveform[whole * length :]
    return [*groups, rest[None]] if len(rest) >= least else groups


def receptive_field(config):
    """Samples that one frame needs: 400 in music2vec-v1."""
    field = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        field = (field - 1) * stride + kernel
    return field


def load_network(model):
    """The Data2VecAudioModel at a folder, or of this name on the Hugging Face hub, in eval mode.

    Raises :class:`utils.UserError` when it is not there, or weights are missing in it.
    """
    network, found = _load("Data2VecAudioModel", model, output_loading_info=True)
    missing = set(found["missing_keys"]) - {"masked_spec_embed"}  # that one serves only its pre-training
    if missing:
        raise utils.UserError(f"--model {model} lacks {len(missing)} weights, such as {min(missing)}: get it again")
    return network.eval()


def _preparation(model):
    """What turns windows into the model's input: zero mean and unit variance each, where the model says nothing."""
    try:
        return _transformers().Wav2Vec2FeatureExtractor.from_pretrained(model)
    except OSError:  # music2vec-v1 comes without; its documentation takes that of data2vec, which is the default
        return _transformers().Wav2Vec2FeatureExtractor()


def _load(name, model, **options):
    """``transformers.<name>.from_pretrained(model)``. Raises :class:`utils.UserError`."""
    try:
        config = _transformers().AutoConfig.from_pretrained(model)
        if config.model_type != "data2vec-audio":
            raise utils.UserError(f"--model {model} is a {config.model_type} model; music2vec needs data2vec-audio")
        return getattr(_transformers(), name).from_pretrained(model, **options)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise utils.UserError(
            f"--model {model} is not a folder with a model in it, and cannot be fetched by that name ({reason}); "
            "without a network, download it elsewhere and give its folder"
        ) from None


@functools.cache
def _transformers():
    try:
        import transformers
        from huggingface_hub.utils import logging
    except ImportError:
        raise utils.UserError("music2vec needs one more package: pip install -r requirements-optional.txt") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.set_verbosity_error()
    return transformers
