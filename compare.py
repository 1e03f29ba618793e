"""Put many results into one table, with intervals, and say which differences are more than chance.

    python compare.py 154874 203311                     every transfer of two experiments
    python compare.py 154874/gtzan_linear 203311/gtzan_linear    two transfers, by the names of their folders
    python compare.py 154874 203311 --baseline 154874/gtzan_linear
    python compare.py 154874/gtzan_linear 203311/gtzan_linear --together     and what they say together
    python compare.py --seeds A0 A1 A2 --seeds B0 B1 B2 two of three seeds each, as two rows and one test
    python compare.py 154874 --html                     also one page per experiment: <experiment>/report.html

Each accuracy has its 95 % bootstrap interval over test tracks. On the same tracks, two results are compared pair by
pair: the interval of the difference in accuracy (paired bootstrap) and McNemar's exact p. Where it is known who made
the tracks, all of this is over artists: the tracks of one are not independent (p: exact sign-flip test).
Taggers (transfer.py --labels) have a table of their own, by PR-AUC and the paired bootstrap, without a p.
"""

import math
from pathlib import Path

import utils

COLUMNS = (  # key of a row, heading, alignment
    ("result", "result", "l"),
    ("network", "network", "l"),
    ("seed", "seed", "r"),
    ("protocol", "protocol", "l"),
    ("dataset", "dataset", "l"),
    ("n_train", "trained on", "r"),
    ("n_test", "tested on", "r"),
    ("accuracy", "accuracy % [95 %]", "r"),
    ("seeds", "over seeds", "r"),
    ("macro_f1", "macro F1", "r"),
    ("pr_auc", "PR-AUC % [95 %]", "r"),
    ("roc_auc", "ROC-AUC", "r"),
    ("difference", "difference % [95 %]", "r"),
    ("p", "p", "r"),
)
OFTEN_EQUAL = ("seed", "protocol", "dataset", "n_train", "n_test")  # said once where they are
CSV_COLUMNS = (
    *("result", "task", "method", "backbone", "baseline", "layer", "protocol"),
    *("dataset", "train_split", "label_fraction", "n_train", "n_test"),
    *("seed", "num_seeds", "accuracy_mean", "accuracy_std"),
    *("pr_auc_mean", "pr_auc_std"),
    *("resampled", "n_resampled"),
    *("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "macro_f1_low", "macro_f1_high"),
    *("balanced_accuracy", "macro_precision", "macro_recall", "roc_auc", "average_precision"),
    *("pr_auc", "pr_auc_low", "pr_auc_high", "roc_auc_low", "roc_auc_high", "validation_pr_auc"),
    *("log_loss", "calibration_error", "validation_accuracy", "crop_accuracy"),
    *("compared_to", "difference", "difference_low", "difference_high", "p", "p_over"),
)
TESTS = {  # what p is, by what is drawn
    "tracks": "McNemar's exact test",
    "artists": "exact sign-flip test of the artists' differences",
    "seeds": "exact sign-flip test of the tracks' differences, each the mean over the seeds",
}
THESE_SEEDS = "of several seeds: what other tracks might say of these very networks; other seeds are not in it"


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("experiments", metavar="EXP", nargs="*", help="an experiment (id or path), or one transfer")
    parser.add_argument(
        "--seeds", metavar="EXP", nargs="+", action="append", default=[],
        help="results that differ in the seed alone, as one row, named by the first: its accuracy is their mean, and "
        "it is compared by the share of seeds that are right on each track; may be given again, for another row",
    )  # fmt: skip
    parser.add_argument("--baseline", metavar="EXP", help="compare all to this result (default: the most accurate)")
    parser.add_argument(
        "--together", action="store_true",
        help="also the mean of the probabilities of all these results, as a row of its own (--baseline stays apart)",
    )  # fmt: skip
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument("--out", default="compare.csv", help="the table with every number, as CSV")
    parser.add_argument("--markdown", metavar="FILE", help="also write the table as Markdown")
    parser.add_argument("--html", action="store_true", help="also write report.html into each experiment's folder")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

from evaluation import report, results, statistics, tables, tag_metrics


def main(args):
    check_outputs(args)
    if not args.experiments + args.seeds:
        raise utils.UserError("which results? Give experiments, transfers, or --seeds")
    if args.seeds and args.together:
        raise utils.UserError("--together takes single results: not with --seeds")
    groups = [[read_one("--seeds", name, args.exp_dir) for name in names] for names in args.seeds]
    named = [result.folder for group in groups for result in group]
    twice = [folder for folder in named if named.count(folder) > 1]
    if twice:
        raise utils.UserError(f"--seeds: {twice[0].parent.name}/{twice[0].name} is given twice")
    found = [*read_all(args.experiments, args.exp_dir), *map(results.mean_of_seeds, groups)]
    baseline = baseline_of(args, groups, found) if args.baseline else None
    kinds = {task: [result for result in found if result.task == task] for task in sorted({r.task for r in found})}
    if baseline and baseline.task not in kinds:
        here = " and ".join(kinds)
        raise utils.UserError(f"--baseline {baseline.name} tells {baseline.task}, and the others tell {here}")
    parts = [
        compare_all(of_kind, baseline if baseline and baseline.task == task else None, args.together)
        for task, of_kind in kinds.items()
    ]
    print("\n\n\n".join("\n".join([tables.text(*as_table(rows)), "", *lines]) for rows, lines in parts))
    all_rows = [row for rows, _ in parts for row in rows]
    utils.write_csv(args.out, CSV_COLUMNS, [[row.get(name) for name in CSV_COLUMNS] for row in all_rows])
    if args.markdown:
        with utils.atomic_path(args.markdown) as temporary:
            texts = ["\n".join([tables.markdown(*as_table(rows)), "", *(f"- {line}" for line in lines)])
                     for rows, lines in parts]  # fmt: skip
            temporary.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    if args.html:
        single = [*found, *(one for group in groups for one in group), *([baseline] if baseline else [])]
        for experiment in sorted({result.folder.parent for result in single}):
            print(report.write_report(experiment))
    if args.markdown:
        print(args.markdown)
    print(args.out)


def baseline_of(args, groups, found):
    """What --baseline means: one result, of several seeds all of them. Raises :class:`utils.UserError`."""
    baseline = read_one("--baseline", args.baseline, args.exp_dir)
    for group, mean in zip(groups, found[len(found) - len(groups) :], strict=True):
        if baseline.folder in [one.folder for one in group]:
            return mean
    others = [one for one in found if one.task == baseline.task and one.folder != baseline.folder]
    if others and not any(results.same_tracks(one, baseline) for one in others):
        raise utils.UserError(f"--baseline {baseline.name} was tested on other tracks than all the others")
    return baseline


def check_outputs(args):
    """Raises :class:`utils.UserError` where a table would take the place of something else."""
    tables_there = {args.out: ("--out", f"{CSV_COLUMNS[0]},"), args.markdown: ("--markdown", "| result |")}
    if args.markdown and Path(args.markdown).resolve() == Path(args.out).resolve():
        raise utils.UserError("--out and --markdown name the same file")
    for path, (flag, begins) in tables_there.items():
        if path and Path(path).is_file():
            with open(path, "rb") as file:
                if not file.readline().startswith(begins.encode()):
                    raise utils.UserError(f"{flag} {path} is there, and no table of compare.py: name a new file")


def read_all(experiments, exp_dir):
    """The results that the command line names, each once."""
    folders = [folder.resolve() for experiment in experiments for folder in results.find(experiment, exp_dir)]
    return [results.read(folder) for folder in dict.fromkeys(folders)]


def read_one(flag, name, exp_dir):
    """The one result that ``name`` means. Raises :class:`utils.UserError` when it means several."""
    folders = results.find(name, exp_dir)
    if len(folders) > 1:
        there = ", ".join(f"{name}/{folder.name}" for folder in folders)
        raise utils.UserError(f"{flag} {name} means several results; say which of {there}")
    return results.read(folders[0])


# ------------------------------------------------------------------ numbers


def compare_all(found, baseline, together):
    """(a row of each of these results of one kind, lines on how to read them), the best first."""
    apart = [result for result in found if not baseline or result.folder != baseline.folder]
    mean = [results.together(apart)] if together and apart else []
    same = [result for result in found if baseline and result.folder == baseline.folder]
    there = [baseline] if baseline and not same else []
    baseline = same[-1] if same else baseline  # its seeds, where they are given, come last
    found = sorted([*found, *there, *mean], key=lambda result: -result.score)
    rows = [row_of(result, baseline or best_on_the_same_tracks(result, found)) for result in found]
    equal = equal_columns(rows)
    said = ", ".join(f"{head} {cell(rows[0], key)}" for key, head, _ in equal if cell(rows[0], key))
    return rows, [*([f"all: {said}"] if said else []), *warnings(found), *footnotes(rows, baseline)]


def equal_columns(rows):
    """Those of ``COLUMNS`` that say the same of every row of several, and need not be in the table."""
    several = [column for column in COLUMNS if column[0] in OFTEN_EQUAL and len(rows) > 1]
    return [column for column in several if len({cell(row, column[0]) for row in rows}) == 1]


def as_table(rows):
    """(heads, cells, alignments) of a table that people read."""
    equal = equal_columns(rows)
    keys, heads, align = zip(*(column for column in COLUMNS if column not in equal), strict=True)
    return heads, [[cell(row, key) for key in keys] for row in rows], align


def row_of(result, baseline):
    """Everything the tables show about one result."""
    summary = result.summary
    row = {name: summary[name] for name in CSV_COLUMNS if name in summary}
    row |= {"result": result.name, "network": result.network_name, "method": result.network["method"]}
    row["seed"] = results.seed_of(result)
    for name in ("accuracy", "macro_f1", "pr_auc", "roc_auc"):
        row[f"{name}_low"], row[f"{name}_high"] = summary.get(f"{name}_ci95") or (None, None)
    over_seeds = (result.seeds or {}).get(result.main)
    if over_seeds:
        row[f"{result.main}_mean"], row[f"{result.main}_std"] = over_seeds["mean"], over_seeds["std"]
        row["seeds"] = f"{100 * over_seeds['mean']:.1f} ± {100 * over_seeds['std']:.1f} ({over_seeds['n']})"
    if result is baseline:
        return row
    row["compared_to"] = baseline.name
    if not results.same_tracks(result, baseline):
        return row
    return row | COMPARED[result.task](result, baseline, results.artists_of(result, baseline))


def compare_tags(a, b, artists):
    """The part of a row that says how much better the tagger ``a`` is than ``b``; artists: (N,) or None."""
    columns = [results.PROBABILITY + tag for tag in a.genres]
    others = b.predictions.loc[a.predictions.index, columns].to_numpy()
    paired = tag_metrics.paired_difference(a.probabilities, others, a.truth, artists)
    return difference_of(paired)


def compare_genres(a, b, artists):
    """The part of a row that says how much better ``a`` is than ``b``; artists: (N,) or None."""
    right = [one.right.loc[a.right.index].to_numpy() for one in (a, b)]
    return compare_pairs(*right, artists, math.lcm(a.right_of, b.right_of))


COMPARED = {"genres": compare_genres, "tags": compare_tags}


def difference_of(paired):
    low, high = paired["ci95"]
    return {"difference": paired["difference"], "difference_low": low, "difference_high": high}


def compare_pairs(a, b, artists, parts=1):
    """The part of a row that says how much better ``a`` is than ``b``, each (N,); artists: (N,) or None.

    parts: see :func:`statistics.sign_flip`.
    """
    if artists is None and parts == 1:
        p, over = statistics.mcnemar(a, b), "tracks"
    else:
        p, over = statistics.sign_flip(a, b, artists, parts), "seeds" if artists is None else "artists"
    return {**difference_of(statistics.paired_bootstrap(a, b, artists)), "p": p, "p_over": over}


def best_on_the_same_tracks(result, found):
    """The first of ``found``, the best first, that ``result`` can be compared to."""
    return next(other for other in found if results.same_tracks(other, result))


def warnings(found):
    """What makes these results hard to compare, one line each."""
    first, *others = found
    lines = []
    for key, what in (("dataset", "datasets"), ("genres", first.task), ("train_split", "training splits")):
        values = list(dict.fromkeys(_as_text(getattr(result, key)) for result in found))
        if len(values) > 1:
            lines.append(f"WARNING: these results come from different {what}: {'; '.join(values)}")
    differing = [result.name for result in others if not results.same_tracks(first, result)]
    if differing:
        same = f"the same tracks and {first.task} as {first.name}"
        lines.append(f"WARNING: not tested on {same}: {', '.join(differing)}")
    return lines


def footnotes(rows, baseline):
    """How to read the intervals and the last two columns."""
    names = {over: [row["result"] for row in rows if row.get("resampled", "tracks") == over] for over in TESTS}
    mixed = sum(map(bool, names.values())) > 1
    lines = [f"intervals over {over}" + (f": {', '.join(of)}" if mixed else "") for over, of in names.items() if of]
    if any(row.get("num_seeds", 1) > 1 and not row["result"].endswith(" seeds)") for row in rows):
        lines.append("of several seeds by one run (--num_seeds): all but 'over seeds' is of the first seed")
    if not any("difference" in row for row in rows):
        return lines
    comparisons = sum("p" in row for row in rows)
    what, best = ("difference and p", "most accurate") if comparisons else ("difference in PR-AUC", "best")
    if baseline:
        lines.append(f"{what}: against {baseline.name}")
    else:
        lines += [
            f"{what}: against the {best} result on the same tracks",
            "it was picked on these very tracks, so its lead is flattered; --baseline names another",
        ]
    over = {row.get("p_over") for row in rows}
    lines += [f"p over {'tracks' if key == 'seeds' else key}: {test}" for key, test in TESTS.items() if key in over]
    if any(row["result"].endswith(" seeds)") for row in rows):
        lines.append(f"intervals and p {THESE_SEEDS}")
    if comparisons > 1:
        lines.append(f"with {comparisons} comparisons, hold p against {0.05 / comparisons:.3f} rather than 0.05")
    return lines


def _as_text(value):
    return ", ".join(value) if isinstance(value, list) else str(value)


def cell(row, key):
    """One value as people read it; empty where there is none."""
    value = row.get(key)
    if value is None:
        return ""
    if key in ("accuracy", "pr_auc", "difference"):
        low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
        interval = None if low is None else (low, high)
        return tables.with_interval(value, interval, digits=1, times=100, sign="+" if key == "difference" else "")
    if key == "p":
        return "<0.001" if value < 0.001 else tables.number(value)
    if isinstance(value, int):
        return f"{value:,}"
    return tables.number(value) if isinstance(value, float) else value


if __name__ == "__main__":
    utils.run(main, get_args_parser())
