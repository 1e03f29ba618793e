"""From a transfer to its folder: the numbers first, then the pictures, which nothing depends on.

A ``task`` has the genres, the splits with their ``rows``, their ``labels`` and ``extract``; a ``run`` is one trained
classifier and what it says of the test tracks: see transfer.py.
"""

import numpy as np
import pandas as pd
import torch

import utils
from evaluation import plots, report, results

LOG_COLUMNS = ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
FROZEN = ("linear", "mlp")  # protocols that train a head only


def write_results(experiment, configuration, task, runs, curve, args, seconds):
    """Everything of contract 2 for this transfer; numbers and pictures are the first seed's. Returns the folder.

    ``curve``: rows of label_curve.csv, may be empty.
    """
    found = [result_of(run, task, configuration, args, curve, seconds) for run in runs]
    run, result = runs[0], results.over_seeds(found)
    folder = results.new_transfer(experiment, f"{result.dataset}_{result.protocol}")
    part = {f"head.{key}": value for key, value in run.network.head.state_dict().items()}
    frozen_experiment = result.network["kind"] == "encoder"
    utils.save_weights(folder / "transfer.pth", part if frozen_experiment else run.network.state_dict())
    if args.save_features:
        write_features(folder, run, task)
    result = result.write(folder)
    plots.write_all(folder, result, run.features.cpu().numpy(), title=f"{experiment.name}: {folder.name}")
    with plots.or_warn(experiment / "report.html", "written"):
        report.write_report(experiment)
    print_summary(result)
    return folder


def result_of(run, task, configuration, args, curve, seconds):
    head = {**run.head}
    weights = head.pop("layer_weights", None)
    return results.Result.of(
        run.probabilities,
        run.crop_probabilities,
        task.labels[2].cpu().numpy(),
        task.test.rows["track_id"],
        task.genres,
        log=run.log,
        curve=curve,
        network=network_of(run, head, configuration, args),
        protocol=args.protocol,
        dataset=task.folder.dataset,
        n_train=run.num_train,
        train_split=args.train_split,
        test_split=args.test_split,
        label_fraction=args.label_fraction,
        chosen=run.chosen,
        num_crops=task.num_crops,
        crop_seconds=task.crop_seconds,
        layer_weights=weights,
        flags=vars(args),
        seconds=seconds,
        versions=utils.versions(),
    )


def network_of(run, head, configuration, args):
    """The record of what made the features: the flags say it as they did before there was a record."""
    said = {"protocol": args.protocol, "baseline": args.baseline, "layer": args.layer, "flags": {"seed": args.seed}}
    return results.network_of({**said, "num_features": run.features.shape[1], **head}, configuration)


def write_features(folder, run, task):
    """Mean features of the tracks of all three splits, for use elsewhere: see ``--save_features``."""
    parts = (task.train, task.validation, task.test)
    tracks = pd.concat([part.rows for part in parts])[["track_id", "genre_top", "split"]]
    features_of_all = torch.cat([task.extract(run.network.backbone, part).mean(1) for part in parts])
    for name, array in (("features", features_of_all), ("labels", torch.cat(task.labels))):
        with utils.atomic_path(folder / f"{name}.npy") as temporary:
            np.save(temporary, array.cpu().numpy(), allow_pickle=False)
    with utils.atomic_path(folder / "track_ids.txt") as temporary:
        temporary.write_text("\n".join(tracks["track_id"]) + "\n", encoding="utf-8")
    results.write_table(folder / "tracks.csv", tracks, index=False)


def print_summary(result):
    if len(result.curve):
        print(f"macro-F1 by size of the training set, mean over the seeds ({result.folder / 'label_curve.png'}):")
        for size, row in result.curve.groupby("train_size").mean().iterrows():
            training, validation = row["train_macro_f1"], row["validation_macro_f1"]
            print(f"  {size:6} tracks  training {training:.3f}  validation {validation:.3f}")
    print(f"\n{result}")
    print(f"  who is taken for whom: {result.folder / 'confusion.png'}")
    print(f"  everything on one page: {result.folder.parent / 'report.html'}")
