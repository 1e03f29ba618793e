"""The Kakao arena collection, made up in its exact layout, with songs that miss on either side."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import preprocessing
import transfer
import utils
from data import arena, dataset

CPU = torch.device("cpu")


@pytest.fixture
def source(tmp_path):
    """30 good songs of three genres, and every kind of other song."""
    chance = np.random.default_rng(0)
    baskets = {str(n): [("GN0100", "GN0200", "GN0300")[n % 3]] for n in range(30)}
    baskets |= {
        "1000": ["GN0100", "GN0200"],  # two genres
        "1001": ["GN9000"],  # none
        "1002": [],
        "1003": ["GN0100", "GN9000"],  # one known
        "1004": ["GN0100"],  # no array
        "1005": ["GN0100"],  # another shape
        "1006": ["GN0200"],  # truncated
        "1007": ["GN0300"],  # float64
        "1008": ["GN0400"],  # a rare genre
    }
    arrays = {song: (48, 1876) for song in baskets if song != "1004"} | {"1005": (48, 1000), "2000": (48, 1876)}
    for song, shape in arrays.items():
        path = tmp_path / "arena" / "arena_mel" / str(int(song) // 1000) / f"{song}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        array = chance.normal(-40 + 5 * (int(song) % 3), 10, shape)
        np.save(path, array if song == "1007" else array.astype(np.float32))
        if song == "1006":
            path.write_bytes(path.read_bytes()[:1000])
    meta = [{"id": int(song), "song_gn_gnr_basket": basket, "song_name": "…"} for song, basket in baskets.items()]
    (tmp_path / "arena" / "song_meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return tmp_path / "arena"


def test_songs_of_one_known_genre_are_indexed_and_the_others_named(source, tmp_path, run_script):
    command = f"--dataset arena --source {source} --data_dir {tmp_path}/data --top_genres 3"
    folder = Path(run_script(preprocessing, command))
    rows = {row["track_id"]: row for row in csv.DictReader((folder / "tracks.csv").open())}
    assert set(rows) == {str(n) for n in range(30)} | {"1003"}
    assert (rows["1003"]["genre_top"], rows["7"]["genre_top"], rows["7"]["frames"]) == ("GN0100", "GN0200", "1876")
    split = [row["split"] for row in rows.values() if row["genre_top"] == "GN0300"]
    assert [split.count(name) for name in ("training", "validation", "test")] == [7, 1, 2]
    reasons = {row["track_id"]: row["reason"] for row in csv.DictReader((folder / "failed.csv").open())}
    assert reasons == {
        "1004": "no array in arena_mel",
        "1005": "shape (48, 1000), not (48, 1876)",
        "1006": "truncated: 1000 bytes of 360320",
        "1007": "float64, not float32",
        "2000": "not in song_meta.json",
    }
    assert not list(folder.rglob("*.npy"))
    before = (folder / "tracks.csv").read_text()
    run_script(preprocessing, command)
    assert (folder / "tracks.csv").read_text() == before


def test_the_arrays_are_read_where_they_are(source, tmp_path, run_script):
    run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data")
    folder = dataset.open_folder(tmp_path / "data", "arena")
    assert set(folder.tracks["genre_top"]) == {"GN0100", "GN0200", "GN0300", "GN0400"}
    rows = folder.split("training")
    expected = np.load(source / "arena_mel" / "0" / f"{rows['track_id'][2]}.npy")[:, 50:150]
    assert folder.settings["db_min"] < expected.min()
    for in_memory in (True, False):
        crops = dataset.load(folder, rows, CPU, in_memory=in_memory)
        x = crops.crop(torch.tensor([2]), torch.tensor([50]), 100)
        assert x.dtype == torch.float32
        np.testing.assert_array_equal(x[0, 0], expected)
    common = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --dataset arena --device cpu"
    run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data --top_genres 3")
    result = utils.read_json(run_script(transfer, f"{common} --protocol linear --baseline stats"))
    assert result["accuracy"] > 0.5
    scratch = f"{common} --protocol scratch --backbone conv8 --num_epochs 1 --batch_size 8 --num_crops 1"
    assert utils.read_json(run_script(transfer, scratch))["n_test"] == 6


def test_what_is_wrong_with_the_source_is_said(source, tmp_path, run_script):
    for break_it, message in (
        (lambda: (source / "song_meta.json").write_text('[{"id": 1}]'), "list of songs with id"),
        (lambda: (source / "song_meta.json").write_text('[{"id": 1, "song_gn_gnr_basket": []}]'), "no song of"),
        (lambda: (source / "song_meta.json").unlink(), "song_meta.json does not exist"),
    ):
        break_it()
        with pytest.raises(utils.UserError, match=message):
            run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data")
    with pytest.raises(utils.UserError, match="say what to convert"):
        run_script(preprocessing, f"--dataset arena --data_dir {tmp_path}/data")


def test_the_expected_header_is_what_numpy_writes(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(arena.SHAPE, np.float32))
    header, size = arena.right_header()
    written = (tmp_path / "a.npy").read_bytes()
    assert written.startswith(header)
    assert len(written) == size
    assert arena.reason_against(str(tmp_path / "a.npy")) is None
    np.save(tmp_path / "b.npy", np.zeros(arena.SHAPE, np.float32, order="F"))
    assert arena.reason_against(str(tmp_path / "b.npy")) is None
    (tmp_path / "c.npy").write_text("no array")
    assert arena.reason_against(str(tmp_path / "c.npy")) == "not a readable .npy file"
