"""Which method learns most? Every one of them at equal epochs, judged by a linear probe, in one table.

    python compare_methods.py --datasets fma_small --num_epochs 50
    python compare_methods.py --datasets fma_small,gtzan --methods simsiam,byol --train_flags "--batch_size 128"

Beside the pre-trained networks stand what they have to beat: mean and deviation of the mel bands, a network of random
weights, and the same network trained with labels from scratch. Each is tested once on the test tracks; the interval
is the 95 % bootstrap interval over those tracks, or their artists where known. Writes <out>/methods.md,
<out>/methods_<dataset>.png and the experiments under <out>/<dataset>/<method>/. It can be stopped and run again: what
is finished is kept, and a pre-training goes on.
"""

import shlex
from pathlib import Path

import models
import utils

BASELINES = {  # flags of transfer.py; the epochs matter to scratch alone
    "stats": ["--protocol", "linear", "--baseline", "stats"],
    "mfcc": ["--protocol", "linear", "--baseline", "mfcc"],
    "kmeans": ["--protocol", "linear", "--baseline", "kmeans"],
    "random": ["--protocol", "linear", "--baseline", "random"],
    "scratch": ["--protocol", "scratch"],
}
COMMON = models.Defaults.default_backbone  # a method that has another by default keeps it
ORDER = ("stats", "mfcc", "kmeans", "random", "autoencoder", "simclr", "byol", "simsiam", "scratch")
NAMES = {
    "stats": "mean and deviation of each band",
    "mfcc": "mean and deviation of 20 MFCCs",
    "kmeans": "k-means dictionary",
    "random": "random weights",
    "scratch": "supervised from scratch",
}
KEPT = ("num_epochs", "backbone", "pool", "seed", "train_flags", "transfer_flags", "own")  # the same in one --out
HEADINGS = ("method", "network", "accuracy % [95 %]", "macro-F1", "ROC-AUC", "top-5 %", "kNN %", "minutes")


def train_flags(text):
    """:func:`utils.flags` of train_simsiam.py that leave all rows the network that this command was asked for."""
    return utils.without(utils.flags(text), dict.fromkeys(("--backbone", "--pool"), "this command has it itself"))


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--datasets", default="fma_small", help="comma list of spectrogram folders")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--methods", default=",".join(ORDER), help="comma list of what to compare")
    parser.add_argument("--num_epochs", type=utils.count, default=50, help="of every pre-training, and of scratch")
    parser.add_argument("--backbone", default=COMMON, help="of all but the autoencoder, which has conv8")
    parser.add_argument("--pool", choices=models.POOLS, default=models.POOLS[1], help="how the last map is read out")
    parser.add_argument(
        "--train_flags", type=train_flags, default="", help='more flags for train_simsiam.py, as one text: "--lr 0.1"'
    )
    parser.add_argument(
        "--transfer_flags", type=utils.genre_flags, default="", help="more flags for transfer.py, as one text"
    )
    parser.add_argument(
        "--own", nargs=2, type=utils.flags, action="append", default=[], metavar=("METHOD", "FLAGS"),
        help='more flags for the pre-training of one method: --own simclr "--temperature 0.2"',
    )  # fmt: skip
    parser.add_argument("--seed", type=utils.whole, default=0, help="of every run")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", default="exp/methods", help="folder of the table, the picture and the experiments")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import pandas as pd

from evaluation import plots, tables
from training import trials


def main(args):
    names, datasets, out = args.methods.split(","), args.datasets.split(","), Path(args.out)
    unknown = sorted({*names, *(name for name, _ in args.own)} - {*ORDER})
    if unknown:
        raise utils.UserError(f"no method {', '.join(unknown)}; there are {', '.join(ORDER)}")
    for dataset in datasets:  # before anything is made
        utils.check_name("--datasets", dataset)
    with utils.locked(out):
        trials.keep_settings(out / "settings.json", args, KEPT, datasets)
        table = {dataset: [run(name, dataset, out / dataset / name, args) for name in names] for dataset in datasets}
        write(table, args, out)
    print((out / "methods.md").read_text())
    print(out / "methods.md")


def write(table, args, out):
    """The table and the pictures of {dataset: rows, as :func:`run` returns them}."""
    with utils.atomic_path(out / "methods.md") as temporary:
        parts = [markdown(dataset, rows, args) for dataset, rows in table.items()]
        temporary.write_text("\n".join(parts), encoding="utf-8")
    for dataset, rows in table.items():
        series = [(row["method"], row["accuracy"], row["accuracy_ci95"]) for row in rows]
        title = f"{dataset}: accuracy on {rows[0]['n_test']} {rows[0]['test_split']} tracks, 95 % intervals"
        chance = 1 / len(rows[0]["genres"])
        plots.write(out / f"methods_{dataset}.png", plots.interval_bars, series, chance, title=title)


def run(name, dataset, exp_dir, args):
    """The result.json of one method on one dataset, with a few things more; what is finished is not run again."""
    common = ["--dataset", dataset, "--data_dir", args.data_dir, "--exp_dir", exp_dir]
    common += ["--device", args.device, "--seed", args.seed]
    finished = sorted(exp_dir.glob("*/*/result.json"))
    if not finished:
        if name in BASELINES:
            flags = [*BASELINES[name], "--backbone", args.backbone, "--pool", args.pool]
            flags += ["--num_epochs", args.num_epochs]
        else:
            flags = ["--exp_path", pretrain(name, common, exp_dir, args), "--protocol", "linear"]
        finished = [Path(utils.call("transfer.py", *common, *flags, *shlex.split(args.transfer_flags), show=True))]
    result, log = utils.read_json(finished[0]), finished[0].parents[1] / "train_log.csv"
    columns = ["knn_accuracy", "seconds"]
    log = tables.read(log, columns) if log.exists() else pd.DataFrame(columns=columns, dtype=float)
    knn = log["knn_accuracy"].dropna().tolist()
    return {
        **result,
        "method": NAMES.get(name, name),
        "knn": knn[-1] if knn else None,
        "minutes": (log["seconds"].sum() + result["seconds"]) / 60,
    }


def pretrain(name, common, exp_dir, args):
    """The experiment of a method, which is begun, gone on with, or there already."""
    folders = ["--data_dir", args.data_dir, "--exp_dir", exp_dir, "--device", args.device]
    for experiment in sorted(file.parent for file in exp_dir.glob("*/configuration.json")):
        log = experiment / "train_log.csv"
        if log.exists() and len(tables.read(log)) == args.num_epochs:
            return experiment
        if (experiment / "checkpoint.pth").exists():
            return utils.call("train_simsiam.py", "--resume", experiment.name, *folders, show=True)
    flags = ["--method", name, "--num_epochs", args.num_epochs, "--pool", args.pool]
    if models.METHODS[name].default_views > 2:
        flags += ["--num_views", 2]  # as many as the others see, unless --train_flags says otherwise
    flags += shlex.split(args.train_flags)
    if models.METHODS[name].default_backbone == COMMON:
        flags += ["--backbone", args.backbone]
    for method, more in args.own:
        flags += shlex.split(more) if method == name else []
    return utils.call("train_simsiam.py", *common, *flags, show=True)


def accuracy(row):
    """In %, with its interval over tracks; of several seeds the first's, and what they come to together."""
    text = tables.with_interval(row["accuracy"], row["accuracy_ci95"], digits=1, times=100)
    over = (row.get("seeds") or {}).get("accuracy")
    return f"{text}, {over['n']} seeds {100 * over['mean']:.1f} ± {100 * over['std']:.1f}" if over else text


def markdown(dataset, rows, args):
    cells = [
        [
            row["method"],
            row["backbone"],
            accuracy(row),
            tables.number(row["macro_f1"]),
            tables.number(row["roc_auc"]),
            tables.number(row["top5_accuracy"], 1, 100),
            tables.number(row["knn"], 1, 100),
            tables.number(row["minutes"], 1),
        ]
        for row in rows
    ]
    title = f"### {dataset}: {args.num_epochs} epochs, {rows[0]['n_test']} {rows[0]['test_split']} tracks"
    title += f" of {rows[0]['n_resampled']} artists" if rows[0].get("resampled") == "artists" else ""
    return f"{title}\n\n{tables.markdown(HEADINGS, cells, 'llrrrrrr')}\n"


if __name__ == "__main__":
    utils.run(main, get_args_parser())
