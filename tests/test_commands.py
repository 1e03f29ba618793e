"""preprocessing.py on real files, what a script that fails says, and what --help does not wait for."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import preprocessing
import utils
from data import logmel
from data.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]


# ------------------------------------------------------------------ preprocessing


@pytest.fixture
def music(tmp_path):
    """Twelve clips in three genre folders, and a broken one."""
    chance = np.random.default_rng(0)
    for number in range(12):
        path = (
            tmp_path
            / "music"
            / ("folk", "jazz", "rock")[number % 3]
            / f"clip{number:02d}.{'mp3' if number % 2 else 'wav'}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(6 * 22050) * (0.02 + 0.01 * number)) * 0.3
        soundfile.write(path, tone + chance.normal(0, 0.01, tone.shape), 22050)
    (tmp_path / "music" / "rock" / "broken.mp3").write_text("no music")
    return tmp_path / "music"


def test_preprocessing_writes_contract_1_and_resumes(music, tmp_path, run_script, capsys):
    command = f"--dataset own --source {music} --data_dir {tmp_path}/data --n_mels 40 --dtype uint8 --workers 1"
    folder = Path(run_script(preprocessing, command))
    assert folder == tmp_path / "data" / "own_npy"
    rows = list(csv.DictReader((folder / "tracks.csv").open()))
    assert len(rows) == 12
    assert {row["split"] for row in rows} == {"training", "validation", "test"}
    settings = read_settings(folder / "spectrogram.json")
    for row in rows:
        array = np.load(folder / row["path"], allow_pickle=False)
        assert array.dtype == np.uint8
        assert array.shape == (40, int(row["frames"]))
    row = next(row for row in rows if row["track_id"] == "clip03")
    waveform = logmel.read_audio(music / "folk" / "clip03.mp3", 22050)
    expected = logmel.log_mel(waveform, settings).numpy()
    stored = settings.db_min + np.load(folder / row["path"]) * (80 / 255)
    np.testing.assert_allclose(stored, expected, atol=0.17)
    failures = list(csv.DictReader((folder / "failed.csv").open()))
    assert [(failure["track_id"], "not audio" in failure["reason"]) for failure in failures] == [("broken", True)]

    made = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.npy")}
    (folder / "folk" / "clip03.npy").unlink()
    index = (folder / "tracks.csv").read_text()
    run_script(preprocessing, command)
    again = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.npy")}
    assert [path.name for path in made if made[path] != again[path]] == ["clip03.npy"]
    assert (folder / "tracks.csv").read_text() == index

    with pytest.raises(utils.UserError, match=r"n_mels 40 → 64.*--overwrite"):
        run_script(preprocessing, command.replace("--n_mels 40", "--n_mels 64"))
    run_script(preprocessing, command.replace("--n_mels 40", "--n_mels 64 --overwrite"))
    assert np.load(folder / "folk" / "clip03.npy").shape[0] == 64


def test_preprocessing_fails_when_nothing_can_be_converted(tmp_path, run_script):
    (tmp_path / "music" / "rock").mkdir(parents=True)
    (tmp_path / "music" / "rock" / "a.mp3").touch()
    with pytest.raises(utils.UserError, match="not one of 1 tracks"):
        run_script(preprocessing, f"--dataset own --source {tmp_path}/music --data_dir {tmp_path}/data")
    assert "empty file" in (tmp_path / "data" / "own_npy" / "failed.csv").read_text()


# ------------------------------------------------------------------ bad input


def test_a_script_that_fails_prints_one_line_and_no_traceback(tmp_path):
    command = [sys.executable, ROOT / "transfer.py", "--exp_path", "1", "--exp_dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no experiment '1'")
    assert len(done.stderr.splitlines()) == 1


# ------------------------------------------------------------------ --help

SLOW = ("torch._C", "torchvision", "torchaudio", "librosa", "sklearn", "pandas", "matplotlib", "scipy")
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.py"), *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "data").glob("*.py")]
    if "def get_args_parser" in path.read_text(encoding="utf-8")
)
ASK = """
import contextlib, io, json, runpy, sys
for script in sys.argv[2:]:
    for flag in ("--help", "--nonsense"):
        sys.argv, said, status = [script, flag], io.StringIO(), None
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                runpy.run_path(script, run_name="__main__")
            except SystemExit as end:
                status = end.code
        print(json.dumps([script, flag, status, said.getvalue(), [*sys.modules]]))
"""


@pytest.fixture(scope="module")
def answers():
    """[script, flag, exit status, text, modules that are imported by then] of every script to two flags."""
    asked = [sys.executable, "-c", ASK, "", *SCRIPTS]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_and_wrong_flags_are_answered_before_what_takes_seconds_to_import(answers):
    assert len(answers) == 2 * len(SCRIPTS) > 26
    for script, flag, status, text, modules in answers:
        assert not set(SLOW) & set(modules), f"{script} {flag}"
        assert status == (0 if flag == "--help" else 2), f"{script} {flag}: {text}"
        assert text.startswith("usage: " if flag == "--help" else "error: "), f"{script} {flag}: {text}"
