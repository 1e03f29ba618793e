"""What transfer.py's flags come to: defaults, records of networks, and what is refused."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import write_folder

import transfer
import utils
from data.folder import Folder, open_folder
from data.settings import Embedding, Spectrogram, Waveform
from training import given
from training.given import Given, network_of, prepare
from training.networks import Network
from training.options import head_options, open_given, resolve
from training.task import Task

CPU = torch.device("cpu")
POOL = "mean_std_max"


def parse(flags):
    return transfer.get_args_parser().parse_args(flags.split())


def folder_of(settings):
    return Folder("own", Path("own_npy"), settings, None)


def resolved(flags, settings=None, experiment=None):
    return resolve(parse(flags), experiment, folder_of(settings or Spectrogram()))


@pytest.fixture
def opened(pretrained_once):
    """(flags) → everything that a protocol starts from."""

    def open_(flags):
        args = parse(pretrained_once.transfer(f"{flags} --no-keep_features"))  # others read this experiment, too
        experiment, folder = open_given(args)
        resolved = resolve(args, experiment, folder)
        return prepare(Task(folder, CPU, resolved.train_split, resolved.test_split), experiment, resolved)

    return open_


# ------------------------------------------------------------------ flags


def test_each_protocol_has_its_own_rate_and_length():
    epochs = {name: resolved(f"--protocol {name}").num_epochs for name in transfer.PROTOCOLS}
    assert epochs == {"linear": 30, "mlp": 30, "finetune": 10, "scratch": 30}
    assert {resolved(f"--protocol {name} --num_epochs 7").num_epochs for name in transfer.PROTOCOLS} == {7}
    rates = {name: resolved(f"--protocol {name}").lr for name in transfer.PROTOCOLS}
    assert rates == {"linear": 1e-3, "mlp": 1e-3, "finetune": 3e-4, "scratch": 1e-3}
    assert {resolved(f"--protocol {name} --lr 0.2").lr for name in transfer.PROTOCOLS} == {0.2}


def test_defaults_depend_on_what_the_arrays_are():
    flags = resolved("")
    assert (flags.protocol, flags.backbone, flags.aug, flags.layer) == ("finetune", "resnet18", "spec", "backbone")
    assert (resolved("--protocol scratch").aug, resolved("--aug mask").aug) == ("spec", "mask")
    assert (flags.crop_seconds, flags.num_crops, flags.patience) == (5.0, 5, 0)
    flags = resolved("--protocol scratch", Waveform())
    assert (flags.backbone, flags.aug, flags.crop_seconds) == ("samplecnn", "none", pytest.approx(59049 / 22050))
    flags = resolved("", Embedding("music2vec", 13, 768))
    assert (flags.protocol, flags.backbone, flags.layer) == ("mlp", "music2vec", "all")
    assert flags.head == {"hidden": [1024, 512, 128], "dropout": [0.5] * 3, "batch_norm": True}
    assert resolved("--protocol linear", Embedding()).head["hidden"] == []


@pytest.mark.parametrize(("flags", "settings", "message"), [
    ("--protocol scratch --aug image", Waveform(), "--aug image is made for spectrograms"),
    ("--protocol scratch --aug image", Embedding(), "only --protocol linear and mlp"),
    ("--protocol finetune", Embedding(), "only --protocol linear and mlp"),
    ("--protocol linear --baseline stats", Embedding(), "--baseline goes with spectrograms"),
    ("--protocol scratch --baseline stats", Spectrogram(), "--baseline goes with --protocol linear or mlp"),
    ("--protocol scratch --patience 3 --label_fraction 0.1", Spectrogram(), "not with --label_fraction below 1"),
    ("--train_sizes 6", Spectrogram(), "--train_sizes goes with --protocol linear or mlp"),
    ("--aug wind", Spectrogram(), "no augmentation 'wind'"),
    ("--protocol scratch --backbone resnet18", Waveform(), "resnet18 takes spectrograms"),
    ("--protocol scratch --backbone samplecnn", Spectrogram(), "samplecnn takes waveforms"),
    ("--layer 4", Embedding(num_layers=4), "has all, 0, 1, 2, 3"),
    ("--layer projector", Embedding(num_layers=4), "has all, 0, 1, 2, 3"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(flags, settings, message):
    with pytest.raises(utils.UserError, match=message) as error:
        resolved(flags, settings)
    assert "\n" not in str(error.value)


def test_flags_that_are_resolved_do_not_change():
    flags = resolved("")
    with pytest.raises(AttributeError, match="lr is resolved"):
        flags.lr = 1
    with pytest.raises(AttributeError, match="lr is resolved"):
        del flags.lr
    with pytest.raises(AttributeError, match="new is resolved"):
        flags.new = 1


def test_heads_are_read_from_their_flags():
    flags = resolved("--protocol mlp --hidden 16,8 --dropout 0.1,0.2 --no-batch_norm")
    assert flags.head == {"hidden": [16, 8], "dropout": [0.1, 0.2], "batch_norm": False}
    assert resolved("--protocol mlp --hidden 16,8 --dropout 0").head["dropout"] == [0, 0]
    with pytest.raises(utils.UserError, match="has 3 shares: give one, or one for each layer"):
        head_options([16, 8], [0.1, 0.2, 0.3], True)


def test_a_statistic_is_of_the_whole_track(tmp_path):
    folder = open_folder(write_folder(tmp_path, "tiny"), "tiny")
    flags = resolve(parse("--protocol linear --baseline stats"), None, folder)
    assert flags.num_crops == 1
    assert folder.settings.frames_in(flags.crop_seconds) == int(folder.tracks["frames"].median())
    flags = resolve(parse("--protocol linear --baseline stats --crop_seconds 5 --num_crops 2"), None, folder)
    assert (flags.crop_seconds, flags.num_crops) == (5, 2)


# ------------------------------------------------------------------ the experiment and its network


def test_the_experiment_brings_its_dataset_backbone_and_crops(opened):
    there = opened("--protocol linear")
    assert (there.flags.dataset, there.flags.backbone) == ("tiny", "conv8")
    assert there.cut.num_frames == there.experiment.settings.frames_in(there.experiment.flags.crop_seconds) == 64
    assert there.cut.normalise == there.experiment.normalisation


@pytest.mark.parametrize(("flags", "record"), [
    ("--protocol linear", Network("encoder", "simsiam", "conv8", "backbone", POOL)),
    ("--protocol mlp --layer projector", Network("encoder", "simsiam", "conv8", "projector", POOL)),
    ("--protocol finetune", Network("trained", "simsiam", "conv8", "backbone", POOL)),
    ("--protocol scratch --seed 4", Network("trained", None, "conv8", "backbone", POOL, 4)),
    ("--protocol linear --baseline random --seed 4", Network("random", None, "conv8", "backbone", POOL, 4)),
    ("--protocol linear --baseline stats", Network("statistics")),
])  # fmt: skip
def test_the_record_says_what_makes_the_features(opened, flags, record):
    there = opened(flags)
    needed = utils.digest(there.experiment.folder / "pre.pth") if record.kind == "encoder" else None
    assert there.network == dataclasses.replace(record, pretrained=needed)


@pytest.mark.parametrize("layer", ["kmeans", "kmeans+stats"])
def test_what_has_no_weights_is_not_fine_tuned(opened, layer):
    with pytest.raises(utils.UserError, match=rf"--layer {re.escape(layer)} has no weights to fine-tune"):
        opened(f"--protocol finetune --layer {layer}")


def test_embeddings_are_their_own_record():
    experiment = type("New", (), {"settings": Embedding("music2vec", 13, 768)})
    flags = resolved("--layer 3", Embedding("music2vec", 13, 768))
    assert network_of(flags, experiment) == Network("embeddings", backbone="music2vec", layer="3")


def test_backbones_are_fresh_for_each_seed_and_random_ones_differ(opened):
    def weight(there, seed):
        network = there.backbone(seed)
        return network, network.state_dict()["0.0.weight"]

    for flags, differ in (
        ("--protocol linear --baseline random", True), ("--protocol scratch", True), ("--protocol finetune", False),
        ("--protocol linear", False),
    ):  # fmt: skip
        there = opened(flags)
        (first, before), (second, after), (_, again) = (weight(there, seed) for seed in (0, 1, 0))
        assert first is not second
        assert torch.equal(before, again)
        assert torch.equal(before, after) != differ, flags


@pytest.mark.parametrize(("flags", "same"), [
    ("--protocol linear", True), ("--protocol finetune", True), ("--protocol linear --baseline stats", True),
    ("--protocol linear --baseline random", False), ("--protocol linear --baseline kmeans", False),
    ("--protocol linear --layer backbone+kmeans", False),
])  # fmt: skip
def test_frozen_features_are_shared_by_seeds_that_change_nothing(opened, flags, same):
    there = opened(flags)
    features = [there.frozen(seed) for seed in (0, 1)]
    assert (features[0] is features[1]) == same
    assert torch.equal(features[0].of(there.task.test), features[1].of(there.task.test)) == same


@pytest.mark.parametrize(("flags", "by_chance"), [
    ("--protocol linear", False), ("--protocol linear --baseline stats", False), ("--protocol mlp", True),
    ("--protocol linear --label_fraction 0.5", True), ("--protocol linear --baseline random", True),
    ("--protocol linear --layer backbone+kmeans", True), ("--protocol finetune", True), ("--protocol scratch", True),
])  # fmt: skip
def test_a_seed_that_changes_nothing_makes_no_other_run(opened, monkeypatch, flags, by_chance):
    seen = []
    there = opened(f"{flags} --seed 4 --num_seeds 3")
    monkeypatch.setitem(transfer.PROTOCOLS, there.flags.protocol, lambda given, seed: seen.append(seed) or seed)
    assert transfer.runs_of(there) == ([4, 5, 6] if by_chance else [4])
    assert seen == ([4, 5, 6] if by_chance else [4])


def test_a_batch_is_checked_where_there_are_batches(opened):
    assert opened("--protocol linear --batch_size 100").recipe(0, 24)
    for protocol in ("mlp", "finetune", "scratch"):
        with pytest.raises(utils.UserError, match="100 must be between 2 and the 24"):
            opened(f"--protocol {protocol} --batch_size 100").recipe(0, 24)


def test_the_label_curve_is_refused_before_anything_is_computed(opened):
    assert given.curve_sizes(opened("--protocol linear")) == []
    assert given.curve_sizes(opened("--protocol linear --train_sizes 24,6 --batch_size 16")) == [6, 24]
    with pytest.raises(utils.UserError, match="16 must be between 2 and the 6"):
        given.curve_sizes(opened("--protocol mlp --train_sizes 24,6 --batch_size 16"))
    with pytest.raises(utils.UserError, match=r"3 \(genres\) to 24"):
        given.curve_sizes(opened("--protocol mlp --train_sizes 24,60"))


@pytest.mark.parametrize(("flags", "message"), [
    ("--size small --dataset tiny", "not both"), ("--protocol linear --dataset tiny", "--exp_path is missing"),
    ("--protocol scratch", "say what to train on"), ("--protocol linear --baseline stats", "say what to train on"),
    ("--protocol scratch --dataset nothing", "no spectrograms at"), ("--exp_path 000000", "there are"),
])  # fmt: skip
def test_what_is_not_there_is_named(pretrained_once, flags, message):
    with pytest.raises(utils.UserError, match=message) as error:
        open_given(parse(f"{pretrained_once.where} {flags}"))
    assert "\n" not in str(error.value)


def test_the_arrays_are_looked_for_where_the_experiment_found_them(pretrained, monkeypatch):
    asked = f"--exp_path {pretrained.experiment} --device cpu"
    file = pretrained.experiment / "configuration.json"
    content = utils.read_json(file)
    content["flags"]["data_dir"] = str(pretrained.data_dir)
    utils.write_json(file, content)
    assert open_given(parse(asked))[1].path.samefile(pretrained.data_dir / "tiny_npy")
    write_folder(pretrained.data_dir, "other")
    assert open_given(parse(f"{asked} --dataset other"))[1].dataset == "other"
    elsewhere = pretrained.data_dir.parent / "elsewhere"
    (elsewhere / "data").mkdir(parents=True)  # on another machine: under the usual name, or nowhere
    monkeypatch.chdir(elsewhere)
    pretrained.data_dir.rename(elsewhere / "kept")
    shutil.copytree(elsewhere / "kept" / "tiny_npy", elsewhere / "data" / "tiny_npy")
    assert open_given(parse(asked))[1].path == Path("data") / "tiny_npy"
    shutil.rmtree(elsewhere / "data")
    missing = f"no spectrograms at {elsewhere}/data/tiny_npy.*; the experiment.s are made with --"
    with pytest.raises(utils.UserError, match=missing):
        open_given(parse(asked))
    assert open_given(parse(f"{asked} --data_dir kept"))[1].path == Path("kept") / "tiny_npy"


def test_a_folder_with_other_settings_is_refused(pretrained):
    write_folder(pretrained.data_dir, "other", n_fft=1024)
    with pytest.raises(utils.UserError, match="n_fft 2048 → 1024"):
        open_given(parse(pretrained.transfer("--dataset other")))
    write_folder(pretrained.data_dir, "halves", dtype="float16")  # stored in another way, and the same
    assert open_given(parse(pretrained.transfer("--dataset halves")))[1].settings.dtype == "float16"


def test_a_pretraining_that_stopped_is_told(pretrained, capsys):
    open_given(parse(pretrained.transfer("")))
    assert "note:" not in capsys.readouterr().out
    log = pretrained.experiment / "train_log.csv"
    log.write_text("\n".join(log.read_text().splitlines()[:2]) + "\n")
    open_given(parse(pretrained.transfer("")))
    assert "stopped after 1 of 2 epochs" in capsys.readouterr().out
    with utils.locked(pretrained.experiment):
        open_given(parse(pretrained.transfer("")))
    assert "is at 1 of 2 epochs, and still running" in capsys.readouterr().out


def test_only_the_pretrained_can_be_tuned(opened, pretrained_once):
    experiment = opened("--protocol scratch").experiment
    flags = utils.Flags(**{**vars(experiment.flags), "method": None})
    bare = type(experiment)(experiment.folder, flags, experiment.settings, experiment.normalisation, [], {})
    with pytest.raises(utils.UserError, match="no pre-trained network"):
        network_of(resolved("--protocol finetune"), bare)
    assert isinstance(opened("--protocol linear"), Given)


@pytest.mark.parametrize(("baseline", "per_band"), [
    ("stats", True), ("kmeans", True), ("random", True), ("mfcc", False),
])  # fmt: skip
def test_rulers_and_random_weights_see_bands_normalised_as_networks_do(pretrained_once, baseline, per_band):
    """All but cepstra, which measure the differences between bands."""
    args = parse(f"{pretrained_once.where} --dataset tiny --protocol linear --baseline {baseline}")
    experiment, folder = open_given(args)
    flags = resolve(args, experiment, folder)
    there = prepare(Task(folder, CPU), experiment, flags)
    assert isinstance(there.experiment.normalisation.mean, tuple) == per_band


def test_what_is_shown_before_there_are_features_has_a_bar(opened, monkeypatch):
    bars = []
    monkeypatch.setattr(utils, "progress", lambda views, **options: bars.append(options) or views)
    batches = list(opened("--protocol linear --baseline random --backbone conv8").shown())
    assert bars == [{"total": len(batches), "desc": "first look"}]
