"""Faults of data that were found by attacking the suite, each kept as a test: files, folders and what kills a run."""

import csv
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import call, write_folder

import preprocessing
import utils
from benchmarks.stress import mutated
from data import check, collection, crops, extractors, folder, logmel, vectors, workers
from data.settings import Spectrogram

CPU = torch.device("cpu")
RATE = 22050


def write_clip(path, seconds=6.0, seed=0, rate=RATE, **options):
    """Noise that swells, so that an encoder of variable bit rate begins with small frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    swell = np.linspace(0, 0.3, round(seconds * rate)) ** 2
    with open(path, "wb") as file:  # whose name may be any bytes
        sound = swell * np.random.default_rng(seed).normal(size=swell.shape)
        soundfile.write(file, sound, rate, format=options.pop("format", path.suffix[1:]), **options)
    return path


@pytest.fixture
def music(tmp_path):
    """Three clips of one genre."""
    for number in range(3):
        write_clip(tmp_path / "music" / "rock" / f"{number}.wav", seed=number)
    return tmp_path / "music"


@pytest.fixture
def preprocess(tmp_path, run_script):
    """Run preprocessing.py on a source; returns the folder it makes."""

    def run(source, flags=""):
        command = f"--dataset own --source {source} --data_dir {tmp_path}/data --n_mels 20 --workers 1 {flags}"
        return Path(run_script(preprocessing, command))

    return run


@pytest.fixture
def kill(preprocess, monkeypatch):
    """As ``preprocess``, stopped before the first array is made."""

    def stop(*args):
        raise KeyboardInterrupt

    def run(source, flags=""):
        with monkeypatch.context() as changed:
            changed.setattr(preprocessing, "convert", stop)
            with pytest.raises(KeyboardInterrupt):
                preprocess(source, flags)

    return run


def rows_of(file):
    with open(file, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def reasons_in(made):
    return {row["track_id"]: row["reason"] for row in rows_of(made / "failed.csv")}


# ------------------------------------------------------------------ 1. nothing is written or read elsewhere


def test_a_link_in_a_folder_leads_neither_writing_nor_reading_out_of_it(music, tmp_path, preprocess):
    made = preprocess(music)
    shutil.move(made / "rock", tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()}
    (made / "rock").symlink_to(tmp_path / "elsewhere")
    opened = folder.open_folder(tmp_path / "data", "own")
    for cache in ("ram", "disk"):
        with pytest.raises(utils.UserError, match="leads out of"):
            crops.load(opened, opened.tracks, CPU, cache).crop(torch.tensor([0]), torch.tensor([0]), 9)
    with pytest.raises(utils.UserError, match="not one of 3 tracks"):
        preprocess(music)
    assert "is a link that leads out of the folder" in reasons_in(made)["0"]
    (made / "rock").unlink()
    (made / "rock").mkdir()
    (made / "rock" / "0.npy").symlink_to(tmp_path / "elsewhere" / "0.npy")
    preprocess(music)
    assert not (made / "rock" / "0.npy").is_symlink()
    assert before == {path: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()}


# ------------------------------------------------------------------ 3. killed while a folder is made anew


def test_a_folder_that_is_made_anew_never_mixes_settings(music, preprocess, kill):
    made, old = preprocess(music), preprocessing.replaced
    kill(music, "--f_min 1000 --overwrite")
    assert not list(made.rglob("*.npy"))
    assert len(list(old(made).rglob("*.npy"))) == 3
    preprocess(music, "--f_min 1000")
    assert len(list(made.rglob("*.npy"))) == 3
    assert not old(made).exists()
    (made / "spectrogram.json").unlink()
    with pytest.raises(utils.UserError, match=r"spectrogram\.json is missing.*--overwrite"):
        preprocess(music)
    preprocess(music, "--overwrite")
    assert folder.read_settings(made / "spectrogram.json").f_min == 0


# ------------------------------------------------------------------ 5, 6. how long a file is


def encode(path, *options, to=None):
    """What ffmpeg makes of ``path``: a file, or bytes from a pipe of format ``to``."""
    target = ["-f", to, "-"] if to else [path.with_suffix(options[-1])]
    command = [logmel.ffmpeg_binary(), "-v", "error", "-y", "-i", path, *options[: None if to else -1], *target]
    out = subprocess.run(command, check=True, capture_output=True).stdout
    return out if to else target[0]


def test_the_length_of_an_mp3_without_a_header_comes_from_decoding(tmp_path):
    clip = write_clip(tmp_path / "clip.wav", 20)
    soundfile.write(clip, soundfile.read(clip)[0][::-1], RATE)  # the first frame is the largest
    bare = encode(clip, "-q:a", "4", "-write_xing", "0", ".mp3")
    with soundfile.SoundFile(bare) as file:
        assert file.frames < 15 * RATE  # what libsndfile guesses, and would read
    assert len(logmel.read_audio(bare, RATE)) / RATE == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "m4a", "wma", "aiff", "au", "opus", "mp3"])
def test_half_a_file_is_named(tmp_path, ending):
    options = ["-movflags", "+faststart"] if ending == "m4a" else []
    whole = encode(write_clip(tmp_path / "clip.w64", 8, format="W64"), *options, f".{ending}")
    assert len(logmel.read_audio(whole, RATE)) / RATE == pytest.approx(8, abs=0.2)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(logmel.AudioError, match="truncated: "):
        logmel.read_audio(whole, RATE)


@pytest.mark.parametrize("ending", ["wav", "au", "flac"])
def test_a_file_from_a_pipe_has_no_length_and_is_read(tmp_path, ending):
    path = tmp_path / f"piped.{ending}"
    path.write_bytes(encode(write_clip(tmp_path / "clip.w64", format="W64"), to=ending))
    assert len(logmel.read_audio(path, RATE)) == 6 * RATE


# ------------------------------------------------------------------ 7. what is not finite


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_one_sample_of_1e30_does_not_make_a_track_of_nan(tmp_path, dtype):
    samples = np.random.default_rng(0).normal(0, 0.1, RATE)
    samples[5] = 1e30
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(logmel.AudioError, match="not finite"):
        extractors.build(Spectrogram(dtype=dtype))(tmp_path / "a.wav")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_on_loading_and_by_check(tmp_path, dtype, value):
    opened = folder.open_folder(write_folder(tmp_path, "tiny", dtype), "tiny")
    row = opened.tracks.iloc[3]
    array = np.load(opened.file_of(row))
    array[7, 11] = value
    np.save(opened.file_of(row), array)
    message = rf"{row.path} holds values that are not finite"
    for cache in ("ram", "disk"):
        with pytest.raises(utils.UserError, match=message):
            crops.load(opened, opened.tracks, CPU, cache).crop(torch.tensor([3]), torch.tensor([5]), 9)
    found = [finding for finding in check.check_folder(opened.path) if finding.kind == "broken"]
    assert row.track_id in found[0].tracks[0]


# ------------------------------------------------------------------ 8. what an array was made from


def test_an_array_is_kept_only_for_the_file_it_was_made_from(music, tmp_path, preprocess):
    made = preprocess(music)
    first = {name: np.load(made / "rock" / name) for name in ("0.npy", "1.npy")}
    for name in first:  # the second is that of ``music`` still when the first has been replaced
        write_clip(tmp_path / name / "rock" / f"{name[0]}.wav", seed=9)
        preprocess(tmp_path / name)
        assert not np.array_equal(np.load(made / "rock" / name), first[name])
    preprocess(music)
    for name, array in first.items():
        np.testing.assert_array_equal(np.load(made / "rock" / name), array)
    moved = shutil.move(music, tmp_path / "moved")
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.npy")}
    preprocess(moved)
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob("*.npy")}


def test_no_array_of_another_file_survives_a_kill(music, tmp_path, preprocess, kill):
    made = preprocess(music)
    write_clip(tmp_path / "other" / "rock" / "0.wav", seed=9)
    kill(tmp_path / "other")
    assert sorted(path.name for path in made.rglob("*.npy")) == ["1.npy", "2.npy"]
    assert not (made / "tracks.csv").exists()


def test_a_folder_without_such_a_record_is_kept(music, preprocess):
    made = preprocess(music)
    (made / "made_from.csv").unlink()
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.npy")}
    preprocess(music)
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob("*.npy")}


def test_no_two_tracks_share_an_array(tmp_path):
    for name in ("cd/1/01", "cd_1/01", "cd%2F1/01", "CD/1/01"):
        write_clip(tmp_path / "music" / "rock" / f"{name}.wav", 0.1)
    assert len({track.path for track in collection.find(tmp_path / "music").tracks}) == 4
    long = {collection.file_name(letter * 200 + end) for letter in "né%" for end in ("", "a" * 50, "a" * 49 + "b")}
    assert len(long) == 9
    assert max(len(name.encode()) for name in long) <= collection.LONGEST_NAME


# ------------------------------------------------------------------ 12. workers and their parent


def _parent(pipe):
    child = multiprocessing.get_context("fork").Process(target=_worker, args=(pipe,))
    child.start()
    os.read(pipe[0], 1)  # the worker is at work
    os.kill(os.getpid(), signal.SIGKILL)


def _worker(pipe):
    workers.start_worker()
    os.write(pipe[1], b".")
    time.sleep(60)


def test_a_worker_ends_with_its_parent():
    started, alive = os.pipe(), os.pipe()
    parent = multiprocessing.get_context("fork").Process(target=_parent, args=(started,))
    parent.start()
    os.close(alive[1])  # the others hold it until they end
    assert select.select([alive[0]], [], [], 20)[0]
    assert os.read(alive[0], 1) == b""
    parent.join()
    for end in (*started, alive[0]):
        os.close(end)


# ------------------------------------------------------------------ 13, 14. one bad file is one bad file


def claims_8_gb(path):
    """A FLAC whose header promises 2 ** 33 samples."""
    content = bytearray(write_clip(path).read_bytes())
    content[21:26] = (int.from_bytes(content[21:26]) >> 36 << 36 | 2**33).to_bytes(5)
    path.write_bytes(content)


BAD = {  # id → (file, what makes it, the reason that is given)
    "big": ("big.flac", claims_8_gb, "truncated: "),
    "slow": ("slow.wav", lambda path: write_clip(path, 100, rate=1), ""),
    "pipe": ("pipe.wav", os.mkfifo, "not a file"),
    "folder": ("folder.wav", os.mkdir, "not a file"),
    "link": ("link.wav", lambda path: path.symlink_to("nowhere"), "no such file"),
    "long": ("long.wav", lambda path: write_clip(path, 70), "too long: over 1 minutes, see --max_minutes"),
    "caf\\udce9": (os.fsdecode(b"caf\xe9.wav"), write_clip, "rename it"),
    "a\\rb": ("a\rb.wav", write_clip, "rename it"),
    "a\\nb": ("a\nb.wav", write_clip, "rename it"),
}


def test_every_bad_file_is_named_and_ends_nothing(music, preprocess):
    for name, make, _ in BAD.values():
        make(music / "rock" / name)
    write_clip(music / "rock" / f"{'n' * 240}.wav")
    made = preprocess(music, "--max_minutes 1")
    failed = reasons_in(made)
    assert failed.keys() - {"slow"} == BAD.keys() - {"slow"}  # a hundred samples at 1 Hz are as good as any
    assert all(reason in failed.get(name, "") for name, (_, _, reason) in BAD.items())
    assert {row["track_id"] for row in rows_of(made / "tracks.csv")} >= {"0", "1", "2", "n" * 240}


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep\nerror"), RuntimeError("soxr")])
def test_an_error_of_any_kind_is_that_of_its_file(music, preprocess, monkeypatch, error):
    read = logmel._read_with_soundfile

    def failing(path, *args):
        if path.stem == "1":
            raise error
        return read(path, *args)

    monkeypatch.setattr(logmel, "_read_with_soundfile", failing)
    made = preprocess(music)
    assert reasons_in(made)["1"].startswith(type(error).__name__)
    assert [row["track_id"] for row in rows_of(made / "tracks.csv")] == ["0", "2"]


def test_a_file_that_fails_draws_no_bar_into_a_log(music, tmp_path, capsys):
    (music / "rock" / "3.wav").write_text("no music")
    call(preprocessing, f"--dataset own --source {music} --data_dir {tmp_path}/data --n_mels 20 --workers 1")
    assert capsys.readouterr().err == ""


def test_ffmpeg_is_not_waited_for_forever(tmp_path, monkeypatch):
    (tmp_path / "slow").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "slow").chmod(0o755)
    (tmp_path / "a.m4a").write_bytes(b"\0" * 100)
    monkeypatch.setattr(logmel, "ffmpeg_binary", lambda: str(tmp_path / "slow"))
    monkeypatch.setattr(logmel, "FFMPEG_SECONDS", 0.2)
    with pytest.raises(logmel.AudioError, match="was not done with it"):
        logmel.read_audio(tmp_path / "a.m4a", RATE)


def test_two_preprocessings_of_one_folder_do_not_mix(music, tmp_path, preprocess):
    with utils.locked(tmp_path / "data" / "own_npy"), pytest.raises(utils.UserError, match="wait until it has ended"):
        preprocess(music)
    assert preprocess(music).exists()


# ------------------------------------------------------------------ 17. half-written and tampered


def read_spectrograms(data_dir):
    opened = folder.open_folder(data_dir, "tiny")
    for cache in ("auto", "disk"):
        held = crops.load(opened, opened.tracks, CPU, cache)
        held.crop(torch.arange(len(held)), torch.zeros(len(held), dtype=torch.int64), 9)
    check.check_folder(opened.path)


def read_embeddings(source):
    found, extractor = vectors.adopt(source)
    for track in found.tracks:
        workers.convert_one((track, source.parent / "made", extractor))


def what_is_said(read):
    """The sentence of a UserError, or nothing."""
    try:
        read()
    except utils.UserError as error:
        return str(error)
    return ""


@pytest.fixture
def attacked(tmp_path):
    """name → (a small file, what reads it)."""
    data_dir = write_folder(tmp_path / "data", "tiny", "float16", counts=(1, 1, 1))
    names, array = np.array(["a", "b"]), np.ones((2, 3), np.float32)
    np.savez(tmp_path / "v.npz", track_id=names, genre_top=names, embeddings=array)
    (tmp_path / "v.csv").write_text("track_id,genre_top,x,y\n1,rock,0.5,1\n2,folk,1,2\n")
    (tmp_path / "v" / "rock").mkdir(parents=True)
    np.save(tmp_path / "v" / "rock" / "a.npy", array)
    made = data_dir / "tiny_npy"
    return {
        "spectrogram.json": (made / "spectrogram.json", lambda: read_spectrograms(data_dir)),
        "tracks.csv": (made / "tracks.csv", lambda: read_spectrograms(data_dir)),
        "npy": (next(made.rglob("*.npy")), lambda: read_spectrograms(data_dir)),
        "npz": (tmp_path / "v.npz", lambda: read_embeddings(tmp_path / "v.npz")),
        "csv": (tmp_path / "v.csv", lambda: read_embeddings(tmp_path / "v.csv")),
        "embedding": (tmp_path / "v" / "rock" / "a.npy", lambda: read_embeddings(tmp_path / "v")),
    }


@pytest.mark.parametrize("name", ["spectrogram.json", "tracks.csv", "npy", "npz", "csv", "embedding"])
def test_a_changed_file_is_one_sentence_or_none(attacked, name):
    file, read = attacked[name]
    content, refused = file.read_bytes(), 0
    head = content[:130] if name in ("npy", "embedding") else content  # the values are any values
    for seed in range(60):
        file.write_bytes(mutated(head, np.random.default_rng(seed)) + content[len(head) :])
        begin = time.monotonic()
        said = what_is_said(read)
        refused += bool(said)
        assert "\n" not in said
        assert time.monotonic() - begin < 5
    assert refused > 10
