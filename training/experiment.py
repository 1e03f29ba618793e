"""An experiment folder, ``exp/<id>/``: its configuration, written once and read by every script."""

import contextlib
import dataclasses
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import models
import utils
from data.crops import Normalisation
from data.folder import FolderMissing, check_settings, open_folder
from data.settings import Spectrogram, settings_of

RESULTS = ("checkpoint.pth", "pre.pth", "*/result.json")  # an experiment without any of them has nothing to lose


@dataclass(frozen=True)
class Experiment:
    """What configuration.json holds.

    flags: the resolved flags of the run, ``method`` None where no pre-training came before; settings: of the arrays
    it was trained on; normalisation: None for embeddings; genres: of its training split; tracks: :func:`digest_of`
    its folder, None in older ones.
    """

    folder: Path | None
    flags: utils.Flags
    settings: object
    normalisation: Normalisation | None
    genres: list
    versions: dict
    tracks: str | None = None

    @classmethod
    def new(cls, flags, folder, normalisation):
        """An experiment on a :class:`data.folder.Folder` that has no folder of its own yet."""
        return cls(None, flags, folder.settings, normalisation, folder.genres, utils.versions(), digest_of(folder))

    @classmethod
    def open(cls, exp_path, exp_dir="exp"):
        """The experiment with this id (under ``exp_dir``) or at this path. Raises :class:`utils.UserError`."""
        return cls.read(utils.find_experiment(exp_path, exp_dir))

    @classmethod
    def read(cls, folder):
        """The experiment in ``folder``. Raises :class:`utils.UserError`."""
        file, content = Path(folder) / "configuration.json", utils.read_configuration(folder)
        try:
            flags = utils.Flags(**{"method": None, "backbone": None, **content["flags"]})
            settings = settings_of(content["spectrogram"], where=f"{file}: spectrogram")
            normalisation = None
            if settings.kind != "embedding":
                normalisation = Normalisation.of(content["normalisation"])
                check_normalisation(normalisation, settings.num_rows)
            check_flags(flags, file)
            more = {name: content[name] for name in ("versions", "tracks") if name in content}
            return cls(Path(folder), flags, settings, normalisation, content["genres"], **{"versions": {}, **more})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise utils.UserError(f"{file} is not the configuration of an experiment") from None

    def made(self, exp_dir):
        """The same experiment, with a folder under ``exp_dir`` and configuration.json in it, or without either."""
        if self.folder:
            return self
        folder = utils.new_experiment(exp_dir)
        try:
            utils.write_json(folder / "configuration.json", {
                "flags": vars(self.flags),
                "spectrogram": self.settings.to_json(),
                "normalisation": self.normalisation and dataclasses.asdict(self.normalisation),
                "genres": self.genres,
                "tracks": self.tracks,
                "versions": self.versions,
            })  # fmt: skip
        except BaseException:  # such as a full disk
            utils.remove_without(folder)
            raise
        return dataclasses.replace(self, folder=folder)

    def spectrograms(self, data_dir=None, dataset=None):
        """The :class:`data.folder.Folder` it was trained on, or ``dataset``, made with the same settings.

        By default where the experiment found it; where there is none, as on another machine, in the default
        ``--data_dir``, and a note says so. Raises :class:`utils.UserError`.
        """
        dataset = dataset or self.flags.dataset
        before = getattr(self.flags, "data_dir", None) or utils.DATA_DIR
        moved = not data_dir and before != utils.DATA_DIR and not holds(before, dataset)
        try:
            folder = open_folder(data_dir or (utils.DATA_DIR if moved else before), dataset)
        except FolderMissing as error:
            raise utils.UserError(f"{error}{made_by(self.settings)}") from None
        check_settings(folder, self.settings)
        if moved:
            print(f"note: {dataset} is not where the experiment found it: {folder.path} is read")
        return folder

    def method(self, device="cpu"):
        """The pre-trained method, with its weights. Raises :class:`utils.UserError` where there is none."""
        if not self.flags.method:
            raise utils.UserError(f"experiment {self.folder} has no pre-trained network: pre-train one")
        return models.load(self.folder, vars(self.flags), self.settings.num_rows, device)

    @property
    def epochs(self):
        """(epochs of the pre-training that are done, epochs it was to have): (0, 0) where there was none to be."""
        wanted = getattr(self.flags, "num_epochs", 0) if self.flags.method else 0
        log = self.folder / "train_log.csv"
        return len(log.read_text(errors="replace").splitlines()) - 1 if log.is_file() else 0, wanted


FLAGS = {  # what every script reads of them → what they can be
    "method": lambda value: value is None or value in models.METHODS,
    "backbone": lambda value: value is None or isinstance(value, str),
    "dataset": lambda value: isinstance(value, str),
    "data_dir": lambda value: value is None or isinstance(value, str),
    "pool": lambda value: value in models.POOLS,
    "num_epochs": lambda value: isinstance(value, int),
    "crop_seconds": lambda value: isinstance(value, (int, float)) and 0 < value <= 86_400,
}


def holds(data_dir, dataset):
    """Whether the dataset is there, for all that this user can see."""
    with contextlib.suppress(OSError, ValueError):  # a name too long or with a NUL in it, somebody else's home
        return (Path(data_dir) / f"{dataset}_npy" / "tracks.csv").is_file()
    return False


def made_by(settings):
    """The flags of preprocessing.py that make such spectrograms, as a clause; "" where its defaults do."""
    names = {"sample_rate": "--sr", "n_fft": "--n_fft", "hop_length": "--hop_length", "n_mels": "--n_mels"}
    if settings.kind != "spectrogram" or settings.features != "logmel":
        return ""
    flags = [
        f" {flag} {getattr(settings, name)}" for name, flag in names.items()
        if getattr(settings, name) != getattr(Spectrogram(), name)
    ]  # fmt: skip
    return f"; the experiment's are made with{''.join(flags)}" if flags else ""


def check_flags(flags, file):
    """Raises :class:`utils.UserError` for flags of a configuration that nothing can be made of."""
    for name, right in FLAGS.items():
        if hasattr(flags, name) and not right(getattr(flags, name)):
            raise utils.UserError(f"{file}: {name} is {getattr(flags, name)!r}")


def check_normalisation(normalisation, num_rows):
    """Raises ValueError for one that makes no numbers of arrays of so many rows."""
    values = np.array([normalisation.mean, normalisation.std])
    if values.shape not in ((2,), (2, num_rows)) or not np.isfinite(values).all() or values[1].min() <= 0:
        raise ValueError(normalisation)


def digest_of(folder):
    """Of the training tracks of a :class:`data.folder.Folder`: what each epoch draws from, in this order."""
    rows = folder.split("training")
    lines = [f"{row.track_id},{row.frames}\n" for row in rows.itertuples()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_same_tracks(experiment, folder):
    """A run goes on with the settings and the training tracks it began with. Raises :class:`utils.UserError`."""
    check_settings(folder, experiment.settings)
    if experiment.tracks and experiment.tracks != digest_of(folder):
        raise utils.UserError(f"{folder.path} has other training tracks than the experiment has: start it anew")


def check_same_arrays(experiment, folder, normalisation):
    """The same of the arrays, by their ``normalisation``, to a hundredth of a deviation: another dtype may hold them.

    Older experiments, which have no digest, may have measured it in another way. Raises :class:`utils.UserError`.
    """
    least, kept = 0.01 * np.mean(normalisation.std), experiment.normalisation
    same = [np.allclose(getattr(normalisation, n), getattr(kept, n), rtol=0, atol=least) for n in ("mean", "std")]
    if experiment.tracks and not all(same):
        raise utils.UserError(f"the arrays in {folder.path} are not those of the experiment: start it anew")


@contextlib.contextmanager
def running(folder):
    """No other run writes the folder meanwhile; one that ends before it has a checkpoint leaves no folder behind."""
    with utils.locked(folder):
        utils.sweep(folder)
        try:
            yield
        except KeyboardInterrupt as stop:
            there = (folder / "checkpoint.pth").exists()
            stop.add_note(f"train_simsiam.py --resume {folder} goes on" if there else "nothing was saved yet")
            raise
        finally:
            utils.remove_without(folder, *RESULTS)


def tidy(exp_dir):
    """Name experiments that stopped before their end; remove those that were killed with nothing to go on from."""
    remove_empty(exp_dir)
    stopped = []
    for folder in sorted(file.parent for file in Path(exp_dir).glob("*/configuration.json")):
        if utils.remove_killed(folder, *RESULTS):
            print(f"note: {folder} was killed before its first checkpoint: removed")
            continue
        with contextlib.suppress(utils.UserError):  # that one is named when it is asked for
            done, wanted = Experiment.read(folder).epochs
            if done < wanted and not utils.is_locked(folder):
                stopped.append(f"{folder.name} (epoch {done} of {wanted})")
    if stopped:
        more = f" and {len(stopped) - 5} more" if len(stopped) > 5 else ""
        print(f"note: {', '.join(stopped[:5])}{more} stopped before the end: --resume ID goes on, or remove them")


def remove_empty(exp_dir):
    """Remove the empty folders of experiments that never began; a young one may be another run's, just made."""
    for folder in Path(exp_dir).glob("[0-9]" * 6):
        with contextlib.suppress(OSError):  # not empty, or gone
            if time.time() - folder.stat().st_mtime > utils.HOUR:
                folder.rmdir()
