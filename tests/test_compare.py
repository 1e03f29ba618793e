"""compare.py from the command line, on experiment folders made of random predictions."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_experiment import ENCODER, make_result, write_experiment, write_transfer

import compare
import utils
from evaluation import results, statistics


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """Two experiments, ids 154874 (linear, mlp) and 203311 (linear), all on the same tracks."""
    monkeypatch.chdir(tmp_path)
    first = write_experiment(tmp_path / "exp", log=False)
    write_transfer(first, "linear", skill=1.5)
    write_transfer(first, "mlp", skill=1.8, protocol="mlp")
    second = write_experiment(tmp_path / "exp", "203311", log=False, method="byol")
    write_transfer(second, "linear", skill=0.5, network={**ENCODER, "method": "byol"})
    return tmp_path / "exp"


def run(capsys, *argv):
    """Lines of stdout, and the CSV as dicts keyed by result."""
    compare.main(compare.get_args_parser().parse_args(argv))
    lines = capsys.readouterr().out.splitlines()
    with open(lines[-1], newline="") as file:
        return lines, {row["result"]: row for row in csv.DictReader(file)}


def table_row(lines, name):
    return next(line for line in lines if line.startswith(name))


def test_the_table_holds_what_the_results_say(experiments, capsys):
    lines, rows = run(capsys, "154874", "203311")
    assert list(rows) == ["154874/mlp", "154874/linear", "203311/linear"]  # the most accurate first
    summary = json.loads((experiments / "154874" / "linear" / "result.json").read_text())
    row = rows["154874/linear"]
    for key in ("accuracy", "macro_f1", "roc_auc", "log_loss", "calibration_error", "n_test"):
        assert float(row[key]) == summary[key]
    assert [float(row["accuracy_low"]), float(row["accuracy_high"])] == summary["accuracy_ci95"]
    assert (row["method"], row["backbone"]) == ("simsiam", "resnet18")
    low, high = summary["accuracy_ci95"]
    shown = table_row(lines, "154874/linear")
    assert f"{100 * summary['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in shown
    assert "byol resnet18" in table_row(lines, "203311/linear")
    assert "WARNING" not in "".join(lines)


def test_pairs_are_compared_track_by_track(experiments, capsys):
    lines, rows = run(capsys, "154874", "203311")
    tables = {}
    for name in ("154874/mlp", "203311/linear"):
        with open(experiments / name / "predictions.csv", newline="") as file:
            tables[name] = np.array([row["truth"] == row["prediction"] for row in csv.DictReader(file)])
    a, b = tables["203311/linear"], tables["154874/mlp"]
    row = rows["203311/linear"]
    assert row["compared_to"] == "154874/mlp"
    assert float(row["difference"]) == pytest.approx(a.mean() - b.mean())
    assert float(row["p"]) == pytest.approx(statistics.mcnemar(a, b))
    assert float(row["difference_low"]) < float(row["difference"]) < float(row["difference_high"]) < 0
    assert rows["154874/mlp"]["difference"] == ""
    assert "picked on these very tracks" in "".join(lines)
    assert "with 2 comparisons" in "".join(lines)


def test_the_order_of_tracks_does_not_matter(experiments, capsys):
    _, before = run(capsys, "154874", "203311")
    path = experiments / "203311" / "linear" / "predictions.csv"
    head, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rest)]) + "\n")
    _, after = run(capsys, "154874", "203311")
    assert before == after


def test_a_chosen_baseline(experiments, capsys):
    lines, rows = run(capsys, "154874", "--baseline", "203311")
    assert rows["154874/linear"]["compared_to"] == rows["154874/mlp"]["compared_to"] == "203311/linear"
    assert float(rows["154874/linear"]["difference"]) > 0
    assert "flattered" not in "".join(lines)
    with pytest.raises(utils.UserError, match="say which of 154874/linear, 154874/mlp"):
        run(capsys, "203311", "--baseline", "154874")


def test_a_baseline_of_other_tracks_is_refused(experiments, capsys):
    write_transfer(experiments / "203311", "medium", seed=7, dataset="fma_medium")
    with pytest.raises(utils.UserError, match="203311/medium was tested on other tracks than all the others"):
        run(capsys, "154874", "--baseline", "203311/medium")


def test_seeds_stand_beside_results_that_differ_in_them(experiments, capsys):
    for seed in (3, 4):
        one = write_experiment(experiments, f"30000{seed}", log=False, seed=seed)
        write_transfer(one, "linear", skill=0.5 + seed / 10, flags={"seed": 0})
    lines, rows = run(capsys, "300003", "300004")
    assert [rows[f"30000{seed}/linear"]["seed"] for seed in (3, 4)] == ["3", "4"]
    assert "seed" in lines[0].split()


@pytest.mark.parametrize(("layer", "protocol", "seeds"), [
    ("backbone", "linear", "3"), ("backbone", "finetune", "3, 7"), ("backbone+kmeans", "linear", "3, 7"),
    ("kmeans+stats", "linear", "7"), ("stats", "linear", None),
])  # fmt: skip
def test_the_seeds_of_a_result_are_those_that_it_depends_on(experiments, layer, protocol, seeds):
    one = write_experiment(experiments, "300003", log=False, seed=3)
    network = {**ENCODER, "layer": layer}
    folder = write_transfer(one, "some", protocol=protocol, network=network, flags={"seed": 7})
    assert results.seed_of(results.read(folder)) == seeds


@pytest.mark.parametrize(("protocol", "together"), [("linear", True), ("scratch", True), ("finetune", False)])
def test_a_rate_that_only_fine_tuning_goes_by_tells_only_its_recipes_apart(experiments, protocol, together):
    """Its default was another once, and stands in results that have nothing to do with it."""
    one = write_experiment(experiments, "300003", log=False)
    found = [write_transfer(one, f"some{share}", protocol=protocol, flags={"seed": 0, "layer_decay": share})
             for share in (0.7, 1.0)]  # fmt: skip
    recipes = [results.recipe_of(results.read(folder)) for folder in found]
    assert (recipes[0] == recipes[1]) == together


def test_a_trained_network_says_of_which_layer_it_is():
    trained = {**ENCODER, "kind": "trained"}
    assert make_result(network=trained).network_name == "simsiam resnet18"
    assert make_result(network={**trained, "layer": "stage1"}).network_name == "simsiam resnet18, stage1"


def test_different_tracks_datasets_and_splits_are_warned_of_and_not_compared(experiments, capsys):
    write_transfer(
        experiments / "203311", "medium", seed=7, dataset="fma_medium", train_split="validation", label_fraction=0.1
    )
    lines, rows = run(capsys, "154874/linear", "203311/medium", "203311/linear")
    warnings = [line for line in lines if line.startswith("WARNING")]
    assert any("datasets" in line and "fma_small" in line and "fma_medium" in line for line in warnings)
    assert any("training splits: " in line for line in warnings)
    assert any("same tracks" in line for line in warnings)
    assert rows["203311/linear"]["compared_to"] == "154874/linear"
    assert rows["203311/medium"]["p"] == ""


def test_a_genre_that_changed_is_another_track(experiments, capsys):
    path = experiments / "203311" / "linear" / "predictions.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[1] = "Rock" if cells[1] != "Rock" else "Folk"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    lines, _ = run(capsys, "154874/linear", "203311")
    assert any("same tracks" in line for line in lines if line.startswith("WARNING"))


def test_every_way_to_name_a_result(experiments, capsys):
    path = experiments / "154874" / "linear"
    lines, rows = run(capsys, "154874/linear", str(path), str(path / "result.json"))
    assert list(rows) == ["154874/linear"]
    assert "difference" not in lines[0]
    _, rows = run(capsys, str(experiments / "154874"))
    assert set(rows) == {"154874/linear", "154874/mlp"}


def test_seeds_and_baseline_features(experiments, capsys):
    seeds = {"accuracy": {"mean": 0.515, "std": 0.021, "ci95": [0.4, 0.6], "n": 3}}
    stats = {**ENCODER, "kind": "statistics", "method": None, "backbone": None}
    write_transfer(experiments / "203311", "stats", seeds=seeds, num_seeds=3, network=stats)
    write_transfer(experiments / "203311", "random", network={**ENCODER, "kind": "random", "method": None})
    lines, rows = run(capsys, "203311")
    assert "51.5 ± 2.1 (3)" in table_row(lines, "203311/stats")
    assert rows["203311/stats"]["accuracy_std"] == "0.021"
    assert table_row(lines, "203311/stats").split()[1] == "stats"
    (said,) = (line for line in lines if line.startswith("all: "))  # what is equal is no column
    assert "protocol linear, dataset" in said
    assert "protocol" not in lines[0]
    assert "of several seeds by one run (--num_seeds): all but 'over seeds' is of the first seed" in lines
    assert not any("--num_seeds" in line for line in run(capsys, "203311/random")[0])
    assert "random resnet18" in table_row(lines, "203311/random")
    for name, *shown in (("stats", "", "stats", "stats"), ("random", "", "resnet18", "random")):
        assert [rows[f"203311/{name}"][key] for key in ("method", "backbone", "baseline")] == shown


def test_markdown_and_html(experiments, capsys):
    lines, _ = run(capsys, "154874", "203311", "--markdown", "table.md", "--html", "--out", "all.csv")
    assert lines[-1] == "all.csv"
    table = [line for line in Path("table.md").read_text().splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert len({line.count("|") for line in table}) == 1
    for name in ("154874", "203311"):
        assert (experiments / name / "report.html").is_file()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda linear: (linear / "predictions.csv").unlink(), "run transfer"),
        (lambda linear: (linear / "predictions.csv").write_text("track_id,truth\n1,Rock\n"), "is not the predict"),
        (lambda linear: (linear / "result.json").write_text("{}"), "not a result"),
        (lambda linear: (linear / "result.json").write_text("[1"), "not readable JSON"),
    ],
)
def test_damage_is_one_sentence(experiments, capsys, damage, message):
    damage(experiments / "203311" / "linear")
    with pytest.raises(utils.UserError, match=message):
        run(capsys, "154874", "203311")


def test_nothing_to_compare(experiments, capsys):
    with pytest.raises(utils.UserError, match="there are: 203311, 154874"):
        run(capsys, "999999")
    write_experiment(experiments, "300000", log=False)
    with pytest.raises(utils.UserError, match="no result yet"):
        run(capsys, "300000")


def test_results_speak_together_by_their_mean_probability(experiments, capsys):
    names = ["154874/linear", "203311/linear"]
    _, rows = run(capsys, *names, "--together", "--baseline", "154874/mlp")
    tables = [pd.read_csv(experiments / name / "predictions.csv", dtype={"track_id": str}) for name in names]
    mean = sum(table.set_index("track_id").iloc[:, 2:] for table in tables) / 2
    truth = tables[0].set_index("track_id")["truth"]
    right = (mean.idxmax(axis=1).str.removeprefix("p: ") == truth).mean()
    assert float(rows["mean of 2"]["accuracy"]) == pytest.approx(right)
    alone = float(rows["154874/mlp"]["accuracy"])  # which has no part in the mean
    assert float(rows["mean of 2"]["difference"]) == pytest.approx(right - alone)
    write_transfer(experiments / "154874", "others", seed=9, tracks=30)
    with pytest.raises(utils.UserError, match="same tracks"):
        run(capsys, "154874/linear", "154874/others", "--together")


def test_several_seeds_are_one_row_and_one_test(experiments, capsys):
    for seed, (name, skill) in enumerate(zip(
        ("weak", "weak_2", "strong", "strong_2", "strong_3"), (0.5, 0.6, 1.0, 1.1, 1.2), strict=True
    )):  # fmt: skip
        write_transfer(experiments / "203311", name, skill=skill, flags={"seed": seed})
    weak, strong = ([f"203311/{name}" for name in names]
                    for names in (("weak", "weak_2"), ("strong", "strong_2", "strong_3")))  # fmt: skip
    lines, rows = run(capsys, "154874/mlp", "--seeds", *weak, "--seeds", *strong, "--baseline", weak[0])
    tables = {name: pd.read_csv(experiments / name / "predictions.csv") for name in [*weak, *strong]}
    right = {name: (table["truth"] == table["prediction"]).to_numpy() for name, table in tables.items()}
    a, b = (np.mean([right[name] for name in names], axis=0) for names in (strong, weak))
    row = rows[f"{strong[0]} (3 seeds)"]
    assert float(row["accuracy"]) == pytest.approx(a.mean())
    crops = [json.loads((experiments / name / "result.json").read_text())["crop_accuracy"] for name in strong]
    assert float(row["crop_accuracy"]) == pytest.approx(np.mean(crops))
    assert [float(row["accuracy_low"]), float(row["accuracy_high"])] == statistics.bootstrap_interval(a)
    assert f"{100 * a.mean():.1f} ± " in table_row(lines, strong[0])
    assert table_row(lines, strong[0]).count("(3)") == 1
    assert (row["compared_to"], row["p_over"]) == (f"{weak[0]} (2 seeds)", "seeds")
    assert float(row["difference"]) == pytest.approx(a.mean() - b.mean())
    assert float(row["p"]) == pytest.approx(statistics.sign_flip(a, b, parts=6))
    assert rows[f"{weak[0]} (2 seeds)"]["p"] == ""
    assert "other seeds are not in it" in "".join(lines)
    again, _ = run(capsys, "154874/mlp", "--seeds", *weak, "--seeds", *strong, "--baseline", weak[1])
    assert again == lines  # one of the group means the group
    assert "seed ," not in "".join(lines)
    assert rows["154874/mlp"]["p_over"] == "seeds"  # against the two
    assert "p over tracks: exact sign-flip test of the tracks' differences, each the mean over the seeds" in lines
    for seed in (1, 2):
        one = write_experiment(experiments, f"30000{seed}", log=False, seed=seed)
        write_transfer(one, "tuned", skill=0.5 + seed / 10, flags={"seed": 0})
        mixed = {**ENCODER, "layer": "backbone+kmeans+stats", "pretrained": str(seed)}
        write_transfer(one, "shared", skill=0.5 + seed / 10, network=mixed, flags={"seed": 0})
        write_transfer(one, "own", skill=0.5 + seed / 10, network=mixed, flags={"seed": seed})
    run(capsys, "--seeds", "300001/tuned", "300002/tuned")  # the pre-training's seeds are seeds, too
    run(capsys, "--seeds", "300001/own", "300002/own")
    with pytest.raises(utils.UserError, match="share a dictionary"):
        run(capsys, "--seeds", "300001/shared", "300002/shared")
    shutil.copytree(experiments / weak[0], experiments / "203311" / "copied")
    write_transfer(experiments / "203311", "wider", skill=0.7, flags={"seed": 9, "lr": 0.1})
    write_transfer(experiments / "203311", "same", skill=0.7, flags={"seed": 0})
    for flags, message in (
        (["--seeds", "154874/mlp", weak[0]], "is not a seed of 154874/mlp .*: they differ in protocol"),
        (["--seeds", strong[0], "203311/wider", weak[0]], None), (["--seeds", weak[0], "203311/same"], "of one seed"),
        (["--seeds", weak[0], "203311/copied"], "of one seed"), (["--seeds", weak[0]], "two or more"),
        (["--seeds", "154874"], "means several"), (["--seeds", *weak, "--together"], "not with --seeds"),
        ([], "which results"),
    ):  # fmt: skip
        if message is None:
            run(capsys, *flags)  # a flag that the others do not have says nothing
            continue
        with pytest.raises(utils.UserError, match=message):
            run(capsys, *flags)


def test_results_on_tracks_of_known_artists_are_compared_by_artist(experiments, capsys):
    artists = [f"{number // 8}" for number in range(200)]
    write_transfer(experiments / "203311", "named", skill=0.5, artists=artists)
    lines, rows = run(capsys, "154874/linear", "203311/named")  # of which one does not name them
    tables = [pd.read_csv(experiments / name / "predictions.csv") for name in ("203311/named", "154874/linear")]
    a, b = ((table["truth"] == table["prediction"]).to_numpy() for table in tables)
    row = rows["203311/named"]
    assert (row["resampled"], row["n_resampled"], row["p_over"]) == ("artists", "25", "artists")
    assert float(row["p"]) == pytest.approx(statistics.sign_flip(a, b, artists))
    paired = statistics.paired_bootstrap(a, b, np.array(artists))["ci95"]
    assert [float(row["difference_low"]), float(row["difference_high"])] == paired
    assert "intervals over tracks: 154874/linear" in lines
    assert "intervals over artists: 203311/named" in lines
    assert "p over artists: exact sign-flip test of the artists' differences" in lines
    lines, rows = run(capsys, "154874/linear", "154874/mlp", "--html")
    assert rows["154874/linear"]["p_over"] == "tracks"
    assert {"intervals over tracks", "p over tracks: McNemar's exact test"} < set(lines)
    run(capsys, "203311/named", "--html")
    assert "intervals over 25 artists" in (experiments / "203311" / "report.html").read_text()


def test_no_table_takes_the_place_of_another_file(experiments, capsys, tmp_path):
    (tmp_path / "song.mp3").write_bytes(b"ID3")
    (tmp_path / "notes.md").write_text("# mine\n")
    for flags, message in (
        (["--out", "song.mp3"], "--out .* is there, and no table of compare.py"),
        (["--out", "c.csv", "--markdown", "notes.md"], "--markdown .* is there, and no table of compare.py"),
        (["--out", "c.csv", "--markdown", "./c.csv"], "--out and --markdown name the same file"),
    ):
        with pytest.raises(utils.UserError, match=message):
            run(capsys, "154874", *flags)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["notes.md", "song.mp3"]
    for _ in range(2):  # its own tables are replaced
        run(capsys, "154874", "--out", "c.csv", "--markdown", "c.md")
