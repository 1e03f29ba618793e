"""preprocessing.py: flags, folders, workers, what is kept, and what is never touched."""

import csv
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import write_folder

import preprocessing
import utils
from data import logmel
from data.collection import Collection, Extractor, Track
from data.settings import Embedding, Spectrogram, Waveform, read_settings


@pytest.fixture
def music(tmp_path):
    """Ten clips of 6 s in two genre folders."""
    chance = np.random.default_rng(0)
    for number in range(10):
        path = tmp_path / "music" / ("folk", "rock")[number % 2] / f"clip{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(6 * 22050) * (0.02 + 0.01 * number)) * 0.3
        soundfile.write(path, tone + chance.normal(0, 0.01, tone.shape), 22050)
    return tmp_path / "music"


def flags(command):
    return preprocessing.get_args_parser().parse_args(command.split())


def state_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_flags_become_settings():
    assert preprocessing.build_extractor(flags("")).settings == logmel.default_settings()
    command = "--sr 16000 --n_fft 512 --hop_length 256 --n_mels 20 --f_min 50 --mel_scale htk --dtype uint8"
    assert preprocessing.build_extractor(flags(command)).settings == Spectrogram(
        sample_rate=16000, n_fft=512, hop_length=256, n_mels=20, f_min=50.0, f_max=8000.0, mel_scale="htk",
        reference="clip maximum", dtype="uint8",
    )  # fmt: skip
    assert preprocessing.build_extractor(flags("--f_max 5000")).settings.f_max == 5000
    waveform = preprocessing.build_extractor(flags("--features waveform --sr 16000 --min_seconds 2"))
    assert (waveform.settings, waveform.min_seconds) == (Waveform(sample_rate=16000), 2)


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_make_what_one_makes(music, tmp_path, run_script, workers):
    command = f"--dataset own --source {music} --data_dir {tmp_path}/{workers} --n_mels 20 --workers {workers}"
    folder = Path(run_script(preprocessing, command))
    rows = list(csv.DictReader((folder / "tracks.csv").open()))
    assert len(rows) == 10
    settings = read_settings(folder / "spectrogram.json")
    for row in rows:
        waveform = logmel.read_audio(music / row["genre_top"] / f"{row['track_id']}.wav", 22050)
        expected = logmel.encode(logmel.log_mel(waveform, settings), settings)
        np.testing.assert_array_equal(np.load(folder / row["path"]), expected)


def test_what_is_made_is_kept_unless_it_is_no_such_array(music, tmp_path, run_script):
    command = f"--dataset own --source {music} --data_dir {tmp_path}/data --n_mels 20 --workers 1"
    folder = Path(run_script(preprocessing, command))
    made = sorted(folder.glob("*/*.npy"))
    whole = [np.load(path) for path in made]
    made[0].unlink()
    made[1].write_bytes(made[1].read_bytes()[:500])
    np.save(made[2], whole[2].astype(np.float32))
    np.save(made[3], whole[3][:19])
    before = state_of(folder)
    run_script(preprocessing, command)
    after = state_of(folder)
    assert [path for path in made if before.get(path) != after[path]] == made[:4]
    for path, array in zip(made, whole, strict=True):
        np.testing.assert_array_equal(np.load(path), array)


def test_what_a_link_leads_to_is_not_removed(music, tmp_path, run_script):
    """Also where the audio has changed, so that its arrays are outdated."""
    own = tmp_path / "audio"
    shutil.copytree(music, own)
    command = f"--dataset own --source {own} --data_dir {tmp_path}/data --n_mels 20 --workers 1"
    folder = Path(run_script(preprocessing, command))
    genre = sorted(path for path in folder.iterdir() if path.is_dir())[0]
    genre.rename(tmp_path / "elsewhere")
    genre.symlink_to(tmp_path / "elsewhere")
    before = state_of(tmp_path / "elsewhere")
    for file in own.rglob("*.wav"):
        os.utime(file, (1, 1))
    run_script(preprocessing, command)
    assert before
    assert state_of(tmp_path / "elsewhere") == before


def test_overwrite_never_throws_the_source_away(music, tmp_path, run_script):
    """Where the folder to make is the audio's own, or around it."""
    inside = tmp_path / "own_npy" / "music"
    shutil.copytree(music, inside)
    before = state_of(inside)
    utils.write_json(tmp_path / "own_npy" / "spectrogram.json", Spectrogram(n_mels=3).to_json())
    for source in (inside, tmp_path / "own_npy", f"{tmp_path}/music/../own_npy"):
        with pytest.raises(utils.UserError, match="would be mixed up with --source"):
            run_script(preprocessing, f"--dataset own --source {source} --data_dir {tmp_path} --overwrite")
    assert state_of(inside) == before
    folder = run_script(preprocessing, f"--dataset beside --source {music} --data_dir {tmp_path}/music --workers 1")
    assert Path(folder) == music / "beside_npy"  # beside the audio is as good as elsewhere


class Counting(Extractor):
    """A vector of ones; one track of four cannot be used."""

    stays_here = True

    def __init__(self):
        super().__init__(Embedding(num_layers=2, num_features=3))

    def __call__(self, source):
        if source.endswith("3"):
            raise logmel.AudioError("is a three")
        return np.ones((2, 3), np.float32)


def test_any_collection_and_extractor_make_a_folder(tmp_path, run_script, monkeypatch, capsys):
    tracks = [Track(f"t{n}", f"t{n}", f"a/{n}.npy", "rock", ("training", "test", "other")[n % 3]) for n in range(10)]
    found = Collection(tracks, left_out=[("x", "x.mp3", "is an x")])
    monkeypatch.setattr(preprocessing, "open_source", lambda args: ("own", found, Counting()))
    preprocessing.main(flags(f"--data_dir {tmp_path} --workers 4"))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "9 tracks of 1 genre: 3 training, 0 validation, 3 test, 3 excluded"
    assert said[1] == f"2 left out, named in {tmp_path}/own_npy/failed.csv:"
    assert said[2:4] == ["  t3: is a three", "  x: is an x"]
    rows = list(csv.reader((tmp_path / "own_npy" / "tracks.csv").open()))
    assert [row[0] for row in rows[1:]] == [f"t{n}" for n in range(10) if n != 3]  # in the collection's order
    assert rows[1] == ["t0", "a/0.npy", "rock", "training", "3"]
    failed = list(csv.reader((tmp_path / "own_npy" / "failed.csv").open()))
    assert failed == [["track_id", "path", "reason"], ["t3", "t3", "is a three"], ["x", "x.mp3", "is an x"]]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "say what to convert"),
        ("--dataset own", "say what to convert"),
        ("--size small --source .", "give either --size"),
        ("--size small --dataset own --source .", "give either --size"),
        ("--size small --dataset ../own", "--dataset ../own is a name, not a path"),
        ("--dataset ../own --source .", "--dataset ../own is a name, not a path"),
        ("--check", "say what to check"),
        ("--check --size small --dataset own", "say what to check"),
        ("--dataset own --source . --genres a,b", "--genres and --num_genres go with --metadata"),
        ("--dataset own --source nowhere", "--source nowhere is not a folder"),
    ],
)
def test_bad_input_gets_one_sentence(command, message, tmp_path, monkeypatch, run_script):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(utils.UserError) as error:
        run_script(preprocessing, command)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "name"), [("", "fma_small"), ("--dataset own", "own"), ("--features waveform", "fma_small_waveform")]
)
def test_fma_goes_into_the_folder_that_is_named(command, name, monkeypatch):
    monkeypatch.setattr(preprocessing.fma, "find", lambda data_dir, size: f"{size} in {data_dir}")
    assert preprocessing.open_source(flags(f"--size small --data_dir here {command}"))[:2] == (name, "small in here")


def test_other_settings_are_refused_or_start_anew(music, tmp_path, run_script):
    command = f"--dataset own --source {music} --data_dir {tmp_path}/data --workers 1 --n_mels"
    folder = Path(run_script(preprocessing, f"{command} 20"))
    with pytest.raises(utils.UserError, match=r"n_mels 20 → 24.*--overwrite"):
        run_script(preprocessing, f"{command} 24")
    assert read_settings(folder / "spectrogram.json").n_mels == 20
    run_script(preprocessing, f"{command} 24 --overwrite")
    assert {np.load(path).shape[0] for path in folder.glob("*/*.npy")} == {24}


def test_what_is_overwritten_waits_until_the_new_one_is_whole(music, tmp_path, run_script, monkeypatch):
    command = f"--dataset own --source {music} --data_dir {tmp_path}/data --workers 1 --n_mels"
    folder = Path(run_script(preprocessing, f"{command} 20"))
    before, waiting = state_of(folder / "rock"), folder.with_name(".own_npy.replaced")

    def stop(*args):
        raise KeyboardInterrupt

    for n_mels in (24, 28):  # the second finds what the first has begun
        with monkeypatch.context() as patch:
            patch.setattr(preprocessing, "convert", stop)
            with pytest.raises(KeyboardInterrupt):
                run_script(preprocessing, f"{command} {n_mels} --overwrite")
        assert len(list(waiting.glob("*/*.npy"))) == 10
    with pytest.raises(utils.UserError, match=rf"is still in {waiting}, and comes back with its settings"):
        run_script(preprocessing, f"{command} 20")
    run_script(preprocessing, f"{command} 20 --overwrite")
    assert state_of(folder / "rock") == before
    assert not waiting.exists()


def test_a_folder_that_is_a_link_is_overwritten_where_it_lies(music, tmp_path, run_script):
    (tmp_path / "disk" / "own").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own_npy").symlink_to(tmp_path / "disk" / "own")
    command = f"--dataset own --source {music} --data_dir {tmp_path}/data --workers 1 --n_mels"
    run_script(preprocessing, f"{command} 20")
    run_script(preprocessing, f"{command} 24 --overwrite")
    assert {np.load(path).shape[0] for path in (tmp_path / "disk" / "own").glob("*/*.npy")} == {24}
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["own"]


def test_nothing_that_can_be_converted_is_an_error(tmp_path, run_script):
    (tmp_path / "music" / "rock").mkdir(parents=True)
    (tmp_path / "music" / "rock" / "a.mp3").touch()
    with pytest.raises(utils.UserError, match="not one of 1 tracks"):
        run_script(preprocessing, f"--dataset own --source {tmp_path}/music --data_dir {tmp_path}/data")
    assert "empty file" in (tmp_path / "data" / "own_npy" / "failed.csv").read_text()


def test_check_compares_fmas_audio_with_its_checksums_before_there_are_spectrograms(tmp_path, run_script, capsys):
    audio, named = tmp_path / "fma_small" / "000", tmp_path / "fma_small_damaged.csv"
    audio.mkdir(parents=True)
    for number in (2, 5):
        (audio / f"00000{number}.mp3").write_bytes(b"sound")
    line = f"{hashlib.sha1(b'sound').hexdigest()}  000/00000"
    (audio.parent / "checksums").write_text(f"{line}2.mp3\n{line}5.mp3\n")
    command = f"--check --size small --data_dir {tmp_path}"
    assert run_script(preprocessing, command) == f"no spectrograms yet in {tmp_path}/fma_small_npy"
    assert not named.exists()
    (audio / "000002.mp3").write_bytes(b"noise")
    (audio / "000005.mp3").unlink()
    with pytest.raises(utils.UserError, match=f"^2 of 2 files of .* not as published, named in {named}"):
        preprocessing.main(flags(command))
    said = capsys.readouterr().out
    reason = "damaged: 5 bytes of another SHA-1"
    assert f"000/000002.mp3: {reason}" in said
    rows = [["path", "reason"], ["000/000002.mp3", reason], ["000/000005.mp3", "missing"]]
    assert list(csv.reader(named.open())) == rows
    for number in (2, 5):
        (audio / f"00000{number}.mp3").write_bytes(b"sound")
    shutil.copytree(write_folder(tmp_path / "made", "fma_small") / "fma_small_npy", tmp_path / "fma_small_npy")
    preprocessing.main(flags(command))
    said = capsys.readouterr().out
    assert "all 2 files are as published" in said
    assert "training has 24 tracks, FMA publishes 6,400" in said  # what --check says of the spectrograms
    assert not named.exists()
