"""preview.py, run on a few seconds of two chords."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import augment
import preview
import utils
from data.folder import COLUMNS
from data.logmel import default_settings, log_mel
from data.settings import Waveform

ROOT = Path(__file__).parents[1]
NUM_PANELS = 2 + sum(len(table) + 1 for table in augment.FAMILIES.values())


def chord(hertz, seconds=4):
    time = np.arange(seconds * 22050) / 22050
    beats = 1 + np.cos(2 * np.pi * 2 * time)
    return (sum(np.sin(2 * np.pi * h * time) for h in hertz) * beats / 8).astype(np.float32)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    for name, hertz in (("one", (220, 277, 330)), ("two", (500, 1500))):
        soundfile.write(folder / f"{name}.wav", chord(hertz), 22050)
    return folder


def run(*argv):
    preview.main(preview.get_args_parser().parse_args([str(part) for part in argv]))


def test_files_become_pictures(songs, tmp_path, capsys):
    out = tmp_path / "out"
    run(songs / "one.wav", songs / "two.wav", "--out", out, "--seconds", 1, "--no_wav")
    assert {path.name for path in out.iterdir()} == {"one.views.png", "two.views.png"}
    assert (out / "one.views.png").read_bytes() != (out / "two.views.png").read_bytes()
    assert capsys.readouterr().out.splitlines()[-1] == str(out)


def test_sounds_sound_like_their_views(tmp_path):
    settings = default_settings()
    views = [log_mel(chord([hertz], seconds=1), settings) for hertz in (440, 880)]
    preview.write_sounds(tmp_path, [("track", "the track", views[0]), ("audio", "pitch shift", views[1])], settings)
    names = ["00_the_track.wav", "01_audio_pitch_shift.wav"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name, view in zip(names, views, strict=True):
        waveform, rate = soundfile.read(tmp_path / name, dtype="float32")
        assert rate == 22050
        assert 0.3 < np.abs(waveform).max() <= 1
        assert abs(log_mel(waveform, settings).mean(1).argmax() - view.mean(1).argmax()) <= 1


def test_views_are_one_of_each(songs):
    tracks = preview.read_files([songs / "one.wav", songs / "two.wav"])[1]
    panels = preview.make_views(*tracks, default_settings(), 40, None, seed=0)
    assert len(panels) == NUM_PANELS
    assert all(view.shape == (128, 40) and view.isfinite().all() for _, _, view in panels)
    same = [name for _, name, view in panels[2:] if torch.equal(view, panels[0][2])]
    assert set(same) <= {"the whole family"}


def test_a_track_that_is_too_short_is_repeated():
    assert preview.middle(torch.tensor([[1, 2, 3]]), 5).tolist() == [[1, 2, 3, 1, 2]]
    assert preview.middle(torch.arange(9)[None], 3).tolist() == [[3, 4, 5]]


def test_tracks_of_a_spectrogram_folder(tmp_path):
    folder = tmp_path / "tiny_npy"
    folder.mkdir()
    utils.write_json(folder / "spectrogram.json", replace(default_settings(), hop_length=2000).to_json())
    rows = [(f"00000{i}", f"00000{i}.npy", "Rock", "training", 30) for i in range(3)]
    utils.write_csv(folder / "tracks.csv", COLUMNS, rows)
    for row in rows:
        np.save(folder / row[1], -80 * np.random.default_rng(0).random((128, 30)).astype(np.float16))
    run("000001", "000001", "--dataset", "tiny", "--data_dir", tmp_path, "--out", tmp_path / "out", "--seconds", 2)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"000001.views.png"}  # and no sounds
    with pytest.raises(utils.UserError, match="no track 000009"):
        run("000009", "--dataset", "tiny", "--data_dir", tmp_path)


def test_what_is_no_spectrogram_is_refused(tmp_path):
    utils.write_json(tmp_path / "waves_npy" / "spectrogram.json", Waveform().to_json())
    utils.write_csv(tmp_path / "waves_npy" / "tracks.csv", COLUMNS, [("1", "1.npy", "Rock", "training", 30)])
    with pytest.raises(utils.UserError, match="holds waveforms, not spectrograms"):
        run("--dataset", "waves", "--data_dir", tmp_path)


@pytest.mark.parametrize("name", ["../../x", "/x", "..", ".x", "a/b", ""])
def test_nothing_is_written_outside_of_the_folder(tmp_path, name, monkeypatch):
    """Whatever a track is called: its picture and its sounds lie in --out, and can be seen."""
    folder, out = tmp_path / "data" / "odd_npy", tmp_path / "deep" / "deeper" / "out"
    utils.write_json(folder / "spectrogram.json", default_settings().to_json())
    utils.write_csv(folder / "tracks.csv", COLUMNS, [(name, "1.npy", "Rock", "training", 30)])
    np.save(folder / "1.npy", -80 * np.random.default_rng(0).random((128, 30)).astype(np.float16))
    real = preview.make_views
    monkeypatch.setattr(preview, "make_views", lambda *args: real(*args)[:2])
    monkeypatch.setattr(preview.librosa.feature.inverse, "mel_to_audio", lambda *args, **kwargs: np.ones(100))
    before = set(tmp_path.rglob("*"))
    run("--dataset", "odd", "--data_dir", tmp_path / "data", "--out", out, "--seconds", 0.2)
    (picture,) = out.glob("*.png")
    assert len(list((out / picture.name.removesuffix(".views.png")).glob("*.wav"))) == 2
    made = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "deep") for path in made)
    assert not any(path.name.startswith(".") for path in made)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name an audio file"),
        (["nothing.mp3"], "no such file"),
        (["--dataset", "nothing"], "no spectrograms"),
        (["--seconds", "0.01"], "two frames"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(argv, message, songs):
    files = [songs / "one.wav"] if "--seconds" in argv else []
    with pytest.raises(utils.UserError, match=message):
        run(*files, *argv)


def test_bad_input_is_one_line_and_status_2():
    command = [sys.executable, str(ROOT / "preview.py"), "nothing.mp3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: nothing.mp3: no such file\n")


def test_a_name_is_no_formula(tmp_path, songs):
    odd = tmp_path / "Ke$ha_-_A$AP.wav"
    odd.write_bytes((songs / "one.wav").read_bytes())
    run(odd, "--no_wav", "--out", tmp_path / "out")
    (picture,) = (tmp_path / "out").glob("*.views.png")
    assert picture.stat().st_size > 5000
