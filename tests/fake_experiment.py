"""An experiment folder as train_simsiam.py and transfer.py leave it, made of random predictions."""

import numpy as np

import utils
from evaluation import metrics, plots

GENRES = ["Electronic", "Folk", "Hip-Hop", "Instrumental", "Pop & <Rock>", "Rock"]


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
        plots.training_curves(folder / "train_loss.png", [dict(zip(columns, row, strict=True)) for row in rows])
    return folder


def write_transfer(experiment, name="linear", skill=1.5, tracks=200, seed=0, pictures=False, **summary):
    """``seed`` chooses the tracks' genres, so that two transfers with the same seed have the same tracks."""
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, len(GENRES), tracks)
    ease = chance.normal(size=tracks)
    logits = np.random.default_rng([seed, int(10 * skill)]).normal(size=(tracks, len(GENRES)))
    logits[np.arange(tracks), truth] += skill + ease
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    prediction = probabilities.argmax(1)
    folder = experiment / name
    result = metrics.summarise(probabilities, truth, GENRES)
    utils.write_json(folder / "result.json", result | {
        "protocol": "linear", "dataset": "fma_small", "genres": GENRES, "n_train": 6394, "train_split": "training",
        "validation_accuracy": 0.4, "crop_accuracy": 0.35, "seconds": 12.3, "chosen": {"C": 0.01},
    } | summary)  # fmt: skip
    rows = [
        [f"{seed}{number:05}", GENRES[t], GENRES[p], *row]
        for number, (t, p, row) in enumerate(zip(truth, prediction, probabilities, strict=True))
    ]
    utils.write_csv(folder / "predictions.csv", ["track_id", "truth", "prediction", *GENRES], rows)
    if pictures:
        matrix = metrics.confusion_matrix(prediction, truth, len(GENRES))
        plots.confusion(folder / "confusion.png", matrix, GENRES)
        plots.per_genre(folder / "per_genre.png", result["per_genre"])
        plots.reliability(folder / "reliability.png", probabilities, truth)
        plots.feature_map(folder / "features.png", logits, truth, GENRES, method="pca")
    return folder
