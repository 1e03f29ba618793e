"""Views of spectrograms: three families of augmentations, each sample with its own parameters.

    augmentation = augment.build("spec", settings)
    num_input = round(num_frames * augmentation.context)
    view = augmentation(x, num_frames)       # (B, 1, F, num_input) dB → (B, 1, F, num_frames) dB

Chance comes from torch's global generator alone: ``torch.manual_seed`` repeats the views.
"""

import math
from dataclasses import replace

from augment import audio, image, spec
from augment.common import Augmentation, Setup, centre
from utils import UserError, lazily

torch = lazily("torch")

FAMILIES = {"spec": spec.FAMILY, "image": image.FAMILY, "audio": audio.FAMILY}
LOOKUP = ("image", "audio", "spec")  # where a bare name that several families have is looked up first


class Pipeline:
    """Augmentations one after the other. ``context``: frames that it reads per frame that it makes."""

    def __init__(self, augmentations: list[Augmentation], setup: Setup, aug_p: float | None = None):
        self.augmentations = augmentations
        self.setup = setup
        self.aug_p = aug_p
        self.context = math.prod((augmentation.context for augmentation in augmentations), start=1.0)

    def __call__(self, x, num_frames):
        """(B, 1, F, round(num_frames · context)) dB → (B, 1, F, num_frames) dB, same dtype and device.

        What is not augmented in time is the central ``num_frames``. Raises ValueError on too few frames.
        """
        if x.shape[3] < num_frames:
            raise ValueError(f"{num_frames} frames were asked of {x.shape[3]}")
        with torch.no_grad():
            return centre(self._augmented(x.float(), num_frames), num_frames).to(x.dtype)

    def _augmented(self, view, num_frames):
        context = self.context
        for augmentation in self.augmentations:
            context /= augmentation.context
            probability = augmentation.probability if self.aug_p is None else self.aug_p
            on = torch.rand(len(view), device=view.device) < probability
            length = min(round(num_frames * context), view.shape[3])
            view = augmentation.apply(view, on, replace(self.setup, num_frames=length))
        return view


def build(names, settings, lam=None, aug_p=None):
    """The pipeline that ``--aug names`` asks for.

    Args:
        names: a family ("spec", "image", "audio"), "none", or a comma list of single augmentations and
            families. A bare name that several families have is image's; "audio:mixup" says which.
        settings: those of the spectrogram folder: kind, f_min, f_max, mel_scale, db_min.
        lam: share of the track itself in every mixing, 1 = unmixed; None: 0.7 in image and audio, drawn
            from 0.8 … 1 in spec.
        aug_p: probability of applying each augmentation to a sample; None: each one's own.
    Raises:
        UserError: on a name that does not exist, lam or aug_p outside 0 … 1, or input that is no spectrogram.
    """
    for flag, value in (("--lam", lam), ("--aug_p", aug_p)):
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"{flag} {value:g} is not between 0 and 1")
    augmentations = [found for name in names.split(",") for found in _find(name.strip())]
    if augmentations and settings.kind != "spectrogram":
        raise UserError(f"--aug {names} is made for spectrograms, this dataset holds {settings.kind}s: --aug none")
    return Pipeline(augmentations, Setup(settings, lam), aug_p)


def choose(names, settings):
    """``--aug``, by default spec for spectrograms and none for anything else. Raises :class:`UserError`."""
    names = names or ("spec" if settings.kind == "spectrogram" else "none")
    build(names, settings)
    return names


def describe():
    """One line for each augmentation of each family, for ``--help``."""
    lines = []
    for family, table in FAMILIES.items():
        lines.append(f"{family}:")
        for name, augmentation in table.items():
            alone = "" if augmentation.in_family else "; only when named"
            lines.append(f"  {name:16} {augmentation.summary} (p {augmentation.probability:g}{alone})")
    return "\n".join(lines)


def _find(name):
    if name == "none":
        return []
    if name in FAMILIES:
        return [augmentation for augmentation in FAMILIES[name].values() if augmentation.in_family]
    family, _, single = name.rpartition(":")
    for candidate in [family] if family else LOOKUP:
        if single in FAMILIES.get(candidate, ()):
            return [FAMILIES[candidate][single]]
    known = "; ".join(f"{family}: {', '.join(table)}" for family, table in FAMILIES.items())
    raise UserError(f"there is no augmentation '{name}'; there are none, {', '.join(FAMILIES)}, and in {known}")
