"""benchmarks/resolution.py: what it leaves of the arrays, and which runs it asks for."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import call, write_folder

import utils
from benchmarks import resolution
from data.folder import open_folder, read_array


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A folder of arrays; (script, flags) that were asked for, in place of running it."""
    write_folder(tmp_path / "data", "tiny", hop_length=100)
    ran = []

    def call_script(script, *flags):
        flags = [one for flag in flags for one in str(flag).split("=")]
        given = dict(zip(flags[::2], flags[1::2], strict=True))
        ran.append((script, given))
        if script == "train_simsiam.py":
            weights = tmp_path / "exp" / str(len(ran)) / "pre.pth"
            utils.write_text(weights, "")
            return str(weights.parent)
        assert given["--test_split"] == "validation"
        every = int(given["--dataset"].removeprefix("every"))
        file = tmp_path / "results" / f"{len(ran)}.json"
        utils.write_json(file, {"accuracy": 0.5 + 0.1 * int(given["--seed"]) - 0.01 * every})
        return str(file)

    monkeypatch.setattr(utils, "call", call_script)
    return ran


def run(tmp_path, more):
    call(resolution, f"--dataset tiny --data_dir {tmp_path}/data --out {tmp_path}/out {more}")
    return tmp_path / "out"


def test_copies_have_one_column_of_so_many_and_say_so(tmp_path, asked):
    out = run(tmp_path, "--every 1,3 --rows stats")
    whole = open_folder(tmp_path / "data", "tiny")
    for every in (1, 3):
        copy = open_folder(out / "data", f"every{every}")
        assert copy.settings.hop_length == every * whole.settings.hop_length
        assert copy.tracks.drop(columns=["path", "frames"]).equals(whole.tracks.drop(columns=["path", "frames"]))
        for a, b in zip(copy.tracks.itertuples(), whole.tracks.itertuples(), strict=True):
            np.testing.assert_array_equal(read_array(copy, a), read_array(whole, b)[:, ::every])


def test_shuffled_copies_have_the_same_columns_in_another_order(tmp_path, asked):
    out = run(tmp_path, "--every 2 --rows stats --shuffle")
    whole, copy = open_folder(tmp_path / "data", "tiny"), open_folder(out / "data", "every2")
    for a, b in zip(copy.tracks.itertuples(), whole.tracks.itertuples(), strict=True):
        ours, theirs = read_array(copy, a), read_array(whole, b)[:, ::2]
        assert (ours != theirs).any()
        np.testing.assert_array_equal(ours[:, np.lexsort(ours)], theirs[:, np.lexsort(theirs)])
    assert (out / "resolution.md").read_text().startswith("| accuracy on validation, columns shuffled |")
    with pytest.raises(utils.UserError, match="shuffle True → None"):  # one folder, one order
        run(tmp_path, "--every 2 --rows stats")


def test_every_row_is_run_once_and_the_table_holds_means(tmp_path, asked):
    out = run(tmp_path, "--every 2,1 --rows stats,kmeans --num_seeds 2")
    assert len(asked) == 2 + 4  # band statistics have no seed
    assert {given["--num_seeds"] for _, given in asked} == {"1"}
    lines = (out / "resolution.md").read_text().splitlines()
    rate = json.loads((tmp_path / "data" / "tiny_npy" / "spectrogram.json").read_text())["sample_rate"] / 100
    assert f"1 of 1: {rate:.3g} columns/s" in lines[0]
    assert lines[2] == "| band statistics | 0.490 | 0.480 |"
    assert lines[3] == "| k-means dictionary | 0.540 ± 0.071 | 0.530 ± 0.071 |"
    run(tmp_path, "--every 1,2,4 --rows stats,kmeans --num_seeds 2")
    assert len(asked) == 6 + 3
    assert len(pd.read_csv(out / "resolution.csv")) == 9


def test_a_network_is_pre_trained_on_the_thinned_arrays_and_probed(tmp_path, asked):
    flags = "--train_flags=--num_epochs=2 --scratch_flags=--num_epochs=3"
    run(tmp_path, f"--every 2 --rows simsiam,scratch --num_seeds 1 {flags}")
    scripts = [script for script, _ in asked]
    assert scripts == ["train_simsiam.py", "transfer.py", "transfer.py"]
    trained, probed, scratch = (given for _, given in asked)
    assert trained["--dataset"] == probed["--dataset"] == scratch["--dataset"] == "every2"
    assert Path(probed["--exp_path"]).name == "1"
    assert (scratch["--protocol"], scratch["--backbone"]) == ("scratch", "frames")


def test_other_flags_and_rows_are_refused(tmp_path, asked):
    run(tmp_path, "--every 2 --rows stats")
    with pytest.raises(utils.UserError, match="transfer_flags"):
        run(tmp_path, "--every 2 --rows stats --transfer_flags=--bf16")
    with pytest.raises(utils.UserError, match="no row 'forest'; there are stats, kmeans, scratch, simsiam"):
        run(tmp_path, "--rows forest")
    with pytest.raises(utils.UserError, match="no row ''; there are"):
        run(tmp_path, "--rows stats,")


@pytest.mark.parametrize(("flags", "message"), [
    ("--transfer_flags=--baseline=random", "leave out --baseline: the row says it"),
    ("--transfer_flags=--protocol=mlp", "leave out --protocol: the row says it"),
    ("--transfer_flags=--layer=2", "leave out --layer: the row says it"),
    ("--transfer_flags=--sweep_layers", "leave out --sweep_layers: the row says it"),
    ("--scratch_flags=--backbone=conv8", "leave out --backbone: the row says it"),
    ("--scratch_flags=--num_seeds=2", "leave out --num_seeds: this command has such a flag itself"),
    ("--transfer_flags=--device=cpu", "leave out --device: this command has such a flag itself"),
    ("--transfer_flags=--refit", "leave out --refit: runs are compared on validation tracks"),
    ("--transfer_flags=--size=small", "leave out --size: --dataset says it"),
    ("--train_flags=--size=small", "leave out --size: --dataset says it"),
    ("--train_flags=--device=cpu", "leave out --device: this command has such a flag itself"),
    ("--train_flags=--exp_dir=here", "leave out --exp_dir: this command makes the experiments itself"),
])  # fmt: skip
def test_flags_that_would_make_another_row_are_refused_before_the_first_run(tmp_path, asked, capsys, flags, message):
    with pytest.raises(SystemExit):
        run(tmp_path, flags)
    assert message in capsys.readouterr().err
    assert not asked
    assert not (tmp_path / "out").exists()


def test_flags_that_only_begin_like_those_are_let_through(tmp_path, asked):
    flags = "--train_flags=--method=byol --transfer_flags=--layer_decay=1"
    run(tmp_path, f"--every 2 --rows simsiam --num_seeds 1 {flags}")
    assert (asked[0][1]["--method"], asked[1][1]["--layer_decay"]) == ("byol", "1")


def test_another_source_of_the_same_name_is_refused(tmp_path, asked):
    run(tmp_path, "--every 2 --rows stats")
    write_folder(tmp_path / "other", "tiny", hop_length=200)
    with pytest.raises(utils.UserError, match=r"other flags \(arrays .* → .*\): choose another --out"):
        run(tmp_path, f"--every 2 --rows stats --data_dir {tmp_path}/other")
    shutil.rmtree(tmp_path / "data")
    write_folder(tmp_path / "data", "tiny", hop_length=100)  # the same tables and sizes, made at another time
    with pytest.raises(utils.UserError, match="other flags"):
        run(tmp_path, "--every 2,4 --rows stats")
    assert len(asked) == 1
    assert not (tmp_path / "out" / "data" / "every4_npy").exists()


def cut_short(file):
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-3]))


def cut_in_two(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def of_other_arrays(file):
    file.write_text(file.read_text().replace('"hop_length": 200', '"hop_length": 400'))


@pytest.mark.parametrize(("name", "damage"), [
    ("tracks.csv", cut_short),
    ("tracks.csv", Path.unlink),
    ("spectrogram.json", cut_short),
    ("spectrogram.json", of_other_arrays),
    ("spectrogram.json", Path.unlink),
    ("000/000003.npy", cut_in_two),
    ("000/000003.npy", Path.unlink),
    ("copy.json", cut_short),
])  # fmt: skip
def test_a_damaged_copy_is_made_again_and_a_whole_one_is_not(tmp_path, asked, name, damage):
    copy = run(tmp_path, "--every 2 --rows stats") / "data" / "every2_npy"
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in copy.rglob("*.*")}
    run(tmp_path, "--every 2 --rows kmeans --num_seeds 1")
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in before} == before
    damage(copy / name)
    run(tmp_path, "--every 2 --rows kmeans --num_seeds 2")
    assert all(file.read_bytes() == content for file, (content, _) in before.items() if file.name != "copy.json")


def test_shuffled_copies_are_not_taken_for_others_and_folders_of_others_are_left_alone(tmp_path, asked):
    out = run(tmp_path, "--every 2 --rows stats --shuffle")
    for name in ("settings.json", "resolution.csv", "resolution.md"):
        (out / name).unlink()
    run(tmp_path, "--every 2 --rows stats")
    whole, copy = open_folder(tmp_path / "data", "tiny"), open_folder(out / "data", "every2")
    for a, b in zip(copy.tracks.itertuples(), whole.tracks.itertuples(), strict=True):
        np.testing.assert_array_equal(read_array(copy, a), read_array(whole, b)[:, ::2])
    mine = out / "data" / "every4_npy" / "000" / "000000.npy"
    utils.write_text(mine, "precious")
    with pytest.raises(utils.UserError, match="no copy that this command has made"):
        run(tmp_path, "--every 4 --rows stats")
    assert mine.read_text() == "precious"


def test_the_source_is_never_taken_for_a_copy(tmp_path, asked):
    write_folder(tmp_path / "out" / "data", "every2")
    for index_of in ({}, {"index_of": f"{tmp_path}/out/data/every2_npy"}):
        write_folder(tmp_path / "elsewhere", "every2", **index_of)
        data_dir = tmp_path / ("elsewhere" if index_of else "out/data")
        with pytest.raises(utils.UserError, match="where the copies of it go: choose another --out"):
            run(tmp_path, f"--dataset every2 --data_dir {data_dir} --every 2 --rows stats")
    assert open_folder(tmp_path / "out" / "data", "every2").settings.hop_length == 2205
    assert not asked


def test_too_few_columns_are_refused_before_copying(tmp_path, asked):
    shortest = open_folder(tmp_path / "data", "tiny").tracks["frames"].min()
    most = max(every for every in range(1, shortest) if len(range(0, shortest, every)) >= resolution.LEAST)
    message = f"--every {most + 1} leaves fewer than 8 of the {shortest} columns .* {most} is the largest number"
    with pytest.raises(utils.UserError, match=message):
        run(tmp_path, f"--every {most + 1},1 --rows stats")
    assert not (tmp_path / "out").exists()
    run(tmp_path, f"--every {most} --rows stats")
    assert len(asked) == 1


def test_a_finished_pre_training_is_judged_later_and_a_lost_one_is_begun_anew(tmp_path, asked, monkeypatch):
    call_script = utils.call

    def stopped_before_the_probe(script, *flags):
        if script == "transfer.py":
            raise utils.UserError("stopped")
        return call_script(script, *flags)

    def run_stopped():
        with monkeypatch.context() as patch:
            patch.setattr(utils, "call", stopped_before_the_probe)
            with pytest.raises(utils.UserError, match="stopped"):
                run(tmp_path, command)

    command = "--every 2 --rows simsiam --num_seeds 2"
    run_stopped()
    run(tmp_path, command)
    assert [script for script, _ in asked] == ["train_simsiam.py", "transfer.py", "train_simsiam.py", "transfer.py"]
    assert [Path(given["--exp_path"]).name for script, given in asked if script == "transfer.py"] == ["1", "3"]
    command = "--every 2,4 --rows simsiam --num_seeds 1"
    run_stopped()
    shutil.rmtree(tmp_path / "exp" / "5")
    run(tmp_path, command)
    assert [Path(given.get("--exp_path", "")).name for _, given in asked[4:]] == ["", "", "6"]
    experiments = pd.read_csv(tmp_path / "out" / "pretrained.csv")["experiment"]
    assert [Path(one).name for one in experiments] == ["1", "3", "6"]


def test_columns_of_a_table_may_stand_in_any_order(tmp_path, asked):
    table = run(tmp_path, "--every 2 --rows stats") / "resolution.csv"
    before = pd.read_csv(table)
    before.assign(note="mine")[["note", *resolution.COLUMNS[::-1]]].to_csv(table, index=False)
    run(tmp_path, "--every 2,4 --rows stats")
    pd.testing.assert_frame_equal(pd.read_csv(table)[:1], before)
