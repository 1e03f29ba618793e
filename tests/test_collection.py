"""Folders of genre sub-folders: ids, splits, and what is not there."""

import collections
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import utils
from data import collection, fma, spotify


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_ids_genres_and_paths(tmp_path):
    make(
        tmp_path,
        "rock/a.mp3",
        "rock/deep/b.WAV",
        "jazz/a.mp3",
        "jazz/c.au",
        "jazz/._c.au",
        "jazz/notes.txt",
        "loose.mp3",
    )
    found = collection.find(tmp_path)
    assert found.left_out == [("loose.mp3", tmp_path / "loose.mp3", "not in a genre folder")]
    tracks = {track.track_id: track for track in found.tracks}
    assert set(tracks) == {"jazz/a.mp3", "rock/a.mp3", "b", "c"}
    assert tracks["b"].genre_top == "rock"
    assert len({track.path for track in tracks.values()}) == 4


def test_splits_are_stratified_deterministic_and_disjoint():
    genres = ["a"] * 100 + ["b"] * 50 + ["c"] * 5 + ["d"] * 2
    splits = collection.stratified_splits(genres)
    assert splits == collection.stratified_splits(genres)
    count = collections.Counter(zip(genres, splits, strict=True))
    assert [count["a", split] for split in collection.SPLITS] == [80, 10, 10]
    assert [count["b", split] for split in collection.SPLITS] == [40, 5, 5]
    assert [count["c", split] for split in collection.SPLITS] == [3, 1, 1]
    assert [count["d", split] for split in collection.SPLITS] == [2, 0, 0]


def test_splits_from_a_file(tmp_path):
    make(tmp_path, "music/rock/a.mp3", "music/rock/b.mp3", "music/jazz/c.mp3")
    (tmp_path / "splits.csv").write_text("track_id,split\na,training\nc,test\n")
    tracks = collection.find(tmp_path / "music", tmp_path / "splits.csv").tracks
    assert {track.track_id: track.split for track in tracks} == {"a": "training", "b": "excluded", "c": "test"}


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n", "track_id,split\nnobody,training\n"])
def test_useless_split_files_are_refused(tmp_path, content):
    make(tmp_path, "music/rock/a.mp3")
    if content:
        (tmp_path / "splits.csv").write_text(content)
    with pytest.raises(utils.UserError, match="--splits"):
        collection.find(tmp_path / "music", tmp_path / "splits.csv")


# ------------------------------------------------------------------ artists


def test_no_artist_is_in_two_splits_and_genres_keep_their_shares():
    chance = np.random.default_rng(0)
    artists = [f"{number}" for number in chance.integers(0, 150, 580)] + [""] * 20
    genres = [("folk", "jazz", "rock")[int(artist or number) % 3] for number, artist in enumerate(artists)]
    splits = collection.artist_splits(genres, artists)
    assert splits == collection.artist_splits(genres, artists)
    of = collections.defaultdict(set)
    for artist, split in zip(artists, splits, strict=True):
        of[artist].add(split)
    assert len(of.pop("")) > 1  # those are not one artist
    assert {len(where) for where in of.values()} == {1}
    count = collections.Counter(zip(genres, splits, strict=True))
    for genre in set(genres):
        shares = [count[genre, split] / genres.count(genre) for split in collection.SPLITS]
        assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)


def test_too_few_or_unknown_artists_are_one_sentence():
    def found(artists):
        return collection.Collection([
            collection.Track(str(n), "", "", "rock", "test", artist) for n, artist in enumerate(artists)
        ])  # fmt: skip

    with pytest.raises(utils.UserError, match="no artist is known; name them in --metadata"):
        collection.split_by_artist(found([""] * 30))
    for artists, here in ((["a", "b"] * 30, (2, 60)), (["a", "b", *[""] * 7], (9, 9))):
        message = "needs 10 artists, and 10 tracks of a genre; here are {} artists, and rock, .* has {} tracks: "
        with pytest.raises(utils.UserError, match=message.format(*here)):
            collection.split_by_artist(found(artists))
    assert len({track.split for track in collection.split_by_artist(found(["a", *[""] * 29])).tracks}) == 3


@pytest.mark.parametrize(("of_one", "others", "small"), [(0, 100, []), (90, 10, ["validation", "test"])])
def test_a_small_split_is_told(of_one, others, small, capsys):
    artists = ["a"] * of_one + [f"b{n}" for n in range(others)]
    tracks = [collection.Track(str(n), "", "", "rock", "test", artist) for n, artist in enumerate(artists)]
    collection.split_by_artist(collection.Collection(tracks))
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == small


def test_artists_from_a_file(tmp_path):
    make(tmp_path, "music/rock/a.mp3", "music/rock/b.mp3")
    found, file = collection.find(tmp_path / "music"), tmp_path / "artists.csv"
    file.write_text("artist,track_id\nNA,a\n")
    assert [track.artist for track in collection.with_artists(found, file).tracks] == ["NA", ""]
    for content, message in (("track_id,name\na,b\n", "track_id,artist"), ("track_id,artist\nc,d\n", "like 'a'")):
        file.write_text(content)
        with pytest.raises(utils.UserError, match=message):
            collection.with_artists(found, file)
    with pytest.raises(utils.UserError, match="does not exist"):
        collection.with_artists(found, tmp_path / "nowhere.csv")


def test_a_track_or_a_column_that_stands_twice_must_say_the_same(tmp_path):
    make(tmp_path, "music/rock/a.mp3")
    found, file = collection.find(tmp_path / "music"), tmp_path / "artists.csv"
    file.write_text("track_id,artist,year\na,b,1\na,b,2\n")
    assert [track.artist for track in collection.with_artists(found, file).tracks] == ["b"]
    for content, message in (("track_id,artist\na,b\na,c\n", "the track a twice, with another artist"),
                             ("track_id,artist,artist\na,b,c\n", "the column artist more than once")):  # fmt: skip
        file.write_text(content)
        with pytest.raises(utils.UserError, match=message):
            collection.with_artists(found, file)


def test_a_pipe_is_not_waited_for(tmp_path):
    make(tmp_path, "music/rock/a.mp3")
    os.mkfifo(tmp_path / "x.csv")
    found = collection.find(tmp_path / "music")
    assert not spotify.is_metadata(tmp_path / "x.csv")
    for read in (
        lambda pipe: collection.with_artists(found, pipe),
        lambda pipe: collection.find(tmp_path / "music", pipe),
        spotify.read_metadata,
        fma.read_tracks_csv,
    ):
        with pytest.raises(OSError, match=r"x\.csv is not a file"):
            read(tmp_path / "x.csv")


def test_missing_or_empty_source(tmp_path):
    with pytest.raises(utils.UserError, match="not a folder"):
        collection.find(tmp_path / "nowhere")
    with pytest.raises(utils.UserError, match="no audio"):
        collection.find(tmp_path)


@pytest.mark.parametrize(
    "name", ["..", ".", "", "/", "/etc", "a/b", ".hidden", "a\\b", "a\0b", "../../x", "%", "%2F"]
)
def test_no_name_leads_out_of_the_folder_or_is_hidden(tmp_path, name):
    for path in (collection.array_path(name, "1"), collection.array_path("rock", name)):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.touch()
        assert file.resolve() == tmp_path / path
        assert file.parent.parent == tmp_path
        assert not any(part.startswith(".") for part in path.split("/"))


@given(st.lists(st.text(alphabet="ab./%2F\\0E", max_size=4), unique=True, min_size=2, max_size=30))
def test_no_two_tracks_share_a_file(names):
    paths = [collection.array_path(genre, track_id) for genre in names for track_id in names]
    assert len(set(paths)) == len(names) ** 2
    assert all(path.count("/") == 1 for path in paths)


def test_usual_names_stay_as_they_are():
    assert collection.array_path("Hip-Hop", "blues.00002") == "Hip-Hop/blues.00002.npy"
    assert collection.array_path("Old-Time / Historic", "café 1") == "Old-Time %2F Historic/café 1.npy"
