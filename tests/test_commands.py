"""The scripts themselves, run tiny: what they write, that they resume exactly, and what they say of bad input."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import write_folder

import models
import predict
import preprocessing
import train_simsiam
import transfer
import utils
from data import audio
from models import classifier
from models.losses import negative_cosine_similarity
from models.simsiam import SimSiam

ROOT = Path(__file__).resolve().parents[1]
TINY = "--backbone resnet18 --dim 32 --pred_dim 8 --batch_size 8 --device cpu"


@pytest.fixture
def pretrained(tiny_folder, tmp_path, run_script):
    """(data_dir, exp_dir, experiment) after two epochs on the tiny folder."""
    command = f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --dataset tiny --num_epochs 2 {TINY}"
    return tiny_folder, tmp_path / "exp", Path(run_script(train_simsiam, command))


def transfer_command(pretrained, more):
    data_dir, exp_dir, experiment = pretrained
    return (
        f"--data_dir {data_dir} --exp_dir {exp_dir} --exp_path {experiment.name} --batch_size 8 --device cpu {more}"
    )


# ------------------------------------------------------------------ preprocessing


@pytest.fixture
def music(tmp_path):
    """Twelve clips in three genre folders, and a broken one."""
    chance = np.random.default_rng(0)
    for number in range(12):
        path = (
            tmp_path
            / "music"
            / ("folk", "jazz", "rock")[number % 3]
            / f"clip{number:02d}.{'mp3' if number % 2 else 'wav'}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(6 * 22050) * (0.02 + 0.01 * number)) * 0.3
        soundfile.write(path, tone + chance.normal(0, 0.01, tone.shape), 22050)
    (tmp_path / "music" / "rock" / "broken.mp3").write_text("no music")
    return tmp_path / "music"


def test_preprocessing_writes_contract_1_and_resumes(music, tmp_path, run_script, capsys):
    command = f"--dataset own --source {music} --data_dir {tmp_path}/data --n_mels 40 --dtype uint8 --workers 2"
    folder = Path(run_script(preprocessing, command))
    assert folder == tmp_path / "data" / "own_npy"
    rows = list(csv.DictReader((folder / "tracks.csv").open()))
    assert len(rows) == 12
    assert {row["split"] for row in rows} == {"training", "validation", "test"}
    settings = json.loads((folder / "spectrogram.json").read_text())
    for row in rows:
        array = np.load(folder / row["path"], allow_pickle=False)
        assert array.dtype == np.uint8
        assert array.shape == (40, int(row["frames"]))
    row = next(row for row in rows if row["track_id"] == "clip03")
    waveform = audio.read_audio(music / "folk" / "clip03.mp3", 22050)
    expected = audio.log_mel(waveform, settings).numpy()
    stored = settings["db_min"] + np.load(folder / row["path"]) * (80 / 255)
    np.testing.assert_allclose(stored, expected, atol=0.17)
    failures = list(csv.DictReader((folder / "failed.csv").open()))
    assert [(failure["track_id"], "not audio" in failure["reason"]) for failure in failures] == [("broken", True)]

    made = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.npy")}
    (folder / "folk" / "clip03.npy").unlink()
    index = (folder / "tracks.csv").read_text()
    run_script(preprocessing, command)
    again = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.npy")}
    assert [path.name for path in made if made[path] != again[path]] == ["clip03.npy"]
    assert (folder / "tracks.csv").read_text() == index

    with pytest.raises(utils.UserError, match=r"n_mels 40 → 64.*--overwrite"):
        run_script(preprocessing, command.replace("--n_mels 40", "--n_mels 64"))
    run_script(preprocessing, command.replace("--n_mels 40", "--n_mels 64 --overwrite"))
    assert np.load(folder / "folk" / "clip03.npy").shape[0] == 64


def test_preprocessing_fails_when_nothing_can_be_converted(tmp_path, run_script):
    (tmp_path / "music" / "rock").mkdir(parents=True)
    (tmp_path / "music" / "rock" / "a.mp3").touch()
    with pytest.raises(utils.UserError, match="not one of 1 tracks"):
        run_script(preprocessing, f"--dataset own --source {tmp_path}/music --data_dir {tmp_path}/data")
    assert "empty file" in (tmp_path / "data" / "own_npy" / "failed.csv").read_text()


# ------------------------------------------------------------------ train_simsiam


def test_training_writes_contract_2(pretrained):
    _, _, experiment = pretrained
    configuration = json.loads((experiment / "configuration.json").read_text())
    assert configuration["genres"] == ["Folk", "Hip-Hop", "Rock"]
    assert configuration["flags"]["lr"] == 0.002
    assert configuration["spectrogram"]["n_mels"] == 32
    rows = list(csv.DictReader((experiment / "train_log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert 0 <= float(rows[-1]["knn_accuracy"]) <= 1
    assert (experiment / "train_loss.png").stat().st_size > 5000
    weights = torch.load(experiment / "pre.pth", weights_only=True)
    assert {name.split(".")[0] for name in weights} == {"backbone", "projector", "predictor"}


@pytest.mark.parametrize("optim", ["SGD", "Adam"])
def test_resume_equals_an_uninterrupted_run(tiny_folder, tmp_path, run_script, monkeypatch, optim):
    command = (
        f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --dataset tiny --num_epochs 3 --optim {optim} {TINY}"
    )
    whole = Path(run_script(train_simsiam, command))

    real = train_simsiam.train_one_epoch

    def killed_in_the_second_epoch(*args, **kwargs):
        row = real(*args, **kwargs)
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(train_simsiam, "train_one_epoch", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run_script(train_simsiam, command)
    monkeypatch.undo()
    (stopped,) = [path for path in (tmp_path / "exp").iterdir() if path != whole]
    run_script(
        train_simsiam, f"--resume {stopped.name} --data_dir {tiny_folder} --exp_dir {tmp_path}/exp --device cpu"
    )

    ours, theirs = (torch.load(path / "pre.pth", weights_only=True) for path in (stopped, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    "flags", ["--aug image --lam 0.7 --aug_p 0.6", "--aug audio --pair same", "--aug none --no-fix_pred_lr"]
)
def test_families_and_pairs_train(tiny_folder, tmp_path, run_script, flags):
    command = f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --dataset tiny --num_epochs 1 {TINY} {flags}"
    assert (Path(run_script(train_simsiam, command)) / "pre.pth").exists()


class WithoutStopGradient(SimSiam):
    """SimSiam sabotaged: both branches get the gradient, and the cheapest answer is the same for every track."""

    def forward(self, x1, x2):
        z1, z2 = (self.projector(self.backbone(x)) for x in (x1, x2))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        loss = negative_cosine_similarity(p1, z2) / 2 + negative_cosine_similarity(p2, z1) / 2
        return loss, z1.detach()


@pytest.mark.parametrize(("method", "warns"), [(SimSiam, False), (WithoutStopGradient, True)])
def test_collapse_is_called_by_its_name(tiny_folder, tmp_path, monkeypatch, capsys, method, warns):
    monkeypatch.setitem(models.METHODS, "simsiam", method)
    command = f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --dataset tiny --num_epochs 9 --optim SGD --lr 2 "
    command += "--knn_every 0"
    more = f"--backbone resnet18 --dim 64 --pred_dim 16 --batch_size 12 --device cpu --tensorboard {command}"
    train_simsiam.main(train_simsiam.get_args_parser().parse_args(more.split()))
    assert ("WARNING: the representation is collapsing" in capsys.readouterr().out) == warns
    assert list(tmp_path.glob("exp/*/tensorboard/events*"))


# ------------------------------------------------------------------ transfer and predict


@pytest.mark.parametrize("protocol", ["linear", "mlp", "finetune", "scratch"])
def test_transfer_writes_contract_2(pretrained, run_script, protocol):
    result_file = Path(run_script(transfer, transfer_command(pretrained, f"--protocol {protocol} --num_epochs 2")))
    result = json.loads(result_file.read_text())
    wanted = (
        "accuracy accuracy_ci95 macro_f1 macro_precision macro_recall roc_auc n_test n_train protocol dataset genres"
    )
    assert set(wanted.split()) <= set(result)
    assert (result["n_test"], result["n_train"], result["protocol"]) == (6, 24, protocol)
    rows = list(csv.DictReader((result_file.parent / "predictions.csv").open()))
    assert len(rows) == 6
    hits = sum(row["truth"] == row["prediction"] for row in rows)
    assert result["accuracy"] == pytest.approx(hits / 6)
    assert sum(float(rows[0][genre]) for genre in result["genres"]) == pytest.approx(1, abs=1e-4)
    assert (result_file.parent / "confusion.png").exists()


def test_frozen_means_frozen(pretrained, run_script, monkeypatch):
    _, _, experiment = pretrained
    seen = []
    monkeypatch.setattr(
        classifier, "Classifier", lambda encoder, head: seen.append(encoder) or torch.nn.ModuleList([encoder, head])
    )
    before = torch.load(experiment / "pre.pth", weights_only=True)
    for protocol in ("linear", "mlp"):
        monkeypatch.setattr(transfer, "write_results", lambda experiment, *rest: experiment)
        run_script(transfer, transfer_command(pretrained, f"--protocol {protocol} --num_epochs 2"))
    assert len(seen) == 2
    for encoder in seen:
        for name, tensor in encoder.state_dict().items():
            assert torch.equal(tensor, before[f"backbone.{name}"]), name


def test_finetuning_keeps_batchnorm_statistics_and_moves_weights(pretrained, run_script):
    _, _, experiment = pretrained
    file = Path(run_script(transfer, transfer_command(pretrained, "--num_epochs 2 --aug image")))
    before = torch.load(experiment / "pre.pth", weights_only=True)
    after = torch.load(file.parent / "transfer.pth", weights_only=True)
    assert torch.equal(after["backbone.bn1.running_mean"], before["backbone.bn1.running_mean"])
    assert not torch.equal(after["backbone.conv1.weight"], before["backbone.conv1.weight"])


def test_second_transfer_overwrites_nothing(pretrained, run_script):
    files = [run_script(transfer, transfer_command(pretrained, "--protocol linear")) for _ in range(2)]
    assert [Path(file).parent.name for file in files] == ["tiny_linear", "tiny_linear_2"]


def test_more_ways_to_transfer(pretrained, run_script):
    for more in (
        "--layer projector",
        "--train_split validation",
        "--label_fraction 0.5 --num_seeds 2",
        "--baseline stats",
    ):
        file = run_script(transfer, transfer_command(pretrained, f"--protocol linear {more} --save_features"))
        result = json.loads(Path(file).read_text())
        expected = {"--train_split validation": 6, "--label_fraction 0.5 --num_seeds 2": 12}.get(more, 24)
        assert result["n_train"] == expected
        check_features(Path(file).parent, result)
    assert result["accuracy"] == 1  # the bands of the tiny genres differ


def check_features(transfer, result):
    """What --save_features wrote: all 36 tracks, split after split, with the names of the test tracks at the end."""
    assert np.load(transfer / "features.npy").shape == (36, result["num_features"])
    tracks = list(csv.DictReader((transfer / "tracks.csv").open()))
    labels = np.load(transfer / "labels.npy")
    assert [result["genres"][label] for label in labels] == [track["genre_top"] for track in tracks]
    assert (transfer / "track_ids.txt").read_text().split() == [track["track_id"] for track in tracks]
    tested = [row["track_id"] for row in csv.DictReader((transfer / "predictions.csv").open())]
    assert [track["track_id"] for track in tracks if track["split"] == "test"] == tested
    assert len(np.unique(np.load(transfer / "features.npy"), axis=0)) > 30


def test_transfer_without_an_experiment(tiny_folder, tmp_path, run_script):
    common = f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --dataset tiny --batch_size 8 --device cpu"
    for more in ("--protocol scratch --num_epochs 1", "--protocol linear --baseline random"):
        assert Path(run_script(transfer, f"{common} {more}")).exists()
    with pytest.raises(utils.UserError, match="--exp_path is missing"):
        run_script(transfer, f"{common} --protocol linear")


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_predict_says_what_transfer_says(music, tmp_path, capsys, run_script, protocol):
    """A test track's probabilities in predictions.csv and from its audio file are the same."""
    data_dir, exp_dir = tmp_path / "data", tmp_path / "exp"
    run_script(preprocessing, f"--dataset own --source {music} --data_dir {data_dir} --n_mels 32 --workers 1")
    common = f"--data_dir {data_dir} --exp_dir {exp_dir} --dataset own --batch_size 4 --device cpu"
    experiment = run_script(train_simsiam, f"{common} --num_epochs 1 --backbone resnet18 --dim 32 --crop_seconds 2")
    file = Path(run_script(transfer, f"{common} --exp_path {experiment} --protocol {protocol} --num_epochs 1"))
    row = next(csv.DictReader((file.parent / "predictions.csv").open()))
    (clip,) = music.glob(f"*/{row['track_id']}.*")
    broken = music / "rock" / "broken.mp3"
    predict.main(predict.get_args_parser().parse_args(
        f"--exp_path {experiment} --num_crops 5 --json {clip} {broken}".split()
    ))  # fmt: skip
    answers = json.loads(capsys.readouterr().out)
    for genre, probability in answers[0]["genres"].items():
        assert probability == pytest.approx(float(row[genre]), abs=0.02)
    assert "not audio" in answers[1]["error"]
    with pytest.raises(utils.UserError, match="none of the files"):
        run_script(predict, f"--exp_path {experiment} {broken}")


# ------------------------------------------------------------------ bad input


def test_bad_input_gets_one_sentence(pretrained, tmp_path, run_script):
    data_dir, exp_dir, experiment = pretrained
    train = f"--data_dir {data_dir} --exp_dir {exp_dir} --dataset tiny {TINY} --num_epochs 1"
    write_folder(data_dir, "other", n_fft=1024)
    write_folder(data_dir, "untested", counts=(8, 2, 0))
    empty = exp_dir / "111111"
    shutil.copytree(experiment, empty)
    (empty / "pre.pth").unlink()
    cases = [
        (preprocessing, f"--size small --data_dir {tmp_path}/nowhere", "no audio under"),
        (preprocessing, "", "say what to convert"),
        (preprocessing, f"--dataset x --source {tmp_path}/nowhere", "is not a folder"),
        (train_simsiam, train.replace("--dataset tiny", ""), "say what to train on"),
        (train_simsiam, train.replace("tiny", "nothing"), "no spectrograms at"),
        (train_simsiam, train.replace("--batch_size 8", "--batch_size 25"), "25 must be between 2 and the 24"),
        (train_simsiam, train + " --lr 1e30", "loss is not finite"),
        (train_simsiam, train + " --aug wind", "no augmentation 'wind'"),
        (train_simsiam, train + " --resume 000000", f"there are: .*{experiment.name}"),
        (transfer, f"--exp_path 000000 --exp_dir {exp_dir}", experiment.name),
        (transfer, transfer_command((data_dir, exp_dir, empty), "--protocol linear"), "pre.pth does not exist"),
        (transfer, transfer_command(pretrained, "--dataset other"), "n_fft 2048 → 1024"),
        (transfer, transfer_command(pretrained, "--dataset untested"), "no track in the split 'test'"),
        (transfer, transfer_command(pretrained, "--batch_size 100 --num_epochs 1"), "between 2 and the 24"),
        (transfer, transfer_command(pretrained, "--baseline stats"), "--baseline goes with"),
        (predict, f"--exp_path {experiment} song.mp3", "no classifier yet"),
    ]
    for script, command, message in cases:
        with pytest.raises(utils.UserError, match=message) as error:
            run_script(script, command)
        assert "\n" not in str(error.value)


def test_a_script_that_fails_prints_one_line_and_no_traceback(tmp_path):
    command = [sys.executable, ROOT / "transfer.py", "--exp_path", "1", "--exp_dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no experiment '1'")
    assert len(done.stderr.splitlines()) == 1


def test_the_batches_of_a_small_collection_are_small_unless_asked_for():
    def size(flags, num_train):
        return transfer.batch_size_of(transfer.get_args_parser().parse_args(flags.split()), num_train)

    assert [size("", num_train) for num_train in (3, 30, 256, 5000)] == [2, 7, 64, 64]
    assert size("--batch_size 30", 30) == 30
    with pytest.raises(utils.UserError, match="between 2 and the 30 training tracks"):
        size("--batch_size 31", 30)
