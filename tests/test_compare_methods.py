"""compare_methods.py on the tiny folder: its table, and that what is finished or begun is not done again."""

import argparse
import os
import re
import shutil

import pytest

import compare_methods
import train_simsiam
import transfer
import utils

SCRIPTS = {"train_simsiam.py": train_simsiam, "transfer.py": transfer}


@pytest.fixture
def calls(monkeypatch, run_script):
    """The scripts run in this process; the list of those that ran."""
    ran = []

    def call(script, *flags, show):
        ran.append(f"{script} {' '.join(map(str, flags))}")
        return run_script(SCRIPTS[script], " ".join(map(str, flags)))

    monkeypatch.setattr(utils, "call", call)
    return ran


def test_one_command_makes_one_table(tiny_folder, tmp_path, calls, run_script):
    command = f"--datasets tiny --data_dir {tiny_folder} --out {tmp_path}/out --num_epochs 1 --backbone resnet18 "
    command += "--device cpu --pool average --methods stats,random,autoencoder,simclr,scratch"
    args = compare_methods.get_args_parser().parse_args(
        [*command.split(), "--train_flags", "--batch_size 8", "--transfer_flags", "--batch_size 8 --num_crops 1",
         "--own", "simclr", "--temperature 0.2 --dim 16"]
    )  # fmt: skip
    compare_methods.main(args)
    text = (tmp_path / "out" / "methods.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row[0].strip("| ") for row in rows] == [
        "mean and deviation of each band", "random weights", "autoencoder", "simclr", "supervised from scratch",
    ]  # fmt: skip
    assert all(re.match(r"[\d.]+ \[[\d.]+, [\d.]+\]", row[2]) for row in rows)
    assert [", 5 seeds " in row[2] for row in rows] == [False, True, False, False, False]
    assert (tmp_path / "out" / "methods_tiny.png").stat().st_size > 5000
    assert len(calls) == 7
    flags = utils.read_json(next((tmp_path / "out/tiny/simclr").glob("*/configuration.json")))["flags"]
    assert (flags["temperature"], flags["dim"], flags["batch_size"], flags["pool"]) == (0.2, 16, 8, "average")
    for name in ("simclr", "random", "scratch"):
        (file,) = (tmp_path / "out/tiny" / name).glob("*/*/result.json")
        network = utils.read_json(file)["network"]
        assert (network["backbone"], network["pool"]) == ("resnet18", "average")

    calls.clear()
    compare_methods.main(args)
    assert not calls
    shutil.rmtree(next((tmp_path / "out/tiny/autoencoder").glob("*/tiny_linear")))
    (begun,) = (tmp_path / "out/tiny/simclr").iterdir()
    shutil.rmtree(begun / "tiny_linear")
    log = (begun / "train_log.csv").read_text()
    (begun / "train_log.csv").write_text(log.splitlines()[0] + "\n")  # as if it had been stopped
    compare_methods.main(args)
    assert [call.split()[0] for call in calls] == ["transfer.py", "train_simsiam.py", "transfer.py"]
    assert f"--resume {begun.name}" in calls[1]
    with pytest.raises(utils.UserError, match="num_epochs 1 → 2"):
        compare_methods.main(argparse.Namespace(**{**vars(args), "num_epochs": 2}))
    os.utime(next((tiny_folder / "tiny_npy").rglob("*.npy")))
    with pytest.raises(utils.UserError, match=r"holds runs with other flags \(arrays "):
        compare_methods.main(args)


@pytest.mark.parametrize(("asked", "views"), [("", "2"), ("--num_views 3", "3")])
def test_simsiam_sees_as_many_views_as_the_others_unless_more_are_asked_for(tmp_path, monkeypatch, asked, views):
    monkeypatch.setattr(utils, "call", lambda script, *flags, show: [str(flag) for flag in flags])
    args = compare_methods.get_args_parser().parse_args(["--datasets", "tiny", f"--train_flags={asked}"])
    flags = compare_methods.pretrain("simsiam", [], tmp_path, args)
    last = len(flags) - flags[::-1].index("--num_views")  # what argparse goes by
    assert flags[last] == views


def test_unknown_methods_are_named(tmp_path):
    args = compare_methods.get_args_parser().parse_args(["--methods", "simsiam,magic", "--out", str(tmp_path)])
    with pytest.raises(utils.UserError, match="no method magic"):
        compare_methods.main(args)


def test_all_rows_have_the_network_that_was_asked_for(capsys):
    with pytest.raises(SystemExit):
        compare_methods.get_args_parser().parse_args(["--train_flags", "--backbone resnet18"])
    assert "leave out --backbone: this command has it itself" in capsys.readouterr().err
