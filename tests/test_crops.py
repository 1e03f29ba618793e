"""Crops of spectrograms, held in memory or read from disk, and the vectors of embeddings."""

from unittest import mock

import numpy as np
import pytest
import torch
from conftest import write_folder

import utils
from data import crops as crops_of
from data.folder import open_folder
from data.settings import Embedding

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_folder):
    return open_folder(tiny_folder, "tiny")


def test_crops_are_the_stored_frames_in_decibels(folder):
    rows = folder.split("training")
    crops = crops_of.load(folder, rows, CPU)
    tracks, starts = torch.tensor([3, 0, 23]), torch.tensor([5, 0, 20])
    x = crops.crop(tracks, starts, 16)
    assert x.shape == (3, 1, 32, 16)
    for one, track, start in zip(x, tracks.tolist(), starts.tolist(), strict=True):
        stored = np.load(folder.path / rows["path"][track])
        np.testing.assert_allclose(one[0], -80 + stored[:, start : start + 16] * (80 / 255), rtol=1e-5)


def test_disk_and_memory_give_the_same_batches(tmp_path):
    for dtype in ("uint8", "float16", "float32"):
        folder = open_folder(write_folder(tmp_path, dtype, dtype), dtype)
        both = [crops_of.load(folder, folder.split("training"), CPU, choice) for choice in ("ram", "disk")]
        torch.manual_seed(0)
        order = torch.randperm(24).view(6, 4)
        requests = [((tracks, both[0].random_starts(tracks, 100)), (tracks, tracks)) for tracks in order]
        batches = [list(crops.batches(requests, 100)) for crops in both]
        assert len(batches[1]) == 6
        for here, there in zip(*batches, strict=True):
            for x, y in zip(here, there, strict=True):
                assert torch.equal(x, y)


def test_what_is_stored_as_float32_is_not_changed_by_reading(tmp_path):
    folder = open_folder(write_folder(tmp_path, "tiny", "float32"), "tiny")
    crops = crops_of.load(folder, folder.split("test"), CPU)
    assert crops.frames.dtype == torch.float32
    pair = torch.tensor([0, 1]), torch.tensor([3, 4])
    before = crops.crop(*pair, 20).clone()
    crops.crop(*pair, 20).mul_(0)
    assert torch.equal(crops.crop(*pair, 20), before)


def test_memory_decides_where_crops_are_held(folder, monkeypatch):
    rows = folder.split("training")
    num_bytes = 32 * int(rows["frames"].sum())
    for memory, kind in ((2 * num_bytes, crops_of.OnDisk), (3 * num_bytes, crops_of.InMemory)):
        monkeypatch.setattr(utils, "free_memory", lambda memory=memory: memory)
        assert type(crops_of.load(folder, rows, CPU)) is kind
    monkeypatch.setattr(utils, "free_memory", lambda: num_bytes)
    assert type(crops_of.load(folder, rows, CPU, "ram")) is crops_of.InMemory
    monkeypatch.setattr(utils, "free_memory", lambda: num_bytes - 1)
    assert type(crops_of.load(folder, rows, CPU, "disk")) is crops_of.OnDisk
    with pytest.raises(utils.UserError, match=r"^--cache ram would need about .* GB of memory"):
        crops_of.load(folder, rows, CPU, "ram")


def test_what_fits_on_a_device_is_held_there(monkeypatch):
    monkeypatch.setattr(utils, "free_memory", lambda: 1000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 900))
    found = [crops_of.choose_cache(n, torch.device("cuda")) for n in (199, 201, 401)]
    assert found == ["device", "ram", "disk"]
    assert crops_of.choose_cache(199, CPU) == "ram"


def test_random_starts_reach_every_place_and_stay_inside(folder):
    crops = crops_of.load(folder, folder.split("training"), CPU)
    starts = crops.random_starts(torch.zeros(5000, dtype=torch.int64), 50)
    assert starts.min() == 0
    assert starts.max() == crops.lengths[0] - 50


def test_short_tracks_are_repeated(folder):
    crops = crops_of.load(folder, folder.split("test"), CPU)
    length = int(crops.lengths[0])
    x = crops.crop(torch.tensor([0]), torch.tensor([0]), 2 * length)
    torch.testing.assert_close(x[..., :length], x[..., length:])


def test_even_crops_run_from_begin_to_end(folder):
    crops = crops_of.load(folder, folder.split("test"), CPU)
    x = torch.cat(list(crops.every_crop(20, 3, batch_size=4)))
    assert len(x) == 3 * len(crops)
    length = int(crops.lengths[0])
    whole = crops.crop(torch.tensor([0]), torch.tensor([0]), length)[0]
    torch.testing.assert_close(x[0], whole[..., :20])
    torch.testing.assert_close(x[2], whole[..., -20:])
    torch.testing.assert_close(crops_of.cut_evenly(whole[0], 20, 3), x[:3])


def test_one_crop_is_the_central_one():
    assert crops_of.even_starts(torch.tensor([100, 20, 5]), 20, 1).tolist() == [[40], [0], [0]]
    assert crops_of.even_starts(torch.tensor([100]), 20, 3).tolist() == [[0, 40, 80]]


def test_missing_bands_are_continued_from_the_highest_known_one():
    normalise = crops_of.Normalisation(mean=(-20.0, -40.0, -60.0, -79.0), std=(10.0, 10.0, 10.0, 4.0))
    x = normalise(torch.tensor([[-20.0, -20.0], [-30.0, -70.0], [-80.0, -80.0], [-80.0, -80.0]])[None, None])
    continued = normalise.continued(x, known=2, lowest=-80.0)
    torch.testing.assert_close(continued[..., :2, :], x[..., :2, :])
    # +1 and −3 standard deviations; −80 dB are −2 and −0.25 of them
    torch.testing.assert_close(continued[0, 0, 2:], torch.tensor([[1.0, -2.0], [1.0, -0.25]]))
    assert normalise.continued(x, known=4, lowest=-80.0) is x
    assert crops_of.Normalisation(-40.0, 20.0).continued(x, known=2, lowest=-80.0) is x  # one mean for all bands


def test_normalisation_is_measured_on_what_it_is_given(folder):
    crops = crops_of.load(folder, folder.split("training"), CPU)
    normalise = crops_of.measure_normalisation(crops, num_frames=50)
    x = normalise(torch.cat(list(crops.every_crop(50, 1, 24))))
    assert abs(x.mean()) < 1e-3
    assert abs(x.std() - 1) < 1e-3


def test_a_band_that_is_nearly_always_silent_is_not_blown_up():
    """As those above the Nyquist frequency of a file, of which the edges alone hold something."""
    x = torch.randn(40, 1, 8, 128) * 10 - 40
    x[:, :, 6:] = -80
    x[0, :, 6:, :2] = -60
    crops = mock.MagicMock()
    crops.__len__.return_value, crops.settings.frames_in.return_value, crops.crop.return_value = 40, 64, x
    normalise = crops_of.measure_normalisation(crops, per_band=True)
    assert normalise(x)[:, :, 6:].abs().max() < 30  # 20 dB above what is usual there
    assert normalise(x)[:, :, :6].std() == pytest.approx(1, abs=0.02)


# ------------------------------------------------------------------ embeddings


@pytest.fixture
def vectors(tmp_path):
    """Three tracks of 4 layers × 5 dimensions."""
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    rows = [(f"t{number}", f"t{number}.npy", "Rock", "training", 5) for number in range(3)]
    utils.write_csv(tmp_path / "own_npy" / "tracks.csv", ["track_id", "path", "genre_top", "split", "frames"], rows)
    utils.write_json(tmp_path / "own_npy" / "spectrogram.json", Embedding("own", 4, 5).to_json())
    for row, one in zip(rows, array, strict=True):
        np.save(tmp_path / "own_npy" / row[1], one)
    return open_folder(tmp_path, "own", kinds=("embedding",)), array


def test_vectors_are_those_of_the_rows(vectors):
    folder, array = vectors
    held = crops_of.Vectors(folder, folder.tracks[1:], CPU)
    assert len(held) == 2
    assert held.array.dtype == torch.float32
    np.testing.assert_array_equal(held.array, array[1:])


def test_vectors_that_do_not_fit_are_refused(vectors):
    folder, _ = vectors
    for wrong in (np.ones((4, 6), np.float32), np.ones((4, 5)), np.ones(20, np.float32)):
        np.save(folder.path / "t1.npy", wrong)
        with pytest.raises(utils.UserError, match=r"t1\.npy has shape .*say \(4, 5\) of float32"):
            crops_of.Vectors(folder, folder.tracks, CPU)


def test_what_is_not_cut_is_not_read(folder):
    rows = folder.split("training")
    (folder.path / rows["path"][0]).unlink()
    unread = crops_of.Unread(folder, rows, CPU)
    assert len(unread) == len(rows)
    with pytest.raises(utils.UserError, match="cannot be read"):
        unread.crop(torch.tensor([1]), torch.tensor([0]), 16)
