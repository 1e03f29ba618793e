"""Nothing of the test tracks, and no label that is not given, has a part in training, choosing or normalising."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import GENRES, call, write_folder
from torch.nn.functional import cross_entropy

import transfer
from data import crops
from data.folder import labels_of, open_folder
from evaluation import results
from training.experiment import Experiment
from training.frozen import Cut, FrozenFeatures, WholeVectors
from training.networks import load_classifier
from training.task import Task
from training.views import LabelledViews

CPU = torch.device("cpu")
PROTOCOLS = {
    "linear": "--protocol linear --train_sizes 6,12",
    "mlp": "--protocol mlp --num_epochs 3 --hidden 16 --train_sizes 8,24",
    "finetune": "--protocol finetune --num_epochs 2",
    "scratch": "--protocol scratch --num_epochs 3",
}
NEW = {  # without an experiment, so that the normalisation is measured anew
    "baseline": "--protocol linear --baseline random --backbone conv8",
    "from scratch": "--protocol scratch --num_epochs 1 --backbone conv8",
}
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def confused(pretrained):
    """The pre-trained experiment, with a wrong genre on one validation track: no two splits have the same score."""
    change_genres(pretrained, "validation", number=1)
    return pretrained


def folder_of(home):
    return open_folder(home.data_dir, "tiny")


def change_genres(home, split, number=None):
    """In tracks.csv, the next genre in place of the true one: for the first ``number`` (default: all) of a split."""
    folder, after = folder_of(home), dict(zip(GENRES, GENRES[1:] + GENRES[:1], strict=True))
    table = folder.tracks
    rows = table.index[table["split"] == split][:number]
    table.loc[rows, "genre_top"] = table.loc[rows, "genre_top"].map(after)
    table.to_csv(folder.path / "tracks.csv", index=False)


def make_noise(home, split):
    """In place of every array of ``split``, one of noise that is darker and narrower than music."""
    folder, chance = folder_of(home), np.random.default_rng(1)
    for row in folder.split(split).itertuples():
        file = folder.path / row.path
        array = np.load(file)
        np.save(file, chance.integers(0, 50, array.shape).astype(array.dtype))


def run(home, flags):
    """The folder of a transfer, which is the only one of its experiment: others are removed."""
    for other in home.exp_dir.glob("*/tiny_*"):
        shutil.rmtree(other)
    call(transfer, f"{home.where} --dataset tiny --batch_size 6 --num_crops 2 {flags}")
    (folder,) = (file.parent for file in home.exp_dir.glob("*/tiny_*/result.json"))
    return folder


def what_was_learnt(folder):
    """(weights, all that was chosen and logged on the way): what must not depend on a test track."""
    result = json.loads((folder / "result.json").read_text())
    logs = {path.name: path.read_text() for path in folder.glob("*_log.csv")}
    curves = {path.name: path.read_text() for path in folder.glob("label_curve.csv")}
    weights = torch.load(folder / "transfer.pth", weights_only=True)
    return weights, {"chosen": result["chosen"], **logs, **curves}


def normalisation(folder):
    return json.loads((folder.parent / "configuration.json").read_text())["normalisation"]


def predictions(folder):
    return (folder / "predictions.csv").read_text()


# ------------------------------------------------------------------ the test tracks


@every_protocol
@pytest.mark.parametrize("change", [change_genres, make_noise])
def test_the_test_tracks_have_no_part_in_what_is_learnt(confused, protocol, change):
    flags = f"--exp_path {confused.experiment.name} {PROTOCOLS[protocol]}"
    before = run(confused, flags)
    (weights, chosen), said = what_was_learnt(before), predictions(before)
    assert ("transfer_log.csv" in chosen) == (protocol != "linear")
    assert ("label_curve.csv" in chosen) == (protocol in ("linear", "mlp"))
    change(confused, "test")
    after = run(confused, flags)
    assert predictions(after) != said  # the change is seen where it should be
    new_weights, new_chosen = what_was_learnt(after)
    assert new_chosen == chosen
    assert new_weights.keys() == weights.keys()
    assert all(torch.equal(new_weights[name], weights[name]) for name in weights)


@pytest.mark.parametrize("case", NEW)
def test_the_normalisation_of_a_new_experiment_is_of_training_tracks_alone(confused, case):
    shutil.rmtree(confused.experiment)
    measured = {}
    for split in (None, "test", "validation", "training"):
        if split:
            make_noise(confused, split)
        measured[split] = normalisation(run(confused, NEW[case]))
        shutil.rmtree(next(confused.exp_dir.iterdir()))
    assert measured[None] == measured["test"] == measured["validation"] != measured["training"]


# ------------------------------------------------------------------ the validation tracks


@every_protocol
def test_the_validation_accuracy_is_that_of_the_weights_that_are_kept(confused, protocol):
    folder = run(confused, f"--exp_path {confused.experiment.name} {PROTOCOLS[protocol]}")
    result, experiment = results.read(folder), Experiment.read(folder.parent)
    tracks = folder_of(confused)
    validation = crops.load(tracks, tracks.split("validation"), CPU)
    cut = Cut(tracks.settings.frames_in(result.crop_seconds), result.num_crops, experiment.normalisation, CPU)
    logits = cut.extract(load_classifier(result, experiment, CPU), validation, desc=None).mean(1)
    labels = labels_of(validation.rows, result.genres)
    assert result.validation_accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    if protocol != "linear":
        kept = result.log.set_index("epoch").loc[result.chosen["epoch"]]
        assert kept["validation_accuracy"] == pytest.approx(result.validation_accuracy)
        assert kept["validation_loss"] == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-4)


@every_protocol
def test_of_half_the_labels_the_validation_labels_have_no_part_in_what_is_learnt(confused, protocol):
    flags = PROTOCOLS[protocol].split(" --train_sizes")[0]
    flags = f"--exp_path {confused.experiment.name} {flags} --label_fraction 0.5"
    learnt = {}
    for name in ("before", "after"):
        folder = run(confused, flags)
        weights = torch.load(folder / "transfer.pth", weights_only=True)
        result = json.loads((folder / "result.json").read_text())
        truth = folder_of(confused).split("validation")["genre_top"].tolist()
        learnt[name] = weights, result["chosen"], truth
        change_genres(confused, "validation")
    (weights, chosen, truth), (new_weights, new_chosen, new_truth) = learnt.values()
    assert truth != new_truth
    assert all(torch.equal(new_weights[name], weights[name]) for name in weights)
    del chosen["validation_accuracy"], new_chosen["validation_accuracy"]  # they are told, and chosen by in no way
    assert chosen == new_chosen
    assert chosen["by"] == ("4-fold cross-validation" if protocol == "linear" else "the last epoch")


# ------------------------------------------------------------------ labels that are not given


@pytest.fixture
def used(monkeypatch):
    """Collects the training tracks that a batch of labels or of features is made of."""
    ids = set()
    of, init = FrozenFeatures.of, LabelledViews.__init__

    def spy(held, tracks):
        names = held.rows["track_id"].to_numpy()
        if set(held.rows["split"]) == {"training"}:
            ids.update(names if tracks is None else names[tracks])

    def spied_of(self, held, tracks=None):
        spy(held, tracks)
        return of(self, held, tracks)

    def spied_init(self, views, labels, tracks, *more):
        spy(views.crops, tracks)
        init(self, views, labels, tracks, *more)

    monkeypatch.setattr(FrozenFeatures, "of", spied_of)
    monkeypatch.setattr(LabelledViews, "__init__", spied_init)
    return ids


@every_protocol
def test_of_half_the_labels_the_other_half_is_not_seen(confused, used, protocol):
    task = Task(folder_of(confused), CPU)
    given = set(task.train.rows["track_id"].to_numpy()[task.labelled(0.5, 3)])
    assert len(given) == len(task.train) / 2
    flags = PROTOCOLS[protocol].split(" --train_sizes")[0]
    folder = run(confused, f"--exp_path {confused.experiment.name} {flags} --label_fraction 0.5 --seed 3")
    assert used == given
    assert json.loads((folder / "result.json").read_text())["n_train"] == len(given)


# ------------------------------------------------------------------ the right row for each track


def test_frozen_features_come_in_the_order_that_is_asked_for(tmp_path):
    """Of all the tracks too, and whether they are computed now or were before."""
    folder = open_folder(write_folder(tmp_path, "tiny"), "tiny")
    held = crops.load(folder, folder.split("training"), CPU)
    cut, network = Cut(40, 2, crops.Normalisation(-50.0, 10.0), CPU), torch.nn.Flatten()
    expected, order = cut.extract(network, held), torch.from_numpy(np.random.default_rng(0).permutation(len(held)))
    assert len(expected.unique(dim=0)) == len(held)
    for asked_before in (None, order[:5], torch.arange(len(held))):
        frozen = FrozenFeatures(lambda: network, cut)
        if asked_before is not None:
            frozen.of(held, asked_before)
        assert torch.equal(frozen.of(held, order), expected[order])
        assert torch.equal(frozen.of(held), expected)


def test_vectors_come_in_the_order_that_is_asked_for():
    class Held:
        array = torch.randn(9, 2, 3)

        def __len__(self):
            return 9

    order = torch.from_numpy(np.random.default_rng(0).permutation(9))
    held = Held()
    assert torch.equal(FrozenFeatures(torch.nn.Identity, WholeVectors()).of(held, order)[:, 0], held.array[order])
