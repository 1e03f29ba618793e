"""The Kakao arena collection, made up in its exact layout, with songs that miss on either side."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import preprocessing
import train_simsiam
import transfer
import utils
from data import arena, check
from data.crops import load
from data.folder import open_folder, read_array
from data.settings import Spectrogram

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
    assert rows["1003"]["path"] == "1/1003.npy"
    assert utils.read_json(folder / "spectrogram.json")["index_of"] == str(source / "arena_mel")
    before = (folder / "tracks.csv").read_text()
    run_script(preprocessing, command)
    assert (folder / "tracks.csv").read_text() == before


def test_the_arrays_are_read_where_they_are(source, tmp_path, run_script):
    run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data")
    folder = open_folder(tmp_path / "data", "arena")
    assert set(folder.tracks["genre_top"]) == {"GN0100", "GN0200", "GN0300", "GN0400"}
    rows = folder.split("training")
    expected = np.load(source / "arena_mel" / "0" / f"{rows['track_id'][2]}.npy")[:, 50:150]
    every = np.stack([read_array(folder, row) for row in folder.tracks.itertuples()])
    assert folder.settings.db_min == pytest.approx(every.min(), abs=0.01)
    assert folder.settings.db_max == pytest.approx(every.max(), abs=0.01)
    for cache in ("ram", "disk"):
        crops = load(folder, rows, CPU, cache=cache)
        x = crops.crop(torch.tensor([2]), torch.tensor([50]), 100)
        assert x.dtype == torch.float32
        np.testing.assert_array_equal(x[0, 0], expected)


def test_it_is_trained_and_tested_on_like_any_other(source, tmp_path, run_script):
    common = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp --dataset arena --device cpu"
    run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data --top_genres 3")
    result = utils.read_json(run_script(transfer, f"{common} --protocol linear --baseline stats"))
    assert result["accuracy"] > 0.5
    scratch = f"{common} --protocol scratch --backbone conv8 --num_epochs 1 --batch_size 8 --num_crops 1"
    assert utils.read_json(run_script(transfer, scratch))["n_test"] == 6


# ------------------------------------------------------------------ an index never writes where its arrays are


def state_of(folder):
    """Every file below a folder: its content and when it was written."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_what_is_made_of_an_index_goes_to_another_folder(source, tmp_path, run_script):
    before = state_of(source)
    common = f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp"
    run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data --top_genres 3")
    index = open_folder(tmp_path / "data", "arena")
    there = state_of(index.path)
    check.check_folder(index.path)
    network = "--backbone conv8 --dim 32 --pred_dim 8 --batch_size 8 --num_epochs 1 --device cpu"
    experiment = Path(run_script(train_simsiam, f"{common} --dataset arena {network}"))
    made = Path(run_script(preprocessing, f"--features exp:{experiment.name} {common} --num_crops 1 --workers 2"))
    assert made == tmp_path / "data" / f"arena_{experiment.name}_npy"
    assert len(list(made.rglob("*.npy"))) == len(index.tracks) == 31
    opened = open_folder(tmp_path / "data", f"arena_{experiment.name}", kinds=("embedding",))
    assert [read_array(opened, row).shape for row in opened.tracks.itertuples()] == [(1, 512)] * 31
    assert state_of(index.path) == there
    assert state_of(source) == before


def test_the_folder_to_make_is_not_the_source(source, tmp_path, run_script):
    """--overwrite throws a folder away: it must never be the one with the arrays."""
    named = source.rename(tmp_path / "arena_npy")
    before = state_of(named)
    for flags in (
        f"--dataset arena --source {named} --data_dir {tmp_path}",  # the very same folder
        f"--dataset arena --source {named} --data_dir {named}/arena_mel",  # among the arrays
        f"--dataset arena --source {named} --data_dir {named}",
    ):
        with pytest.raises(utils.UserError, match=r"would be mixed up with --source .*another --data_dir"):
            run_script(preprocessing, f"{flags} --overwrite")
    assert state_of(named) == before


def test_overwrite_throws_away_the_index_only(source, tmp_path, run_script):
    before = state_of(source)
    folder = tmp_path / "data" / "arena_npy"
    utils.write_json(folder / "spectrogram.json", Spectrogram().to_json())
    utils.write_text(folder / "old.npy", "")
    command = f"--dataset arena --source {source} --data_dir {tmp_path}/data"
    with pytest.raises(utils.UserError, match="holds arrays with other settings"):
        run_script(preprocessing, command)
    run_script(preprocessing, f"{command} --overwrite")
    assert not (folder / "old.npy").exists()
    assert state_of(source) == before


def test_a_moved_collection_is_indexed_again(source, tmp_path, run_script):
    run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data")
    moved = source.rename(tmp_path / "moved")
    index = open_folder(tmp_path / "data", "arena")
    with pytest.raises(utils.UserError, match="cannot be read"):
        load(index, index.tracks, CPU)
    run_script(preprocessing, f"--dataset arena --source {moved} --data_dir {tmp_path}/data")
    index = open_folder(tmp_path / "data", "arena")
    assert len(load(index, index.tracks, CPU)) == len(index.tracks)


def test_folders_of_earlier_days_still_open(source, tmp_path, run_script):
    """Those had absolute paths, and no ``index_of``."""
    folder = Path(run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data"))
    now = open_folder(tmp_path / "data", "arena")
    settings = {name: value for name, value in now.settings.to_json().items() if name != "index_of"}
    utils.write_json(folder / "spectrogram.json", settings)
    lines = (folder / "tracks.csv").read_text().replace(",0/", f",{source}/arena_mel/0/")
    (folder / "tracks.csv").write_text(lines.replace(",1/", f",{source}/arena_mel/1/"))
    then = open_folder(tmp_path / "data", "arena")
    assert then.tracks["path"].str.startswith(str(source)).all()
    for cache in ("ram", "disk"):
        x, y = (load(f, f.tracks, CPU, cache).crop(torch.arange(31), torch.arange(31), 9) for f in (now, then))
        assert torch.equal(x, y)


# ------------------------------------------------------------------ what it is told by


def test_the_name_of_a_dataset_switches_nothing(source, tmp_path, run_script):
    """The collection is known by what it holds, under any name; "arena" is a name like any other."""
    other = Path(run_script(preprocessing, f"--dataset melon --source {source} --data_dir {tmp_path}/data"))
    assert (other.name, utils.read_json(other / "spectrogram.json")["features"]) == ("melon_npy", "arena")
    (tmp_path / "v" / "rock").mkdir(parents=True)
    np.save(tmp_path / "v" / "rock" / "a.npy", np.ones(3, np.float32))
    command = f"--dataset arena --features embeddings --source {tmp_path}/v --data_dir {tmp_path}/data"
    folder = Path(run_script(preprocessing, command))
    assert utils.read_json(folder / "spectrogram.json")["features"] == "embeddings"
    with pytest.raises(utils.UserError, match="no audio under"):
        run_script(preprocessing, f"--dataset arena --source {tmp_path}/v --data_dir {tmp_path}/other")


def test_log_mels_cannot_be_turned_into_something_else(source, tmp_path, run_script):
    with pytest.raises(utils.UserError, match="holds log-mels, not audio for --features waveform"):
        run_script(preprocessing, f"--dataset a --source {source} --features waveform --data_dir {tmp_path}/data")


def test_what_is_wrong_with_the_source_is_said(source, tmp_path, run_script):
    for break_it, message in (
        (lambda: (source / "song_meta.json").write_text('[{"id": 1}]'), "list of songs with id"),
        (lambda: (source / "song_meta.json").write_text('[{"id": 1, "song_gn_gnr_basket": []}]'), "no song of"),
        (lambda: (source / "song_meta.json").unlink(), "no audio under"),  # nothing tells it any more
    ):
        break_it()
        with pytest.raises(utils.UserError, match=message):
            run_script(preprocessing, f"--dataset arena --source {source} --data_dir {tmp_path}/data")
    with pytest.raises(utils.UserError, match=r"song_meta\.json does not exist"):
        arena.find(source, 3)
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
