"""benchmarks/resolution.py: what it leaves of the arrays, and which runs it asks for."""

import json
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
            return str(tmp_path / "exp" / str(len(ran)))
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
    with pytest.raises(utils.UserError, match="no row forest; there are stats, kmeans, scratch, simsiam"):
        run(tmp_path, "--rows forest")
