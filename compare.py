"""Put many results into one table, with intervals, and say which differences are more than chance.

    python compare.py 154874 203311                     every transfer of two experiments
    python compare.py 154874/linear 203311/linear       two transfers
    python compare.py 154874 203311 --baseline 154874/linear
    python compare.py 154874 --html                     also one page per experiment: <experiment>/report.html

Each accuracy has its 95 % bootstrap interval over test tracks. On the same tracks, two results are compared pair by
pair: the interval of the difference in accuracy (paired bootstrap) and McNemar's exact p.
"""

import utils
from evaluation import report, results, statistics

# key of a row, heading, whether it is text (left-aligned)
COLUMNS = (
    ("result", "result", True),
    ("network", "network", True),
    ("protocol", "protocol", True),
    ("dataset", "dataset", True),
    ("n_train", "trained on", False),
    ("n_test", "tested on", False),
    ("accuracy", "accuracy % [95 %]", False),
    ("seeds", "over seeds", False),
    ("macro_f1", "macro F1", False),
    ("roc_auc", "ROC-AUC", False),
    ("difference", "difference % [95 %]", False),
    ("mcnemar_p", "p", False),
)
CSV_COLUMNS = (
    *("result", "method", "backbone", "baseline", "layer", "protocol"),
    *("dataset", "train_split", "label_fraction", "n_train", "n_test", "num_seeds", "accuracy_mean", "accuracy_std"),
    *("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "macro_f1_low", "macro_f1_high"),
    *("balanced_accuracy", "macro_precision", "macro_recall", "roc_auc", "average_precision"),
    *("log_loss", "calibration_error", "validation_accuracy", "crop_accuracy"),
    *("compared_to", "difference", "difference_low", "difference_high", "mcnemar_p"),
)


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("experiments", metavar="EXP", nargs="+", help="an experiment (id or path), or one transfer")
    parser.add_argument("--baseline", metavar="EXP", help="compare all to this result (default: the most accurate)")
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument("--out", default="compare.csv", help="the table with every number, as CSV")
    parser.add_argument("--markdown", metavar="FILE", help="also write the table as Markdown")
    parser.add_argument("--html", action="store_true", help="also write report.html into each experiment's folder")
    return parser


def main(args):
    found = read_all(args.experiments, args.exp_dir)
    baseline = read_baseline(args.baseline, args.exp_dir) if args.baseline else None
    if baseline and baseline.folder not in [result.folder for result in found]:
        found.append(baseline)
    found.sort(key=lambda result: -result.summary["accuracy"])
    rows = [row_of(result, baseline or best_on_the_same_tracks(result, found)) for result in found]
    lines = [*warnings(found), *footnotes(rows, baseline)]

    print(text_table(rows))
    print("\n".join(["", *lines]))
    utils.write_csv(args.out, CSV_COLUMNS, [[csv_value(row.get(name)) for name in CSV_COLUMNS] for row in rows])
    if args.markdown:
        with utils.atomic_path(args.markdown) as temporary:
            notes = "\n".join(f"- {line}" for line in lines)
            temporary.write_text(f"{markdown_table(rows)}\n\n{notes}\n", encoding="utf-8")
    if args.html:
        for experiment in sorted({result.folder.parent for result in found}):
            print(report.write_report(experiment))
    if args.markdown:
        print(args.markdown)
    print(args.out)


def read_all(experiments, exp_dir):
    """The results that the command line names, each once."""
    folders = [folder.resolve() for experiment in experiments for folder in results.find(experiment, exp_dir)]
    return [results.read(folder) for folder in dict.fromkeys(folders)]


def read_baseline(name, exp_dir):
    """The one result that ``name`` means. Raises :class:`utils.UserError` when it means several."""
    folders = results.find(name, exp_dir)
    if len(folders) > 1:
        there = ", ".join(f"{name}/{folder.name}" for folder in folders)
        raise utils.UserError(f"--baseline {name} means several results; say which of {there}")
    return results.read(folders[0])


# ------------------------------------------------------------------ numbers


def row_of(result, baseline):
    """Everything the tables show about one result."""
    summary, flags = result.summary, result.configuration.get("flags", {})
    row = {name: summary[name] for name in CSV_COLUMNS if name in summary}
    row |= {"result": result.name, "network": result.network, "method": flags.get("method")}
    row.setdefault("backbone", flags.get("backbone"))
    for name in ("accuracy", "macro_f1"):
        row[f"{name}_low"], row[f"{name}_high"] = summary.get(f"{name}_ci95") or (None, None)
    over_seeds = (summary.get("seeds") or {}).get("accuracy")
    if over_seeds:
        row["accuracy_mean"], row["accuracy_std"] = over_seeds["mean"], over_seeds["std"]
        row["seeds"] = f"{100 * over_seeds['mean']:.1f} ± {100 * over_seeds['std']:.1f} ({over_seeds['n']})"
    if result.folder == baseline.folder:
        return row
    row["compared_to"] = baseline.name
    correct = correct_on_the_same_tracks(result, baseline)
    if correct:
        paired = statistics.paired_bootstrap(*correct)
        row["difference"], (row["difference_low"], row["difference_high"]) = paired["difference"], paired["ci95"]
        row["mcnemar_p"] = statistics.mcnemar(*correct)
    return row


def correct_on_the_same_tracks(a, b):
    """Which tracks each has right, two (N,) of booleans in the same order; None when the tracks are not the same."""
    if not same_tracks(a, b):
        return None
    order = a.predictions.index
    return [
        (table["truth"] == table["prediction"]).loc[order].to_numpy() for table in (a.predictions, b.predictions)
    ]


def best_on_the_same_tracks(result, found):
    """The first of ``found``, which are sorted by accuracy, that ``result`` can be compared to."""
    return next(other for other in found if same_tracks(other, result))


def same_tracks(a, b):
    """The same ids with the same genres: the comparison is pair by pair."""
    return a.predictions["truth"].sort_index().equals(b.predictions["truth"].sort_index())


def warnings(found):
    """What makes these results hard to compare, one line each."""
    first, *others = found
    lines = []
    for key, what in (("dataset", "datasets"), ("genres", "genres"), ("train_split", "training splits")):
        values = list(dict.fromkeys(_as_text(result.summary.get(key)) for result in found))
        if len(values) > 1:
            lines.append(f"WARNING: these results come from different {what}: {'; '.join(values)}")
    differing = [result.name for result in others if not same_tracks(first, result)]
    if differing:
        lines.append(f"WARNING: not tested on the same tracks as {first.name}: {', '.join(differing)}")
    return lines


def footnotes(rows, baseline):
    """How to read the last two columns."""
    comparisons = sum("mcnemar_p" in row for row in rows)
    if not comparisons:
        return []
    if baseline:
        lines = [f"difference and p: against {baseline.name}"]
    else:
        lines = [
            "difference and p: against the most accurate result on the same tracks",
            "it was picked on these very tracks, so its lead is flattered; --baseline names another",
        ]
    if comparisons > 1:
        lines.append(f"with {comparisons} comparisons, hold p against {0.05 / comparisons:.3f} rather than 0.05")
    return lines


def _as_text(value):
    return ", ".join(value) if isinstance(value, list) else str(value)


# ------------------------------------------------------------------ tables


def text_table(rows):
    """Aligned columns; those that are empty in every row are left out."""
    cells = [[heading for _, heading, _ in COLUMNS], *([cell(row, key) for key, _, _ in COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    used = [index for index, column in enumerate(zip(*cells[1:], strict=True)) if any(column)]
    lines = [
        "  ".join(line[i].ljust(widths[i]) if COLUMNS[i][2] else line[i].rjust(widths[i]) for i in used).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def markdown_table(rows):
    lines = [
        [heading for _, heading, _ in COLUMNS],
        ["---" if left else "--:" for _, _, left in COLUMNS],
        *([cell(row, key).replace("|", r"\|") for key, _, _ in COLUMNS] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(row, key):
    """One value as people read it; empty where there is none."""
    value = row.get(key)
    if value is None:
        return ""
    if key in ("accuracy", "difference"):
        sign = "+" if key == "difference" else ""
        low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
        interval = "" if low is None else f" [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
        return f"{100 * value:{sign}.1f}{interval}"
    if key == "mcnemar_p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else value


def csv_value(value):
    return "" if value is None else value


if __name__ == "__main__":
    utils.run(main, get_args_parser())
