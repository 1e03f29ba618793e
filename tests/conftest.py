"""Small things to test on: a synthetic corpus of real mp3 files, and a spectrogram folder that trains in seconds."""

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch

import train_simsiam
from evaluation import plots, report
from training import precision, views

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))

GENRES = ("Folk", "Hip-Hop", "Rock")
FEW_STEPS = 2  # of a supervised epoch
REAL = Path(__file__).resolve().parents[2] / "shared" / "datasets"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of several workers (-n) one gets all tests of a file, in the usual order: what they share is made once."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # which would put long files of few tests at the end
    return LoadFileScheduling(config, log)


@pytest.fixture(autouse=True, scope="session")
def shorter():
    """Supervised epochs of the tiny folders are as short as they are, and no precision is timed: most tests ask
    neither how well it learns nor how fast. For the session, so that it holds for what tests share, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "LEAST_STEPS", FEW_STEPS)
        patch.setattr(precision, "INSTRUCTIONS", set())  # a CPU without bfloat16, whatever this one has
        yield


@pytest.fixture(scope="session")
def real_datasets():
    """The folder of real music to measure on, where there is one."""
    if not REAL.is_dir():
        pytest.skip("no real datasets here")
    return REAL


@pytest.fixture
def tiny_folder(tmp_path):
    """``tmp_path/data/tiny_npy``: 36 tracks of 3 genres, 32 mels, each genre with its own bright bands."""
    return write_folder(tmp_path / "data", "tiny")


def write_folder(data_dir, name, dtype="uint8", counts=(8, 2, 2), **settings):
    """A spectrogram folder (contract 1) of random but learnable spectrograms. Returns ``data_dir``."""
    chance = np.random.default_rng(0)
    folder = data_dir / f"{name}_npy"
    lines = ["track_id,path,genre_top,split,frames"]
    number = 0
    for split, count in zip(("training", "validation", "test"), counts, strict=True):
        for genre_number, genre in enumerate(GENRES):
            for _ in range(count):
                frames = int(chance.integers(60, 90))
                decibels = chance.uniform(-80, -30, (32, frames))
                decibels[10 * genre_number : 10 * genre_number + 10] += 25
                array = decibels.astype(dtype)
                if dtype == "uint8":
                    array = np.round((decibels + 80) * 255 / 80).astype(np.uint8)
                path = folder / genre / f"{number:06d}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array)
                lines.append(f"{number:06d},{genre}/{number:06d}.npy,{genre},{split},{frames}")
                number += 1
    (folder / "tracks.csv").write_text("\n".join(lines) + "\n")
    there = {
        "features": "logmel", "dtype": dtype, "db_min": -80.0, "db_max": 0.0, "reference": "clip maximum",
        "n_mels": 32, "sample_rate": 22050, "n_fft": 2048, "hop_length": 2205, "f_min": 0.0, "f_max": 11025.0,
        "mel_scale": "slaney", **settings,
    }  # fmt: skip
    (folder / "spectrogram.json").write_text(json.dumps(there))
    return data_dir


def call(script, command):
    """Run a script's main in this process with a command line."""
    script.main(script.get_args_parser().parse_args(str(command).split()))


@pytest.fixture
def run_script(capsys):
    """As :func:`call`; returns the last line on stdout."""

    def run(script, command):
        capsys.readouterr()
        call(script, command)
        return capsys.readouterr().out.strip().splitlines()[-1]

    return run


@pytest.fixture
def without_pictures(monkeypatch):
    """Drawing takes longer than training on the tiny folder; most tests are about numbers."""
    for module, names in ((plots, ("write", "write_all")), (report, ("write_report",))):
        for name in names:
            monkeypatch.setattr(module, name, lambda *args, **options: None)


class Pretrained(NamedTuple):
    """A pre-trained experiment, and the folders that scripts need to find it and its data."""

    data_dir: Path
    exp_dir: Path
    experiment: Path

    @property
    def where(self):
        return f"--data_dir {self.data_dir} --exp_dir {self.exp_dir} --device cpu"

    def transfer(self, more):
        """A command line of transfer.py."""
        return f"{self.where} --exp_path {self.experiment.name} --batch_size 8 {more}"

    def copied(self, to):
        for name in ("data", "exp"):
            shutil.copytree(getattr(self, f"{name}_dir"), to / name)
        return Pretrained(to / "data", to / "exp", to / "exp" / self.experiment.name)


TINY = "--dataset tiny --backbone conv8 --dim 32 --pred_dim 8 --batch_size 8"


@pytest.fixture(scope="session")
def pretrained_once(tmp_path_factory):
    """The tiny folder and an experiment of two epochs on it: to read, not to change."""
    home = tmp_path_factory.mktemp("pretrained")
    write_folder(home / "data", "tiny")
    where = f"--data_dir {home}/data --exp_dir {home}/exp --device cpu"
    call(train_simsiam, f"{where} {TINY} --num_epochs 2")
    (experiment,) = (home / "exp").iterdir()
    return Pretrained(home / "data", home / "exp", experiment)


@pytest.fixture
def pretrained(pretrained_once, tmp_path):
    """A copy of it that a test may change."""
    return pretrained_once.copied(tmp_path)
