"""The synthetic corpus: in FMA's shape, the same every time, careful with what is there, neither easy nor
hopeless."""

import collections
import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pandas
import pytest
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import utils
from data import fma, synthetic

ROOT = Path(__file__).parents[1]
OPTIONS = {"num_tracks": 24, "seconds": 2, "seed": 3}


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read_metadata(data_dir):
    return pandas.read_csv(data_dir / "fma_metadata/tracks.csv", index_col=0, header=[0, 1])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    synthetic.write_corpus(data_dir, **OPTIONS)
    return data_dir


@pytest.fixture(scope="module")
def catalogue():
    return synthetic.make_catalogue(num_small=480, seed=0)


def test_folder_is_laid_out_like_fma(data_dir):
    tracks = read_metadata(data_dir)
    small = tracks.index[tracks["set", "subset"] == "small"]
    expected = {f"{t:06d}"[:3] + f"/{t:06d}.mp3" for t in small}
    assert len(expected) == 24
    assert set(contents(data_dir / "fma_small")) == expected | {"checksums", "README.txt"}
    assert len({path[:3] for path in expected}) > 2


def test_fma_reader_finds_every_track(data_dir):
    for size, number in (("small", 24), ("medium", 48)):
        rows = fma.select(fma.read_tracks_csv(data_dir / "fma_metadata/tracks.csv"), size)
        assert len(rows) == number
        assert set(rows["split"]) == {"training", "validation", "test"}


def test_checksums_are_sha1_of_every_track(data_dir):
    folder = data_dir / "fma_small"
    lines = [line.split("  ") for line in (folder / "checksums").read_text().splitlines()]
    assert len(lines) == 24
    for sha1, path in lines:
        assert hashlib.sha1((folder / path).read_bytes()).hexdigest() == sha1


def test_metadata_has_fmas_header(data_dir):
    lines = (data_dir / "fma_metadata/tracks.csv").read_text().splitlines()
    first, second, third, row = csv.reader(lines[:4])
    assert third == ["track_id", *[""] * (len(first) - 1)]
    assert row[0].isdigit()
    columns = list(zip(first, second, strict=True))
    wanted = {("set", "split"), ("set", "subset"), ("artist", "id")}
    assert columns[0] == ("", "")
    assert wanted | {("track", name) for name in ("genre_top", "genres", "genres_all")} <= set(columns)


def test_every_track_has_its_top_genre_a_sub_genre_and_perhaps_a_borrowed_one(data_dir):
    tracks = read_metadata(data_dir)
    genres = pandas.read_csv(data_dir / "fma_metadata/genres.csv", index_col="genre_id")
    assert list(genres.columns) == ["#tracks", "parent", "title", "top_level"]
    count = collections.Counter()
    for row in tracks["track"].itertuples():
        named, everything = json.loads(row.genres), json.loads(row.genres_all)
        assert {*everything} == {*named} | {genres["parent"][one] for one in named} - {0}
        assert genres["title"][everything[0]] == row.genre_top
        count.update(everything)
    assert genres["#tracks"].to_dict() == {one: count[one] for one in genres.index}
    assert {len(json.loads(row)) for row in tracks["track", "genres_all"]} == {2, 3}


def test_what_a_tag_says_is_heard(catalogue):
    """Artists of dark instruments play dark, and who borrows a rhythm plays it."""
    for track in catalogue[:40]:
        traits, *_ = synthetic.draw_track(track.genre, *track.seeds(0))
        usual = dict(zip(synthetic.TRAITS, synthetic.GENRES[track.genre][5:], strict=True))["fall"]
        assert (track.genres[1] > 3000) == (traits["fall"] > float(usual))
        assert int(synthetic.GENRES[traits["rhythm"]][0]) == track.genres[-1 if len(track.genres) == 3 else 0]
    artists = collections.defaultdict(set)
    for track in catalogue:
        artists[track.artist_id].add(track.genres[1])
    assert {len(one) for one in artists.values()} == {1}


def test_metadata_reads_as_fmas_own(data_dir, real_datasets):
    if not (real_datasets / "fma_metadata/tracks.csv").is_file():
        pytest.skip("FMA's metadata is not here")
    ours, theirs = read_metadata(data_dir), read_metadata(real_datasets)
    assert set(theirs.columns) <= set(ours.columns)
    assert (ours.index.name, ours.index.dtype) == (theirs.index.name, theirs.index.dtype)
    for column in [("set", "split"), ("set", "subset"), ("track", "genre_top")]:
        assert set(ours[column]) <= set(theirs[column])


def test_tracks_decode_with_the_right_duration(data_dir):
    for path in (data_dir / "fma_small").rglob("*.mp3"):
        assert soundfile.info(path).format == "MP3"
        sound, rate = soundfile.read(path)
        assert len(sound) == 2 * rate
        assert np.isfinite(sound).all()
        assert 0.1 < np.abs(sound).max() < 1.2


def test_command_line_makes_the_same_corpus(data_dir, tmp_path):
    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    command = [sys.executable, "-m", "data.synthetic", f"--data_dir={tmp_path}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(tmp_path / "fma_small")
    assert contents(tmp_path) == contents(data_dir)


def test_another_seed_is_another_corpus(catalogue):
    assert synthetic.make_catalogue(480, 0) == catalogue
    assert synthetic.make_catalogue(480, 1) != catalogue
    first, same, other = (synthetic.render("Pop", [seed], [seed], 1) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.allclose(first, other)


def test_subsets_nest_and_medium_has_more_genres(catalogue):
    small = [t for t in catalogue if t.subset == "small"]
    assert {t.subset for t in catalogue} == {"small", "medium"}
    assert len({t.track_id for t in catalogue}) == len(catalogue) == 960
    assert set(collections.Counter(t.genre for t in small).values()) == {60}
    assert {t.genre for t in small} == set(synthetic.SMALL_GENRES)
    assert {t.genre for t in catalogue} == set(synthetic.GENRES) > set(synthetic.SMALL_GENRES)


def test_every_genre_has_enough_to_test_on_and_no_artist_is_in_two_splits(catalogue):
    for genre in synthetic.SMALL_GENRES:
        sizes = collections.Counter(t.split for t in catalogue if (t.genre, t.subset) == (genre, "small"))
        assert sizes == {"training": 40, "validation": 10, "test": 10}
    homes = collections.defaultdict(set)
    for t in catalogue:
        homes[t.artist_id].add((t.split, t.genre))
    assert {len(home) for home in homes.values()} == {1}
    assert len(homes) < len(catalogue)


def test_medium_holds_small_and_shares_its_metadata(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    folder = synthetic.write_corpus(tmp_path, "medium", **OPTIONS | {"num_tracks": 48})
    medium, small = contents(folder), contents(data_dir / "fma_small")
    assert len(medium) == 48 + 2
    assert {path: sound for path, sound in small.items() if path.endswith(".mp3")}.items() <= medium.items()
    assert contents(tmp_path / "fma_metadata") == contents(data_dir / "fma_metadata")


def test_complete_corpus_is_left_alone(data_dir, capsys):
    before = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*.mp3")}
    assert synthetic.write_corpus(data_dir, **OPTIONS) == data_dir / "fma_small"
    assert "there already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in data_dir.rglob("*.mp3")} == before


def test_interrupted_corpus_is_finished(data_dir):
    before = contents(data_dir)
    (data_dir / "fma_small/checksums").unlink()
    next((data_dir / "fma_small").rglob("*.mp3")).unlink()
    for cut_off in (["tracks.csv"], ["genres.csv"], ["tracks.csv", "genres.csv"]):
        for name in cut_off:
            (data_dir / "fma_metadata" / name).unlink()
        (data_dir / "fma_metadata/.host.1.0123abcd.tmp.csv").write_text("of a killed run")
        synthetic.write_corpus(data_dir, **OPTIONS)
        (data_dir / "fma_metadata/.host.1.0123abcd.tmp.csv").unlink()
    assert contents(data_dir) == before


def test_an_older_corpus_is_kept(data_dir, tmp_path):
    """One from before there was genres.csv."""
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "fma_metadata/genres.csv").unlink()
    (tmp_path / "fma_metadata/tracks.csv").write_text("an older table")
    before = contents(tmp_path)
    with pytest.raises(utils.UserError, match="older version; choose another --data_dir, or remove"):
        synthetic.write_corpus(tmp_path, **OPTIONS)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("foreign", [
    *("fma_small/000/000002.mp3", "fma_small/README.txt", "fma_small"),
    *("fma_metadata/tracks.csv", "fma_metadata/genres.csv", "fma_metadata/raw_albums.csv"),
])  # fmt: skip
def test_what_others_made_is_never_touched(tmp_path, foreign):
    (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / foreign).write_text("somebody's own")
    before = contents(tmp_path)
    with pytest.raises(utils.UserError, match="choose another --data_dir"):
        synthetic.write_corpus(tmp_path, **OPTIONS)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("change", [{"seed": 4}, {"seconds": 3}, {"num_tracks": 32}])
def test_corpus_with_other_options_is_kept(data_dir, change):
    before = contents(data_dir)
    with pytest.raises(utils.UserError, match="other options"):
        synthetic.write_corpus(data_dir, **OPTIONS | change)
    assert contents(data_dir) == before


@pytest.mark.parametrize("change", [{"num_tracks": 8}, {"seconds": 0}, {"seconds": float("nan")}, {"seed": -1}])
def test_impossible_options_are_explained(tmp_path, change):
    with pytest.raises(utils.UserError, match=f"--{next(iter(change))}"):
        synthetic.write_corpus(tmp_path, **OPTIONS | change)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("hollow", "even"), [(0, 10 ** (-6 * 0.44 / 20)), (1, 0)])
def test_voice_has_the_harmonics_it_promises(hollow, even):
    """At A4, harmonics every 440 Hz, falling by 6 dB a kHz; hollow, without the even ones."""
    sound = synthetic.voice(np.array([2205]), np.array([69]), 24255, fall=6, hollow=hollow, ring=1e4)
    assert not sound[:2205].any()
    spectrum = np.abs(np.fft.rfft(sound[2205:] * np.hanning(22050)))  # 1 Hz a bin
    first, second, third = spectrum[440 * np.arange(1, 4)]
    assert np.argmax(spectrum) == 440
    assert second / first == pytest.approx(even, abs=0.02)
    assert third / first == pytest.approx(10 ** (-6 * 0.88 / 20), abs=0.02)
    assert spectrum[600:700].max() < 0.01 * first


def test_steps_follow_tempo_and_swing():
    onsets = synthetic.step_onsets(120, 0.5, 10, np.random.default_rng(0))
    assert np.median(np.diff(onsets[::4])) / synthetic.SAMPLE_RATE == pytest.approx(0.5, abs=0.01)
    early, late = np.diff(onsets)[1::2], np.diff(onsets)[::2]
    assert np.mean(late) / np.mean(early) == pytest.approx(3, rel=0.1)
    assert 9.8 * synthetic.SAMPLE_RATE < onsets[-1] < 10 * synthetic.SAMPLE_RATE


def test_every_genre_renders_at_any_seed():
    for i in range(40):
        sound = synthetic.render(list(synthetic.GENRES)[i % 10], [i], [i], 1)
        assert sound.dtype == np.float32
        assert sound.shape == (22050,)
        assert 0.19 < np.abs(sound).max() < 0.61


def band_levels(genre, artist_seed, track_seed):
    """Mean and deviation of each mel band in dB, (128,)."""
    sound = synthetic.render(genre, artist_seed, track_seed, 2)
    mel = librosa.feature.melspectrogram(y=sound, sr=synthetic.SAMPLE_RATE, n_mels=64)
    mel = librosa.power_to_db(mel, ref=np.max)
    return np.concatenate([mel.mean(1), mel.std(1)])


def test_artist_keeps_the_instrument_and_tracks_differ():
    first, second = (np.array([band_levels("Folk", [i], [track, i]) for i in range(8)]) for track in (0, 1))
    distance = np.abs(first[:, None] - second).mean(2)
    assert np.diag(distance).mean() < 0.8 * distance[~np.eye(8, dtype=bool)].mean()
    assert np.diag(distance).min() > 0.5


def test_genres_overlap_but_can_be_told_apart():
    """Statistics of the bands, artists apart: well above chance (1/8), well below perfect."""
    artists = np.arange(120) // 2
    genres = [synthetic.SMALL_GENRES[artist % 8] for artist in artists]
    features = [band_levels(genres[i], [1, artists[i]], [2, i]) for i in range(120)]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    accuracy = cross_val_score(model, features, genres, groups=artists, cv=GroupKFold(5)).mean()
    assert 0.3 < accuracy < 0.75
