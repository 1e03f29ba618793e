"""benchmarks/label_efficiency.py: which runs it asks for, what it keeps of them, and that it goes on where it was."""

import json

import pandas as pd
import pytest
from conftest import GENRES, call, write_folder

import utils
from benchmarks import label_efficiency
from data.folder import open_folder
from training.options import Protocol


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Two experiments; the command lines of transfer.py that were asked for, as dicts, in place of running it."""
    folder = open_folder(write_folder(tmp_path / "data", "tiny"), "tiny")
    for name in ("111111", "222222"):
        flags = {"method": "simsiam", "dataset": "tiny", "data_dir": str(tmp_path / "data")}
        content = {"spectrogram": folder.settings.to_json(), "normalisation": {"mean": 0, "std": 1}, "genres": []}
        utils.write_json(tmp_path / "exp" / name / "configuration.json", {"flags": flags, **content})
        utils.write_text(tmp_path / "exp" / name / "pre.pth", name)
    ran = []

    def transfer(script, *flags):
        assert script == "transfer.py"
        given = dict(zip(map(str, flags[::2]), flags[1::2], strict=True))
        ran.append(given)
        folder = given["--exp_path"] / f"tiny_{len(ran)}"
        utils.write_text(folder / "transfer.pth", "weights")
        utils.write_json(folder / "result.json", {
            "n_train": round(200 * given["--label_fraction"]), "n_test": 40, "macro_f1": 0.3, "seconds": 1.0,
            "accuracy": 0.4 + 0.1 * given["--seed"], "genres": ["a", "b"], "dataset": "tiny",
            "chosen": {"by": "the last epoch"},
        })  # fmt: skip
        return str(folder / "result.json")

    monkeypatch.setattr(utils, "call", transfer)
    return ran


def run(tmp_path, more="--num_seeds 1"):
    flags = f"--exp_path 111111 222222 --exp_dir {tmp_path}/exp --out {tmp_path}/out --fractions 0.5,0.1 {more}"
    call(label_efficiency, flags)
    return tmp_path / "out"


def test_every_row_share_and_seed_is_run_once_on_validation(tmp_path, asked):
    out = run(tmp_path, "--num_seeds 3")
    assert len(asked) == len(label_efficiency.ROWS) * 2 * 3
    assert {given["--test_split"] for given in asked} == {"validation"}
    assert {(given["--protocol"], given.get("--baseline")) for given in asked} == {
        ("linear", None), ("finetune", None), ("scratch", None), ("linear", "kmeans"),
    }  # fmt: skip
    used = {(given["--seed"], (given["--exp_path"] / "pre.pth").read_text()) for given in asked}
    assert used == {(0, "111111"), (1, "222222"), (2, "111111")}
    table = pd.read_csv(out / "label_efficiency.csv")
    assert len(table) == len(asked)
    assert set(table["n_train"]) == {20, 100}
    text = (out / "label_efficiency.md").read_text()
    assert "0.1 (20 tracks) | 0.5 (100 tracks)" in text
    assert text.count("0.500 ± 0.100") == 8
    assert (out / "label_efficiency.png").stat().st_size > 5000


def test_the_experiments_are_left_as_they_are_and_no_weights_pile_up(tmp_path, asked):
    out = run(tmp_path, "--num_seeds 1 --rows frozen")
    assert sorted(file.name for file in (tmp_path / "exp" / "111111").iterdir()) == ["configuration.json", "pre.pth"]
    assert {path.read_text() for path in out.glob("exp/*/pre.pth")} == {"111111", "222222"}
    assert list(out.rglob("result.json"))
    assert not list(out.rglob("transfer.pth"))


def test_all_are_judged_on_the_same_tracks_and_labels(tmp_path, asked):
    run(tmp_path, "--num_seeds 1 --rows frozen")
    assert {(given["--dataset"], given["--data_dir"]) for given in asked} == {("tiny", tmp_path / "data")}
    tracks = tmp_path / "data" / "tiny_npy" / "tracks.csv"
    tracks.write_text(tracks.read_text().replace(GENRES[0], GENRES[1]))
    with pytest.raises(utils.UserError, match="other flags"):
        run(tmp_path, "--num_seeds 2 --rows frozen")
    write_folder(tmp_path / "elsewhere", "tiny")
    file = tmp_path / "exp" / "222222" / "configuration.json"
    file.write_text(file.read_text().replace(f"{tmp_path}/data", f"{tmp_path}/elsewhere"))
    with pytest.raises(utils.UserError, match="different folders: give --data_dir and --dataset"):
        run(tmp_path, "--num_seeds 2 --rows frozen")


def test_what_is_there_is_not_run_again_and_other_flags_are_refused(tmp_path, asked, monkeypatch):
    run(tmp_path, "--num_seeds 1 --rows frozen")
    run(tmp_path, "--num_seeds 2 --rows frozen,kmeans")
    keys = [(given.get("--baseline"), given["--seed"], given["--label_fraction"]) for given in asked]
    assert len(keys) == len(set(keys)) == 8
    with pytest.raises(utils.UserError, match="test_split validation → test"):
        run(tmp_path, "--test_split test")
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["exp_path"] == ["111111", "222222"]
    monkeypatch.setattr(label_efficiency, "PROTOCOLS", {"finetune": Protocol(lr=1e-4)})
    with pytest.raises(utils.UserError, match=r"finetune --lr 0.0003 --num_epochs 10.* → finetune --lr 0.0001"):
        run(tmp_path, "--num_seeds 2 --rows frozen,kmeans")


@pytest.mark.parametrize(("flags", "message"), [
    ("--rows frozen,thawed", "no row thawed"),
])
def test_bad_flags_are_refused_in_a_sentence(tmp_path, asked, flags, message):
    with pytest.raises(utils.UserError, match=message):
        run(tmp_path, flags)
    assert not asked


def test_the_network_from_scratch_has_flags_of_its_own(tmp_path, asked):
    flags = f"--exp_path 111111 --exp_dir {tmp_path}/exp --out {tmp_path}/out --fractions 0.5 --num_seeds 1".split()
    flags += ["--transfer_flags", "--num_epochs 5", "--scratch_flags", "--num_epochs 30"]
    label_efficiency.main(label_efficiency.get_args_parser().parse_args(flags))
    assert {given["--protocol"]: given["--num_epochs"] for given in asked} == {
        "linear": "5", "finetune": "5", "scratch": "30",
    }  # fmt: skip


def test_a_row_asked_for_twice_is_run_once(tmp_path, asked):
    out = run(tmp_path, "--num_seeds 2 --rows frozen,frozen")
    assert len(asked) == 4
    assert (out / "label_efficiency.md").read_text().count("0.450 ± 0.071") == 2


def test_a_table_that_somebody_has_changed_is_refused(tmp_path, asked):
    table = run(tmp_path, "--num_seeds 1 --rows frozen") / "label_efficiency.csv"
    table.write_text(table.read_text().replace("0.4,", ","))
    with pytest.raises(utils.UserError, match=r"label_efficiency\.csv has no finite number as accuracy"):
        run(tmp_path, "--num_seeds 1 --rows frozen")
    table.write_text(table.read_text().replace(",,", ",7.0,"))
    with pytest.raises(utils.UserError, match=r"label_efficiency\.csv says what no run has said"):
        run(tmp_path, "--num_seeds 1 --rows frozen")
    assert len(asked) == 2


def test_a_copy_that_was_exchanged_is_made_again(tmp_path, asked):
    out = run(tmp_path, "--num_seeds 1 --rows frozen")
    (copy,) = {given["--exp_path"] for given in asked}
    (copy / "pre.pth").write_text("another")
    (out / "label_efficiency.csv").unlink()
    run(tmp_path, "--num_seeds 1 --rows frozen")
    assert (copy / "pre.pth").read_text() == "111111"


def test_a_result_outside_of_the_own_folder_is_not_touched(tmp_path, asked, monkeypatch):
    utils.write_text(tmp_path / "elsewhere" / "tiny_1" / "transfer.pth", "somebody's")
    monkeypatch.setattr(utils, "call", lambda *flags: str(tmp_path / "elsewhere" / "tiny_1" / "result.json"))
    with pytest.raises(utils.UserError, match="whose name is on one line"):
        run(tmp_path, "--num_seeds 1 --rows frozen")
    assert (tmp_path / "elsewhere" / "tiny_1" / "transfer.pth").read_text() == "somebody's"


@pytest.mark.parametrize("flags", ["--protocol=mlp", "--baseline=stats", "--num_seeds=5", "--refit"])
def test_flags_that_would_make_another_row_are_refused(tmp_path, asked, capsys, flags):
    with pytest.raises(SystemExit):
        run(tmp_path, f"--transfer_flags={flags}")
    assert "the table's rows and flags say it" in capsys.readouterr().err
    assert not asked


def test_tags_are_refused_before_the_first_run(tmp_path, asked, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--transfer_flags=--labels=genres_all")
    assert "leave out --labels: it judges by tags" in capsys.readouterr().err
    assert not asked
