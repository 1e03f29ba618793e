"""evaluation.results: what is written is read again, and so is what older versions have written."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_experiment import ENCODER, GENRES, make_result, write_experiment

import transfer
import utils
from evaluation import metrics, plots, report, results

LOG = [{"epoch": n, "train_loss": 2 / n, "validation_loss": 1.5, "validation_accuracy": 0.1 * n} for n in (1, 2, 3)]
CURVE = [{"train_size": 20, "seed": 0, "train_macro_f1": 0.9, "validation_macro_f1": 1 / 3}]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_read_is_the_inverse_of_write(tmp_path):
    made = make_result(log=LOG, curve=CURVE, label_fraction=0.1, layer_weights=[0.25, 0.75], seconds=1 / 3)
    read = results.read(made.write(tmp_path / "154874" / "linear").folder)
    assert read == made
    assert (read.name, read.folder) == ("154874/linear", tmp_path / "154874" / "linear")
    pd.testing.assert_frame_equal(read.predictions, made.predictions, atol=1e-6)
    pd.testing.assert_frame_equal(read.log, made.log)
    pd.testing.assert_frame_equal(read.curve, made.curve)
    np.testing.assert_array_equal(read.truth, made.truth)
    np.testing.assert_allclose(read.probabilities, made.probabilities, atol=1e-6)
    np.testing.assert_array_equal(read.confusion, made.confusion)
    again = read.write(tmp_path / "again")
    assert files(again.folder) == files(read.folder)


def test_the_arrays_become_the_numbers_and_tables(tmp_path):
    probabilities = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], dtype=np.float32)
    crops = np.array([[[0.8, 0.2], [0.4, 0.6]], [[0.3, 0.7], [0.3, 0.7]], [[0.9, 0.1], [0.9, 0.1]]])
    chosen = {"epoch": 3, "validation_accuracy": 0.75}
    result = results.Result.of(
        probabilities, crops, [0, 1, 1], ["000001", "2", "NA"], ["a, b", "c"], network=ENCODER, chosen=chosen
    )
    assert result.metrics == metrics.summarise(probabilities, [0, 1, 1], ["a, b", "c"])
    assert (result.crop_accuracy, result.validation_accuracy) == (0.5, 0.75)
    whole = results.Result.of(probabilities, crops[:, :1], [0, 1, 1], ["1", "2", "3"], ["a", "b"], network=ENCODER)
    assert whole.crop_accuracy is None
    folder = result.write(tmp_path).folder
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["track_id", "truth", "prediction", "p: a, b", "p: c"]
    assert rows[1] == ["000001", "a, b", "a, b", "0.700000", "0.300000"]
    assert [row[:3] for row in rows[2:]] == [["2", "c", "c"], ["NA", "c", "a, b"]]
    assert (folder / "confusion.csv").read_text() == 'truth \\ prediction,"a, b",c\n"a, b",1,0\nc,1,1\n'
    assert not (folder / "transfer_log.csv").exists()
    assert results.read(folder).predictions.index.tolist() == ["000001", "2", "NA"]


def test_artists_widen_the_intervals_and_are_kept(tmp_path):
    names = [f"{number // 5:03}" for number in range(200)]
    made, alone = make_result(artists=names), make_result()
    result = results.read(made.write(tmp_path / "linear").folder)
    assert (result.metrics["resampled"], result.metrics["n_resampled"]) == ("artists", 40)
    assert result.metrics["accuracy_ci95"] != alone.metrics["accuracy_ci95"]
    assert result.metrics["macro_f1_ci95"] != alone.metrics["macro_f1_ci95"]
    assert list(result.artists) == names  # text: 000
    assert list(result.predictions.columns[:4]) == ["truth", "prediction", "artist", "p: Electronic"]
    assert "over 40 artists; chance" in str(result)
    few = make_result(artists=[f"{number // 11}" for number in range(200)])
    assert "over 19 artists (few artists: the interval is too narrow); chance" in str(few)
    chance, answers = np.random.default_rng(0).random((40, 1)), [[number % 2] for number in range(40)]
    tagger = results.TagResult.of(
        chance, None, answers, range(40), ["loud"], artists=[f"{number // 10}" for number in range(40)],
        network=made.network,
    )  # fmt: skip
    assert "1 tag, trained" in str(tagger)
    assert "over 4 artists (few artists: the interval is too narrow); chance" in str(tagger)
    assert results.together([alone, result]).metrics["n_resampled"] == 40  # by whichever names them
    assert (alone.metrics["resampled"], alone.metrics["n_resampled"], alone.artists) == ("tracks", 200, None)


def test_artists_that_are_not_all_known_are_kept_and_not_drawn(tmp_path):
    made = make_result(artists=["", *["a", "b"] * 99, "c"])
    result = results.read(made.write(tmp_path / "linear").folder)
    assert result.metrics == make_result().metrics
    assert list(result.predictions["artist"][:3]) == ["", "a", "b"]
    assert "over 200 tracks (not over artists: that of 1 tracks is unknown); chance" in str(result)
    assert "over 200 tracks; chance" in str(make_result())
    assert result.artists is None


def test_result_json_comes_last(tmp_path, monkeypatch):
    written = []
    real = utils.atomic_path
    monkeypatch.setattr(utils, "atomic_path", lambda path: written.append(path.name) or real(path))
    make_result(log=LOG, curve=CURVE).write(tmp_path)
    assert written == ["predictions.csv", "confusion.csv", "transfer_log.csv", "label_curve.csv", "result.json"]


def test_the_numbers_are_read_without_the_tables(tmp_path):
    folder = make_result().write(tmp_path / "linear").folder
    (folder / "predictions.csv").unlink()
    result = results.read(folder)
    assert result.metrics["n_test"] == 200
    with pytest.raises(utils.UserError, match="run transfer"):
        _ = result.predictions
    os.mkfifo(folder / "predictions.csv")
    with pytest.raises(OSError, match="is not a file"):
        _ = result.predictions


def test_over_seeds_keeps_the_first_and_says_the_spread_of_all():
    found = [make_result(skill=skill, chosen={"validation_accuracy": 0.4}) for skill in (1, 1.5, 2)]
    result = results.over_seeds(found)
    accuracies = [one.metrics["accuracy"] for one in found]
    assert result.metrics == found[0].metrics
    assert result.num_seeds == result.seeds["accuracy"]["n"] == 3
    assert result.seeds["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert result.seeds["accuracy"]["std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert result.seeds["validation_accuracy"]["ci95"] == pytest.approx([0.4, 0.4])
    assert "over 3 seeds" in str(result)
    assert results.over_seeds(found[:1]) is found[0]
    json.dumps(result.summary, allow_nan=False)


def test_what_it_says_on_the_screen():
    result = make_result()
    lines = str(result).splitlines()
    low, high = result.metrics["accuracy_ci95"]
    assert lines[0] == "linear on fma_small, simsiam resnet18: 200 test tracks, 6 genres, trained on 6394"
    said = f"(95 % interval {low:.3f} to {high:.3f} over 200 tracks; chance 0.167"
    assert f"{result.metrics['accuracy']:.3f}  {said}" in lines[1]
    assert [line.split()[0] for line in lines[1:]] == ["accuracy", "macro-F1", "ROC-AUC", "top-5"]


def test_a_transfer_whose_pictures_and_page_fail_has_its_result(tiny_folder, tmp_path, monkeypatch, capsys):
    def fail(*args, **options):
        raise RuntimeError("out of ink")

    for module, name in ((plots, "confusion"), (plots, "reliability"), (report, "write_report")):
        monkeypatch.setattr(module, name, fail)
    command = f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --dataset tiny --protocol linear --baseline stats"
    transfer.main(transfer.get_args_parser().parse_args([*command.split(), "--device", "cpu"]))
    lines = capsys.readouterr().out.splitlines()
    folder = Path(lines[-1]).parent
    assert [line.rsplit("/")[-1] for line in lines if line.startswith("WARNING")] == [
        "confusion.png could not be drawn (RuntimeError: out of ink)",
        "reliability.png could not be drawn (RuntimeError: out of ink)",
        "report.html could not be written (RuntimeError: out of ink)",
    ]
    assert {path.name for path in folder.iterdir()} == {
        "result.json", "predictions.csv", "confusion.csv", "transfer.pth", "per_genre.png", "features.png",
    }  # fmt: skip
    result = results.read(folder)
    assert (result.network["kind"], result.network["backbone"], result.network_name) == ("statistics", None, "stats")
    assert result.metrics["accuracy"] == (result.predictions["truth"] == result.predictions["prediction"]).mean()


def test_a_transfer_on_a_folder_with_artists_says_them(tiny_folder, tmp_path, without_pictures, run_script):
    path = tiny_folder / "tiny_npy" / "tracks.csv"
    tracks = pd.read_csv(path, dtype=str)
    tracks.assign(artist=[f"0{number // 2}" for number in range(len(tracks))]).to_csv(path, index=False)
    command = f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --dataset tiny --protocol linear --baseline stats"
    result = results.read(Path(run_script(transfer, f"{command} --device cpu")).parent)
    assert (result.metrics["resampled"], result.metrics["n_resampled"], len(result.predictions)) == ("artists", 3, 6)
    assert list(result.artists[:2]) == ["015", "015"]


def test_no_transfer_is_overwritten(tmp_path):
    folders = [results.new_transfer(tmp_path, "tiny_linear").name for _ in range(3)]
    assert folders == ["tiny_linear", "tiny_linear_2", "tiny_linear_3"]


# ------------------------------------------------------------------ what made the features

OLD = {  # of a linear probe, as it was written before there was a record
    "protocol": "linear", "baseline": None, "frozen": True, "backbone": "resnet18", "layer": "backbone",
    "num_features": 512, "hidden": [], "dropout": [], "batch_norm": True, "num_layers": 1, "flags": {"seed": 3},
}  # fmt: skip
LINEAR = {"hidden": [], "dropout": [], "batch_norm": True}
WITHOUT = {"method": None}  # a configuration without pre-training
OLDER = {  # what differs in result.json, in the flags of the experiment, in its spectrogram; the record; its name
    "linear probe": ({}, {}, {}, {}, "simsiam resnet18"),
    "projector": ({"layer": "projector"}, {}, {}, {"layer": "projector"}, "simsiam resnet18, projector"),
    "statistics beside an experiment": (
        {"baseline": "stats", "backbone": "stats"}, {}, {},
        {"kind": "statistics", "method": None, "backbone": None}, "stats",
    ),
    "random weights beside an experiment": (
        {"baseline": "random"}, {}, {}, {"kind": "random", "method": None, "seed": 3}, "random resnet18",
    ),
    "random weights alone": (
        {"baseline": "random"}, WITHOUT, {}, {"kind": "random", "method": None, "seed": 3}, "random resnet18",
    ),
    "fine-tuned": ({"protocol": "finetune", "frozen": False}, {}, {}, {"kind": "trained"}, "simsiam resnet18"),
    "from scratch beside an experiment": (
        {"protocol": "scratch", "frozen": False}, {}, {},
        {"kind": "trained", "method": None, "seed": 3}, "supervised resnet18",
    ),
    "from scratch alone": (
        {"protocol": "scratch", "frozen": False}, WITHOUT, {},
        {"kind": "trained", "method": None, "seed": 3}, "supervised resnet18",
    ),
    "all layers of embeddings": (
        {"protocol": "mlp", "backbone": "music2vec", "layer": "all", "num_features": 768, "hidden": [512],
         "dropout": [0.2], "num_layers": 13, "layer_weights": [1 / 13] * 13},
        {"method": None, "backbone": "music2vec"}, {"num_layers": 13},
        {"kind": "embeddings", "method": None, "backbone": "music2vec", "layer": "all", "num_features": 768,
         "head": {"hidden": [512], "dropout": [0.2], "batch_norm": True, "num_layers": 13}},
        "music2vec",
    ),
    "one layer of embeddings": (
        {"backbone": "exp:154874", "layer": "2"}, {"method": None, "backbone": "exp:154874"}, {"num_layers": 13},
        {"kind": "embeddings", "method": None, "backbone": "exp:154874", "layer": "2"}, "exp:154874",
    ),
    "the first version's head": (
        {"protocol": "mlp", "hidden": [1024, 512, 128], "dropout": 0.5, "batch_norm": ..., "num_layers": ...}, {}, {},
        {"head": {"hidden": [1024, 512, 128], "dropout": 0.5}}, "simsiam resnet18",
    ),
}  # fmt: skip


def test_which_tracks_it_learned_from_and_whether_those_that_judge_are_few():
    many, few = make_result(tracks=200), make_result(tracks=20)
    assert (many.few, few.few) == ("", "test has fewer than 10 tracks of some genres: their figures mean little")
    assert (many.learned_from, make_result(n_train=None).learned_from) == ("6,394 training tracks", "training tracks")


@pytest.mark.parametrize("form", OLDER)
def test_older_results_get_their_record(tmp_path, form):
    differing, flags, spectrogram, wanted, name = OLDER[form]
    old = {key: value for key, value in {**OLD, **differing}.items() if value is not ...}
    experiment = write_experiment(tmp_path, log=False, **flags)
    configuration = utils.read_json(experiment / "configuration.json")
    configuration["spectrogram"] |= spectrogram
    utils.write_json(experiment / "configuration.json", configuration)
    utils.write_json(experiment / "old" / "result.json", {"accuracy": 0.5, "genres": GENRES, **old})

    result = results.read(experiment / "old")
    assert result.network == {**ENCODER, **wanted}
    assert result.network_name == name
    assert result.metrics == {"accuracy": 0.5}
    summary = result.summary
    for key in set(old) - {"num_layers"}:  # readers from before still find what they look for
        assert summary[key] == old[key], key
    assert summary.get("num_layers", 1) == old.get("num_layers", 1)
    utils.write_json(experiment / "new" / "result.json", summary)
    assert results.read(experiment / "new") == result


def test_random_weights_have_no_projector_whatever_the_flag_was():
    assert results.network_of({**OLD, "baseline": "random", "layer": "projector"}, {})["layer"] == "backbone"


def test_the_record_of_a_new_result_is_believed(tmp_path):
    network = {**ENCODER, "kind": "kmeans", "method": None, "backbone": None}
    folder = make_result(network=network).write(write_experiment(tmp_path, log=False) / "linear").folder
    result = results.read(folder)
    assert result.network == network
    assert result.network_name == "kmeans"


def test_a_result_of_little_and_without_an_experiment(tmp_path):
    utils.write_json(tmp_path / "linear" / "result.json", {"accuracy": 0.5, "genres": ["a"], "seeds": None})
    result = results.read(tmp_path / "linear")
    assert (result.protocol, result.n_train, result.train_split, result.seeds) == (None, None, "training", None)
    assert result.network["kind"] == "encoder"
    assert result.log.empty
    assert result.curve.empty


def test_the_label_curve_had_another_name(tmp_path):
    folder = make_result().write(tmp_path / "linear").folder
    (folder / "learning_curve.csv").write_text("train_size,seed\n20,0\n")
    assert results.read(folder).curve["train_size"].tolist() == [20]
