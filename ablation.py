"""What does each augmentation do? Many short pre-trainings, judged on the validation tracks.

    python ablation.py --dataset fma_small --num_epochs 20 --num_seeds 2
    python ablation.py --dataset fma_small --only none,spec,image,audio

Trains with no augmentation, each one alone, each family whole and each family minus one, and judges every run by
kNN and linear-probe accuracy on the validation split; the test split is not touched. Intervals are over the seeds,
their variance pooled over all conditions. Writes <out>/ablation.csv, ablation.md and ablation.png. It can be stopped
and run again: finished runs are kept.
"""

import os
from multiprocessing.pool import ThreadPool
from pathlib import Path

import augment
import utils

COLUMNS = ["aug", "seed", "knn_accuracy", "linear_accuracy", "experiment"]

KEPT = ("dataset", "backbone", "num_epochs", "train_flags", "transfer_flags")  # one --out, one choice of these


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--dataset", default="fma_small", help="spectrogram folder <data_dir>/<dataset>_npy")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument("--out", default="exp/ablation", help="folder of the table and the picture")
    parser.add_argument("--only", help="comma list of the conditions to run (default: all; --list names them)")
    parser.add_argument("--list", action="store_true", help="print the conditions and stop")
    parser.add_argument("--backbone", default="frames", help="network")
    parser.add_argument("--num_epochs", type=utils.count, default=20, help="of each pre-training")
    parser.add_argument("--num_seeds", type=utils.count, default=2, help="runs of each condition")
    parser.add_argument(
        "--train_flags",
        type=utils.flags,
        default="",
        help='more flags for train_simsiam.py: "--method byol --lam 0.6"',
    )
    parser.add_argument(
        "--transfer_flags", type=utils.validation_flags, default="", help="more flags for transfer.py, as one text"
    )
    parser.add_argument("--jobs", type=utils.count, default=1, help="runs at a time, which share the CPU's cores")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

from evaluation import plots, statistics, tables
from training import trials


def main(args):
    conditions = all_conditions()
    if args.list:
        print("\n".join(conditions))
        return
    names = list(dict.fromkeys(args.only.split(","))) if args.only else list(conditions)
    unknown = set(names) - set(conditions)
    if unknown:
        raise utils.UserError(f"no condition {', '.join(sorted(unknown))}; --list names them all")
    utils.check_name("--dataset", args.dataset)
    out = Path(args.out)
    with utils.locked(out):
        trials.keep_settings(out / "settings.json", args, KEPT)
        rows = run_all(names, conditions, args, out / "ablation.csv")
        write(scores(rows, names), names, args, out)
    print((out / "ablation.md").read_text(encoding="utf-8"))
    print(out / "ablation.csv")


def run_all(names, conditions, args, path):
    """Runs what is not there yet, and writes the table after each run. Returns all rows, as :func:`read_rows`."""
    rows = read_rows(path)
    todo = [(name, seed) for seed in range(args.num_seeds) for name in names if (name, seed) not in rows]
    jobs = max(1, min(args.jobs, len(todo)))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    with ThreadPool(jobs) as pool:
        results = pool.imap_unordered(lambda key: (key, run(conditions[key[0]], key[1], args)), todo)
        for key, row in utils.progress(results, total=len(todo), desc="runs"):
            rows[key] = row
            utils.write_csv(path, COLUMNS, [[*key, *row] for key, row in rows.items()])
    return rows


def write(runs, names, args, out):
    """The table and the picture of the :func:`scores` of ``names``."""
    table = {what: statistics.pooled_intervals(values) for what, values in runs.items()}
    seeds = min(len(values) for values in next(iter(runs.values())))
    tests = {what: statistics.conditions_differ([values[:seeds] for values in part]) for what, part in runs.items()}
    write_table(out / "ablation.md", names, table, tests)
    title = f"validation accuracy by augmentation, {args.dataset}"
    plots.write(out / "ablation.png", plots.score_dots, names, table, title=title)


def all_conditions():
    """Name of each condition → its ``--aug``."""
    conditions = {"none": "none"}
    for family, members in augment.FAMILIES.items():
        whole = [name for name, member in members.items() if member.in_family]
        conditions[family] = family
        for name in whole:
            rest = [f"{family}:{other}" for other in whole if other != name]
            conditions[f"{family} − {name}"] = ",".join(rest)
        conditions.update({f"{family}:{name}": f"{family}:{name}" for name in members})
    return conditions


def read_rows(path):
    """{(condition, seed): (kNN accuracy, linear accuracy, experiment)} of the runs that are there."""
    rows = tables.read_runs(path, COLUMNS, texts=("aug", "experiment"))
    return {(row["aug"], row["seed"]): tuple(row[name] for name in COLUMNS[2:]) for row in rows}


def run(aug, seed, args):
    """Pre-train and judge one condition: (kNN accuracy, linear accuracy, experiment)."""
    common = ["--dataset", args.dataset, "--data_dir", args.data_dir, "--exp_dir", args.exp_dir, "--seed", seed]
    common += ["--device", args.device]
    flags = f"--aug {aug} --backbone {args.backbone} {args.train_flags}"
    row = trials.trial(common, flags, args.transfer_flags, args.num_epochs)
    return row["knn_accuracy"], row["linear_accuracy"], row["experiment"]


def scores(rows, names):
    """{"kNN" and "linear probe": for each of ``names`` the list of its runs' accuracies, by seed}."""
    runs = [[row for (one, _), row in sorted(rows.items()) if one == name] for name in names]
    return {
        what: [[row[column] for row in part] for part in runs] for column, what in enumerate(("kNN", "linear probe"))
    }


def write_table(path, names, table, tests):
    rows = [
        [name, *(tables.with_interval(score["mean"], score["ci95"]) for score in row), str(row[0]["n"])]
        for name, *row in zip(names, *table.values(), strict=True)
    ]
    head = ["augmentation", *(f"{what} [95 %]" for what in table), "runs"]
    lines = [tables.markdown(head, rows, "lrrr")]
    tests = {what: test for what, test in tests.items() if test}
    if tests:
        chances = ", ".join(f"{what} p = {test['p']:.2g}" for what, test in tests.items())
        apart = ", ".join(f"{what} {100 * test['apart']:.1f} points" for what, test in tests.items())
        lines += ["", f"Do they differ at all (two-way analysis of variance, seeds as blocks)? {chances}."]
        lines += [f"By less than this no two can be told apart (Tukey, {len(names)} conditions): {apart}."]
    with utils.atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
