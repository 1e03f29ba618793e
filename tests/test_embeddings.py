"""Embedding folders: classifying them without an experiment, the learning curve, one's own experiment as one."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_vectors import vectors, write_npz
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.preprocessing import StandardScaler

import compare
import predict
import preprocessing
import train_simsiam
import transfer
import utils
from data.folder import open_folder
from evaluation import plots
from models import heads

FAST = "--device cpu --batch_size 16"


@pytest.fixture
def adopt(tmp_path, run_script):
    """Adopt a source as dataset ``name``; returns its folder."""

    def run(source, name="own", more=""):
        command = f"--dataset {name} --features embeddings --source {source} --data_dir {tmp_path}/data {more}"
        return Path(run_script(preprocessing, command))

    return run


@pytest.fixture
def classify(tmp_path, run_script):
    """Run transfer.py on a dataset; returns (folder of the transfer, its result)."""

    def run(flags, name="own"):
        where = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp"
        file = run_script(transfer, f"{where} --dataset {name} {FAST} {flags}")
        return Path(file).parent, json.loads(Path(file).read_text())

    return run


def rows_of(folder):
    return list(csv.DictReader((folder / "tracks.csv").open()))


# ------------------------------------------------------------------ one's own experiment


@pytest.fixture
def experiment(tiny_folder, tmp_path, run_script):
    where = f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp"
    network = "--backbone conv8 --dim 32 --pred_dim 8"
    return Path(run_script(train_simsiam, f"{where} --dataset tiny --num_epochs 1 {network} {FAST}"))


def test_an_experiment_becomes_an_embedding_folder(experiment, tmp_path, run_script, adopt, classify):
    """What preprocessing.py makes of an experiment is what transfer.py --save_features exports, and both serve."""
    common = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp"
    folder = Path(run_script(preprocessing, f"--features exp:{experiment.name} {common}"))
    assert folder.name == f"tiny_{experiment.name}_npy"
    rows = rows_of(folder)
    assert len(rows) == 36
    file = run_script(transfer, f"{common} --exp_path {experiment.name} --protocol linear --save_features {FAST}")
    adopted = rows_of(adopt(Path(file).parent, "exported"))
    there = {row["track_id"]: row for row in rows}
    assert len(adopted) == 36
    for row in adopted:
        assert row["split"] == there[row["track_id"]]["split"]
        exported = np.load(folder.parent / "exported_npy" / row["path"])
        np.testing.assert_allclose(np.load(folder / there[row["track_id"]]["path"]), exported, atol=1e-4, rtol=1e-3)
    _, result = classify("--protocol linear", folder.name.removesuffix("_npy"))
    assert (result["backbone"], result["num_features"]) == (f"exp:{experiment.name}", 512)
    assert result["accuracy"] == json.loads(Path(file).read_text())["accuracy"]


def test_the_curve_of_an_experiment(experiment, tmp_path, run_script):
    common = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --exp_path {experiment.name} {FAST}"
    file = run_script(transfer, f"{common} --protocol linear --train_sizes 6,24")
    rows = list(csv.DictReader((Path(file).parent / "label_curve.csv").open()))
    assert [row["train_size"] for row in rows] == ["6", "24"]


# ------------------------------------------------------------------ classifying


@pytest.mark.parametrize("num_genres", [10, 20])
def test_ten_and_twenty_genres(tmp_path, adopt, classify, num_genres):
    adopt(write_npz(tmp_path / "v.npz", num_genres=num_genres, spread=1.0))
    folder, result = classify("--hidden 32,16 --dropout 0.2,0.1 --num_epochs 8 --lr 0.01")
    assert (result["protocol"], result["layer"], result["num_layers"]) == ("mlp", "all", 4)
    assert (result["hidden"], result["dropout"], result["batch_norm"]) == ([32, 16], [0.2, 0.1], True)
    assert len(result["genres"]) == num_genres
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    truth, prediction = ([row[key] for row in rows] for key in ("truth", "prediction"))
    assert result["macro_f1"] == pytest.approx(f1_score(truth, prediction, average="macro"))
    assert result["macro_f1"] > 3 / num_genres
    for name in ("confusion.png", "features.png", "transfer_log.png", "transfer.pth"):
        assert (folder / name).stat().st_size > 0


def test_a_chosen_layer_is_logistic_regression_on_it(tmp_path, adopt, classify):
    own = adopt(write_npz(tmp_path / "v.npz", spread=4.0))
    folder, result = classify("--protocol linear --layer 2")
    parts = {split: [row for row in rows_of(own) if row["split"] == split] for split in ("training", "test")}
    x, test = (np.stack([np.load(own / row["path"])[2] for row in part]) for part in parts.values())
    scaler = StandardScaler().fit(x)
    fit = LogisticRegression(C=result["chosen"]["C"], max_iter=5000)
    fit.fit(scaler.transform(x), [row["genre_top"] for row in parts["training"]])
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    ours = np.array([[float(row[genre]) for genre in result["genres"]] for row in rows])
    np.testing.assert_allclose(ours, fit.predict_proba(scaler.transform(test)), atol=0.02)


def test_the_sum_of_all_layers_finds_the_good_one(tmp_path, adopt, classify):
    adopt(write_npz(tmp_path / "v.npz", per_genre=60, spread=1.0))
    _, result = classify("--protocol linear --num_epochs 30 --lr 0.05")
    assert np.argmax(result["layer_weights"]) == 2
    _, useless = classify("--protocol linear --layer 0")
    assert result["accuracy"] > 0.9 > useless["accuracy"]


def test_patience_stops_and_keeps_the_best_epoch(tmp_path, adopt, classify):
    adopt(write_npz(tmp_path / "v.npz"))
    folder, result = classify("--hidden 16 --num_epochs 60 --lr 0.02 --patience 3 --layer 2")
    log = list(csv.DictReader((folder / "transfer_log.csv").open()))
    assert len(log) < 60
    assert len(log) == result["chosen"]["epoch"] + 3


def test_subsets_are_stratified_and_nested(tmp_path, adopt):
    adopt(write_npz(tmp_path / "v.npz", per_genre=40))
    folder = open_folder(tmp_path / "data", "own", kinds=("embedding",))
    args = transfer.get_args_parser().parse_args([])
    task = transfer.EmbeddingTask(args, None, folder, torch.device("cpu"))
    for seed in (0, 1):
        small, large = (set(task.subset(size, seed).tolist()) for size in (16, 50))
        assert (len(small), len(large)) == (16, 50)
        assert small < large
        counts = torch.bincount(task.labels[0][sorted(small)])
        assert counts.max() - counts.min() <= 1
    assert set(task.subset(16, 0).tolist()) != small


def test_the_learning_curve_is_scikit_learns_and_never_tests(tmp_path, adopt, classify, monkeypatch):
    adopt(write_npz(tmp_path / "v.npz", per_genre=40, spread=6.0))
    seen = []
    real = transfer.score

    def spy(head, crops, labels):
        logits = transfer.apply(head, crops).mean(1)
        f1, loss = real(head, crops, labels)
        assert f1 == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
        assert loss == pytest.approx(log_loss(labels, logits.double().softmax(1)), rel=1e-3)
        seen.append(len(labels))
        return f1, loss

    monkeypatch.setattr(transfer, "score", spy)
    folder, result = classify("--layer 2 --hidden 16 --num_epochs 5 --train_sizes 48,24,96 --num_seeds 2")
    rows = list(csv.DictReader((folder / "label_curve.csv").open()))
    assert [(row["train_size"], row["seed"]) for row in rows] == [
        (size, seed) for size in ("24", "48", "96") for seed in ("0", "1")
    ]
    assert seen == [n for size in (24, 24, 48, 48, 96, 96) for n in (size, 12)]  # training, 12 of validation
    for row in rows:
        assert float(row["gap"]) == pytest.approx(float(row["train_macro_f1"]) - float(row["validation_macro_f1"]))
    assert (folder / "label_curve.png").stat().st_size > 5000
    assert (result["n_test"], result["n_train"], result["num_seeds"]) == (12, 96, 2)
    assert result["flags"]["seed"] == 0
    assert "Label curve" in (folder.parent / "report.html").read_text()


def test_features_of_all_layers_can_be_exported_and_adopted(tmp_path, adopt, classify):
    adopt(write_npz(tmp_path / "v.npz"))
    folder, _ = classify("--hidden 8 --num_epochs 1 --save_features")
    assert np.load(folder / "features.npy").shape == (90, 4, 12)
    again = adopt(folder, "again")
    row = rows_of(again)[0]
    np.testing.assert_array_equal(np.load(again / row["path"]), vectors()[2][int(row["track_id"][1:])])


def test_results_of_embeddings_can_be_compared(tmp_path, adopt, classify, capsys):
    adopt(write_npz(tmp_path / "v.npz"))
    first, _ = classify("--protocol linear --layer 2")
    second, _ = classify("--hidden 8 --num_epochs 1")
    command = f"{first} {second} --exp_dir {tmp_path}/exp --out {tmp_path}/compare.csv"
    compare.main(compare.get_args_parser().parse_args(command.split()))
    assert "embeddings" in capsys.readouterr().out


def test_bad_input_gets_one_sentence(tmp_path, adopt, classify, run_script, experiment):
    adopt(write_npz(tmp_path / "v.npz"))
    train = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --dataset own"
    folder, _ = classify("--protocol linear --layer 2")
    cases = [
        (transfer, f"{train} --protocol finetune", "only --protocol linear and mlp"),
        (transfer, f"{train} --protocol linear --baseline stats", "only --protocol linear and mlp"),
        (transfer, f"{train} --layer 4", "has all, 0, 1, 2, 3"),
        (transfer, f"{train} --layer projector", "has all, 0, 1, 2, 3"),
        (transfer, f"{train} --exp_path {experiment.name}", "without --exp_path"),
        (transfer, f"{train} --train_sizes 24,1000", "to 72"),
        (transfer, f"{train} --train_sizes some", "numbers with commas"),
        (transfer, f"{train} --hidden 16,8 --dropout 0.1,0.2,0.3", "one for each"),
        (transfer, f"{train} --hidden wide", "numbers with commas"),
        (transfer, f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --exp_path {experiment.name} --layer 3",
         "goes with embeddings"),
        (transfer, f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --exp_path {experiment.name} "
         "--train_sizes 6", "goes with --protocol linear or mlp"),
        (train_simsiam, train, "holds embeddings"),
        (preprocessing, f"--dataset own --data_dir {tmp_path}/data --check", "holds embeddings"),
        (preprocessing, "--features exp:000000 --exp_dir nowhere", "no experiment '000000'"),
        (preprocessing, f"--features exp:{folder.parent.name} {train}", "no pre-trained network"),
        (preprocessing, "--features mfcc --size small", "is none of logmel, waveform, music2vec, embeddings, exp:ID"),
        (preprocessing, "--features embeddings", "say what to convert"),
        (preprocessing, f"--dataset x --source {tmp_path} --num_genres 10", "go with --metadata"),
        (predict, f"--exp_path {folder.parent} song.mp3", "cannot be made from audio files"),
    ]  # fmt: skip
    for script, command, message in cases:
        with pytest.raises(utils.UserError, match=message) as error:
            run_script(script, command.replace("--exp_dir nowhere", f"--exp_dir {tmp_path}/nowhere"))
        assert "\n" not in str(error.value)


# ------------------------------------------------------------------ heads and the picture


def test_the_layers_are_mixed_by_a_softmax():
    mix = heads.MixLayers(3)
    x = torch.randn(5, 3, 7)
    torch.testing.assert_close(mix(x), x.mean(1))
    mix.scores.data = torch.tensor([0.0, 1.0, -2.0])
    weights = torch.tensor([0.0, 1.0, -2.0]).exp() / torch.tensor([0.0, 1.0, -2.0]).exp().sum()
    torch.testing.assert_close(mix(x), sum(w * x[:, layer] for layer, w in enumerate(weights)))


def test_heads_have_the_layers_that_are_asked_for():
    head = heads.genre_head(12, 5, hidden=(8, 4), dropout=(0.2, 0.6), batch_norm=False)
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in head)
    assert [module.p for module in head if isinstance(module, torch.nn.Dropout)] == [0.2, 0.6]
    head = heads.genre_head(12, 5, hidden=(8,), num_layers=3)
    assert head(torch.randn(6, 3, 12)).shape == (6, 5)
    head[0].measure(torch.randn(50, 3, 12) * 4 + 2)
    assert head[0].mean.shape == (3, 12)


def test_one_seed_and_one_size_can_be_drawn(tmp_path):
    row = {"train_size": 20, "seed": 0, "train_macro_f1": 0.9, "validation_macro_f1": 0.4, "gap": 0.5,
           "train_loss": 0.2, "validation_loss": 1.7}  # fmt: skip
    plots.write(tmp_path / "curve.png", plots.label_curve, [row])
    assert (tmp_path / "curve.png").stat().st_size > 5000
