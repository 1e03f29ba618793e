"""What once went wrong with experiments and results: runs that are cut off, files that are broken, odd names."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import TINY, call

import train_simsiam
import utils
from data import crops
from models.simsiam import SimSiam

pytestmark = pytest.mark.usefixtures("without_pictures")
SHORT = f"{TINY} --knn_every 0"
WEIGHTS = {"weights_only": True, "map_location": "cpu"}


@pytest.fixture
def train(pretrained_once, tmp_path, run_script):
    """Run on the tiny folder; returns the last line."""
    where = f"--data_dir {pretrained_once.data_dir} --exp_dir {tmp_path}/exp --device cpu"
    return lambda more: run_script(train_simsiam, f"{where} {more}")


@pytest.fixture
def stop_at(monkeypatch, tmp_path):
    """(step, start): run ``start``, with Ctrl-C in that step, counted over all epochs; → (what is left, error)."""

    def stop(step, start):
        steps, real, there = iter(range(1, step)), SimSiam.forward, set(tmp_path.glob("exp/*"))

        def forward(self, x1, x2):
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return real(self, x1, x2)

        with monkeypatch.context() as patch:
            patch.setattr(SimSiam, "forward", forward)
            with pytest.raises(KeyboardInterrupt) as error:
                start()
        return next(iter(set(tmp_path.glob("exp/*")) - there), None), error.value

    return stop


def weights_of(experiment):
    return torch.load(experiment / "pre.pth", **WEIGHTS)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in other)


def change_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


# ------------------------------------------------------------------ runs that are cut off


@pytest.mark.parametrize(("step", "in_memory"), [(2, True), (5, False)])
def test_going_on_within_an_epoch_changes_nothing(train, stop_at, tmp_path, monkeypatch, step, in_memory):
    if not in_memory:
        monkeypatch.setattr(crops, "_memory", lambda: 0)
    command = f"{SHORT} --num_epochs 2"
    whole = tmp_path / "exp" / os.path.basename(train(command))
    stopped, _ = stop_at(step, lambda: train(f"{command} --checkpoint_minutes 1e-9"))
    kept = torch.load(stopped / "checkpoint.pth", **WEIGHTS)
    assert (len(kept["log"]), kept["so_far"]["steps"]) == divmod(step - 1, 3)
    train(f"--resume {stopped.name}")
    assert same(weights_of(stopped), weights_of(whole))
    logs = (torch.load(path / "checkpoint.pth", **WEIGHTS)["log"] for path in (stopped, whole))
    for ours, theirs in zip(*logs, strict=True):
        assert all(ours[name] == theirs[name] for name in ("epoch", "loss", "std", "effective_rank", "lr"))


def test_a_checkpoint_without_its_weights_makes_them_again(train, tmp_path, monkeypatch):
    real = utils.save_weights

    def killed(path, state):
        if path.name == "pre.pth" and (path.parent / "train_log.csv").exists():
            raise KeyboardInterrupt
        real(path, state)

    with monkeypatch.context() as patch:
        patch.setattr(utils, "save_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            train(f"{SHORT} --num_epochs 2")
    (experiment,) = (tmp_path / "exp").iterdir()
    train(f"--resume {experiment.name}")
    assert same(weights_of(experiment), torch.load(experiment / "checkpoint.pth", **WEIGHTS)["method"])
    assert len((experiment / "train_log.csv").read_text().splitlines()) == 3
    before = (experiment / "pre.pth").read_bytes()
    train(f"--resume {experiment.name}")
    assert (experiment / "pre.pth").read_bytes() == before  # what knows them by their check sum knows them still


def test_a_full_disk_is_said_in_one_sentence(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(utils.UserError, match=r"a\.pth could not be written: is the disk full\?$"):
            utils.save_weights(tmp_path / "a.pth", {"a": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_says_how_to_go_on(train, stop_at, capsys):
    experiment, error = stop_at(4, lambda: train(f"{SHORT} --num_epochs 2"))
    capsys.readouterr()

    def stopped(args):
        raise error

    with pytest.raises(SystemExit) as end:
        utils.run(stopped, train_simsiam.get_args_parser(), [])
    assert end.value.code == 130
    assert f"stopped: train_simsiam.py --resume {experiment} goes on\n" in capsys.readouterr().err


def test_a_run_that_is_stopped_before_its_first_checkpoint_leaves_nothing(train, stop_at):
    experiment, error = stop_at(2, lambda: train(f"{SHORT} --num_epochs 2"))
    assert experiment is None
    assert error.__notes__ == ["nothing was saved yet"]


def leave_lock(folder):
    """As a process leaves it that was killed: of a number that nobody has any more."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with utils.locked(folder):
        mine = folder.with_name(f".{folder.name}.lock").read_text()
    folder.with_name(f".{folder.name}.lock").write_text(mine.replace(f" {os.getpid()} ", f" {dead.pid} "))


def test_the_next_run_removes_what_is_dead_and_names_what_stopped(pretrained, run_script, capsys):
    lines = f"{pretrained.where} {SHORT} --num_epochs 1"
    for name, epochs, checkpoint, lock in (
        ("111111", 0, False, True), ("222222", 0, False, False), ("333333", 1, True, True), ("444444", 1, True, None),
    ):  # fmt: skip
        folder = pretrained.exp_dir / name
        for file in ("configuration.json", *(["checkpoint.pth"] if checkpoint else [])):
            utils.write_text(folder / file, (pretrained.experiment / "configuration.json").read_text())
        (folder / "train_log.csv").write_text("epoch\n" + "1\n" * epochs)
        if lock:
            leave_lock(folder)
    with utils.locked(pretrained.exp_dir / "444444"):
        call(train_simsiam, lines)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    assert notes == [
        f"note: {pretrained.exp_dir / '111111'} was killed before its first checkpoint: removed",
        "note: 222222 (epoch 0 of 2), 333333 (epoch 1 of 2) stopped before the end: "
        "--resume ID goes on, or remove them",
    ]
    assert {"222222", "333333", "444444"} < {path.name for path in pretrained.exp_dir.iterdir()}
    assert not (pretrained.exp_dir / "111111").exists()


# ------------------------------------------------------------------ going on


@pytest.fixture
def resume(pretrained, run_script, capsys):
    """Take the second epoch away and go on; returns the notes."""
    file = pretrained.experiment / "checkpoint.pth"
    utils.save_weights(file, {**torch.load(file, **WEIGHTS), "log": torch.load(file, **WEIGHTS)["log"][:1]})

    def run(more=""):
        capsys.readouterr()
        call(train_simsiam, f"{pretrained.where} --resume {pretrained.experiment.name} {more}")
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]

    run.pretrained, run.configuration = pretrained, pretrained.experiment / "configuration.json"
    run.folder = pretrained.data_dir / "tiny_npy"
    return run


def move_a_track(folder):
    lines = (folder / "tracks.csv").read_text().splitlines()
    lines[1], lines[-1] = lines[1].replace("training", "test"), lines[-1].replace("test", "training")
    (folder / "tracks.csv").write_text("\n".join(lines) + "\n")


def quieter(folder):
    for file in folder.glob("*/*.npy"):
        np.save(file, np.load(file) // 2)


@pytest.mark.parametrize(("change", "message"), [
    (move_a_track, "has other training tracks than the experiment has"),
    (quieter, "are not those of the experiment"),
])  # fmt: skip
def test_a_run_goes_on_with_the_tracks_it_began_with_only(resume, change, message):
    change(resume.folder)
    with pytest.raises(utils.UserError, match=message):
        resume()
    change_json(resume.configuration, lambda content: content.pop("tracks"))  # as older ones are
    assert resume() == []


def test_flags_that_do_not_count_are_named(resume):
    assert resume("--lr 5 --num_epochs 2 --seed 7") == ["note: --lr, --seed ignored: the experiment's own flags hold"]


def test_another_precision_is_named(resume):
    change_json(resume.configuration, lambda content: content["flags"].update(bf16=True))
    (note,) = resume()
    assert note == "note: it began in bfloat16, which conv8 cannot be trained in here: it goes on in float32"


def test_two_runs_do_not_go_on_with_the_same_experiment(resume):
    before = (resume.pretrained.experiment / "checkpoint.pth").read_bytes()
    with utils.locked(resume.pretrained.experiment), pytest.raises(utils.UserError, match="wait until it has ended"):
        resume()
    assert (resume.pretrained.experiment / "checkpoint.pth").read_bytes() == before
