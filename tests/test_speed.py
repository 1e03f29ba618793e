"""The benchmarks of speed, run tiny: that they run the real loop, that rows add up, and what they do not claim."""

import argparse
import sys

import pytest
import torch

import train_simsiam
import utils
from benchmarks import gpu, made_up, start, steps, table
from data import crops

CPU = torch.device("cpu")
TINY = steps.Case("tiny", "frames", 16, 32, 4, "--num_views 2 --dim 32 --proj_dim 32 --pred_dim 8")


def run(module, text=""):
    module.main(module.get_args_parser().parse_args(text.split()))


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables_in(text):
    """Lists of rows of cells; every row of a table has as many as its head."""
    found = [[cells_of(line) for line in part.splitlines()] for part in text.split("\n\n") if part.startswith("|")]
    for rows in found:
        assert {len(cells) for cells in rows} == {len(rows[0])}, rows
    return found


@pytest.fixture
def folder(tmp_path):
    return made_up.write_folder(tmp_path, bands=16, num_tracks=made_up.num_tracks_for(8), num_files=3)


def test_a_made_up_folder_is_one_that_loads(folder):
    held = crops.load(folder, folder.split("training"), CPU)
    assert len(held) == 8
    assert folder.settings.seconds_in(int(held.lengths[0])) == pytest.approx(made_up.SECONDS, abs=0.1)
    assert len(folder.genres) > 1
    assert {"validation", "test"} <= set(folder.tracks["split"])


def test_the_real_round_is_the_epoch_of_train_simsiam(folder, monkeypatch):
    """Its own function on its own views, whose weights move; and the bare one moves them by the same optimiser."""
    loop, seen = steps.prepare(TINY, "spec", 4, folder, CPU), []
    real = train_simsiam.train_one_epoch
    monkeypatch.setattr(train_simsiam, "train_one_epoch", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])
    weights = loop.method.state_dict()["predictor.module.0.weight"]
    x = next(iter(loop.views))
    for one_round in (lambda: steps.real_round(loop, False), lambda: steps.bare_round(loop, x, False)):
        before = weights.clone()
        assert one_round() > 0
        assert not torch.equal(before, weights)
    assert [row["epoch"] for row in seen] == [1]
    assert loop.views.views.num_frames == TINY.num_frames
    assert len(loop.views) == 2


def test_turns_are_paired_after_one_to_warm_up():
    one, other = iter([100.0, 1.0, 2.0, 4.0]), iter([100.0, 2.0, 2.0, 5.0])
    assert steps.by_turns(lambda: next(one), lambda: next(other), 3) == (1 / 2, 1 / 2, [0.5, 1, 0.8])
    assert steps.spread([0.5, 1, 0.8], 2) == "0.80 [0.50, 1.00]"


def test_steps_prints_a_row_for_each_family_and_one_for_the_precision(monkeypatch, capsys):
    monkeypatch.setattr(steps, "CASES", {"frames": TINY})
    run(steps, "--rounds 1 --device cpu")
    rates, precision = tables_in(capsys.readouterr().out)
    assert [row[1] for row in rates[2:]] == ["spec", "image", "audio"]
    for _, _, bare, real, ratio, _ in rates[2:]:
        assert float(ratio.split()[0]) == pytest.approx(float(real) / float(bare), rel=0.02)
    assert len(precision) == 3


def test_the_gpu_blocks_are_rehearsed_on_a_cpu_and_claim_nothing(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "QUICK", gpu.QUICK._replace(cases=(TINY,)))
    run(gpu, "--quick --device cpu")
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "device: cpu, peak not known; a rehearsal: tiny sizes, which say nothing"
    aimed, large, waits, learning, others = tables_in(text)
    assert {(row[1], row[2], row[3]) for row in aimed[2:] + others[2:]} == {
        ("4", "spec", "no"), ("4", "image", "no"), ("4", "audio", "no"), ("8", "spec", "no"),
    }  # fmt: skip
    assert {row[8] for row in aimed[2:] + others[2:]} == {"–"}  # no peak is known of it
    assert {row[6] for row in aimed[2:]} == {"≥ 0.92"}
    assert {row[2] for row in waits[2:]} == {"no GPU"}
    assert learning[2][1:6] == learning[3][1:6]
    assert float(learning[3][6]) == 0
    assert large[2][1] == "16"


def test_the_gpu_benchmark_measures_nothing_else(monkeypatch):
    monkeypatch.setattr(utils, "pick_device", lambda name: CPU)
    with pytest.raises(utils.UserError, match="there is no GPU here"):
        run(gpu)


def test_a_row_that_comes_too_late_says_so(tmp_path):
    bench = gpu.Bench(tmp_path, gpu.QUICK._replace(cases=(TINY,), seconds=0), CPU, compiled=False)
    for block in (bench.aimed_at, bench.large_set, bench.waits, bench.learning, bench.others):
        rows = tables_in("\n".join(block()))[0][2:]
        assert rows
        assert all("no time left" in row for row in rows)


def test_a_row_is_not_begun_where_the_one_before_took_longer_than_is_left(tmp_path, monkeypatch):
    bench = gpu.Bench(tmp_path, gpu.QUICK._replace(cases=(TINY,), seconds=10), CPU, compiled=False)
    now = [bench.end - 10]
    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])

    def row(seconds):
        now[0] += seconds
        return "1 |"

    assert bench.timed("| a |", 1, lambda: row(6)) == "| a | 1 |"
    assert bench.timed("| b |", 1, lambda: row(1)) == "| b | no time left |"


def test_the_arithmetic_is_counted_for_one_clip(tmp_path):
    """Twice the frames are nearly twice the arithmetic of a frame encoder: its heads' part stays."""
    bench = gpu.Bench(tmp_path, gpu.QUICK, CPU, compiled=False)
    one = bench.flops_of_clip(TINY)
    longer = bench.flops_of_clip(TINY._replace(num_frames=64))
    assert 1.5 < longer / one < 2


@pytest.mark.parametrize(("name", "peak"), [("NVIDIA H100 PCIe", 756), ("NVIDIA H200", 989), ("Some GPU", None)])
def test_the_peak_is_that_of_the_name(monkeypatch, name, peak):
    monkeypatch.setattr(gpu, "name_of", lambda device: name)
    assert gpu.peak_of(CPU) == peak


def test_every_script_is_started():
    commands = [" ".join(command) for command in start.commands()]
    assert {"train_simsiam.py", "predict.py", "-m benchmarks.start", "-m data.synthetic"} <= set(commands)
    assert not {"utils.py", "-m benchmarks.made_up"} & set(commands)


def test_a_script_that_does_not_start_is_named():
    with pytest.raises(utils.UserError, match=r"-c raise SystemExit\(3\) ends with 3"):
        start.seconds_of(["-c", "raise SystemExit(3)"])


def test_the_table_names_what_fails_or_is_missing_and_goes_on(tmp_path, monkeypatch, capsys):
    for name, source in (("good", "print('| a |')"), ("bad", "raise ValueError('no such thing')")):
        (tmp_path / "benchmarks").mkdir(exist_ok=True)
        (tmp_path / "benchmarks" / f"{name}.py").write_text(source)
    monkeypatch.setattr(table, "ROOT", tmp_path)
    with pytest.raises(utils.UserError, match=r"bad and absent failed: .*benchmark.md says how"):
        table.main(argparse.Namespace(only=["bad", "absent", "good"], out=tmp_path / "exp" / "benchmark.md"))
    written = (tmp_path / "exp" / "benchmark.md").read_text()
    assert written.strip() == capsys.readouterr().out.strip()
    assert "benchmarks.bad: failed with 1 (ValueError: no such thing)" in written
    assert "benchmarks.absent: missing" in written
    assert "\n| a |\n" in written
    assert f"torch {torch.__version__}" in written
    assert sys.platform != "linux" or "cores of " in written


def test_the_table_replaces_no_file_of_another_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "block", lambda name: f"benchmarks.{name}: fine")
    mine, ours = tmp_path / "thesis.md", tmp_path / "benchmark.md"
    mine.write_text("years of work\n")
    for there in (mine, tmp_path):
        with pytest.raises(utils.UserError, match="no table of this command"):
            run(table, f"--only gpu --out {there}")
    assert mine.read_text() == "years of work\n"
    for _ in range(2):  # its own it may replace
        run(table, f"--only gpu --out {ours}")
    assert ours.read_text().endswith("benchmarks.gpu: fine\n")
