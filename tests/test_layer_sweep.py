"""The sweep over layers: what is tried, that each row is the probe of its layer, that the best is tested."""

import csv
import json
from pathlib import Path

import pytest
from conftest import TINY, Pretrained, call, write_folder

import train_simsiam
import transfer
import utils
from training import layer_sweep


def test_stages_below_the_last_are_tried_and_the_two_highest_together():
    singles, tried = layer_sweep.layers_to_try(["stage1", "stage2", "stage3"])
    assert singles == ["stage1", "stage2", "backbone", "projector", "stats", "kmeans"]
    assert tried[:5] == ["stage1", "stage2", "backbone", "projector", "stage2+backbone"]
    assert set("+".join(tried).split("+")) == set(singles)
    _, tried = layer_sweep.layers_to_try([])
    assert tried[:3] == ["backbone", "projector", "backbone+projector"]


def test_of_equals_the_fewest_features_are_best():
    rows = [("a", 9, 0.5), ("b", 6, 0.7), ("c", 3, 0.7), ("d", 1, 0.6)]
    names = ("layer", "num_features", "validation_accuracy")
    rows = [{**dict(zip(names, row, strict=True)), "C": 1, "ci95_low": 0, "ci95_high": 1} for row in rows]
    assert layer_sweep.best_layer(rows) == "c"
    said = layer_sweep.describe_sweep(rows).splitlines()[-1]
    assert said == "2 layers share the highest accuracy: c is taken, of the fewest features"
    assert "share" not in layer_sweep.describe_sweep(rows[:2])


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """An experiment of a network with stages."""
    home = tmp_path_factory.mktemp("frames")
    write_folder(home / "data", "tiny")
    flags = TINY.replace("conv8", "frames") + " --num_epochs 1 --crop_seconds 3"
    call(train_simsiam, f"--data_dir {home}/data --exp_dir {home}/exp --device cpu {flags}")
    (experiment,) = (home / "exp").iterdir()
    return Pretrained(home / "data", home / "exp", experiment)


def test_each_row_is_the_probe_of_its_layer_and_the_best_is_tested_once(frames, run_script, without_pictures):
    def run(flags):
        file = Path(run_script(transfer, frames.transfer(f"--protocol linear {flags}")))
        return file.parent, json.loads(file.read_text())

    folder, result = run("--sweep_layers")
    rows = {row["layer"]: row for row in csv.DictReader((folder / "layers.csv").open())}
    assert list(rows) == layer_sweep.layers_to_try(["stage1", "stage2", "stage3"])[1]
    best = max(rows.values(), key=lambda row: (float(row["validation_accuracy"]), -int(row["num_features"])))
    assert result["layer"] == best["layer"]
    assert float(best["ci95_low"]) <= float(best["validation_accuracy"]) <= float(best["ci95_high"])
    for layer in ("stage1", "stage2+backbone", "backbone+kmeans+stats", best["layer"]):
        _, alone = run(f"--layer {layer}")
        assert float(rows[layer]["C"]) == alone["chosen"]["C"]
        assert float(rows[layer]["validation_accuracy"]) == pytest.approx(alone["validation_accuracy"])
        assert int(rows[layer]["num_features"]) == alone["num_features"]


def test_a_picture_shows_the_layers(tmp_path):
    class Task:
        genres, validation = ["Folk", "Rock"], range(9)

    values = {"num_features": 3, "C": 0.1, "validation_accuracy": 0.5, "ci95_low": 0.4, "ci95_high": 0.6}
    rows = [{"layer": layer, **values} for layer in ("stage1", "backbone")]
    layer_sweep.write_sweep(tmp_path, rows, Task)
    assert (tmp_path / "layers.png").stat().st_size > 5000
    assert "backbone         3  0.1" in layer_sweep.describe_sweep(rows)


@pytest.mark.parametrize(("flags", "message"), [
    ("--protocol finetune", "goes with --protocol linear"), ("--protocol linear --layer stage1", "not with --layer"),
    ("--protocol linear --baseline stats", "baseline"), ("--protocol linear --label_fraction 0.5", "all validation"),
])  # fmt: skip
def test_what_cannot_be_swept_is_refused(pretrained_once, flags, message):
    with pytest.raises(utils.UserError, match=message):
        call(transfer, pretrained_once.transfer(f"--sweep_layers {flags}"))
