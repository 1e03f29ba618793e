"""Features on disk: the next run starts from them, with the same result, and never from others."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import transfer
import utils
from data import crops
from models import backbones
from training import kept, precision

pytestmark = pytest.mark.usefixtures("without_pictures")
LINEAR = "--protocol linear --num_crops 2"


@pytest.fixture
def run(pretrained, capsys, monkeypatch):
    """(flags) → (folder of the transfer, lines on the screen, how many crops have passed through a backbone)."""
    passed, real = [], backbones.build

    def build(*args):
        network = real(*args)
        network.register_forward_hook(lambda module, inputs, output: passed.append(len(inputs[0])))
        return network

    def run(flags=LINEAR):
        capsys.readouterr(), passed.clear()
        transfer.main(transfer.get_args_parser().parse_args(pretrained.transfer(flags).split()))
        lines = capsys.readouterr().out.splitlines()
        return Path(lines[-1]).parent, lines, sum(passed)

    monkeypatch.setattr(backbones, "build", build)
    run.home, run.features = pretrained, pretrained.experiment / "features"
    return run


def files(run, name="*/*.pth"):
    return sorted(run.features.glob(name), key=lambda file: file.stat().st_mtime_ns)


def same_result(one, other):
    names = ("transfer.pth", "predictions.csv")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("flags", [
    LINEAR, "--protocol mlp --hidden 8 --num_epochs 2", "--protocol linear --layer backbone+kmeans",
    "--protocol linear --baseline kmeans", "--protocol linear --baseline random --num_seeds 2",
    "--protocol linear --baseline stats", "--protocol linear --train_split validation",
])  # fmt: skip
def test_a_second_run_reads_no_array_and_has_the_same_result(run, monkeypatch, flags):
    without, lines, _ = run(f"{flags} --no-keep_features")
    assert not run.features.exists()
    first, _, passed = run(flags)
    monkeypatch.setattr(crops, "load", None)
    second, lines, passed_again = run(flags)
    assert lines[0] == "features of 36 tracks: kept from before"
    assert passed_again == 0 < passed or "kmeans" in flags or "stats" in flags
    assert same_result(first, second)
    assert same_result(first, without)


def test_where_all_is_kept_no_network_is_made(run, monkeypatch):
    """Whose weights are drawn, and whose modules are imported, for nothing."""
    first, *_ = run()
    monkeypatch.setattr(backbones, "build", None)
    assert same_result(first, run()[0])


def test_the_label_curve_is_the_same_where_the_network_was_made_in_between(run):
    """Which draws its weights, and a head of hidden layers draws its own."""
    curves = []
    for keep in ("--no-keep_features", "--keep_features", "--keep_features"):
        folder, *_ = run(f"--protocol mlp --num_crops 2 --hidden 8 --num_epochs 2 --train_sizes 12 {keep}")
        curves.append((folder / "label_curve.csv").read_bytes())
    assert curves[0] == curves[1] == curves[2]


def test_weights_that_are_exchanged_while_a_run_goes_on_are_not_taken_for_the_others(run, monkeypatch):
    file, real = run.home.experiment / "pre.pth", kept.shelf_of
    other = {name: one + 1 for name, one in torch.load(file, weights_only=True).items()}

    def shelf_of(*args):
        shelf = real(*args)
        utils.save_weights(file, other)
        return shelf

    monkeypatch.setattr("training.given.shelf_of", shelf_of)
    with pytest.raises(utils.UserError, match=r"pre\.pth is damaged, or not what the result was made with"):
        run()
    assert not files(run)


def test_what_may_not_be_read_is_not_there(tmp_path):
    """As the folder of somebody else; as root may read that, too, here a name that no system takes."""
    for shelf in (tmp_path / ("long" * 100), tmp_path / "file" / "below"):
        (tmp_path / "file").touch()
        one = kept.Kept(shelf, {})
        assert not one.has("training")
        assert one.read("training") is None


def test_what_is_only_to_be_read_is_read(tmp_path, monkeypatch):
    one = kept.Kept(tmp_path / "shelf" / "tiny_0123456789abcdef", {})
    one.write("training", torch.ones(3, 1, 2))

    def refuse(*args, **options):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert torch.equal(one.features("training", 3, 1), torch.ones(3, 1, 2))


def test_what_the_next_run_asks_differently_of_the_same_features_is_kept(run):
    run()
    for flags in ("--seed 3 --num_seeds 2", "--train_sizes 6,24", "--save_features", "--label_fraction 0.5"):
        assert run(f"{LINEAR} {flags}")[2] == 0, flags
    assert run("--protocol mlp --num_crops 2 --hidden 4 --num_epochs 1")[2] == 0


def test_some_tracks_of_a_split_are_not_kept(run):
    run(f"{LINEAR} --label_fraction 0.5")
    assert sorted(file.stem.split("_")[1] for file in files(run)) == ["test", "validation"]
    assert run()[2] == 24 * 2


def other_weights(home):
    weights = torch.load(home.experiment / "pre.pth", weights_only=True)
    utils.save_weights(home.experiment / "pre.pth", {name: 2 * value for name, value in weights.items()})


def array_made_again(home):
    file = min((home.data_dir / "tiny_npy" / "Rock").glob("*.npy"))
    stat = file.stat()
    np.save(file, np.load(file) // 2)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))


def track_moved(home):
    file = home.data_dir / "tiny_npy" / "tracks.csv"
    file.write_text(file.read_text().replace("training", "validation", 1))


@pytest.mark.parametrize("change", [other_weights, array_made_again, track_moved])
def test_what_changes_the_features_drops_them(run, change):
    run()
    change(run.home)
    folder, _, passed = run()
    assert passed == 36 * 2
    assert len(list(run.features.iterdir())) == 1
    assert same_result(folder, run(f"{LINEAR} --no-keep_features")[0])


def test_other_code_drops_them(run, monkeypatch):
    run()
    monkeypatch.setattr(kept, "made_with", lambda: ["another version"])
    assert run()[2] == 36 * 2


@pytest.mark.parametrize("flags", ["--layer projector", "--num_crops 3", "--crop_seconds 2"])
def test_features_heard_in_another_way_are_others(run, flags):
    run()
    assert run(f"{LINEAR} {flags}")[2] > 0
    assert run()[2] == 0  # both are kept


def cut(file):
    file.write_bytes(file.read_bytes()[:-1000])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def forge(file, **changes):
    utils.save_weights(file, {**torch.load(file, weights_only=True), **changes})


@pytest.mark.parametrize("damage", [
    cut, flip, lambda file: file.write_bytes(b""), lambda file: forge(file, what=None),
    lambda file: forge(file, kept=torch.zeros(3, 2, 512)), lambda file: forge(file, kept="text"),
    lambda file: forge(file, kept=torch.zeros(24, 1, 512)), lambda file: forge(file, kept=torch.zeros(24, 1024)),
    lambda file: forge(file, kept=torch.full((24, 2, 512), torch.nan)), lambda file: utils.save_weights(file, [1]),
    lambda file: forge(file, kept=torch.zeros(24, 2, 512).to_sparse()),
    lambda file: forge(file, kept=torch.zeros(24, 2, 512, device="meta")),
    lambda file: forge(file, kept=torch.nn.Parameter(torch.zeros(24, 2, 512))),
    lambda file: forge(file, kept=torch.zeros(24, 2, 0)),
])  # fmt: skip
def test_what_is_damaged_or_foreign_is_made_again(run, damage):
    first, *_ = run()
    (file,) = files(run, "*/*_training.pth")
    whole = file.read_bytes()
    damage(file)
    again, lines, passed = run()
    assert lines[0] == "features of 12 tracks: kept from before"
    assert passed == 24 * 2
    assert file.read_bytes() == whole
    assert same_result(first, again)


def test_splits_that_are_not_equally_wide_are_made_again(run):
    first, *_ = run()
    (file,) = files(run, "*/*_training.pth")
    whole = file.read_bytes()
    forge(file, kept=torch.zeros(24, 2, 100))
    again, _, passed = run()
    assert passed == 36 * 2
    assert file.read_bytes() == whole
    assert same_result(first, again)


@pytest.mark.parametrize("what", [
    torch.ones(3), "text", {}, {"rulers.kmeans.mean": torch.zeros(3)},
    lambda right: {**right, "rulers.kmeans.mean": torch.zeros(3)}, lambda right: {**right, "more": torch.zeros(3)},
    lambda right: dict.fromkeys(right, "text"), lambda right: {name: one.to_sparse() for name, one in right.items()},
])  # fmt: skip
def test_foreign_buffers_are_fitted_anew(run, what):
    flags = "--protocol linear --layer backbone+kmeans"
    first, *_ = run(flags)
    (file,) = files(run, "*/*_fitted.pth")
    whole = file.read_bytes()
    right = torch.load(file, weights_only=True)["kept"]
    forge(file, kept=what(right) if callable(what) else what)
    assert same_result(first, run(flags)[0])
    assert file.read_bytes() == whole


def test_behind_a_link_nothing_is_kept_or_removed(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "tiny_0123456789abcdef").mkdir(parents=True)
    run.features.symlink_to(elsewhere)
    assert run()[2] == run()[2] == 36 * 2
    assert [path.name for path in elsewhere.rglob("*")] == ["tiny_0123456789abcdef"]


def test_only_what_is_ours_makes_room(run, monkeypatch):
    for name in ("tiny_mine/a.pth", "tiny_0123456789abcdeg/a.pth", "other_0123456789abcdef/mine.pth"):
        (run.features / name).parent.mkdir(parents=True)
        (run.features / name).write_text("mine")
    for name in ("tiny_0123456789abcdef", "other_0123456789abcdef"):
        (run.features / name).mkdir(exist_ok=True)
        (run.features / name / "0123456789abcdef_test.pth").write_bytes(bytes(10**6))
    monkeypatch.setattr(kept, "MOST_BYTES", 10**6)
    run()
    left = [file.parent.name for file in run.features.rglob("*.pth") if not re.fullmatch(kept.FILE, file.name)]
    assert sorted(left) == ["other_0123456789abcdef", "tiny_0123456789abcdeg", "tiny_mine"]
    assert not files(run, "*_0123456789abcdef/0*.pth")


def test_what_was_used_longest_ago_makes_room(run, monkeypatch):
    run()
    monkeypatch.setattr(kept, "MOST_BYTES", 2 * sum(file.stat().st_size for file in files(run)))
    run(f"{LINEAR} --layer projector")
    run()
    run("--protocol linear --num_crops 3")
    assert run("--protocol linear --num_crops 3")[2] == 0
    assert sum(file.stat().st_size for file in files(run)) <= kept.MOST_BYTES
    assert run(f"{LINEAR} --layer projector")[2] > 0


def test_too_many_are_not_kept(run, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", 1000)
    _, lines, _ = run()
    assert sum("note: the features are not kept" in line for line in lines) == 3
    assert not files(run)


def test_two_runs_at_once_do_not_disturb_each_other(run):
    with utils.locked(run.features / "writing"):
        first, lines, _ = run()
    assert "wait until it has ended" in lines[0]
    assert not files(run)
    assert same_result(first, run()[0])


def test_without_an_experiment_nothing_is_kept(run):
    flags = f"{run.home.where} --dataset tiny --protocol linear --baseline stats"
    transfer.main(transfer.get_args_parser().parse_args(flags.split()))
    assert not list(run.home.exp_dir.glob("*/features"))


def test_the_precision_of_what_is_kept_is_not_measured_again(run, monkeypatch):
    choose = precision.choose
    for first in (False, True):
        monkeypatch.setattr("training.precision.choose", lambda *args, first=first, **options: first)
        folder, *_ = run(f"{LINEAR} --num_crops {2 + first}")
        monkeypatch.setattr("training.precision.choose", None)
        again, *_ = run(f"{LINEAR} --num_crops {2 + first}")
        for each in (folder, again):
            flags = json.loads((each / "result.json").read_text())["flags"]
            assert (flags["precision"], flags["bf16"]) == (("bf16", True) if first else ("fp32", False))
    monkeypatch.setattr("training.precision.choose", choose)
    assert run(f"{LINEAR} --precision bf16")[2] == 0  # conv8 has no right one: it is float32's
