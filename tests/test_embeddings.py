"""Embedding folders: classifying them without an experiment, and the learning curve."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fake_vectors import vectors, write_npz
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

import compare
import preprocessing
import transfer
import utils
from training import label_curve

FAST = "--device cpu --batch_size 16"

pytestmark = pytest.mark.usefixtures("without_pictures")


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


def test_a_chosen_layer_is_logistic_regression_on_it(tmp_path, adopt, classify):
    own = adopt(write_npz(tmp_path / "v.npz", spread=4.0))
    folder, result = classify("--protocol linear --layer 2")
    parts = {split: [row for row in rows_of(own) if row["split"] == split] for split in ("training", "test")}
    x, test = (np.stack([np.load(own / row["path"])[2] for row in part]) for part in parts.values())
    scaler = StandardScaler().fit(x)
    fit = LogisticRegression(C=result["chosen"]["C"], max_iter=5000)
    fit.fit(scaler.transform(x), [row["genre_top"] for row in parts["training"]])
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    ours = np.array([[float(row[f"p: {genre}"]) for genre in result["genres"]] for row in rows])
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


def test_the_learning_curve_never_tests(tmp_path, adopt, classify, monkeypatch):
    adopt(write_npz(tmp_path / "v.npz", per_genre=40, spread=6.0))
    seen = []
    real = label_curve.score
    monkeypatch.setattr(
        label_curve, "score", lambda head, crops, labels: seen.append(len(labels)) or real(head, crops, labels)
    )
    folder, result = classify("--layer 2 --hidden 16 --num_epochs 5 --train_sizes 48,24,96 --num_seeds 2")
    rows = list(csv.DictReader((folder / "label_curve.csv").open()))
    assert [(row["train_size"], row["seed"]) for row in rows] == [
        (size, seed) for size in ("24", "48", "96") for seed in ("0", "1")
    ]
    assert seen == [n for size in (24, 24, 48, 48, 96, 96) for n in (size, 12)]  # training, 12 of validation
    for row in rows:
        assert float(row["gap"]) == pytest.approx(float(row["train_macro_f1"]) - float(row["validation_macro_f1"]))
    assert (result["n_test"], result["n_train"], result["num_seeds"]) == (12, 96, 2)
    assert result["flags"]["seed"] == 0


@pytest.mark.parametrize("flags", ["--protocol linear", "--hidden 8 --num_epochs 2"])
def test_the_curve_mixes_all_layers_as_the_classifier_does(tmp_path, adopt, classify, flags):
    adopt(write_npz(tmp_path / "v.npz"))
    folder, result = classify(f"{flags} --num_epochs 20 --lr 0.05 --train_sizes 24,72")
    assert result["num_layers"] == 4
    last = list(csv.DictReader((folder / "label_curve.csv").open()))[-1]
    assert float(last["validation_macro_f1"]) > 0.8


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


@pytest.mark.parametrize(("flags", "message"), [
    ("--protocol finetune", "only --protocol linear and mlp"),
    ("--protocol scratch --aug image", "only --protocol linear and mlp"),
    ("--protocol linear --baseline stats", "--baseline goes with spectrograms"),
    ("--layer 4", "has all, 0, 1, 2, 3"),
    ("--layer projector", "has all, 0, 1, 2, 3"),
    ("--train_sizes 24,1000", "to 72"),
    ("--hidden 16,8 --dropout 0.1,0.2,0.3", "one for each"),
])  # fmt: skip
def test_what_does_not_go_with_embeddings_is_refused(tmp_path, adopt, classify, flags, message):
    adopt(write_npz(tmp_path / "v.npz"))
    with pytest.raises(utils.UserError, match=message) as error:
        classify(flags)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "exp").exists()


def test_an_experiment_does_not_take_embeddings(tmp_path, adopt, classify, pretrained_once):
    adopt(write_npz(tmp_path / "v.npz"))
    with pytest.raises(utils.UserError, match="without --exp_path"):
        classify(f"--exp_path {pretrained_once.experiment}")


def test_nothing_is_made_of_an_experiment_without_a_network(tmp_path, adopt, classify, run_script):
    adopt(write_npz(tmp_path / "v.npz"))
    folder, _ = classify("--protocol linear --layer 2")
    where = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --dataset own"
    with pytest.raises(utils.UserError, match="holds embeddings"):
        run_script(preprocessing, f"--features exp:{folder.parent.name} {where}")
    with pytest.raises(utils.UserError, match="holds embeddings"):
        run_script(preprocessing, f"--dataset own --data_dir {tmp_path}/data --check")
