"""transfer.py run tiny, on spectrograms: what it writes, what each protocol moves, and how often it looks."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import call, write_folder
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

import transfer
import utils
from evaluation import results
from models import backbones

WANTED = "accuracy accuracy_ci95 macro_f1 macro_precision macro_recall roc_auc n_test n_train protocol dataset genres"


@pytest.fixture
def run(pretrained_once, tmp_path, run_script, without_pictures):
    """Run on a copy of the experiment; returns (folder of the transfer, its result)."""
    copy = pretrained_once.copied(tmp_path)

    def run(more):
        file = Path(run_script(transfer, copy.transfer(more)))
        return file.parent, json.loads(file.read_text())

    run.pretrained = copy
    return run


def rows_of(folder):
    return list(csv.DictReader((folder / "predictions.csv").open()))


def probabilities(folder, result):
    return np.array([[float(row[f"p: {genre}"]) for genre in result["genres"]] for row in rows_of(folder)])


def weights_of(file):
    return torch.load(file, weights_only=True)


@pytest.fixture
def passed(monkeypatch):
    """Counts the crops that pass through backbones made from now on: each network → how many."""
    counts = {}
    real = backbones.build

    def build(*args):
        network = real(*args)
        network.register_forward_hook(
            lambda module, inputs, output: counts.update({module: counts.get(module, 0) + len(inputs[0])})
        )
        return network

    monkeypatch.setattr(backbones, "build", build)
    return counts


# ------------------------------------------------------------------ what it writes


def test_of_genres_with_few_test_tracks_it_warns(run, capsys, monkeypatch):
    few = "test has fewer than 10 tracks of some genres: their figures mean little"
    flags = run.pretrained.transfer("--protocol linear --baseline stats")
    call(transfer, flags)
    assert few in capsys.readouterr().out
    monkeypatch.setattr(results, "FEW_TRACKS", 2)
    call(transfer, flags)
    assert "mean little" not in capsys.readouterr().out


@pytest.mark.parametrize("protocol", ["linear", "mlp", "finetune", "scratch"])
def test_contract_2(run, protocol):
    folder, result = run(f"--protocol {protocol} --num_epochs 2 --hidden 16")
    assert set(WANTED.split()) <= set(result)
    assert (result["n_test"], result["n_train"], result["protocol"]) == (6, 24, protocol)
    rows = rows_of(folder)
    assert len(rows) == 6
    assert result["accuracy"] == pytest.approx(np.mean([row["truth"] == row["prediction"] for row in rows]))
    truth, prediction = ([row[key] for row in rows] for key in ("truth", "prediction"))
    assert result["macro_f1"] == pytest.approx(f1_score(truth, prediction, average="macro"))
    np.testing.assert_allclose(probabilities(folder, result).sum(1), 1, atol=1e-4)
    assert result["validation_accuracy"] == result["chosen"]["validation_accuracy"]
    assert result["flags"]["lr"] == {"finetune": 3e-4}.get(protocol, 1e-3)
    log = list(csv.DictReader((folder / "transfer_log.csv").open())) if protocol != "linear" else []
    first = 0 if protocol == "finetune" else 1
    assert [int(row["epoch"]) for row in log] == ([] if protocol == "linear" else list(range(first, 3)))


def test_pictures_and_the_page(pretrained, run_script):
    flags = "--protocol mlp --hidden 16 --num_epochs 2 --train_sizes 8,24"
    file = Path(run_script(transfer, pretrained.transfer(flags)))
    for name in ("confusion.png", "features.png", "transfer_log.png", "label_curve.png"):
        assert (file.parent / name).stat().st_size > 5000
    page = (pretrained.experiment / "report.html").read_text()
    assert "tiny_mlp" in page
    assert "Label curve" in page


def test_a_second_transfer_overwrites_nothing(run):
    folders = [run("--protocol linear")[0] for _ in range(3)]
    assert [folder.name for folder in folders] == ["tiny_linear", "tiny_linear_2", "tiny_linear_3"]


@pytest.mark.parametrize(("flags", "n_train", "num_features"), [
    ("--protocol linear --layer projector", 24, 32),
    ("--protocol linear --train_split validation", 6, 512),
    ("--protocol linear --label_fraction 0.5 --num_seeds 2", 12, 512),
    ("--protocol linear --baseline stats", 24, 128),
    ("--protocol mlp --baseline random --num_epochs 1", 24, 512),
    ("--protocol linear --baseline random --layer backbone+stats --num_seeds 2", 24, 640),
    ("--protocol finetune --num_epochs 1", 24, 512),
    ("--protocol scratch --num_epochs 1 --num_seeds 2", 24, 512),
])  # fmt: skip
def test_the_features_that_are_saved_are_those_of_the_result(run, flags, n_train, num_features):
    """All 36 tracks, split after split, with the names of the test tracks at the end."""
    folder, result = run(f"{flags} --save_features")
    assert (result["n_train"], result["num_features"]) == (n_train, num_features)
    features, labels = (np.load(folder / f"{name}.npy") for name in ("features", "labels"))
    tracks = list(csv.DictReader((folder / "tracks.csv").open()))
    assert features.shape == (36, num_features)
    assert len(np.unique(features, axis=0)) > 30
    assert [result["genres"][label] for label in labels] == [track["genre_top"] for track in tracks]
    assert (folder / "track_ids.txt").read_text().split() == [track["track_id"] for track in tracks]
    assert [track["track_id"] for track in tracks[-6:]] == [row["track_id"] for row in rows_of(folder)]
    if result["protocol"] == "linear":  # the mean of the crops' logits is the logit of their mean
        head = weights_of(folder / "transfer.pth")
        x = (torch.tensor(features[-6:]) - head["head.0.mean"]) / head["head.0.std"]
        ours = (x @ head["head.1.weight"].T + head["head.1.bias"]).softmax(1)
        np.testing.assert_allclose(ours, probabilities(folder, result), atol=1e-4)


def test_band_statistics_tell_the_tiny_genres_apart(run):
    assert run("--protocol linear --baseline stats")[1]["accuracy"] == 1


def test_several_seeds_are_summed_up(run):
    _, result = run("--protocol linear --baseline random --num_seeds 3 --seed 5")
    singles = [run(f"--protocol linear --baseline random --seed {seed}")[1] for seed in (5, 6, 7)]
    assert result["num_seeds"] == 3
    accuracies = [single["accuracy"] for single in singles]
    assert result["accuracy"] == accuracies[0]
    assert result["seeds"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert result["seeds"]["accuracy"]["std"] == pytest.approx(np.std(accuracies, ddof=1))


def test_validation_can_stand_in_for_test(run):
    folder, result = run("--protocol linear --test_split validation")
    tracks = csv.DictReader((run.pretrained.data_dir / "tiny_npy" / "tracks.csv").open())
    validation = [track["track_id"] for track in tracks if track["split"] == "validation"]
    assert [row["track_id"] for row in rows_of(folder)] == validation
    assert result["accuracy"] == pytest.approx(result["validation_accuracy"])


@pytest.mark.parametrize("flags", ["--protocol linear", "--protocol linear --baseline stats --num_seeds 2"])
def test_refit_is_the_chosen_penalty_on_training_and_validation_together(run, flags):
    plain, before = run(f"{flags} --save_features")
    folder, result = run(f"{flags} --refit --train_sizes 8 --save_features")
    assert (result["n_train"], result["train_split"]) == (24 + 6, "training+validation")
    for what in ("chosen", "validation_accuracy"):  # chosen, and judged on validation, before it has seen it
        assert result[what] == before[what]
    features, labels = (np.load(folder / f"{name}.npy") for name in ("features", "labels"))
    np.testing.assert_array_equal(features, np.load(plain / "features.npy"))
    scaler = StandardScaler().fit(features[:30])
    fit = LogisticRegression(C=result["chosen"]["C"], max_iter=5000).fit(scaler.transform(features[:30]), labels[:30])
    theirs = fit.predict_proba(scaler.transform(features[30:]))
    np.testing.assert_allclose(probabilities(folder, result), theirs, atol=0.02)
    assert not np.allclose(probabilities(plain, result), probabilities(folder, result), atol=1e-4)
    if "baseline" not in flags:  # of two that are equally good on validation, the one of more tracks answers
        assert results.choose(run.pretrained.experiment, None).folder == folder.resolve()
        assert "before it learned from them" in str(results.read(folder))


@pytest.mark.parametrize(("flags", "said"), [
    ("", ""), ("--seed 3", "note: --seed 3 changes nothing"), ("--seed 3 --num_seeds 2", "--num_seeds 2: no seed"),
    ("--seed 3 --label_fraction 0.5", ""), ("--seed 3 --baseline kmeans", ""),
])  # fmt: skip
def test_a_seed_that_changes_nothing_says_so(run, capsys, flags, said):
    call(transfer, run.pretrained.transfer(f"--protocol linear {flags}"))
    lines = capsys.readouterr().out.splitlines()
    notes = [line for line in lines if "no seed changes" in line or "changes nothing here" in line]
    assert [note.startswith(said) for note in notes] == ([True] if said else [])


# ------------------------------------------------------------------ frozen means frozen, and computed once


@pytest.mark.parametrize("flags", [
    "--protocol linear --num_seeds 3", "--protocol linear --train_sizes 6,12,24 --num_seeds 2 --save_features",
    "--protocol mlp --hidden 8 --num_epochs 3 --num_seeds 2 --label_fraction 0.5 --train_sizes 8,24 --save_features",
    "--protocol linear --layer projector --save_features",
])  # fmt: skip
def test_every_crop_passes_once_whatever_is_asked(run, passed, flags):
    run(flags)
    assert sum(passed.values()) == 36 * 5


def test_what_is_not_asked_for_does_not_pass(run, passed):
    run("--protocol linear --label_fraction 0.5 --num_crops 2 --no-keep_features")
    assert sum(passed.values()) == (12 + 6 + 6) * 2
    passed.clear()
    run("--protocol linear --test_split validation --num_crops 2")
    assert sum(passed.values()) == (24 + 6) * 2


def test_random_networks_are_as_many_as_seeds(run, passed):
    run("--protocol linear --baseline random --num_seeds 3 --save_features")
    assert list(passed.values()) == [24 * 5 + 36 * 5] * 3  # training tracks fit the norms first


def test_random_features_differ_by_seed(run):
    features = [np.load(run(f"--protocol linear --baseline random --seed {seed} --save_features")[0] / "features.npy")
                for seed in (0, 0, 1)]  # fmt: skip
    np.testing.assert_array_equal(features[0], features[1])
    assert not np.allclose(features[0], features[2])


@pytest.mark.parametrize("protocol", ["linear", "mlp"])
def test_frozen_means_frozen(run, monkeypatch, protocol):
    """The backbone that comes out is the one that went in, to every buffer; and transfer.pth holds only the head."""
    seen = []
    real = transfer.Run
    monkeypatch.setattr(transfer, "Run", lambda build, *rest: seen.append(build) or real(build, *rest))
    folder, _ = run(f"--protocol {protocol} --num_epochs 2 --hidden 8 --num_seeds 2")
    before = weights_of(run.pretrained.experiment / "pre.pth")
    assert len(seen) == {"linear": 1, "mlp": 2}[protocol]  # logistic regression is the same for every seed
    for build in seen:
        state = build().state_dict()
        assert len(state) > 30
        assert all(torch.equal(tensor, before[f"backbone.{name}"]) for name, tensor in state.items())
    assert {name.split(".")[0] for name in weights_of(folder / "transfer.pth")} == {"head"}


# ------------------------------------------------------------------ fine-tuning


@pytest.fixture
def measured(monkeypatch):
    """(crops, weights and statistics) of each time that norms were measured."""
    found = []
    real = transfer.fit_norms

    def spy(network, batches):
        batches = list(batches)
        real(network, batches)
        state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        found.append((sum(map(len, batches)), state))

    monkeypatch.setattr(transfer, "fit_norms", spy)
    return found


@pytest.mark.parametrize("layer", ["backbone", "projector"])
def test_finetuning_moves_weights_and_measures_norms_anew(run, measured, layer):
    """At whatever layer: norms of two dimensions in the backbone, of one in the projector."""
    folder, result = run(f"--protocol finetune --num_epochs 2 --layer {layer} --lr 0.01 --label_fraction 0.5")
    before = weights_of(run.pretrained.experiment / "pre.pth")
    parts = {"": "backbone."} if layer == "backbone" else {"0.": "backbone.", "1.": "projector."}
    after = {name.removeprefix("backbone."): tensor for name, tensor in weights_of(folder / "transfer.pth").items()}
    assert result["chosen"]["epoch"] == 2  # with few labels nothing is chosen
    assert [crops for crops, _ in measured] == [24] * 3  # at first, too; without their labels all tracks are shown
    for name, tensor in measured[-1][1].items():
        assert torch.equal(after[name], tensor)
        (old,) = [old + name.removeprefix(new) for new, old in parts.items() if name.startswith(new)]
        assert not torch.equal(tensor, before[old]) or "num_batches" in name, name
    assert sum("running" in name for name in measured[-1][1]) == 2 * {"backbone": 7, "projector": 9}[layer]


def test_a_folder_that_nothing_can_be_written_into_is_known_before_training(run, monkeypatch):
    monkeypatch.setattr(transfer, "runs_of", None)

    def full(dir):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(utils.tempfile, "TemporaryFile", full)
    with pytest.raises(utils.UserError, match=r"nothing can be written into .*: No space left on device"):
        run("--protocol finetune")


def test_scratch_sees_no_track_but_those_with_labels(run, measured):
    run("--protocol scratch --num_epochs 1 --label_fraction 0.5")
    assert [crops for crops, _ in measured] == [12]


def test_every_seed_is_tuned_from_the_pretrained_weights(run, monkeypatch):
    begins, ends = [], []
    real = transfer.fit

    def spy(network, *args, **options):
        begins.append({name: tensor.clone() for name, tensor in network.backbone.named_parameters()})
        found = real(network, *args, **options)
        ends.append(network.backbone.state_dict())
        return found

    monkeypatch.setattr(transfer, "fit", spy)
    run("--protocol finetune --num_epochs 1 --num_seeds 2 --lr 0.02")
    before = weights_of(run.pretrained.experiment / "pre.pth")
    for begin in begins:
        assert all(torch.equal(tensor, before[f"backbone.{name}"]) for name, tensor in begin.items())
    assert len(ends) == 2


def test_a_tuning_that_moves_nothing_is_the_probe_that_it_starts_from(run):
    """Its norms are measured before the probe as they are after every epoch, so that each epoch is that probe."""
    folder, _ = run("--protocol finetune --num_epochs 2 --lr 1e-30")
    log = list(csv.DictReader((folder / "transfer_log.csv").open()))
    for name in ("validation_loss", "validation_accuracy"):
        np.testing.assert_allclose([float(row[name]) for row in log], float(log[0][name]), rtol=1e-6)
    before, after = weights_of(run.pretrained.experiment / "pre.pth"), weights_of(folder / "transfer.pth")
    weights = [name for name in after if name.startswith("backbone") and name.endswith((".weight", ".bias"))]
    assert len(weights) > 10
    for name in weights:
        torch.testing.assert_close(after[name], before[name])


def test_scratch_begins_at_random_and_moves_everything(run):
    folder, result = run("--protocol scratch --num_epochs 1")
    again, _ = run("--protocol scratch --num_epochs 1")
    before = weights_of(run.pretrained.experiment / "pre.pth")
    after, repeated = (weights_of(one / "transfer.pth") for one in (folder, again))
    assert not torch.equal(after["backbone.0.0.weight"], before["backbone.0.0.weight"])
    assert after["backbone.0.1.running_mean"].any()  # its BatchNorm has measured
    assert all(torch.equal(tensor, repeated[name]) for name, tensor in after.items())
    assert result["network"]["method"] is None


# ------------------------------------------------------------------ without an experiment, and refusals


@pytest.fixture
def bare(pretrained_once, tmp_path, run_script, without_pictures):
    """Run without an experiment; returns its result."""

    def run(more, data_dir=pretrained_once.data_dir):
        where = f"--data_dir {data_dir} --exp_dir {tmp_path}/exp --batch_size 8 --device cpu"
        return Path(run_script(transfer, f"{where} {more}"))

    return run


@pytest.mark.parametrize("flags", [
    "--protocol scratch --num_epochs 1 --backbone conv8", "--protocol linear --baseline random --backbone conv8",
    "--protocol mlp --num_epochs 1 --baseline stats",
])  # fmt: skip
def test_it_can_make_its_own_experiment(bare, run_script, tmp_path, flags, pretrained_once):
    file = bare(f"--dataset tiny {flags}")
    configuration = json.loads((file.parents[1] / "configuration.json").read_text())
    assert configuration["flags"]["method"] is None
    assert min(configuration["normalisation"]["std"]) > 1  # of every band
    more = f"--data_dir {pretrained_once.data_dir} --exp_dir {tmp_path}/exp --exp_path {file.parents[1].name} {flags}"
    again = Path(run_script(transfer, f"{more} --batch_size 8 --device cpu"))  # and it can be gone on with
    assert (again.parent / "predictions.csv").read_text() == (file.parent / "predictions.csv").read_text()
    with pytest.raises(utils.UserError, match="no pre-trained network"):
        run_script(transfer, f"{more.split(' --protocol')[0]} --protocol linear --device cpu")


@pytest.mark.parametrize(("flags", "message"), [
    ("--dataset tiny --protocol linear", "--exp_path is missing"),
    ("--dataset tiny --protocol scratch --batch_size 100", "100 must be between 2 and the 24"),
    ("--dataset tiny --protocol mlp --baseline stats --hidden 1000000000", "--hidden 1000000000 would need about"),
    ("--dataset tiny --protocol linear --baseline stats --num_crops 1000000000", "--num_crops .* would need about"),
    ("--dataset tiny --protocol mlp --baseline stats --train_sizes 6,9", "8 must be between 2 and the 6"),
    ("--dataset untested --protocol scratch", "no track in the split 'test'"),
    ("--dataset tiny --protocol scratch --train_split validation --test_split validation", "would test on the"),
    ("--dataset tiny --protocol scratch --num_epochs 1 --lr 1e30 --backbone conv8", "loss is not finite"),
    ("--dataset tiny --protocol mlp --baseline stats --hidden 8,8 --dropout 0.1,0.2,0.3", "one for each"),
    ("--exp_path 000000", "no experiment '000000'"),
])  # fmt: skip
def test_a_run_that_is_refused_leaves_no_folder(bare, tmp_path, flags, message):
    data_dir = write_folder(tmp_path / "data", "tiny")
    write_folder(data_dir, "untested", counts=(8, 2, 0))
    with pytest.raises(utils.UserError, match=message) as error:
        bare(flags, data_dir)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(("flags", "message"), [
    ("--protocol linear", "pre.pth does not exist"), ("--batch_size 100 --num_epochs 1", "between 2 and the 24"),
    ("--protocol mlp --refit", "penalty of --protocol linear"),
    ("--protocol linear --refit --test_split validation", "cannot be --test_split"),
    ("--protocol linear --refit --label_fraction 0.5", "not with --label_fraction below 1"),
    ("--protocol linear --refit --train_split validation", "not with --train_split validation"),
    ("--layer 3", "there is no '3'"), ("--baseline stats", "--baseline goes with"),
])  # fmt: skip
def test_a_refused_transfer_leaves_the_experiment_as_it_is(run, flags, message):
    if "pre.pth" in message:
        (run.pretrained.experiment / "pre.pth").unlink()
    before = sorted(run.pretrained.experiment.iterdir())
    with pytest.raises(utils.UserError, match=message):
        run(flags)
    assert sorted(run.pretrained.experiment.iterdir()) == before


def test_where_spectrograms_are_held_changes_nothing(run):
    ram, disk = (run(f"--protocol scratch --num_epochs 1 --cache {cache}")[0] for cache in ("ram", "disk"))
    assert (ram / "predictions.csv").read_bytes() == (disk / "predictions.csv").read_bytes()
    ours, theirs = (weights_of(folder / "transfer.pth") for folder in (ram, disk))
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
