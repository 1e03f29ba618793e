"""An experiment folder, ``exp/<id>/``: its configuration, written once and read by every script."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import models
import utils
from data.crops import Normalisation
from data.settings import settings_of


@dataclass(frozen=True)
class Experiment:
    """What configuration.json holds.

    flags: the resolved flags of the run, ``method`` None where no pre-training came before; settings: of the arrays
    it was trained on; normalisation: None for embeddings; genres: of its training split.
    """

    folder: Path | None
    flags: utils.Flags
    settings: object
    normalisation: Normalisation | None
    genres: list
    versions: dict

    @classmethod
    def new(cls, flags, folder, normalisation):
        """An experiment on a :class:`data.folder.Folder` that has no folder of its own yet."""
        return cls(None, flags, folder.settings, normalisation, folder.genres, utils.versions())

    @classmethod
    def open(cls, exp_path, exp_dir="exp"):
        """The experiment with this id (under ``exp_dir``) or at this path. Raises :class:`utils.UserError`."""
        return cls.read(utils.find_experiment(exp_path, exp_dir))

    @classmethod
    def read(cls, folder):
        """The experiment in ``folder``. Raises :class:`utils.UserError`."""
        file = Path(folder) / "configuration.json"
        content = utils.read_json(file)
        try:
            flags = utils.Flags(**{"method": None, "backbone": None, **content["flags"]})
            settings = settings_of(content["spectrogram"], where=f"{file}: spectrogram")
            normalisation = None
            if settings.kind != "embedding":
                normalisation = Normalisation.of(content["normalisation"])
            return cls(Path(folder), flags, settings, normalisation, content["genres"], content.get("versions", {}))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise utils.UserError(f"{file} is not the configuration of an experiment") from None

    def made(self, exp_dir):
        """The same experiment, with a folder under ``exp_dir`` and configuration.json in it."""
        if self.folder:
            return self
        folder = utils.new_experiment(exp_dir)
        utils.write_json(folder / "configuration.json", {
            "flags": vars(self.flags),
            "spectrogram": self.settings.to_json(),
            "normalisation": self.normalisation and dataclasses.asdict(self.normalisation),
            "genres": self.genres,
            "versions": self.versions,
        })  # fmt: skip
        return dataclasses.replace(self, folder=folder)

    def method(self, device="cpu"):
        """The pre-trained method, with its weights. Raises :class:`utils.UserError` where there is none."""
        if not self.flags.method:
            raise utils.UserError(f"experiment {self.folder} has no pre-trained network: pre-train one")
        return models.load(self.folder, vars(self.flags), self.settings.num_rows, device)
