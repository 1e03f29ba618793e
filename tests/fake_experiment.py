"""An experiment folder as train_simsiam.py and transfer.py leave it, made of random predictions."""

import dataclasses

import numpy as np

import utils
from evaluation import plots, results

GENRES = ["Electronic", "Folk", "Hip-Hop", "Instrumental", "Pop & <Rock>", "Rock"]
ENCODER = {
    "kind": "encoder", "method": "simsiam", "backbone": "resnet18", "layer": "backbone", "seed": None,
    "num_features": 512, "head": {"hidden": [], "dropout": [], "batch_norm": True},
}  # fmt: skip


def write_experiment(exp_dir, name="154874", log=True, **flags):
    folder = exp_dir / name
    utils.write_json(folder / "configuration.json", {
        "flags": {"method": "simsiam", "backbone": "resnet18", "dataset": "fma_small", "lr": 0.03, **flags},
        "spectrogram": {"n_mels": 128, "sample_rate": 22050},
        "normalisation": {"mean": -40.1, "std": 17.2},
        "genres": GENRES,
        "versions": {"time": "2026-01-02T03:04:05+0000", "torch": "2.11.0", "command": "train <simsiam> & co"},
    })  # fmt: skip
    if log:
        columns = ["epoch", "loss", "std", "effective_rank", "knn_accuracy", "lr", "clips_per_second", "seconds"]
        rows = [[e, -0.1 * e, 0.02, 10 + e, 0.3 if e % 2 else "", 0.03, 900, 6] for e in range(1, 9)]
        utils.write_csv(folder / "train_log.csv", columns, rows)
        log = [dict(zip(columns, row, strict=True)) for row in rows]
        plots.write(folder / "train_loss.png", plots.training_curves, log)
    return folder


def make_result(skill=1.5, tracks=200, seed=0, **facts):
    """A :class:`results.Result` of random predictions, the better the more ``skill``; ``facts`` are fields of it.

    ``seed`` chooses the tracks' genres, so that two results with the same seed have the same tracks.
    """
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, len(GENRES), tracks)
    ease = chance.normal(size=tracks)
    logits = np.random.default_rng([seed, int(10 * skill)]).normal(size=(tracks, len(GENRES)))
    logits[np.arange(tracks), truth] += skill + ease
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    there = {
        "network": ENCODER, "protocol": "linear", "dataset": "fma_small", "n_train": 6394, "seconds": 12.3,
        "num_crops": 5, "crop_seconds": 9.9, "chosen": {"C": 0.01, "validation_accuracy": 0.4}, "flags": {"seed": 0},
        "versions": {"torch": "2.11.0"},
    }  # fmt: skip
    names = [f"{seed}{number:05}" for number in range(tracks)]
    crops = np.stack([probabilities, probabilities], axis=1)
    return results.Result.of(probabilities, crops, truth, names, GENRES, **{**there, **facts})


def write_transfer(experiment, name="linear", pictures=False, metrics=(), **facts):
    """Write :func:`make_result` of ``facts``; ``metrics`` replace its own. Returns the folder."""
    result = make_result(**facts)
    result = dataclasses.replace(result, metrics={**result.metrics, **dict(metrics)}).write(experiment / name)
    if pictures:
        plots.write_all(result.folder, result, result.probabilities, title=name)
    return result.folder
