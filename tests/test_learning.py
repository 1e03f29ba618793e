"""benchmarks/learning.py: pairs of runs that differ in one thing, and what the table makes of them."""

import pytest
from conftest import call

import utils
from benchmarks import learning
from training import trials


@pytest.fixture(autouse=True)
def arrays(monkeypatch):
    """What the collection is known by; there is none where the runs are made up."""
    monkeypatch.setattr(trials, "open_folder", lambda *where, **kinds: None)
    monkeypatch.setattr(trials, "digest_of_arrays", lambda folder: "a" * 64)


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """The flags that were asked for, in place of running them. The fast way is 0.01 worse, a seed is worth 0.1."""
    asked = []

    def trial(common, train_flags, transfer_flags, num_epochs):
        seed = common[common.index("--seed") + 1]
        asked.append((seed, train_flags))
        worse = 0.01 * ("bf16" in train_flags)
        experiment = tmp_path / f"run{len(asked)}"
        losses = [f"{epoch},{0.1 * seed + worse * epoch - epoch}" for epoch in range(num_epochs)]
        utils.write_text(experiment / "train_log.csv", "\n".join(["epoch,loss", *losses]) + "\n")
        values = dict.fromkeys(trials.COLUMNS, 0.5 + 0.1 * seed - worse)
        return {**values, "experiment": str(experiment)}

    monkeypatch.setattr(trials, "trial", trial)
    return asked


def test_pairs_share_the_seed_and_all_flags_but_one(tmp_path, ran):
    call(learning, f"--out {tmp_path}/out --num_seeds 2 --train_flags=--num_views=2")
    assert ran == [(seed, f"--num_views=2 --precision {way}") for seed in (0, 1) for way in ("fp32", "bf16")]


def test_the_table_has_paired_differences_beside_those_of_another_seed(tmp_path, ran, capsys):
    call(learning, f"--out {tmp_path}/out --num_epochs 3")
    text = (tmp_path / "out" / "learning.md").read_text()
    assert "| linear probe | 0.6000 ± 0.1000 | 0.5900 ± 0.1000 | -0.0100 [-0.0100, -0.0100] | 0.2000 |" in text
    assert "| loss, greatest difference of any epoch |  |  | 0.0200 | 0.2000 |" in text  # two epochs of 0.01
    assert text in capsys.readouterr().out


def test_it_goes_on_where_it_was_and_refuses_other_flags(tmp_path, ran):
    call(learning, f"--out {tmp_path}/out --num_seeds 1")
    call(learning, f"--out {tmp_path}/out --num_seeds 2")
    assert [seed for seed, _ in ran] == [0, 0, 1, 1]
    with pytest.raises(utils.UserError, match="choose another --out"):
        call(learning, f"--out {tmp_path}/out --num_epochs 7")


def test_tables_that_somebody_has_changed_are_refused(tmp_path, ran):
    call(learning, f"--out {tmp_path}/out --num_epochs 3 --num_seeds 1")
    table = tmp_path / "out" / "learning.csv"
    good = table.read_text()
    table.write_text(good.replace("0.49", "much"))
    with pytest.raises(utils.UserError, match=r"learning\.csv has no finite number as knn_accuracy"):
        call(learning, f"--out {tmp_path}/out --num_epochs 3 --num_seeds 1")
    table.write_text(good)
    (tmp_path / "run2" / "train_log.csv").write_text("epoch,loss\n0,1\n1,0.5\n")
    with pytest.raises(utils.UserError, match=r"train_log\.csv has 2 epochs, not 3"):
        call(learning, f"--out {tmp_path}/out --num_epochs 3 --num_seeds 1")
    assert len(ran) == 2


def test_a_table_is_of_one_collection_and_older_ones_go_on(tmp_path, ran, monkeypatch):
    command = f"--out {tmp_path}/out --num_seeds 1"
    call(learning, command)
    settings = utils.read_json(tmp_path / "out" / "settings.json")
    monkeypatch.setattr(trials, "digest_of_arrays", lambda folder: "b" * 64)
    with pytest.raises(utils.UserError, match=r"other flags \(arrays a+ → b+\)"):
        call(learning, command)
    del settings["arrays"]
    utils.write_json(tmp_path / "out" / "settings.json", settings)
    call(learning, command)
    assert len(ran) == 2
