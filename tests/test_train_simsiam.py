"""train_simsiam.py run tiny: what it writes, what its flags change, that it resumes exactly, and what it refuses."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import TINY, call, write_folder

import models
import train_simsiam
import utils
from data import crops
from evaluation import plots
from models import methods
from models.simsiam import SimSiam
from training import precision
from training.experiment import Experiment

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def train(pretrained_once, tmp_path, run_script):
    """Run on the tiny folder; returns the experiment's folder."""

    def run(more="", dataset="tiny"):
        where = f"--data_dir {pretrained_once.data_dir} --exp_dir {tmp_path}/exp --device cpu"
        return Path(run_script(train_simsiam, f"{where} {TINY.replace('tiny', dataset)} {more}"))

    return run


def flags_of(experiment):
    return json.loads((experiment / "configuration.json").read_text())["flags"]


def log_of(experiment):
    return list(csv.DictReader((experiment / "train_log.csv").open()))


def weights_of(experiment):
    return torch.load(experiment / "pre.pth", weights_only=True)


def same_weights(one, other):
    ours, theirs = weights_of(one), weights_of(other)
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


# ------------------------------------------------------------------ what it writes


def test_contract_2(pretrained_once):
    experiment = pretrained_once.experiment
    configuration = json.loads((experiment / "configuration.json").read_text())
    assert configuration["genres"] == ["Folk", "Hip-Hop", "Rock"]
    assert configuration["spectrogram"]["n_mels"] == 32
    assert {"torch", "git_commit", "command"} <= set(configuration["versions"])
    assert [row["epoch"] for row in log_of(experiment)] == ["1", "2"]
    assert 0 <= float(log_of(experiment)[-1]["knn_accuracy"]) <= 1
    assert (experiment / "train_loss.png").stat().st_size > 5000
    assert {name.split(".")[0] for name in weights_of(experiment)} == {"backbone", "projector", "predictor"}
    assert (experiment / "checkpoint.pth").exists()


def test_the_flags_that_are_kept_are_the_resolved_ones(pretrained_once):
    flags = flags_of(pretrained_once.experiment)
    expected = {
        "dataset": "tiny", "method": "simsiam", "backbone": "conv8", "lr": 0.001, "warmup_epochs": 0.1, "aug": "spec",
        "precision": "fp32", "bf16": False, "crop_seconds": 6.4, "dim": 32, "pred_dim": 8, "weight_decay": 0.05,
        "pool": "mean_std_max",
    }  # fmt: skip
    assert {name: flags[name] for name in expected} == expected


def test_each_method_has_its_own_defaults():
    def resolved(flags):
        return train_simsiam.resolve(train_simsiam.get_args_parser().parse_args(flags.split()))

    flags = resolved("--dataset tiny --method byol")
    own = (flags.backbone, flags.dim, flags.pred_dim, flags.ema, flags.temperature)
    assert own == ("frames", 256, 4096, 0.99, None)
    assert resolved("--dataset tiny --method autoencoder").backbone == "conv8"
    flags = resolved("--size small --optim SGD --num_epochs 50")
    assert (flags.dataset, flags.lr, flags.warmup_epochs, flags.dim) == ("fma_small", 0.06, 2.5, 512)
    assert flags.weight_decay == 1e-4
    assert resolved("--size small --num_epochs 500").warmup_epochs == 25
    assert resolved("--size small --warmup_epochs 0 --num_epochs 500").warmup_epochs == 0


def test_normalisation_is_of_the_training_tracks(pretrained_once):
    folder = pretrained_once.data_dir / "tiny_npy"
    rows = [row for row in csv.DictReader((folder / "tracks.csv").open()) if row["split"] == "training"]
    decibels = np.concatenate([np.load(folder / row["path"]) * (80 / 255) - 80 for row in rows], axis=1)
    kept = json.loads((pretrained_once.experiment / "configuration.json").read_text())["normalisation"]
    np.testing.assert_allclose(kept["mean"], decibels.mean(1), atol=1.0)
    np.testing.assert_allclose(kept["std"], decibels.std(1), atol=1.0)


def test_tensorboard_gets_the_log_too(train):
    assert list(train("--num_epochs 1 --tensorboard").glob("tensorboard/events*"))


# ------------------------------------------------------------------ what flags change


def test_next_to_no_rate_moves_no_weight(train):
    experiment = train("--num_epochs 1 --lr 1e-30")
    utils.set_seed(0)
    fresh = models.build(flags_of(experiment))
    weights = weights_of(experiment)
    for name, parameter in fresh.named_parameters():
        torch.testing.assert_close(weights[name], parameter.detach(), rtol=0, atol=1e-20)


def test_norms_are_those_of_tracks_as_they_are(train):
    """At the end, and whenever features are judged; what is learned is the same with and without."""
    precise, running = (train(f"--num_epochs 3 --knn_every 1 {flag}") for flag in ("", "--no-precise_norms"))
    ours, theirs = weights_of(precise), weights_of(running)
    changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    of_encoder = {name for name in ours if name.startswith(("backbone.", "projector."))}
    assert changed == {name for name in of_encoder if name.endswith(("running_mean", "running_var", "_tracked"))}
    assert [row["loss"] for row in log_of(precise)] == [row["loss"] for row in log_of(running)]

    experiment = Experiment.read(precise)
    folder = experiment.spectrograms()
    train_tracks = crops.load(folder, folder.split("training"), torch.device("cpu"))
    num_frames = experiment.settings.frames_in(experiment.flags.crop_seconds)
    every = torch.cat([experiment.normalisation(x) for x in train_tracks.every_crop(num_frames, 5, 64)])
    with torch.no_grad():
        first = experiment.method().backbone[0][0](every)
    mean, std = ours["backbone.0.1.running_mean"], ours["backbone.0.1.running_var"].sqrt()
    torch.testing.assert_close(mean, first.mean((0, 2, 3)), atol=0.02 * std.mean().item(), rtol=0)
    torch.testing.assert_close(std, first.std((0, 2, 3)), atol=0, rtol=0.02)


class Spy(SimSiam):
    """SimSiam that remembers whether its first two views were the same, and of how many tracks."""

    def forward(self, x1, *others):
        self.seen.append((torch.equal(x1, others[0]), len(x1)))
        return super().forward(x1, *others)


@pytest.fixture
def seen(monkeypatch):
    monkeypatch.setitem(methods.CLASSES, "simsiam", Spy)
    monkeypatch.setattr(Spy, "seen", [], raising=False)
    return Spy.seen


@pytest.mark.parametrize(("pair", "same"), [("different", False), ("same", True)])
def test_the_pair_is_of_different_crops_or_of_the_same(train, seen, pair, same):
    train(f"--num_epochs 1 --aug none --pair {pair} --crop_seconds 4")
    assert [equal for equal, _ in seen] == [same] * 3


def test_augmentation_makes_views_of_the_same_crop_differ(train, seen):
    train("--num_epochs 1 --aug mask --pair same --aug_p 1")
    assert not any(equal for equal, _ in seen)
    seen.clear()
    train("--num_epochs 1 --aug mask --pair same --aug_p 0")
    assert all(equal for equal, _ in seen)


@pytest.mark.parametrize("fixed", [True, False])
def test_the_predictors_rate_is_held_unless_it_is_not_to_be(train, fixed):
    experiment = train(f"--num_epochs 2 --optim SGD --lr 0.64 --{'' if fixed else 'no-'}fix_pred_lr")
    state = torch.load(experiment / "checkpoint.pth", weights_only=True)
    encoder, predictor = (group["lr"] for group in state["optimiser"]["param_groups"])
    assert encoder == pytest.approx(0, abs=1e-9)  # after the last step
    assert predictor == pytest.approx(0.64 * 8 / 256 if fixed else 0, abs=1e-9)


def test_the_predictors_rate_changes_the_weights(train):
    experiments = [train(f"--num_epochs 2 {flag}") for flag in ("", "--no-fix_pred_lr", "")]
    assert same_weights(experiments[0], experiments[2])
    assert not same_weights(experiments[0], experiments[1])


def test_so_many_tracks_are_trained_on(train, seen, capsys):
    train("--num_epochs 1 --num_tracks 17 --knn_every 0")
    assert sum(rows for _, rows in seen) == 16
    with pytest.raises(utils.UserError, match="8 must be between 2 and the 6 training tracks"):
        train("--num_tracks 6")


@pytest.mark.parametrize("flags", [
    "--aug image --lam 0.7 --aug_p 0.6", "--aug audio --pair same", "--method byol", "--method simclr",
    "--method autoencoder", "--backbone resnet18 --aug mask,mixup", "--num_tracks 10 --bf16",
])  # fmt: skip
def test_families_methods_and_backbones_train(train, flags):
    experiment = train(f"--num_epochs 1 {flags}")
    assert np.isfinite(float(log_of(experiment)[0]["loss"]))


def test_the_seed_decides(train):
    experiments = [train(f"--num_epochs 1 --seed {seed}") for seed in (0, 0, 1)]
    assert same_weights(*experiments[:2])
    assert not same_weights(*experiments[1:])


def test_the_knn_accuracy_is_measured_as_often_as_asked(train):
    measured = [row["knn_accuracy"] != "" for row in log_of(train("--num_epochs 3 --knn_every 2"))]
    assert measured == [False, True, True]  # and always at the end


# ------------------------------------------------------------------ resuming


@pytest.fixture
def stop_in(monkeypatch, tmp_path):
    """(epoch, start) → the experiment that ``start`` left behind when it was killed at the end of that epoch."""

    def stop(epoch, start):
        there = set(tmp_path.glob("exp/*"))
        real = train_simsiam.train_one_epoch

        def killed(*args, **kwargs):
            row = real(*args, **kwargs)
            if row["epoch"] == epoch:
                raise KeyboardInterrupt
            return row

        with monkeypatch.context() as patch:
            patch.setattr(train_simsiam, "train_one_epoch", killed)
            with pytest.raises(KeyboardInterrupt):
                start()
        (stopped,) = set(tmp_path.glob("exp/*")) - there
        return stopped

    return stop


@pytest.mark.parametrize("flags", [
    "--optim SGD --warmup_epochs 2", "--optim Adam", "--method byol --optim SGD", "--method simclr --num_tracks 20",
])  # fmt: skip
def test_a_resumed_run_equals_an_uninterrupted_one(train, stop_in, flags):
    command = f"--num_epochs 3 {flags}"
    whole = train(command)
    stopped = stop_in(2, lambda: train(command))
    assert len(log_of(stopped)) == 1
    train(f"--resume {stopped.name}")
    assert same_weights(stopped, whole)
    for ours, theirs in zip(log_of(stopped), log_of(whole), strict=True):
        for name in ("epoch", "loss", "std", "effective_rank", "knn_accuracy", "lr"):
            assert ours[name] == theirs[name]
    states = [torch.load(path / "checkpoint.pth", weights_only=True)["optimiser"] for path in (stopped, whole)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for ours, theirs in zip(*(state["state"].values() for state in states), strict=True):
        assert all(torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])) for name in theirs)


def test_a_finished_run_that_is_resumed_keeps_the_bytes_that_results_know_it_by(train):
    done = train("--num_epochs 1")
    torch.save(torch.load(done / "pre.pth", weights_only=True), done / "pre.pth")  # as another version wrote it
    digest = utils.digest(done / "pre.pth")
    (done / "train_log.csv").unlink()
    train(f"--resume {done.name}")
    assert utils.digest(done / "pre.pth") == digest
    assert len(log_of(done)) == 1  # what is missing is written
    utils.save_weights(done / "pre.pth", {"other": torch.zeros(1)})
    train(f"--resume {done.name}")
    assert "other" not in utils.load_weights(done / "pre.pth")


def test_a_disk_that_is_too_small_is_known_before_the_first_epoch(train, tmp_path, monkeypatch):
    monkeypatch.setattr(utils.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1e4))
    with pytest.raises(utils.UserError, match=r"has room for 0\.0 MB, .* are needed: make room"):
        train("--num_epochs 1")
    assert not (tmp_path / "exp").exists()


def test_a_resumed_run_keeps_its_own_flags(train, stop_in):
    stopped = stop_in(2, lambda: train("--num_epochs 2 --lr 0.004 --seed 3"))
    before = (stopped / "configuration.json").read_text()
    train(f"--resume {stopped.name} --num_epochs 9 --lr 1 --seed 4")
    assert (stopped / "configuration.json").read_text() == before
    assert len(log_of(stopped)) == 2
    assert same_weights(stopped, train("--num_epochs 2 --lr 0.004 --seed 3"))


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("bf16", [True, False])
def test_a_run_goes_on_in_the_precision_it_began_with(train, stop_in, monkeypatch, bf16, older):
    """Older ones have ``bf16`` alone. On a CPU where the other precision is the faster one."""
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    monkeypatch.setattr(precision, "speed_up", lambda *args: 9.0 if bf16 else 0.1)
    stopped = stop_in(2, lambda: train("--num_epochs 2 --backbone frames --knn_every 0"))
    flags = flags_of(stopped)
    assert (flags["precision"], flags["bf16"]) == (("bf16", True) if bf16 else ("fp32", False))
    if older:
        content = utils.read_json(stopped / "configuration.json")
        del content["flags"]["precision"]
        utils.write_json(stopped / "configuration.json", content)
    monkeypatch.setattr(precision, "speed_up", lambda *args: 0.1 if bf16 else 9.0)
    used = []
    real = utils.autocast
    monkeypatch.setattr(utils, "autocast", lambda device, bf16: used.append(bf16) or real(device, bf16))
    train(f"--resume {stopped.name}")
    assert {*used} == {bf16}


def test_a_run_goes_on_where_its_data_are(train, stop_in, run_script):
    stopped = stop_in(2, lambda: train("--num_epochs 2"))
    run_script(train_simsiam, f"--resume {stopped} --device cpu")
    assert len(log_of(stopped)) == 2


def test_what_cannot_be_resumed_is_refused(pretrained, run_script):
    def resume(name):
        run_script(train_simsiam, f"{pretrained.where} --resume {name}")

    with pytest.raises(utils.UserError, match=f"there are: {pretrained.experiment.name}"):
        resume("000000")
    settings = pretrained.data_dir / "tiny_npy" / "spectrogram.json"
    settings.write_text(settings.read_text().replace('"n_fft": 2048', '"n_fft": 1024'))
    with pytest.raises(utils.UserError, match="n_fft 2048 → 1024"):
        resume(pretrained.experiment.name)
    (pretrained.experiment / "checkpoint.pth").unlink()
    with pytest.raises(utils.UserError, match=r"has no checkpoint\.pth to go on from"):
        resume(pretrained.experiment.name)


# ------------------------------------------------------------------ collapse


def without_stop_gradient(self, *views, forward=SimSiam.forward):
    with mock.patch.object(torch.Tensor, "detach", lambda tensor: tensor):
        loss, z = forward(self, *views)
    return loss, z.detach()


@pytest.mark.parametrize("sabotaged", [False, True])
def test_collapse_is_called_by_its_name(pretrained_once, tmp_path, monkeypatch, capsys, sabotaged):
    """Without the stop-gradient both branches get the gradient, and every track becomes the same."""
    if sabotaged:
        monkeypatch.setattr(SimSiam, "forward", without_stop_gradient)
    where = f"--data_dir {pretrained_once.data_dir} --exp_dir {tmp_path}/exp --device cpu"
    network = "--dataset tiny --backbone conv8 --dim 64 --pred_dim 16 --batch_size 24"
    call(train_simsiam, f"{where} {network} --num_epochs 10 --optim SGD --lr 2 --knn_every 0")
    assert ("WARNING: the representation is collapsing" in capsys.readouterr().out) == sabotaged


# ------------------------------------------------------------------ what is refused


def write_waveforms(data_dir, samples=60000):
    folder = data_dir / "tones_npy"
    lines = ["track_id,path,genre_top,split,frames"]
    for number, split in enumerate(("training",) * 4 + ("validation", "test")):
        for genre in ("high", "low"):
            path = folder / genre / f"{number}{genre}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.zeros((1, samples), dtype=np.int16))
            lines.append(f"{number}{genre},{genre}/{number}{genre}.npy,{genre},{split},{samples}")
    (folder / "tracks.csv").write_text("\n".join(lines) + "\n")
    (folder / "spectrogram.json").write_text(json.dumps({
        "features": "waveform", "sample_rate": 22050, "hop_length": 1, "n_mels": 1, "dtype": "int16",
    }))  # fmt: skip


@pytest.fixture(scope="module")
def odd_data(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("odd") / "data"
    write_folder(data_dir, "tiny")
    write_folder(data_dir, "unvalidated", counts=(8, 0, 2))
    write_waveforms(data_dir)
    write_folder(data_dir, "strangers")
    index = data_dir / "strangers_npy" / "tracks.csv"
    index.write_text(index.read_text().replace(",validation,", " of the valley,validation,"))
    (data_dir / "vectors_npy").mkdir()
    shutil.copy(data_dir / "tiny_npy" / "tracks.csv", data_dir / "vectors_npy")
    (data_dir / "vectors_npy" / "spectrogram.json").write_text('{"num_layers": 1, "num_features": 4}')
    return data_dir


@pytest.mark.parametrize(("flags", "message"), [
    ("", "say what to train on"),
    ("--size small --dataset tiny", "say what to train on"),
    ("--dataset nothing", "no spectrograms at"),
    ("--dataset ../tiny", "is a name, not a path"),
    ("--dataset tiny --batch_size 25", "25 must be between 2 and the 24"),
    ("--dataset tiny --aug wind", "no augmentation 'wind'"),
    ("--dataset tiny --warmup_epochs 3 --num_epochs 2", "--warmup_epochs 3 is more than --num_epochs 2"),
    ("--dataset tiny --dim 1000000000", "--dim 1000000000, .* would need about"),
    ("--dataset tiny --backbone samplecnn", "samplecnn takes waveforms.*--features waveform"),
    ("--dataset unvalidated", "no track in the split 'validation'"),
    ("--dataset strangers", "no validation track has a genre"),
    ("--dataset vectors", "holds embeddings, not spectrograms or waveforms"),
    ("--dataset tones --backbone conv8", "conv8 takes spectrograms"),
    ("--dataset tones --backbone samplecnn --aug image", "--aug image is made for spectrograms"),
    ("--dataset tones --backbone samplecnn --crop_seconds 1", "59049 samples, not 22050"),
])  # fmt: skip
def test_a_run_that_is_refused_leaves_no_folder(odd_data, tmp_path, run_script, flags, message):
    network = "" if "--backbone" in flags else "--backbone conv8"
    size = "" if "--batch_size" in flags else "--batch_size 8"
    command = f"--data_dir {odd_data} --exp_dir {tmp_path}/exp --device cpu {network} {size} {flags}"
    with pytest.raises(utils.UserError, match=message) as error:
        run_script(train_simsiam, command)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "exp").exists()


def test_a_batch_that_memory_cannot_hold_is_refused(train, monkeypatch):
    monkeypatch.setattr(utils, "free_memory", lambda: 2 * 4 * 8 * 32 * 600 - 1)
    with pytest.raises(utils.UserError, match="views of --batch_size 8, --crop_seconds 60 would need about"):
        train("--num_epochs 1 --crop_seconds 60")


def test_without_the_monitor_no_validation_track_is_needed(odd_data, tmp_path, run_script):
    command = f"--data_dir {odd_data} --exp_dir {tmp_path}/exp --device cpu {TINY} --num_epochs 1 --knn_every 0"
    for dataset in ("unvalidated", "strangers"):
        assert Path(run_script(train_simsiam, command.replace("tiny", dataset))).is_dir()


def test_a_loss_that_is_not_finite_stops(train):
    with pytest.raises(utils.UserError, match="loss is not finite in epoch 1"):
        train("--num_epochs 2 --lr 1e30")


def test_the_curves_are_drawn_whenever_features_are_judged(train, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "write", lambda path, draw, log, **options: drawn.append((path.name, len(log))))
    train("--num_epochs 5 --knn_every 2")
    assert drawn == [("train_loss.png", number) for number in (1, 2, 4, 5)]


def test_where_spectrograms_are_held_changes_no_weight(train):
    device, ram, disk = (weights_of(train(f"--num_epochs 1 --cache {cache}")) for cache in ("device", "ram", "disk"))
    for name, value in ram.items():
        assert torch.equal(device[name], value), name
        assert torch.equal(disk[name], value), name


def test_the_two_ranks_of_an_epoch_have_two_names():
    row = dict.fromkeys(train_simsiam.LOG_COLUMNS, 1.0) | {"epoch": 1, "effective_rank": 30.0, "backbone_rank": 40.0}
    line = train_simsiam.describe_epoch(row, 2)
    assert "  rank  30.0  " in line
    assert "  feature rank 40  " in line


def test_a_folder_that_loses_its_configuration_ends_the_run(train, monkeypatch):
    real = train_simsiam.write_epoch

    def lose(folder, *rest):
        real(folder, *rest)
        (folder / "configuration.json").unlink()

    monkeypatch.setattr(train_simsiam, "write_epoch", lose)
    with pytest.raises(utils.UserError, match=r"has lost its configuration\.json"):
        train("--num_epochs 3")
