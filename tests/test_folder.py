"""Folders of arrays: what stands in them, where their arrays may lie, and what is wrong with one."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_folder

import utils
from data import folder as folders
from data.crops import load
from data.settings import Embedding, Spectrogram, Waveform

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_folder):
    return folders.open_folder(tiny_folder, "tiny")


def row_of(**changes):
    row = {"track_id": "1", "path": "a.npy", "genre_top": "Folk", "split": "training", "frames": 7} | changes
    return next(pd.DataFrame([row]).itertuples())


def rewrite(folder, **columns):
    """tracks.csv once more, with other values in some columns of its first row."""
    table = pd.read_csv(folder.path / "tracks.csv", dtype=str)
    for name, value in columns.items():
        table.loc[0, name] = value
    table.to_csv(folder.path / "tracks.csv", index=False)
    return folders.open_folder(folder.path.parent, folder.dataset)


def test_what_stands_in_a_folder(folder, tiny_folder):
    assert (folder.dataset, folder.path) == ("tiny", tiny_folder / "tiny_npy")
    assert (folder.settings.kind, folder.settings.n_mels, folder.index_of) == ("spectrogram", 32, None)
    assert list(folder.tracks.columns) == [*folders.COLUMNS, folders.ARTIST]
    assert set(folder.tracks["artist"]) == {""}  # a folder without the column
    assert folder.tracks["track_id"][3] == "000003"  # text
    assert [len(folder.split(name)) for name in ("training", "validation", "test")] == [24, 6, 6]
    assert folder.genres == ["Folk", "Hip-Hop", "Rock"]
    array = folders.read_array(folder, next(folder.split("test").itertuples()))
    assert array.dtype == np.uint8
    assert array.shape[0] == 32


def test_ids_and_genres_are_taken_as_the_text_they_are(folder):
    first = rewrite(folder, track_id="007", genre_top="NA", split="null", artist="010").tracks.iloc[0]
    assert (first["track_id"], first["genre_top"], first["split"]) == ("007", "NA", "null")
    assert list(folders.open_folder(folder.path.parent, "tiny").tracks["artist"][:2]) == ["010", ""]


# ------------------------------------------------------------------ where arrays lie


def test_an_array_lies_inside_the_folder(folder, monkeypatch):
    assert folder.file_of(row_of(path="Folk/a.npy")) == str(folder.path / "Folk" / "a.npy")
    assert folder.file_of(row_of(path="Folk/../a.npy")) == str(folder.path / "a.npy")
    monkeypatch.chdir(folder.path.parent)
    for data_dir in (".", "", "../data"):
        here = folders.open_folder(data_dir, "tiny")
        assert folders.read_array(here, next(here.tracks.itertuples())).shape[0] == 32
        with pytest.raises(utils.UserError, match="leads out of"):
            here.file_of(row_of(path="../tiny_npy_2/a.npy"))


@pytest.mark.parametrize("path", ["../../x.npy", "/x.npy", "..", "", ".", "Folk/../../x.npy", "../tiny_npy2/x.npy"])
@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_path_that_leads_out_of_the_folder_is_refused_on_reading(folder, tmp_path, path, cache):
    np.save(tmp_path / "x.npy", np.zeros((32, 70), np.uint8))
    changed = rewrite(folder, path=path, frames="70")
    with pytest.raises(utils.UserError, match=r"tracks\.csv: the path .* leads out of") as error:
        load(changed, changed.tracks[:1], CPU, cache).crop(torch.tensor([0]), torch.tensor([0]), 8)
    assert "\n" not in str(error.value)


def test_an_index_names_arrays_of_another_place_and_no_others(folder, tmp_path):
    there = tmp_path / "elsewhere"
    there.mkdir()
    np.save(there / "x.npy", np.ones((32, 70), np.uint8))
    np.save(tmp_path / "y.npy", np.ones((32, 70), np.uint8))
    settings = folder.settings.to_json() | {"index_of": str(there)}
    (folder.path / "spectrogram.json").write_text(json.dumps(settings))
    index = rewrite(folder, path="x.npy", frames="70")
    assert index.index_of == str(there)
    np.testing.assert_array_equal(folders.read_array(index, next(index.tracks.itertuples())), np.ones((32, 70)))
    for path in ("../y.npy", str(tmp_path / "y.npy"), "../elsewhere2/x.npy"):
        with pytest.raises(utils.UserError, match="leads out of"):
            index.file_of(row_of(path=path))


def test_an_index_made_before_index_of_was_written_names_absolute_paths(folder, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((32, 70), np.float32))
    settings = folder.settings.to_json() | {"features": "arena", "dtype": "float32"}
    (folder.path / "spectrogram.json").write_text(json.dumps(settings))
    index = rewrite(folder, path=str(tmp_path / "x.npy"), frames="70")
    for cache in ("ram", "disk"):
        x = load(index, index.tracks[:1], CPU, cache).crop(torch.tensor([0]), torch.tensor([0]), 8)
        assert torch.equal(x, torch.ones(1, 1, 32, 8))


# ------------------------------------------------------------------ what is wrong with a folder


def test_what_is_missing_is_said(tiny_folder, folder):
    with pytest.raises(utils.UserError, match=r"preprocessing\.py first.*: tiny$"):
        folders.open_folder(tiny_folder, "nothing")
    with pytest.raises(utils.UserError, match=r"no track in the split 'excluded'; it has: training \(24\)"):
        folder.split("excluded")
    (folder.path / "spectrogram.json").unlink()
    with pytest.raises(utils.UserError, match=r"spectrogram\.json does not exist"):
        folders.open_folder(tiny_folder, "tiny")


@pytest.mark.parametrize("name", ["../tiny", "/tiny", ".tiny", "a/b"])
def test_a_dataset_is_a_name(tiny_folder, name):
    with pytest.raises(utils.UserError, match="is a name, not a path"):
        folders.open_folder(tiny_folder, name)


@pytest.mark.parametrize(
    "content", ["", "track_id,path\n1,a\n", "a\0b\n", "track_id,path,genre_top,split,frames\n1,a,b,c,x"]
)
def test_a_foreign_tracks_csv_is_refused(tiny_folder, content):
    (tiny_folder / "tiny_npy" / "tracks.csv").write_text(content)
    with pytest.raises(utils.UserError, match=r"tracks\.csv needs the columns track_id,path,genre_top,split,frames"):
        folders.open_folder(tiny_folder, "tiny")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("", "names no track"),
        ("1,a.npy,Folk,test,0", "are no number of frames"),
        ("1,a.npy,Folk,test,-3", "are no number of frames"),
        ("1,a.npy,Folk,test,99999999999", "are no number of frames"),
        ('1,a.npy,"Fo\nlk",test,3', "control characters"),
    ],
)
def test_rows_that_no_run_writes_are_refused(tiny_folder, row, message):
    (tiny_folder / "tiny_npy" / "tracks.csv").write_text(f"{','.join(folders.COLUMNS)}\n{row}\n")
    with pytest.raises(utils.UserError, match=message):
        folders.open_folder(tiny_folder, "tiny")


def test_only_the_kinds_that_are_asked_for_open(tiny_folder, folder):
    for made, opened, message in (
        (Embedding(), ("spectrogram", "waveform"), "holds embeddings, not spectrograms or waveforms; only transfer"),
        (Waveform(), ("spectrogram",), "holds waveforms, not spectrograms$"),
        (Spectrogram(), ("embedding",), "holds spectrograms, not embeddings$"),
    ):
        utils.write_json(folder.path / "spectrogram.json", made.to_json())
        assert folders.open_folder(tiny_folder, "tiny", kinds=(made.kind,)).settings == made
        with pytest.raises(utils.UserError, match=message):
            folders.open_folder(tiny_folder, "tiny", kinds=opened)


def test_arrays_that_are_not_what_the_index_says_are_refused(folder):
    row = next(folder.split("test").itertuples())
    file = folder.path / row.path
    whole = np.load(file)
    for wrong in (whole[:31], whole[:, :-1], whole.astype(np.float32), whole[0]):
        np.save(file, wrong)
        with pytest.raises(utils.UserError, match=r"has shape .*say \(32, .*--overwrite"):
            folders.read_array(folder, row)
    np.savez(folder.path / "archive.npz", whole)
    archive = (folder.path / "archive.npz").read_bytes()
    for unreadable in (b"", b"half a file", b"\x93NUMPY", archive, archive[:100]):
        file.write_bytes(unreadable)
        for mmap_mode in (None, "r"):
            with pytest.raises(utils.UserError, match="cannot be read"):
                folders.open_array(file, folder.settings, row.frames, mmap_mode)
    file.unlink()
    with pytest.raises(utils.UserError, match="cannot be read"):
        folders.read_array(folder, row)


def test_pickles_are_not_loaded(folder):
    row = next(folder.split("test").itertuples())
    np.save(folder.path / row.path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(utils.UserError, match="cannot be read"):
        folders.read_array(folder, row)


def test_labels_are_numbers_of_genres(folder):
    rows = folder.split("test")
    labels = folders.labels_of(rows, ["Rock", "Folk", "Hip-Hop"])
    assert labels.tolist() == [["Rock", "Folk", "Hip-Hop"].index(genre) for genre in rows["genre_top"]]
    with pytest.raises(utils.UserError, match="the split 'test' holds genres that training never saw: Rock"):
        folders.labels_of(rows, ["Folk", "Hip-Hop"])


def test_a_network_wants_the_settings_it_was_trained_on(tmp_path, folder):
    stored_otherwise = folders.open_folder(write_folder(tmp_path, "half", "float16"), "half")
    folders.check_settings(stored_otherwise, folder.settings)
    other = folders.open_folder(write_folder(tmp_path, "other", n_fft=1024), "other")
    with pytest.raises(utils.UserError, match=r"other_npy has other settings .*\(n_fft 2048 → 1024\)"):
        folders.check_settings(other, folder.settings)
    with pytest.raises(utils.UserError, match=r"\(waveform → spectrogram\)"):
        folders.check_settings(folder, Waveform())


def test_real_folders_open(real_datasets):
    for name, counts in (("fma_small_coarse", (5754, 640, 800)), ("gtzan_coarse", (442, 197, 290))):
        folder = folders.open_folder(real_datasets, name)
        assert tuple(len(folder.split(split)) for split in ("training", "validation", "test")) == counts
        row = next(folder.split("test").itertuples())
        assert folders.read_array(folder, row).shape == (128, row.frames)
