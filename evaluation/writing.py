"""Writing what a transfer has found: contract 2's folder of one transfer, its numbers, tables and pictures.

A ``task`` has the genres, the splits with their ``rows``, their ``labels`` and ``extract``; a ``run`` is one trained
classifier and what it says of the test tracks: see transfer.py.
Axes: N test tracks, C genres, D feature dimension.
"""

import numpy as np
import pandas as pd
import torch

import utils
from evaluation import metrics, plots, report, statistics

LOG_COLUMNS = ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
OVER_SEEDS = ("accuracy", "macro_f1", "roc_auc", "validation_accuracy")
FROZEN = ("linear", "mlp")  # protocols that train a head only


def write_results(experiment, configuration, task, runs, curve, args, seconds):
    """Everything of contract 2 for this transfer; numbers and pictures are the first seed's. Returns the folder.

    ``curve``: rows of learning_curve.csv, may be empty.
    """
    run, truth = runs[0], task.labels[2].cpu().numpy()
    result = describe(run, runs, task, truth, configuration, args, seconds)
    transfer = new_transfer(experiment, f"{task.folder.dataset}_{args.protocol}")
    matrix = metrics.confusion_matrix(run.probabilities.argmax(1), truth, len(task.genres))
    write_predictions(transfer, run, truth, matrix, task)
    write_pictures(transfer, result, run, truth, matrix, task, title=f"{experiment.name}: {transfer.name}")
    if curve:
        write_learning_curve(transfer, curve, title=f"{experiment.name}: {transfer.name}")
    if args.save_features:
        write_features(transfer, run, task)
    frozen_experiment = result["frozen"] and configuration["flags"]["method"] and not args.baseline
    part = {f"head.{k}": v for k, v in run.network.head.state_dict().items()}
    utils.save_weights(transfer / "transfer.pth", part if frozen_experiment else run.network.state_dict())
    utils.write_json(transfer / "result.json", result)
    report.write_report(experiment)
    print_summary(result, transfer)
    return transfer


def describe(run, runs, task, truth, configuration, args, seconds):
    result = metrics.summarise(run.probabilities, truth, task.genres)
    crop_accuracy = float((run.crop_probabilities.argmax(2) == truth[:, None]).mean())
    return {
        **result,
        "protocol": args.protocol,
        "baseline": args.baseline,
        "dataset": task.folder.dataset,
        "genres": task.genres,
        "n_train": run.num_train,
        "train_split": args.train_split,
        "test_split": args.test_split,
        "label_fraction": args.label_fraction,
        "validation_accuracy": run.chosen["validation_accuracy"],
        "crop_accuracy": crop_accuracy,
        "chosen": run.chosen,
        "seeds": over_seeds(runs, truth, task) if len(runs) > 1 else None,
        "num_seeds": len(runs),
        "frozen": args.protocol in FROZEN,
        "backbone": "stats" if args.baseline == "stats" else configuration["flags"]["backbone"],
        "layer": args.layer,
        "num_features": run.features.shape[1],
        **run.head,
        "num_crops": task.num_crops,
        "crop_seconds": task.crop_seconds,
        "flags": vars(args),
        "seconds": seconds,
        "versions": utils.versions(),
    }


def over_seeds(runs, truth, task):
    """Mean, std and interval over the seeds of each number in ``OVER_SEEDS``."""
    every = [{**metrics.summarise(run.probabilities, truth, task.genres), **run.chosen} for run in runs]
    return {name: statistics.mean_std_interval([one[name] for one in every]) for name in OVER_SEEDS}


def new_transfer(experiment, name):
    """``experiment/name``, or with a number behind it where that is taken: no result is overwritten."""
    number = 1
    while True:
        folder = experiment / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        return folder


def write_predictions(transfer, run, truth, matrix, task):
    rows = [
        [track_id, task.genres[true], task.genres[row.argmax()], *(f"{p:.6f}" for p in row)]
        for track_id, true, row in zip(task.test.rows["track_id"], truth, run.probabilities, strict=True)
    ]
    utils.write_csv(transfer / "predictions.csv", ["track_id", "truth", "prediction", *task.genres], rows)
    rows = [[genre, *counts] for genre, counts in zip(task.genres, matrix.tolist(), strict=True)]
    utils.write_csv(transfer / "confusion.csv", ["truth \\ prediction", *task.genres], rows)
    if run.log:
        utils.write_csv(transfer / "transfer_log.csv", LOG_COLUMNS, [row.values() for row in run.log])


def write_pictures(transfer, result, run, truth, matrix, task, title):
    plots.confusion(transfer / "confusion.png", matrix, task.genres, title=title)
    plots.per_genre(transfer / "per_genre.png", result["per_genre"], title=title)
    plots.reliability(transfer / "reliability.png", run.probabilities, truth, title=title)
    plots.feature_map(transfer / "features.png", run.features.cpu().numpy(), truth, task.genres, title=title)
    if run.log:
        plots.learning_curves(transfer / "learning_curves.png", run.log, title=title)


def write_learning_curve(transfer, curve, title):
    utils.write_csv(transfer / "learning_curve.csv", list(curve[0]), [row.values() for row in curve])
    plots.learning_curve(transfer / "learning_curve.png", curve, title=title)
    print(f"macro-F1 by size of the training set, mean over the seeds ({transfer / 'learning_curve.png'}):")
    for size, row in pd.DataFrame(curve).groupby("train_size").mean().iterrows():
        print(f"  {size:6} tracks  training {row['train_macro_f1']:.3f}  validation {row['validation_macro_f1']:.3f}")


def write_features(transfer, run, task):
    """Mean features of the tracks of all three splits, for use elsewhere: see ``--save_features``."""
    parts = (task.train, task.validation, task.test)
    tracks = pd.concat([part.rows for part in parts])[["track_id", "genre_top", "split"]]
    features_of_all = torch.cat([task.extract(run.network.backbone, part).mean(1) for part in parts])
    for name, array in (("features", features_of_all), ("labels", torch.cat(task.labels))):
        with utils.atomic_path(transfer / f"{name}.npy") as temporary:
            np.save(temporary, array.cpu().numpy(), allow_pickle=False)
    with utils.atomic_path(transfer / "track_ids.txt") as temporary:
        temporary.write_text("\n".join(tracks["track_id"]) + "\n", encoding="utf-8")
    utils.write_csv(transfer / "tracks.csv", list(tracks), tracks.to_numpy().tolist())


def print_summary(result, transfer):
    low, high = result["accuracy_ci95"]
    print(
        f"\n{result['protocol']} on {result['dataset']}: {result['n_test']} {result['test_split']} tracks, "
        f"{len(result['genres'])} genres, trained on {result['n_train']}\n"
        f"  accuracy  {result['accuracy']:.3f}  (95 % interval {low:.3f} to {high:.3f}; "
        f"chance {1 / len(result['genres']):.3f}; validation {result['validation_accuracy']:.3f})\n"
        f"  macro-F1  {result['macro_f1']:.3f}"
        + (f"\n  ROC-AUC   {result['roc_auc']:.3f}" if result["roc_auc"] is not None else "")
        + (f"\n  top-5     {result['top5_accuracy']:.3f}" if result["top5_accuracy"] is not None else "")
    )
    if result["seeds"]:
        over = result["seeds"]["accuracy"]
        print(f"  over {result['num_seeds']} seeds: accuracy {over['mean']:.3f} ± {over['std']:.3f}")
    print(f"  who is taken for whom: {transfer / 'confusion.png'}")
    print(f"  everything on one page: {transfer.parent / 'report.html'}")
