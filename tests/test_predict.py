"""predict.py against predictions.csv: for every protocol, baseline and kind of input, from audio and from arrays."""

import csv
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from conftest import call

import predict
import preprocessing
import train_simsiam
import transfer
import utils
from evaluation import plots, report, results
from models import backbones, samplecnn

GENRES = {"bright": 0.3, "dark": 0.03, "middle": 0.1}  # radians per sample
NETWORK = "--dim 16 --pred_dim 8 --batch_size 4 --num_epochs 1 --device cpu"
CASES = {
    "linear": "spectrograms --protocol linear",
    "mlp": "spectrograms --protocol mlp --hidden 16",
    "finetune": "spectrograms --protocol finetune --lr 0.01",
    "scratch": "spectrograms --protocol scratch --num_epochs 15 --lr 0.01",
    "stats": "spectrograms --protocol linear --baseline stats",
    "random": "spectrograms --protocol mlp --hidden 16 --baseline random",
    "projector": "spectrograms --protocol linear --layer projector",
    "projector finetune": "spectrograms --protocol finetune --layer projector --lr 0.01",
    "other crops": "spectrograms --protocol linear --num_crops 3 --crop_seconds 1.5",
    "longer than a track": "spectrograms --protocol linear --crop_seconds 4",
    "alone scratch": "alone spectrograms --protocol scratch --backbone conv8 --num_epochs 15 --lr 0.01",
    "alone stats": "alone spectrograms --protocol linear --baseline stats",
    "alone random": "alone spectrograms --protocol linear --baseline random --backbone conv8",
    "waveforms linear": "waveforms --protocol linear",
    "waveforms finetune": "waveforms --protocol finetune --lr 0.01",
    "waveforms stats": "waveforms --protocol linear --baseline stats",
    "waveforms alone scratch": "alone waveforms --protocol scratch --num_epochs 12 --lr 0.01 --num_crops 2",
    "vectors linear": "vectors --protocol linear",
    "vectors mlp": "vectors --protocol mlp --hidden 8 --layer 2",
    "one layer": "flat --protocol linear",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory, pretrained_once):  # made before, with its pictures, which are left out here
    """Audio of three genres, folders of each kind made of it, a classifier for each of ``CASES`` (name → folder)."""
    home = tmp_path_factory.mktemp("predict")
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((plots, "write"), (plots, "write_all"), (report, "write_report")):
            patch.setattr(module, name, lambda *args, **options: None)
        patch.setattr(backbones, "SampleCNN", lambda: samplecnn.SampleCNN(width=1 / 16))
        write_music(home / "music")
        make_folders(home)
        where = f"--data_dir {home}/data --device cpu"
        experiments = {}
        networks = {"spectrograms": "--backbone conv8 --crop_seconds 2", "waveforms": "--backbone samplecnn"}
        for kind, network in networks.items():
            call(train_simsiam, f"{where} --exp_dir {home}/exp_{kind} --dataset {kind} {network} {NETWORK}")
            (experiments[kind],) = (home / f"exp_{kind}").iterdir()
        made = {}
        for case, flags in CASES.items():
            alone, kind, flags = flags.startswith("alone"), *flags.removeprefix("alone ").split(" ", 1)
            there = "" if alone or kind in ("vectors", "flat") else f"--exp_path {experiments[kind]}"
            before = set(home.glob("exp_*/*/*/result.json"))
            options = f"--dataset {kind} --batch_size 4 --num_epochs 2 {flags}"
            call(transfer, f"{where} --exp_dir {home}/exp_alone {there} {options}")
            ((made[case]),) = set(home.glob("exp_*/*/*/result.json")) - before
        yield SimpleNamespace(path=home, transfers={case: file.parent for case, file in made.items()})


def write_music(folder):
    """Seven clips of 3 s for each genre, in different forms: mono and stereo, of two sample rates."""
    chance = np.random.default_rng(0)
    for number in range(7):
        for genre, pitch in GENRES.items():
            path = folder / genre / f"{genre}{number}.{('wav', 'flac')[number % 2]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            rate = (22050, 44100)[number % 3 == 0]
            time = np.arange(round(chance.uniform(2.9, 3.3) * rate)) * (22050 / rate)
            tone = 0.3 * np.sin(time * pitch * chance.uniform(0.8, 1.2)) * (1 + 0.5 * np.sin(time / 3000))
            tone = tone + chance.normal(0, 0.02, tone.shape)
            soundfile.write(path, np.stack([tone, 0.5 * tone], 1) if number % 2 else tone, rate)


def make_folders(home):
    make = f"--data_dir {home}/data --workers 1 --min_seconds 1"
    call(preprocessing, f"{make} --dataset spectrograms --source {home}/music --n_mels 32 --dtype uint8")
    call(preprocessing, f"{make} --dataset waveforms --source {home}/music --features waveform")
    rows = list(csv.DictReader((home / "data" / "spectrograms_npy" / "tracks.csv").open()))
    chance = np.random.default_rng(1)
    array = chance.normal(size=(len(rows), 4, 6))
    labels = np.array([list(GENRES).index(row["genre_top"]) for row in rows])
    array += labels[:, None, None] * chance.normal(size=(4, 6))
    index = {name: np.array([row[name] for row in rows]) for name in ("track_id", "genre_top", "split")}
    for name, embeddings in (("vectors", array), ("flat", array[:, 0])):
        np.savez(home / f"{name}.npz", embeddings=embeddings.astype(np.float32), **index)
        call(preprocessing, f"{make} --dataset {name} --source {home}/{name}.npz --features embeddings")


@pytest.fixture
def ask(home, monkeypatch, capsys):
    """What predict.py --json says of files."""
    monkeypatch.setattr(backbones, "SampleCNN", lambda: samplecnn.SampleCNN(width=1 / 16))

    def run(folder, files, more=""):
        capsys.readouterr()
        names = " ".join(map(str, files))
        call(predict, f"--exp_path {folder.parent} --transfer {folder.name} --json --device cpu {more} {names}")
        return json.loads(capsys.readouterr().out)

    return run


def rows_of(folder):
    return list(csv.DictReader((folder / "predictions.csv").open()))


def audio_of(home, row):
    (file,) = home.path.glob(f"music/*/{row['track_id']}.*")
    return file


def array_of(home, folder, row):
    """The array that ``row`` of the folder's predictions.csv was made of."""
    dataset = json.loads((folder / "result.json").read_text())["dataset"]
    tracks = csv.DictReader((home.path / "data" / f"{dataset}_npy" / "tracks.csv").open())
    (path,) = [track["path"] for track in tracks if track["track_id"] == row["track_id"]]
    return home.path / "data" / f"{dataset}_npy" / path


def check_answers(answers, rows):
    assert len(answers) == len(rows) == 3
    for answer, row in zip(answers, rows, strict=True):
        assert set(answer["genres"]) == set(GENRES)
        assert answer["genres"] == pytest.approx({genre: float(row[f"p: {genre}"]) for genre in GENRES}, abs=1e-4)
        assert next(iter(answer["genres"])) == row["prediction"]  # the likeliest first


# ------------------------------------------------------------------ agreement


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith(("vectors", "one"))])
def test_audio_gets_the_answer_that_its_track_got(home, ask, case):
    folder = home.transfers[case]
    rows = rows_of(folder)
    check_answers(ask(folder, [audio_of(home, row) for row in rows]), rows)


@pytest.mark.parametrize("case", CASES)
def test_arrays_get_the_answer_that_their_track_got(home, ask, case):
    folder = home.transfers[case]
    rows = rows_of(folder)
    check_answers(ask(folder, [array_of(home, folder, row) for row in rows]), rows)


@pytest.mark.parametrize("case", CASES)
def test_results_from_before_there_was_a_record_are_understood(home, ask, tmp_path, case):
    """Among them a head on band statistics in an experiment, which is not one for the pre-trained encoder."""
    folder = home.transfers[case]
    old = Path(shutil.copytree(folder.parent, tmp_path / folder.parent.name)) / folder.name
    content = json.loads((old / "result.json").read_text())
    del content["network"]
    (old / "result.json").write_text(json.dumps(content))
    rows = rows_of(folder)
    check_answers(ask(old, [array_of(home, folder, row) for row in rows]), rows)


def test_answers_are_not_all_the_same(home):
    """Or else all of the above could not fail."""
    said = {case: np.array([[float(row[f"p: {genre}"]) for genre in GENRES] for row in rows_of(folder)])
            for case, folder in home.transfers.items()}  # fmt: skip
    for case, probabilities in said.items():
        assert np.ptp(probabilities, axis=0).max() > 5e-4, case  # five times what may differ


def test_adopted_vectors_are_taken_in_the_forms_they_came_in(home, ask, tmp_path):
    folder = home.transfers["one layer"]
    row = rows_of(folder)[0]
    vector = np.load(array_of(home, folder, row))[0].astype(np.float64)
    np.save(tmp_path / "mine.npy", vector)
    (answer,) = ask(folder, [tmp_path / "mine.npy"])
    assert answer["genres"] == pytest.approx({genre: float(row[f"p: {genre}"]) for genre in GENRES}, abs=1e-4)


def test_crops_can_be_counted_anew(home, ask):
    folder = home.transfers["linear"]
    row = rows_of(folder)[0]
    five, one = (ask(folder, [audio_of(home, row)], f"--num_crops {n}")[0]["genres"] for n in (5, 1))
    assert five == pytest.approx({genre: float(row[f"p: {genre}"]) for genre in GENRES}, abs=1e-4)
    assert five != pytest.approx(one, abs=1e-4)


def test_a_classifier_of_whole_tracks_hears_a_longer_file_in_pieces(home, ask, tmp_path):
    """Each as a clip of its own: a quiet piece is as near to its own maximum as a loud one."""
    folder = home.transfers["stats"]
    rows = rows_of(folder)[:2]
    clips = [soundfile.read(audio_of(home, row), always_2d=True, frames=22050 * 2)[0].mean(1) for row in rows]
    clips[1] *= 0.01
    files = {tmp_path / f"{n}.wav": sound for n, sound in enumerate((*clips, np.concatenate(clips)))}
    for file, sound in files.items():
        soundfile.write(file, sound, 22050, subtype="FLOAT")
    shorter = of_tracks_of_two_seconds(folder, tmp_path)
    one, two, both = (answer["genres"] for answer in ask(shorter, files))
    assert both == pytest.approx({genre: (one[genre] + two[genre]) / 2 for genre in GENRES}, abs=1e-3)
    (central,) = ask(shorter, [tmp_path / "2.wav"], "--num_crops 1")
    assert central["genres"] != pytest.approx(both, abs=1e-3)


def of_tracks_of_two_seconds(folder, tmp_path):
    content = json.loads((folder / "result.json").read_text())
    shorter = Path(shutil.copytree(folder.parent, tmp_path / "123456")) / folder.name
    (shorter / "result.json").write_text(json.dumps({**content, "crop_seconds": 2.0}))
    return shorter


def test_a_file_of_a_lower_sample_rate_is_not_one_without_treble(home, ask, tmp_path, monkeypatch):
    """Where bands are normalised each for itself: what it cannot hold is guessed, the rest is as it was."""
    folder = home.transfers["linear"]
    sound, rate = np.random.default_rng(0).normal(0, 0.1, 3 * 11025), 11025
    soundfile.write(tmp_path / "low.wav", sound, rate)
    low = ask(folder, [tmp_path / "low.wav"])
    monkeypatch.setattr(predict.logmel, "known_bands", lambda path, settings: settings.n_mels)
    assert low != ask(folder, [tmp_path / "low.wav"])


# ------------------------------------------------------------------ which classifier speaks


def test_the_best_on_validation_speaks_unless_another_is_named(home, tmp_path, capsys):
    experiment = Path(shutil.copytree(home.transfers["linear"].parent, tmp_path / "123456"))
    names = [home.transfers[case].name for case in ("linear", "mlp", "stats", "random")]
    for folder in [path.parent for path in experiment.glob("*/result.json")]:
        content = json.loads((folder / "result.json").read_text())
        content["validation_accuracy"] = 0.9 if folder.name == names[1] else 0.4
        content["accuracy"] = 0.1 if folder.name == names[1] else 1.0  # the test tracks have no say in it
        (folder / "result.json").write_text(json.dumps(content))
    row = rows_of(experiment / names[0])[0]
    for more, speaks in (("", names[1]), *((f"--transfer {name}", name) for name in names)):
        capsys.readouterr()
        call(predict, f"--exp_path 123456 --exp_dir {tmp_path} --json --device cpu {more} {audio_of(home, row)}")
        (answer,) = json.loads(capsys.readouterr().out)
        theirs = rows_of(experiment / speaks)[0]
        assert answer["genres"] == pytest.approx({genre: float(theirs[f"p: {genre}"]) for genre in GENRES}, abs=1e-4)


def test_an_array_of_a_dataset_of_other_settings_is_refused(home, ask, tmp_path):
    folder = home.transfers["stats"]
    source = home.path / "data" / "spectrograms_npy"
    copy = Path(shutil.copytree(source, tmp_path / "other_npy"))
    array = next(copy.glob("**/*.npy"))
    assert "genres" in ask(folder, [array])[0]
    settings = json.loads((copy / "spectrogram.json").read_text())
    (copy / "spectrogram.json").write_text(json.dumps({**settings, "hop_length": 1 + settings["hop_length"]}))
    with pytest.raises(utils.UserError, match="none of the files could be read"):
        ask(folder, [array])


def test_older_results_without_a_validation_accuracy_do_not_stop_it(home, tmp_path):
    experiment = Path(shutil.copytree(home.transfers["linear"].parent, tmp_path / "123456"))
    name = home.transfers["mlp"].name
    content = json.loads((experiment / name / "result.json").read_text())
    del content["validation_accuracy"]
    (experiment / name / "result.json").write_text(json.dumps(content))
    assert results.choose(experiment, None).folder.name != name


def test_a_baseline_is_chosen_only_where_there_is_nothing_else(home, tmp_path):
    experiment = Path(shutil.copytree(home.transfers["linear"].parent, tmp_path / "123456"))
    files = sorted(experiment.glob("*/result.json"))
    baseline = home.transfers["mlp"].name
    content = json.loads((experiment / baseline / "result.json").read_text())
    content["network"]["kind"], content["validation_accuracy"] = "kmeans", 1.0
    (experiment / baseline / "result.json").write_text(json.dumps(content))
    assert results.choose(experiment, baseline).is_baseline
    assert results.choose(experiment, None).folder.name != baseline
    for file in files:
        if file.parent.name != baseline:
            file.unlink()
    assert results.choose(experiment, None).folder.name == baseline


# ------------------------------------------------------------------ what it prints, and refuses


def test_the_table_shows_the_likeliest_and_counts_what_is_right(home, ask, capsys):
    folder = home.transfers["stats"]
    rows = rows_of(folder)
    files = [audio_of(home, row) for row in rows]
    answers = ask(folder, files)
    truth = home.path / "data" / "spectrograms_npy" / "tracks.csv"
    names = " ".join(map(str, files))
    common = f"--exp_path {folder.parent} --transfer {folder.name} --device cpu"
    call(predict, f"{common} --top 2 --truth {truth} {names}")
    speaker, header, *lines, last = capsys.readouterr().out.splitlines()
    assert speaker == f"by {folder.parent.name}/{folder.name} (linear, stats, 15 training tracks)"
    assert header.split() == ["file", "true", "genre", "genres"]
    for line, answer, row in zip(lines, answers, rows, strict=True):
        (first, p), (second, q), _ = answer["genres"].items()
        assert line.split() == [answer["file"], row["truth"], first, f"{p:.0%}", second, f"{q:.0%}"]
    right = sum(row["truth"] == row["prediction"] for row in rows)
    assert last == f"{right} of 3 right"
    call(predict, f"{common} {names}")
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3  # without the truth no header and no count


def test_what_cannot_be_read_is_named_beside_the_answers(home, ask, tmp_path):
    folder = home.transfers["linear"]
    good = audio_of(home, rows_of(folder)[0])
    (tmp_path / "text.mp3").write_text("no music")
    (tmp_path / "empty.wav").touch()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2000)
    soundfile.write(tmp_path / "brief.wav", noise[:100], 8000)
    soundfile.write(tmp_path / "coarse.wav", noise, 100)
    np.save(tmp_path / "wide.npy", np.zeros((31, 80), dtype=np.uint8))
    np.save(tmp_path / "float.npy", np.zeros((32, 80), dtype=np.float32))
    np.save(tmp_path / "short.npy", np.zeros((32, 0), dtype=np.uint8))
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object))
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY")
    reasons = {
        "text.mp3": "not audio", "empty.wav": "empty file", "gone.wav": "no such file",
        "brief.wav": r"too short: 0\.0 s, 0\.5 s are the least", "coarse.wav": "sample rate of 100 Hz",
        "gone.npy": "not an array",
        "wide.npy": r"uint8 of shape \(31, 80\)", "float.npy": "array of float32", "short.npy": r"\(32, 0\)",
        "object.npy": "not an array", "torn.npy": "not an array",
    }  # fmt: skip
    *bad, answer = ask(folder, [*(tmp_path / name for name in reasons), good])
    assert "genres" in answer
    for said, reason in zip(bad, reasons.values(), strict=True):
        assert set(said) == {"file", "error"}
        assert re.search(reason, said["error"]), said
        assert "\n" not in said["error"]


def test_a_folder_gets_a_line_for_each_file_whatever_its_name(home, tmp_path, capsys):
    """On stdout those that are answered, on stderr those that cannot be, and how many there are."""
    folder = home.transfers["linear"]
    names = ("a", "b\nc", "d/e", "d/f", "g")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(audio_of(home, rows_of(folder)[0]), tmp_path / f"{name}.wav")
    (tmp_path / "text\n.mp3").write_text("no music")
    call(predict, f"--exp_path {folder.parent} --transfer {folder.name} --device cpu {tmp_path}")
    said = capsys.readouterr()
    found = [line.removeprefix(f"{tmp_path}/").split()[0] for line in said.out.splitlines()[1:]]
    assert found == ["a.wav", "b\\nc.wav", "d/e.wav", "d/f.wav", "g.wav"]
    failed, summary = said.err.splitlines()
    assert failed.startswith(f"{tmp_path}/text\\n.mp3  could not be read: not audio")
    assert summary == "5 files read, 1 could not be"


def test_a_playlist_without_a_file_is_refused_and_its_addresses_are_named(home, tmp_path, capsys):
    (tmp_path / "radio.m3u").write_text("http://radio.example/a\n")
    with pytest.raises(utils.UserError, match="no audio file is named"):
        call(predict, f"--exp_path {home.transfers['linear'].parent} {tmp_path}/radio.m3u")
    assert "http://radio.example/a  left out: an address in" in capsys.readouterr().err


def test_files_are_read_in_order_and_only_a_few_ahead():
    begun = []
    heard = predict.read_ahead(lambda file: begun.append(file) or 2 * file, range(20))
    for number, (file, reading) in enumerate(heard):
        assert (file, reading.result()) == (number, 2 * number)
        assert len(begun) <= number + 1 + predict.READERS


# ------------------------------------------------------------------ --csv


def read_csv(path):
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_the_csv_says_what_json_says(home, ask, tmp_path):
    folder = home.transfers["linear"]
    files = [*(audio_of(home, row) for row in rows_of(folder)[:2]), tmp_path / "gone.wav"]
    for _ in range(2):  # an earlier table is replaced
        answers = ask(folder, files, f"--csv {tmp_path}/made/genres.csv")
    for line, answer in zip(read_csv(tmp_path / "made" / "genres.csv"), answers, strict=True):
        assert list(line) == ["path", "genre", "probability", *(f"p: {genre}" for genre in GENRES)]
        assert line["path"] == answer["file"]
        if "error" in answer:
            assert set(line.values()) == {answer["file"], ""}
            continue
        assert {name: float(line[f"p: {name}"]) for name in GENRES} == pytest.approx(answer["genres"], abs=1e-6)
        assert line["genre"] == next(iter(answer["genres"]))
        assert line["probability"] == line[f"p: {line['genre']}"]


def test_the_csv_of_a_run_that_is_stopped_has_what_was_done(home, tmp_path, monkeypatch):
    folder = home.transfers["linear"]
    files = [audio_of(home, row) for row in rows_of(folder)]
    answer_to = predict.answer_to

    def stop_at_the_last(file, *more):
        if file == str(files[-1]):
            raise KeyboardInterrupt
        return answer_to(file, *more)

    monkeypatch.setattr(predict, "answer_to", stop_at_the_last)
    with pytest.raises(KeyboardInterrupt) as stop:
        call(predict, f"--exp_path {folder.parent} --csv {tmp_path}/genres.csv {' '.join(map(str, files))}")
    assert [line["path"] for line in read_csv(tmp_path / "genres.csv")] == [str(file) for file in files[:-1]]
    assert stop.value.__notes__ == [f"{tmp_path}/genres.csv has the first 2 of 3 files"]


# ------------------------------------------------------------------ --timeline


@pytest.fixture
def drawn(monkeypatch):
    """Collects what would be drawn: (path, (probabilities, seconds, genres), title)."""
    pictures = []
    write = lambda path, draw, *data, title: pictures.append((path, data, title))  # noqa: E731
    monkeypatch.setattr(plots, "write", write)
    return pictures


def check_window(window, genres):
    assert dict(zip(sorted(GENRES), window, strict=True)) == pytest.approx(genres, abs=1e-4)


def test_a_timeline_of_whole_tracks_is_what_clips_along_the_file_would_get(home, ask, tmp_path, drawn):
    folder = home.transfers["stats"]
    rows = rows_of(folder)[:2]
    clips = [soundfile.read(audio_of(home, row), always_2d=True, frames=22050 * 2)[0].mean(1) for row in rows]
    parts = [clips[0], 0.01 * clips[1], np.zeros(22050 * 4), clips[0]]
    soundfile.write(tmp_path / "song.wav", np.concatenate(parts), 22050, subtype="FLOAT")
    soundfile.write(tmp_path / "first.wav", parts[0], 22050, subtype="FLOAT")
    soundfile.write(tmp_path / "second.wav", parts[1], 22050, subtype="FLOAT")
    soundfile.write(tmp_path / "between.wav", np.concatenate(parts)[22050 : 22050 * 3], 22050, subtype="FLOAT")
    shorter = of_tracks_of_two_seconds(folder, tmp_path)
    files = [tmp_path / f"{name}.wav" for name in ("first", "second", "between", "song")]
    first, second, between, song = ask(shorter, files)
    assert ask(shorter, [tmp_path / "song.wav"], f"--timeline {tmp_path}/pictures") == [song]  # the answer stays
    ((path, (windows, seconds, genres), title),) = drawn
    assert (path, seconds, genres) == (tmp_path / "pictures" / "song.timeline.png", 10, sorted(GENRES))
    assert title == "song.wav: {} {:.0%}".format(*next(iter(song["genres"].items())))
    assert [np.isnan(window).all() for window in windows] == [number in (4, 5, 6) for number in range(9)]
    for place, answer in ((0, first), (1, between), (2, second), (8, first)):
        check_window(windows[place], answer["genres"])


@pytest.mark.parametrize("case", ["linear", "waveforms linear"])
def test_a_timeline_of_crops_has_its_first_at_the_begin_and_its_last_at_the_end(home, ask, tmp_path, drawn, case):
    folder = home.transfers[case]
    array = np.concatenate([np.load(array_of(home, folder, row)) for row in rows_of(folder)], axis=1)
    content = json.loads((folder / "result.json").read_text())
    settings = json.loads((folder.parent / "configuration.json").read_text())["spectrogram"]
    crop = round(content["crop_seconds"] * settings["sample_rate"] / settings["hop_length"])
    for name, part in (("song", array), ("begin", array[:, :crop]), ("end", array[:, -crop:])):
        np.save(tmp_path / f"{name}.npy", part)
    begin, end = ask(folder, [tmp_path / "begin.npy", tmp_path / "end.npy"], "--num_crops 1")
    (song,) = ask(folder, [tmp_path / "song.npy"])
    assert ask(folder, [tmp_path / "song.npy"], f"--timeline {tmp_path}") == [song]
    ((_, (windows, seconds, _), _),) = drawn
    assert len(windows) == 2 * round(array.shape[1] / crop) - 1 > 1
    assert seconds == pytest.approx(array.shape[1] * settings["hop_length"] / settings["sample_rate"])
    check_window(windows[0], begin["genres"])
    check_window(windows[-1], end["genres"])


def test_two_songs_of_one_name_get_two_pictures():
    names = predict.picture_names(["/m/a/intro.mp3", "/m/b/Intro.mp3", "/m/b/$1.wav", "/m/.x/..mp3"], "out")
    assert [str(path) for path in names.values()] == [
        "out/a%2Fintro.mp3.timeline.png", "out/b%2FIntro.mp3.timeline.png", "out/$1.timeline.png",
        "out/%2E.timeline.png",
    ]  # fmt: skip


def test_where_nothing_can_be_written_or_drawn_nothing_is_begun(home, tmp_path):
    (tmp_path / "song.mp3").touch()
    (tmp_path / "notes.txt").write_text("my notes")
    vectors = f"--exp_path {home.transfers['vectors linear'].parent} --timeline {tmp_path} a.npy"
    for flags, message in (
        (f"--csv {tmp_path} a.mp3", "is a folder: name a file in it"),
        (f"--csv {tmp_path}/song.mp3 a.mp3", "is the name of a file to read"),  # --csv *.mp3
        (f"--csv {tmp_path}/new.M3U a.mp3", "is the name of a file to read"),
        ("--csv a a", "is the name of a file to read"),
        (f"--csv {tmp_path}/notes.txt a.mp3", "is there, and no table"),
        (f"--timeline {tmp_path}/song.mp3 a.mp3", "is a file: name a folder, or write --timeline last"),
        (f"--timeline {tmp_path}/none.mp3 a.mp3", "is a file: name a folder, or write --timeline last"),
        (vectors, "as one vector, without time: leave --timeline out"),
    ):
        with pytest.raises(utils.UserError, match=message):
            call(predict, flags)
    assert (tmp_path / "notes.txt").read_text() == "my notes"


def test_the_pictures_of_few_files_are_named_and_those_of_one_value(home, tmp_path, capsys, drawn):
    folder = home.transfers["stats"]
    common = f"--exp_path {folder.parent} --transfer {folder.name} --device cpu --timeline {tmp_path}"
    for number in range(6):
        shutil.copy(audio_of(home, rows_of(folder)[0]), tmp_path / f"{number}.wav")
    for count, places in ((2, [f"{tmp_path}/0.timeline.png", f"{tmp_path}/1.timeline.png"]), (6, [str(tmp_path)])):
        call(predict, f"{common} {' '.join(f'{tmp_path}/{number}.wav' for number in range(count))}")
        said = capsys.readouterr()
        assert said.out.splitlines()[1 + count :] == places
        assert "one value for all of it: " in said.err
    assert said.err.splitlines()[-1].endswith(": 6 files")


def test_vectors_that_are_none_of_its_kind_are_named(home, ask, tmp_path):
    folder = home.transfers["vectors linear"]
    good = array_of(home, folder, rows_of(folder)[0])
    np.save(tmp_path / "few.npy", np.zeros((3, 6), dtype=np.float32))
    np.save(tmp_path / "nan.npy", np.full((4, 6), np.nan, dtype=np.float32))
    few, nan, answer = ask(folder, [tmp_path / "few.npy", tmp_path / "nan.npy", good])
    assert "shape (3, 6)" in few["error"]
    assert "not finite" in nan["error"]
    assert "genres" in answer


@pytest.mark.parametrize(("case", "flags", "message"), [
    ("linear", "--transfer nothing song.wav", "has no classifier 'nothing'; there are: spectrograms_finetune, "),
    ("linear", "gone.wav", "none of the files could be read"),
    ("linear", "--truth gone.csv song.wav", "gone.csv does not exist"),
    ("vectors linear", "song.wav", "cannot be made from audio files"),
])  # fmt: skip
def test_what_cannot_be_answered_gets_one_sentence(home, tmp_path, case, flags, message):
    with pytest.raises(utils.UserError, match=message) as error:
        call(predict, f"--exp_path {home.transfers[case].parent} --device cpu {flags}")
    assert "\n" not in str(error.value)


def test_a_truth_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "truth.csv")
    with pytest.raises(OSError, match="is not a file"):
        predict.read_truth(tmp_path / "truth.csv")


def test_a_truth_without_its_columns_is_refused(home, tmp_path):
    (tmp_path / "truth.csv").write_text("name,genre\na,b\n")
    with pytest.raises(utils.UserError, match="needs the columns track_id,genre_top"):
        call(predict, f"--exp_path {home.transfers['linear'].parent} --truth {tmp_path}/truth.csv song.wav")


def test_an_experiment_without_a_classifier_says_so(pretrained_once):
    with pytest.raises(utils.UserError, match=r"no classifier yet: run transfer\.py"):
        call(predict, f"--exp_path {pretrained_once.experiment} song.mp3")


def test_a_network_that_lost_its_weights_is_refused(home, tmp_path):
    folder = home.transfers["linear"]
    experiment = Path(shutil.copytree(folder.parent, tmp_path / "123456"))
    (experiment / "pre.pth").unlink()
    song = audio_of(home, rows_of(folder)[0])
    with pytest.raises(utils.UserError, match=r"pre\.pth does not exist"):
        call(predict, f"--exp_path {experiment} --transfer {folder.name} {song}")


def test_a_song_behind_timeline_is_no_folder_for_it(home, tmp_path):
    (tmp_path / "song.mp3").touch()
    where = f"--exp_path {home.transfers['linear'].parent}"
    with pytest.raises(utils.UserError, match="is a file: name a folder, or write --timeline last"):
        call(predict, f"{where} --timeline {tmp_path}/song.mp3")
    with pytest.raises(utils.UserError, match="no audio file is named"):
        call(predict, where)
