"""The Spotify Tracks Dataset's reader: genres, tracks under several of them, missing audio."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

import preprocessing
import utils
from data import spotify

GENRES = ("acoustic", "blues", "chill", "disco")


@pytest.fixture
def metadata(tmp_path):
    """24 tracks of four genres in the form of the real file; ``a0`` and ``b0`` also stand under others."""
    lines = [",track_id,artists,popularity,track_genre"]
    for genre in reversed(GENRES):
        lines += [f"{len(lines)},{genre[0]}{number},Some One;Else,7,{genre}" for number in range(6)]
    lines += ["98,a0,Some One,7,blues", "99,b0,Some One,7,disco", "100,c0,Some One,7,chill"]  # the last: a duplicate
    file = tmp_path / "dataset.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_tracks_under_several_of_the_genres_are_left_out(metadata, tmp_path):
    found = spotify.find(tmp_path, metadata)
    tracks = found.tracks
    assert found.left_out == [
        ("a0", tmp_path / "a0.mp3", "stands under several of the genres: acoustic, blues"),
        ("b0", tmp_path / "b0.mp3", "stands under several of the genres: blues, disco"),
    ]
    assert (len(tracks), found.frames) == (22, {})
    assert not {"a0", "b0"} & {track.track_id for track in tracks}
    track = next(track for track in tracks if track.track_id == "d3")
    assert track.artist == "Some One"
    assert (track.source, track.path, track.genre_top) == (tmp_path / "d3.mp3", "disco/d3.npy", "disco")
    for genre in GENRES:
        assert {track.split for track in tracks if track.genre_top == genre} == {"training", "validation", "test"}


def test_only_the_chosen_genres_count(metadata, tmp_path):
    """Among the first two of the alphabet b0 stands once; a0 under both."""
    found = spotify.find(tmp_path, metadata, num_genres=2)
    assert {track.genre_top for track in found.tracks} == {"acoustic", "blues"}
    assert (len(found.left_out), len(found.tracks)) == (1, 11)
    found = spotify.find(tmp_path, metadata, genres=["disco", "acoustic"])
    assert (len(found.left_out), len(found.tracks)) == (0, 13)  # b0 is disco, where blues is not asked for
    assert {"a0", "b0"} < {track.track_id for track in found.tracks}


def test_splits_do_not_depend_on_the_order_of_the_file(metadata, tmp_path):
    found = spotify.find(tmp_path, metadata)
    header, *lines = metadata.read_text().splitlines()
    metadata.write_text("\n".join([header, *reversed(lines)]) + "\n")
    assert spotify.find(tmp_path, metadata) == found


def test_bad_input_gets_one_sentence(metadata, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("track_id,genre\na,b\n")
    for options, message in (
        ({"metadata": tmp_path / "nowhere.csv"}, "does not exist"),
        ({"metadata": other}, "needs the columns track_id,track_genre"),
        ({"source": tmp_path / "nowhere"}, "is not a folder"),
        ({"genres": ["polka"]}, "--genres polka is not in the metadata; it has: acoustic"),
        ({"num_genres": 5}, "must be between 2 and the 4"),
    ):
        with pytest.raises(utils.UserError, match=message):
            spotify.find(**{"source": tmp_path, "metadata": metadata, **options})


def test_missing_audio_is_named_and_counted(metadata, tmp_path, capsys):
    previews = tmp_path / "previews"
    previews.mkdir()
    for number, name in enumerate(("a1", "a2", "a3", "b1", "b2", "b3")):
        tone = 0.3 * np.sin(np.arange(6 * 22050) * (0.02 + 0.01 * number))
        soundfile.write(previews / f"{name}.mp3", tone, 22050)
    preprocessing.main(preprocessing.get_args_parser().parse_args(
        f"--dataset spotify2 --source {previews} --metadata {metadata} --num_genres 2 --data_dir {tmp_path}/data "
        "--n_mels 32 --workers 1".split()
    ))  # fmt: skip
    said = capsys.readouterr().out
    assert "6 tracks of 2 genres" in said
    folder = Path(said.splitlines()[-1])
    assert f"6 left out, named in {folder / 'failed.csv'}" in said
    assert "a0: stands under several of the genres: acoustic, blues" in said
    failures = {row["track_id"]: row["reason"] for row in csv.DictReader((folder / "failed.csv").open())}
    several = failures.pop("a0")
    assert several == "stands under several of the genres: acoustic, blues"
    assert failures == dict.fromkeys(("a4", "a5", "b0", "b4", "b5"), "no such file")
    assert {row["track_id"] for row in csv.DictReader((folder / "tracks.csv").open())} == {
        "a1", "a2", "a3", "b1", "b2", "b3",
    }  # fmt: skip
