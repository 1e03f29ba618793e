"""Many short runs of the other scripts, judged on validation tracks: what ablation.py and the recipe search share."""

import shlex
from pathlib import Path

import pandas as pd

import utils
from data.folder import open_folder
from training.kept import digest_of_arrays

LAST = ("loss", "effective_rank", "backbone_rank", "knn_accuracy")  # columns of train_log.csv that are kept
COLUMNS = ["knn_accuracy", "linear_accuracy", "loss", "effective_rank", "backbone_rank", "minutes", "experiment"]


def keep_settings(path, args, names, datasets=None):
    """:func:`utils.keep_settings` of these flags and of the arrays that they mean, which must stay what they are.

    datasets: their names, of any kind; by default ``args.dataset`` alone, which must be of spectrograms.
    """
    folders = [open_folder(args.data_dir, dataset) for dataset in datasets or ()]
    folders = folders or [open_folder(args.data_dir, args.dataset, kinds=("spectrogram",))]
    arrays = " ".join(digest_of_arrays(folder)[:16] for folder in folders)
    settings = {name: getattr(args, name) for name in names}
    utils.keep_settings(path, {**settings, "arrays": arrays}, later=("arrays",))


def trial(common, train_flags, transfer_flags, num_epochs):
    """Pre-train, then probe on the validation split; the test split is not touched. Returns a dict of ``COLUMNS``.

    common: flags that both scripts take, as a list; the other two: flags of one script, as one text each.
    """
    train = ["--num_epochs", num_epochs, *shlex.split(train_flags), "--knn_every", num_epochs]  # every row has a kNN
    experiment = Path(utils.call("train_simsiam.py", *common, *train))
    judge = ["--exp_path", experiment, "--protocol", "linear", "--test_split", "validation"]
    result = utils.read_json(utils.call("transfer.py", *common, *judge, *shlex.split(transfer_flags)))
    log = pd.read_csv(experiment / "train_log.csv")
    (experiment / "checkpoint.pth").unlink()  # the run is finished, and there will be many
    return {
        **{name: round(float(log[name].iloc[-1]), 4) for name in LAST},
        "linear_accuracy": round(result["accuracy"], 4),
        "minutes": round(log["seconds"].sum() / 60, 2),
        "experiment": str(experiment),
    }
