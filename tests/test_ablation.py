"""The ablation: its conditions, and a run of it that is stopped and started again."""

import csv
from pathlib import Path

import pytest
from conftest import call

import ablation
import augment
import train_simsiam
import transfer
import utils
from data import logmel
from training import trials


@pytest.fixture(autouse=True)
def arrays(monkeypatch):
    """What the collection is known by; there is none where the runs are made up."""
    monkeypatch.setattr(trials, "open_folder", lambda *where, **kinds: None)
    monkeypatch.setattr(trials, "digest_of_arrays", lambda folder: "a" * 64)


def test_conditions_are_alone_whole_and_minus_one():
    conditions = ablation.all_conditions()
    for family, members in augment.FAMILIES.items():
        in_family = [name for name, member in members.items() if member.in_family]
        assert conditions[family] == family
        for name in members:
            assert conditions[f"{family}:{name}"] == f"{family}:{name}"
        for name in in_family:
            rest = conditions[f"{family} − {name}"]
            assert rest.count(",") == len(in_family) - 2
            assert f"{family}:{name}" not in rest.split(",")
    for aug in conditions.values():
        augment.build(aug, logmel.default_settings())


def test_runs_are_kept_and_summarised(tiny_folder, tmp_path, run_script, monkeypatch):
    calls, real = [], utils.call

    def called(script, *flags):  # the first two as ablation.py does it, the others in this process
        calls.append(script)
        here = {"train_simsiam.py": train_simsiam, "transfer.py": transfer}[script]
        return real(script, *flags) if len(calls) <= 2 else run_script(here, " ".join(map(str, flags)))

    monkeypatch.setattr(utils, "call", called)
    command = (
        f"--data_dir {tiny_folder} --exp_dir {tmp_path}/exp --out {tmp_path}/out --dataset tiny --num_epochs 1 "
        "--num_seeds 1 --train_flags=--batch_size=8 --device cpu --only "
    )
    run_script(ablation, command + "none")
    file = Path(run_script(ablation, command + "none,image:mask --jobs 2"))
    rows = list(csv.DictReader(file.open()))
    assert [row["aug"] for row in rows] == ["none", "image:mask"]
    assert calls == ["train_simsiam.py", "transfer.py"] * 2
    assert all(0 <= float(row["linear_accuracy"]) <= 1 for row in rows)
    assert "| image:mask |" in (tmp_path / "out" / "ablation.md").read_text()
    assert (tmp_path / "out" / "ablation.png").exists()
    with pytest.raises(utils.UserError, match="no condition wind"):
        run_script(ablation, command + "wind")


@pytest.fixture
def ran(monkeypatch, without_pictures):
    """The flags of train_simsiam.py that were asked for, in place of running them."""
    asked = []

    def trial(common, train_flags, transfer_flags, num_epochs):
        asked.append(train_flags)
        return {"knn_accuracy": 0.4, "linear_accuracy": 0.5, "experiment": "exp/1"}

    monkeypatch.setattr(ablation.trials, "trial", trial)
    return asked


def test_one_ablation_at_a_time_writes_a_table_and_runs_each_condition_once(tmp_path, ran):
    command = f"--only none,none --num_seeds 1 --out {tmp_path}/out"
    with utils.locked(tmp_path / "out"), pytest.raises(utils.UserError, match="works on the same"):
        call(ablation, command)
    assert not ran
    call(ablation, command)
    assert len(ran) == 1
    table = tmp_path / "out" / "ablation.csv"
    table.write_text(table.read_text().replace("0.5", ""))
    with pytest.raises(utils.UserError, match=r"ablation\.csv has no finite number as linear_accuracy"):
        call(ablation, command)
