"""Embeddings that are made of one's own experiment: the backbone's features, averaged over even crops."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_folder

import preprocessing
import transfer
import utils
from data.folder import open_folder
from data.settings import read_settings
from training.experiment import Experiment
from training.experiment_features import ExperimentFeatures

pytestmark = pytest.mark.usefixtures("without_pictures")


def rows_of(folder):
    return list(csv.DictReader((folder / "tracks.csv").open()))


def test_a_track_becomes_the_mean_of_its_crops(pretrained_once):
    data_dir, exp_dir, folder = pretrained_once
    extractor = ExperimentFeatures(folder.name, exp_dir, data_dir, None, num_crops=3)
    experiment = Experiment.read(folder)
    encoder = experiment.method().encoder().eval()
    tiny = open_folder(data_dir, "tiny")
    assert extractor.name == f"tiny_{folder.name}"
    for row in tiny.tracks.iloc[[0, 20, 35]].itertuples():
        decibels = torch.tensor(np.load(tiny.path / row.path) * (80 / 255) - 80).float()
        starts = [0, round(max(row.frames - 64, 0) / 2), max(row.frames - 64, 0)]
        crops = torch.stack([decibels[:, (start + torch.arange(64)) % row.frames] for start in starts])[:, None]
        with torch.no_grad():
            expected = encoder(experiment.normalisation(crops)).mean(0)
        array = extractor(row.track_id)
        assert array.shape == (1, 512)
        np.testing.assert_allclose(array[0], expected, atol=1e-4, rtol=1e-3)


def test_the_folder_is_what_save_features_exports_and_both_serve(pretrained, run_script):
    index = pretrained.data_dir / "tiny_npy" / "tracks.csv"
    lines = index.read_text().splitlines()
    index.write_text("\n".join([f"{lines[0]},artist", *(f"{line},of {line[:5]}" for line in lines[1:])]) + "\n")
    folder = Path(run_script(
        preprocessing, f"--features exp:{pretrained.experiment.name} {pretrained.where.removesuffix('--device cpu')}"
    ))  # fmt: skip
    assert folder.name == f"tiny_{pretrained.experiment.name}_npy"
    settings = read_settings(folder / "spectrogram.json")
    assert (settings.kind, settings.num_layers, settings.num_features) == ("embedding", 1, 512)
    weights = utils.digest(pretrained.experiment / "pre.pth")
    assert settings.more == {"dataset": "tiny", "num_crops": 5, "weights": weights}
    file = Path(run_script(transfer, pretrained.transfer("--protocol linear --save_features")))
    exported = np.load(file.parent / "features.npy")
    there = {row["track_id"]: row for row in rows_of(folder)}
    assert len(there) == len(exported) == 36
    for row, vector in zip(rows_of(file.parent), exported, strict=True):
        made = there[row["track_id"]]
        assert (made["split"], made["genre_top"]) == (row["split"], row["genre_top"])
        assert made["artist"] == row["artist"] == f"of {row['track_id'][:5]}"
        np.testing.assert_allclose(np.load(folder / made["path"])[0], vector, atol=1e-4, rtol=1e-3)
    again = run_script(transfer, f"{pretrained.where} --dataset {folder.name.removesuffix('_npy')} --protocol linear")
    ours, theirs = (json.loads(Path(one).read_text()) for one in (again, file))
    assert (ours["backbone"], ours["num_features"]) == (f"exp:{pretrained.experiment.name}", 512)
    assert ours["accuracy"] == theirs["accuracy"]


def test_what_it_cannot_be_made_of_is_refused(pretrained):
    data_dir, exp_dir, experiment = pretrained
    write_folder(data_dir, "other", n_fft=1024)
    for name, dataset, message in (
        ("000000", None, "no experiment '000000'"), (experiment.name, "other", "n_fft 2048 → 1024"),
        (experiment.name, "nothing", "no spectrograms at"),
    ):  # fmt: skip
        with pytest.raises(utils.UserError, match=message):
            ExperimentFeatures(name, exp_dir, data_dir, dataset, 5)
    configuration = utils.read_json(experiment / "configuration.json")
    configuration["flags"]["method"] = None
    utils.write_json(experiment / "configuration.json", configuration)
    with pytest.raises(utils.UserError, match="no pre-trained network"):
        ExperimentFeatures(experiment.name, exp_dir, data_dir, None, 5)
