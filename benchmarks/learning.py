"""Does a faster way of computing learn the same? Pairs of pre-trainings that differ in nothing else.

    python -m benchmarks.learning --dataset fma_small --num_epochs 5
    python -m benchmarks.learning --plain "--precision bf16" --fast "--precision bf16 --compile" --out exp/compiled

Both of a pair have the same seed: the same first weights, tracks, crops and order of random numbers. Each is judged
on validation tracks by the same linear probe in float32; the test split is not touched. The table has, for the loss,
the kNN monitor and the probe, the mean of the paired differences with Student's interval over the seeds, and beside
it what another seed changes. Writes <out>/learning.csv after every run and learning.md at the end. It can be stopped
and run again.
"""

import itertools
from pathlib import Path

import utils

WAYS = ("plain", "fast")
KEPT = ("dataset", *WAYS, "num_epochs", "train_flags")  # one --out, one choice of these


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--dataset", default="fma_small", help="spectrogram folder <data_dir>/<dataset>_npy")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--exp_dir", default="exp/learning/exp", help="folder of the experiments")
    parser.add_argument("--plain", type=utils.flags, default="--precision fp32", help="flags of the first of a pair")
    parser.add_argument("--fast", type=utils.flags, default="--precision bf16", help="flags of the second")
    parser.add_argument("--num_epochs", type=utils.count, default=5, help="of each pre-training")
    parser.add_argument("--num_seeds", type=utils.count, default=3, help="pairs")
    parser.add_argument(
        "--train_flags", type=utils.flags, default="", help='flags that both of a pair have: "--num_tracks 1000"'
    )
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", default="exp/learning", help="folder of the table")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import numpy as np

from evaluation import statistics, tables
from training import trials

MEASURES = {"loss": "loss, last epoch", "knn_accuracy": "kNN accuracy", "linear_accuracy": "linear probe"}
COLUMNS = ["way", "seed", *trials.COLUMNS]


def main(args):
    utils.check_name("--dataset", args.dataset)
    out = Path(args.out)
    with utils.locked(out):
        trials.keep_settings(out / "settings.json", args, KEPT)
        rows = read_rows(out / "learning.csv")
        keys = [(way, seed) for seed in range(args.num_seeds) for way in WAYS]
        for way, seed in utils.progress([key for key in keys if key not in rows], desc="runs"):
            rows[way, seed] = {"way": way, "seed": seed, **run(way, seed, args)}
            lines = [[row[column] for column in COLUMNS] for row in rows.values()]
            utils.write_csv(out / "learning.csv", COLUMNS, lines)
        text = table(rows, args)
        utils.write_text(out / "learning.md", text + "\n")
    print(text)
    print(out / "learning.md")


def read_rows(path):
    """{(way, seed): row} of the runs that are there."""
    return {(row["way"], row["seed"]): row for row in tables.read_runs(path, COLUMNS, texts=("way", "experiment"))}


def run(way, seed, args):
    """One pre-training and its probe: a dict of ``trials.COLUMNS``."""
    common = ["--dataset", args.dataset, "--data_dir", args.data_dir, "--exp_dir", args.exp_dir]
    common += ["--device", args.device, "--seed", seed]
    flags = f"{args.train_flags} {getattr(args, way)}"
    return trials.trial(common, flags, "--precision fp32 --no-keep_features", args.num_epochs)


def table(rows, args):
    """As Markdown: a line for each measure, and one for the losses of all epochs."""
    head = ["", *(f"`{getattr(args, way)}`" for way in WAYS), "difference [95 %]", "between two seeds"]
    seeds, lines = range(args.num_seeds), []
    for name, title in MEASURES.items():
        plain, fast = (np.array([rows[way, seed][name] for seed in seeds]) for way in WAYS)
        lines.append([title, *(spread(values) for values in (plain, fast)), difference(fast - plain), apart(plain)])
    plain, fast = (np.stack([losses(rows[way, seed], args.num_epochs) for seed in seeds]) for way in WAYS)
    farthest = f"{np.abs(fast - plain).max():.4f}"
    lines.append(["loss, greatest difference of any epoch", "", "", farthest, apart(plain)])
    return tables.markdown(head, lines, "lrrrr")


def losses(row, num_epochs):
    """Of a run, (E,). Raises :class:`utils.UserError` where its log is not one of ``num_epochs``."""
    file = Path(row["experiment"]) / "train_log.csv"
    values = tables.read(file, ["loss"], numbers=["loss"])["loss"].to_numpy()
    if len(values) != num_epochs:
        raise utils.UserError(f"{file} has {len(values)} epochs, not {num_epochs}: choose another --out")
    return values


def spread(values):
    score = statistics.mean_std_interval(values)
    return f"{score['mean']:.4f}" + (f" ± {score['std']:.4f}" if score["std"] is not None else "")


def difference(values):
    score = statistics.mean_std_interval(values)
    return tables.with_interval(score["mean"], score["ci95"], digits=4, sign="+")


def apart(values):
    """The greatest difference that another seed makes to ``values`` (S,) or, of any epoch, (S, E)."""
    pairs = [np.abs(one - other).max() for one, other in itertools.combinations(values, 2)]
    return f"{max(pairs):.4f}" if pairs else "–"


if __name__ == "__main__":
    utils.run(main, get_args_parser())
