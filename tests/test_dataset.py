"""Spectrogram folders: crops, held in memory or read from disk, and what is wrong with a folder."""

import numpy as np
import pytest
import torch
from conftest import write_folder

import utils
from data import dataset

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_folder):
    return dataset.open_folder(tiny_folder, "tiny")


def test_crops_are_the_stored_frames_in_decibels(folder):
    rows = folder.split("training")
    crops = dataset.load(folder, rows, CPU)
    tracks, starts = torch.tensor([3, 0, 23]), torch.tensor([5, 0, 20])
    x = crops.crop(tracks, starts, 16)
    assert x.shape == (3, 1, 32, 16)
    for one, track, start in zip(x, tracks.tolist(), starts.tolist(), strict=True):
        stored = np.load(folder.path / rows["path"][track])
        np.testing.assert_allclose(one[0], -80 + stored[:, start : start + 16] * (80 / 255), rtol=1e-5)


def test_disk_and_memory_give_the_same_batches(tmp_path):
    for dtype in ("uint8", "float16"):
        folder = dataset.open_folder(write_folder(tmp_path, dtype, dtype), dtype)
        both = [dataset.load(folder, folder.split("training"), CPU, in_memory=choice) for choice in (True, False)]
        torch.manual_seed(0)
        order = torch.randperm(24).view(6, 4)
        requests = [((tracks, both[0].random_starts(tracks, 100)), (tracks, tracks)) for tracks in order]
        batches = [list(crops.batches(requests, 100)) for crops in both]
        assert len(batches[1]) == 6
        for here, there in zip(*batches, strict=True):
            for x, y in zip(here, there, strict=True):
                torch.testing.assert_close(x, y)


def test_random_starts_reach_every_place_and_stay_inside(folder):
    crops = dataset.load(folder, folder.split("training"), CPU)
    starts = crops.random_starts(torch.zeros(5000, dtype=torch.int64), 50)
    assert starts.min() == 0
    assert starts.max() == crops.lengths[0] - 50


def test_short_tracks_are_repeated(folder):
    crops = dataset.load(folder, folder.split("test"), CPU)
    length = int(crops.lengths[0])
    x = crops.crop(torch.tensor([0]), torch.tensor([0]), 2 * length)
    torch.testing.assert_close(x[..., :length], x[..., length:])


def test_even_crops_run_from_begin_to_end(folder):
    crops = dataset.load(folder, folder.split("test"), CPU)
    x = torch.cat(list(crops.every_crop(20, 3, batch_size=4)))
    assert len(x) == 3 * len(crops)
    length = int(crops.lengths[0])
    whole = crops.crop(torch.tensor([0]), torch.tensor([0]), length)[0]
    torch.testing.assert_close(x[0], whole[..., :20])
    torch.testing.assert_close(x[2], whole[..., -20:])
    torch.testing.assert_close(dataset.cut_evenly(whole[0], 20, 3), x[:3])


def test_normalisation_is_measured_on_what_it_is_given(folder):
    crops = dataset.load(folder, folder.split("training"), CPU)
    normalise = dataset.measure_normalisation(crops, num_frames=50)
    x = normalise(torch.cat(list(crops.every_crop(50, 1, 24))))
    assert abs(x.mean()) < 1e-3
    assert abs(x.std() - 1) < 1e-3


def test_what_is_missing_is_said(tiny_folder, folder):
    with pytest.raises(utils.UserError, match=r"preprocessing\.py first.*tiny"):
        dataset.open_folder(tiny_folder, "nothing")
    with pytest.raises(utils.UserError, match="no track in the split 'excluded'"):
        folder.split("excluded")
    rows = folder.split("test")
    with pytest.raises(utils.UserError, match="never saw: Rock"):
        dataset.labels_of(rows, ["Folk", "Hip-Hop"])
    (folder.path / rows["path"][0]).unlink()
    with pytest.raises(utils.UserError, match="cannot be read"):
        dataset.load(folder, rows, CPU)
    np.save(folder.path / rows["path"][0], np.zeros((32, 7), np.uint8))
    with pytest.raises(utils.UserError, match="shape"):
        dataset.load(folder, rows, CPU)


def test_pickles_are_not_loaded(folder):
    rows = folder.split("test")
    np.save(folder.path / rows["path"][0], np.array([{"a": 1}], dtype=object))
    with pytest.raises(utils.UserError, match="cannot be read"):
        dataset.load(folder, rows, CPU)


def test_default_crops_are_five_seconds_but_at_least_64_frames(folder):
    assert folder.default_crop_seconds() == pytest.approx(6.4)  # 10 frames a second here
    folder.settings["hop_length"] = 512
    assert folder.default_crop_seconds() == 5.0
    assert folder.frames_in(5.0) == 215


def test_real_folders_open(real_datasets):
    for name, counts in (("fma_small_coarse", (5754, 640, 800)), ("gtzan_coarse", (442, 197, 290))):
        folder = dataset.open_folder(real_datasets, name)
        assert tuple(len(folder.split(split)) for split in ("training", "validation", "test")) == counts
