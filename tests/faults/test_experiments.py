"""What once went wrong with experiments and results: runs that are cut off, files that are broken, odd names."""

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import TINY, call
from fake_experiment import ENCODER, write_experiment, write_transfer

import ablation
import compare
import compare_methods
import predict
import train_simsiam
import transfer
import utils
from benchmarks import recipe
from benchmarks.stress import mutated
from evaluation import plots, report, results
from models.simsiam import SimSiam

real_write, real_write_report = plots.write, report.write_report
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

        def forward(self, *views):
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return real(self, *views)

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


@pytest.mark.parametrize(("step", "cache"), [(2, "ram"), (5, "disk")])
def test_going_on_within_an_epoch_changes_nothing(train, stop_at, tmp_path, step, cache):
    command = f"{SHORT} --num_epochs 2"
    whole = tmp_path / "exp" / os.path.basename(train(command))
    stopped, _ = stop_at(step, lambda: train(f"{command} --checkpoint_minutes 1e-9 --cache {cache}"))
    kept = torch.load(stopped / "checkpoint.pth", **WEIGHTS)
    assert (len(kept["log"]), kept["so_far"]["steps"]) == divmod(step - 1, 3)
    train(f"--resume {stopped.name} --cache {cache}")
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
    folder.with_name(f".{folder.name}.lock").write_text(f"process {dead.pid} on {socket.gethostname()}")
    return dead.pid


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
    assert note == "note: conv8 cannot be trained in bfloat16 on this cpu: float32 it is"


def test_a_run_that_goes_on_removes_what_the_one_before_was_writing(resume):
    folder = resume.pretrained.experiment
    left = folder / f".{socket.gethostname()}.{leave_lock(folder)}.0123abcd.tmp.pth"
    left.touch()
    resume()
    assert not left.exists()


def test_two_runs_do_not_go_on_with_the_same_experiment(resume):
    before = (resume.pretrained.experiment / "checkpoint.pth").read_bytes()
    with utils.locked(resume.pretrained.experiment), pytest.raises(utils.UserError, match="wait until it has ended"):
        resume()
    assert (resume.pretrained.experiment / "checkpoint.pth").read_bytes() == before


# ------------------------------------------------------------------ results


@pytest.fixture
def classified(pretrained, run_script):
    """A classifier of the experiment; ``ask()`` → what predict.py says of one array, with the lines before it."""
    run_script(transfer, pretrained.transfer("--protocol linear"))
    array = min((pretrained.data_dir / "tiny_npy" / "Rock").glob("*.npy"))
    command = f"--exp_dir {pretrained.exp_dir} --exp_path {pretrained.experiment.name} --device cpu {array}"
    return SimpleNamespace(folder=pretrained.experiment / "tiny_linear", ask=lambda: run_script(predict, command))


def flip(file, value):
    """The lowest bit of the exponents of some weights, in a file whose own check sums are right."""
    state = torch.load(file, **WEIGHTS)
    changed = state[value].clone()
    changed.view(torch.int32).bitwise_xor_(1 << 23)
    utils.save_weights(file, {**state, value: changed})


@pytest.mark.parametrize(("file", "value"), [
    ("transfer.pth", "head.1.weight"), ("../pre.pth", "backbone.0.0.weight"),
])  # fmt: skip
def test_weights_that_are_not_those_of_the_result_are_refused(classified, file, value):
    said = classified.ask()
    flip(classified.folder / file, value)
    with pytest.raises(utils.UserError, match="not what the result was made with"):
        classified.ask()
    change_json(classified.folder / "result.json", lambda result: result.pop("weights"))  # as older ones are
    change_json(classified.folder / "result.json", lambda result: result["network"].pop("pretrained"))
    assert classified.ask() != said


def test_a_damaged_weight_file_is_refused_also_where_no_digest_is_known(tmp_path):
    file, values = tmp_path / "a.pth", torch.arange(100.0)
    utils.save_weights(file, {"a": values})
    content = bytearray(file.read_bytes())
    content[content.find(values[50:60].numpy().tobytes())] ^= 1
    file.write_bytes(content)
    with pytest.raises(utils.UserError, match="is damaged"):
        utils.load_weights(file)


def test_answers_that_are_no_numbers_are_not_given(classified):
    change_json(classified.folder / "result.json", lambda result: result.pop("weights"))
    weights = torch.load(classified.folder / "transfer.pth", **WEIGHTS)
    weights["head.1.bias"][0] = torch.nan
    utils.save_weights(classified.folder / "transfer.pth", weights)
    with pytest.raises(utils.UserError, match="answers with what is no number"):
        classified.ask()
    utils.save_weights(classified.folder / "transfer.pth", {})
    with pytest.raises(utils.UserError, match="does not fit"):
        classified.ask()


def test_a_transfer_that_is_stopped_leaves_no_folder(pretrained, run_script, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(utils, "save_weights", mock.Mock(side_effect=RuntimeError))
        with pytest.raises(RuntimeError):
            run_script(transfer, pretrained.transfer("--protocol linear"))
    assert not (pretrained.experiment / "tiny_linear").exists()
    for name in ("tiny_linear", "tiny_linear_2"):
        (pretrained.experiment / name).mkdir()
    leave_lock(pretrained.experiment / "tiny_linear")
    call(transfer, pretrained.transfer("--protocol linear"))
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    left = pretrained.experiment / "tiny_linear_2"
    assert notes == [f"note: {left} has no result: a run has stopped there; remove it"]
    assert (pretrained.experiment / "tiny_linear" / "result.json").exists()


def test_the_next_transfer_removes_what_a_killed_one_was_drawing(pretrained):
    done = pretrained.experiment / "tiny_linear"
    utils.write_json(done / "result.json", {})
    left = done / f".{socket.gethostname()}.{leave_lock(pretrained.experiment)}.0123abcd.tmp.png"
    left.touch()
    assert results.new_transfer(pretrained.experiment, "tiny_linear").name == "tiny_linear_2"
    assert not left.exists()


# ------------------------------------------------------------------ odd names

ODD = ["", "p: truth", "prediction", "track_id", "truth"]


def test_genres_may_have_the_names_of_columns(tmp_path):
    experiment, chance = write_experiment(tmp_path, log=False), np.random.default_rng(0)
    probabilities = chance.dirichlet(np.ones(len(ODD)), 40)
    truth, names = chance.integers(0, len(ODD), 40), [str(number) for number in range(40)]
    made = results.Result.of(probabilities, probabilities[:, None], truth, names, ODD, network=ENCODER)
    folder = made.write(experiment / "odd").folder
    read = results.read(folder)
    np.testing.assert_allclose(read.probabilities, probabilities, atol=1e-6)
    np.testing.assert_array_equal(read.truth, truth)
    page = real_write_report(experiment).read_text()
    assert "Tracks it is most sure about, and wrong" in page


def test_older_predictions_have_bare_names(tmp_path):
    folder = write_transfer(write_experiment(tmp_path, log=False))
    probabilities, file = results.read(folder).probabilities, folder / "predictions.csv"
    file.write_text(file.read_text().replace("p: ", ""))
    np.testing.assert_array_equal(results.read(folder).probabilities, probabilities)


@pytest.mark.parametrize("genres", [["$\\foo$", "$x^{2"], ["", " "]])
def test_any_genre_can_be_drawn(tmp_path, genres, capsys):
    real_write(tmp_path / "confusion.png", plots.confusion, np.eye(2, dtype=int), genres, title=genres[0])
    assert (tmp_path / "confusion.png").stat().st_size > 5000
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("script", "flags"), [
    (train_simsiam, "--dataset NAME"), (transfer, "--dataset NAME --protocol linear --baseline stats"),
    (ablation, "--dataset NAME"), (compare_methods, "--datasets fma_small,NAME"), (recipe, "--dataset NAME"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["a/b", "../x", "/tmp/x"])
def test_a_dataset_that_is_a_path_is_refused_before_anything_is_made(tmp_path, monkeypatch, script, flags, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(utils.UserError, match=r"is a name, not a path$"):
        call(script, f"--data_dir {tmp_path} --device cpu {flags}".replace("NAME", name))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ files that are broken


@pytest.fixture(scope="module")
def whole(pretrained_once, tmp_path_factory):
    """An experiment with a classifier, and command lines that read every file of it."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((plots, "write"), (plots, "write_all"), (report, "write_report")):
            patch.setattr(module, name, lambda *args, **options: None)
        home = pretrained_once.copied(tmp_path_factory.mktemp("whole"))
        call(transfer, home.transfer("--protocol mlp --hidden 4 --num_epochs 2 --num_seeds 2"))
    array = min((home.data_dir / "tiny_npy" / "Rock").glob("*.npy"))
    name, where = home.experiment.name, f"--exp_dir {home.exp_dir}"
    return home, {
        predict: f"{where} --exp_path {name} --device cpu {array}",
        compare: f"{where} {name} --html --out {home.exp_dir}/compare.csv",
        train_simsiam: f"{home.where} --resume {name}",
    }


@pytest.mark.parametrize(("name", "readers", "times"), [
    ("configuration.json", (predict, compare, train_simsiam), 24), ("pre.pth", (predict,), 30),
    ("checkpoint.pth", (train_simsiam,), 16), ("train_log.csv", (compare,), 24),
    ("tiny_mlp/result.json", (predict, compare), 60), ("tiny_mlp/predictions.csv", (compare,), 40),
    ("tiny_mlp/transfer.pth", (predict,), 30),
])  # fmt: skip
def test_a_broken_file_is_one_sentence(whole, name, readers, times, monkeypatch):
    home, commands = whole
    monkeypatch.setattr(report, "write_report", real_write_report)
    kept = {path: path.read_bytes() for path in home.experiment.rglob("*") if path.is_file()}
    chance, file = np.random.default_rng(len(name)), home.experiment / name
    for _ in range(times):
        file.write_bytes(mutated(kept[file], chance))
        for script in readers:
            try:
                call(script, commands[script])
            except utils.UserError as error:
                assert "\n" not in str(error)  # noqa: PT017
            broken = file.read_bytes()
            for path in kept:
                path.write_bytes(kept[path] if path != file else broken)
    file.write_bytes(kept[file])
