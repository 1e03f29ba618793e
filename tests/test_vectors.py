"""Embeddings that are there already: the forms that are adopted, and what is wrong with others."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_vectors import vectors, write_npz

import preprocessing
import utils
from data import vectors as adopting
from data.folder import open_folder, read_array


@pytest.fixture
def adopt(tmp_path, run_script):
    """Adopt a source as dataset ``name``; returns its folder."""

    def run(source, name="own", more=""):
        command = f"--dataset {name} --features embeddings --source {source} --data_dir {tmp_path}/data {more}"
        return Path(run_script(preprocessing, command))

    return run


def rows_of(folder):
    return list(csv.DictReader((folder / "tracks.csv").open()))


def test_three_forms_make_the_same_folder(tmp_path, adopt):
    ids, genres, array = vectors(num_layers=1, good_layer=0)
    flat = array[:, 0]
    write_npz(tmp_path / "v.npz", num_layers=1, good_layer=0)
    for track_id, genre, vector in zip(ids, genres, flat, strict=True):
        (tmp_path / "v" / genre).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "v" / genre / f"{track_id}.npy", vector)
    lines = ["track_id,genre_top," + ",".join(f"d{d}" for d in range(12))]
    lines += [f"{i},{g}," + ",".join(repr(float(x)) for x in v) for i, g, v in zip(ids, genres, flat, strict=True)]
    (tmp_path / "v.csv").write_text("\n".join(lines))
    folders = [adopt(tmp_path / source, name) for source, name in (("v.npz", "a"), ("v", "b"), ("v.csv", "c"))]
    for folder in folders:
        settings = json.loads((folder / "spectrogram.json").read_text())
        assert (settings["features"], settings["num_layers"], settings["num_features"]) == ("embeddings", 1, 12)
        rows = rows_of(folder)
        assert [(row["track_id"], row["genre_top"], row["frames"]) for row in rows] == [
            (track_id, genre, "12") for track_id, genre in zip(ids, genres, strict=True)
        ]
        assert {row["split"] for row in rows} == {"training", "validation", "test"}
        for row, vector in zip(rows, flat, strict=True):
            stored = np.load(folder / row["path"], allow_pickle=False)
            np.testing.assert_array_equal(stored, vector[None])
            assert stored.dtype == np.float32


def test_splits_come_with_the_vectors_or_from_a_file(tmp_path, adopt):
    ids, genres, array = vectors(per_genre=4)
    splits = np.array(["training", "training", "validation", "test"] * 3)
    np.savez(tmp_path / "v.npz", track_id=ids, genre_top=genres, embeddings=array, split=splits)
    assert [row["split"] for row in rows_of(adopt(tmp_path / "v.npz"))] == splits.tolist()
    (tmp_path / "splits.csv").write_text("track_id,split\nt0000,test\nt0001,training\n")
    rows = rows_of(adopt(tmp_path / "v.npz", "other", f"--splits {tmp_path}/splits.csv"))
    assert [row["split"] for row in rows][:3] == ["test", "training", "excluded"]


def test_new_vectors_replace_old_ones(tmp_path, adopt):
    folder = adopt(write_npz(tmp_path / "v.npz"))
    adopt(write_npz(tmp_path / "v.npz", seed=1))
    np.testing.assert_array_equal(np.load(folder / rows_of(folder)[0]["path"]), vectors(seed=1)[2][0])
    with pytest.raises(utils.UserError, match=r"source .* → .*--overwrite"):
        adopt(write_npz(tmp_path / "w.npz"))


def test_odd_vectors_are_named(tmp_path, adopt):
    for name, array in (
        ("a", np.ones(4)), ("b", np.ones(4)), ("long", np.ones(5)), ("nan", np.full(4, np.nan)),
        ("text", np.array(["x"])), ("object", np.array([{}], dtype=object)),
    ):  # fmt: skip
        (tmp_path / "v" / "rock").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "v" / "rock" / f"{name}.npy", array)
    np.savez(tmp_path / "archive.npz", np.ones(4))
    (tmp_path / "archive.npz").rename(tmp_path / "v" / "rock" / "archive.npy")
    folder = adopt(tmp_path / "v")
    assert [row["track_id"] for row in rows_of(folder)] == ["a", "b"]
    reasons = {row["track_id"]: row["reason"] for row in csv.DictReader((folder / "failed.csv").open())}
    assert "shape (1, 5), not (1, 4)" in reasons["long"]
    assert "not finite" in reasons["nan"]
    assert set(reasons) == {"long", "nan", "text", "object", "archive"}
    assert "not an array that can be read" in reasons["object"] == reasons["archive"]
    assert "an array of <U1" in reasons["text"]


def test_names_cannot_lead_out_of_the_folder(tmp_path, adopt):
    np.savez(tmp_path / "v.npz", track_id=["../../x", "y"], genre_top=["..", "a/b"], embeddings=np.ones((2, 3)))
    folder = adopt(tmp_path / "v.npz")
    assert [row["track_id"] for row in rows_of(folder)] == ["../../x", "y"]
    assert len(list(folder.glob("*/*.npy"))) == 2


def test_bad_sources_get_one_sentence(tmp_path, adopt):
    np.savez(tmp_path / "few.npz", track_id=["a"], embeddings=np.ones((1, 3)))
    np.savez(tmp_path / "odd.npz", track_id=["a"], genre_top=["g"], embeddings=np.ones((2, 3)))
    np.savez(tmp_path / "twice.npz", track_id=["a", "a"], genre_top=["g", "g"], embeddings=np.ones((2, 3)))
    np.savez(tmp_path / "object.npz", track_id=["a"], genre_top=["g"], embeddings=np.array([{}], dtype=object))
    (tmp_path / "text.csv").write_text("track_id,genre_top,d0\na,g,one\n")
    (tmp_path / "few.csv").write_text("track_id,d0\na,1\n")
    (tmp_path / "empty").mkdir()
    for source, message in (
        ("few.npz", "needs the arrays"), ("odd.npz", r"shape \(2, 3\) for 1 tracks"), ("twice.npz", "more than once"),
        ("object.npz", "none of objects"), ("text.csv", "else only numbers"), ("few.csv", "needs the columns"),
        ("empty", "no embeddings under"), ("nowhere", "neither a folder nor"),
    ):  # fmt: skip
        with pytest.raises(utils.UserError, match=message) as error:
            adopt(tmp_path / source)
        assert "\n" not in str(error.value)


# ------------------------------------------------------------------ the same, without a script


def test_an_export_of_a_transfer_is_a_source(tmp_path):
    ids, genres, array = vectors(per_genre=4)
    splits = ["training", "training", "validation", "test"] * 3
    utils.save_array(tmp_path / "transfer" / "features.npy", array)
    rows = list(zip(ids, genres, splits, strict=True))
    utils.write_csv(tmp_path / "transfer" / "tracks.csv", ["track_id", "genre_top", "split"], rows)
    found, extractor = adopting.adopt(tmp_path / "transfer")
    assert [(track.track_id, track.genre_top, track.split) for track in found.tracks] == rows
    assert (extractor.settings.num_layers, extractor.settings.num_features) == (4, 12)
    for track, one in zip(found.tracks, array, strict=True):
        np.testing.assert_array_equal(extractor(track.source), one)
    (tmp_path / "transfer" / "tracks.csv").write_text("no table")
    with pytest.raises(utils.UserError, match=r"is not what transfer\.py --save_features writes"):
        adopting.adopt(tmp_path / "transfer")


def test_names_that_are_nearly_the_same_keep_their_own_vectors(tmp_path, adopt):
    ids = ["a", "./a", "a/", "a/.", "a//b", "a/b", "a_b", "%2Fa", "/a", "", "A"]
    array = np.arange(len(ids) * 3, dtype=np.float32).reshape(-1, 3)
    np.savez(tmp_path / "v.npz", track_id=ids, genre_top=["g"] * len(ids), embeddings=array)
    folder = open_folder(adopt(tmp_path / "v.npz").parent, "own", kinds=("embedding",))
    assert folder.tracks["track_id"].tolist() == ids
    for row, one in zip(folder.tracks.itertuples(), array, strict=True):
        np.testing.assert_array_equal(read_array(folder, row)[0], one)


def test_a_source_that_is_no_archive_gets_one_sentence(tmp_path):
    def whole(path):
        np.savez(path, track_id=["a"], genre_top=["g"], embeddings=np.ones((1, 3)))
        return path.read_bytes()

    file, array_file = tmp_path / "v.npz", tmp_path / "a.npy"
    np.save(array_file, np.ones(3))
    for break_it in (
        lambda: file.write_bytes(b""),
        lambda: file.write_text("no archive"),
        lambda: file.write_bytes(whole(file)[:200]),
        lambda: file.write_bytes(b"PK\x03\x04" + b"0" * 100),
        lambda: file.write_bytes(array_file.read_bytes()),
        lambda: zipfile.ZipFile(file, "w").writestr("embeddings.npy", "none"),
        lambda: np.savez(file, track_id=["a"], genre_top=["g"], embeddings=[["x"]]),
        lambda: np.savez(file, track_id=["a", "b"], genre_top=["g"], embeddings=np.ones((2, 3))),
        lambda: np.savez(file, track_id="a", genre_top="g", embeddings=np.ones((1, 3))),
    ):
        break_it()
        with pytest.raises(utils.UserError, match="needs the arrays embeddings, track_id, genre_top") as error:
            adopting.adopt(file)
        assert "\n" not in str(error.value)


def test_shapes_that_are_none_are_refused(tmp_path):
    for shape in ((2,), (2, 0), (2, 1, 1, 3), (0, 3)):
        ids = np.array([f"t{number}" for number in range(shape[0])], str)
        np.savez(tmp_path / "v.npz", track_id=ids, genre_top=ids, embeddings=np.ones(shape))
        with pytest.raises(utils.UserError, match="has embeddings of shape"):
            adopting.adopt(tmp_path / "v.npz")
    (tmp_path / "v" / "rock").mkdir(parents=True)
    np.save(tmp_path / "v" / "rock" / "a.npy", np.float32(3))
    with pytest.raises(utils.UserError, match=r"not one of 1 \.npy files is an array"):
        adopting.adopt(tmp_path / "v")


def test_artists_are_kept_apart_and_written(tmp_path, run_script):
    names = [f"{number:02}" for number in range(60)]
    arrays = {"track_id": names, "genre_top": ["folk", "rock"] * 30, "embeddings": np.ones((60, 3), np.float32)}
    np.savez(tmp_path / "vectors.npz", **arrays, artist=[f"{number // 3}" for number in range(60)])
    (tmp_path / "artists.csv").write_text("track_id,artist\n00,new\n59,new\n")
    command = f"--dataset own --features embeddings --source {tmp_path}/vectors.npz --data_dir {tmp_path}/data"
    folder = run_script(preprocessing, f"{command} --metadata {tmp_path}/artists.csv --splits artist")
    rows = pd.read_csv(f"{folder}/tracks.csv", dtype=str)
    assert list(rows["artist"].iloc[[0, 1, 59]]) == ["new", "0", "new"]
    assert set(rows.groupby("artist")["split"].nunique()) == {1}
    assert set(rows["split"]) == {"training", "validation", "test"}


@pytest.mark.parametrize("flags", ["--size small", "--features exp:154874"])
def test_splits_that_stand_are_not_drawn_anew(flags):
    with pytest.raises(utils.UserError, match="come without splits"):
        preprocessing.main(preprocessing.get_args_parser().parse_args([*flags.split(), "--splits", "artist"]))
