"""What does the pre-training save in labels? Accuracy by the share of the training labels, in one figure.

    python -m benchmarks.label_efficiency --exp_path 154874 203311 318820 --transfer_flags "--num_epochs 30"
    python -m benchmarks.label_efficiency --exp_path 154874 --rows frozen,kmeans --test_split test --out exp/final

Rows: frozen (linear probe), finetune (all weights), scratch (the same network from random weights) and kmeans (a
k-means dictionary of spectrogram columns, nothing pre-trained). The experiments are seeds of one pre-training: run
number s takes number s of them, round and round, and draws its labels by seed s. Below all the labels nothing is
chosen on validation tracks (transfer.py --help), so that they can stand in for the test tracks, which are left alone
by default. Writes <out>/label_efficiency.csv after every run, and label_efficiency.md and .png at the end. It can be
stopped and run again.
"""

import shlex
import shutil
from pathlib import Path

import utils

ROWS = {  # flags of transfer.py, and the name in the table
    "frozen": ("--protocol linear", "frozen, linear probe"),
    "finetune": ("--protocol finetune", "fine-tuned"),
    "scratch": ("--protocol scratch", "from scratch"),
    "kmeans": ("--protocol linear --baseline kmeans", "k-means dictionary"),
}
RESULT = ["n_train", "n_test", "accuracy", "macro_f1", "seconds"]  # kept of result.json
COLUMNS = ["row", "fraction", "seed", *RESULT, "num_genres", "dataset", "chosen_by", "result"]
TEXTS = ("row", "dataset", "chosen_by", "result")  # of these columns
KEPT = ("exp_path", "dataset", "test_split", "transfer_flags", "scratch_flags")  # one --out, one choice of these


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--exp_path", nargs="+", required=True, metavar="ID", help="experiments: ids or paths")
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument("--dataset", help="spectrogram folder <data_dir>/<dataset>_npy (default: the experiment's)")
    parser.add_argument("--data_dir", help="folder of the spectrogram folders (default: the experiment's, or data)")
    parser.add_argument("--rows", default=",".join(ROWS), help="comma list of what to compare")
    parser.add_argument(
        "--fractions", type=utils.fractions, default="0.01,0.03,0.1,0.3,1", help="shares of the training labels"
    )
    parser.add_argument("--num_seeds", type=utils.count, default=3, help="draws of the labels, and runs, of each")
    parser.add_argument(
        "--test_split", choices=["validation", "test"], default="validation",
        help="test: for the final figure, when nothing is left to choose",
    )  # fmt: skip
    parser.add_argument(
        "--transfer_flags", type=utils.row_flags, default="",
        help='more flags of transfer.py for all rows, as one text: "--num_epochs 10"',
    )
    parser.add_argument(
        "--scratch_flags", type=utils.row_flags, default="",
        help='of the network from scratch alone, which needs more steps than a pre-trained one: "--num_epochs 30"',
    )  # fmt: skip
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", default="exp/label_efficiency", help="folder of the table and the figure")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import pandas as pd

from evaluation import plots, tables
from training.experiment import Experiment
from training.kept import digest_of_arrays
from training.options import PROTOCOLS


def main(args):
    names, fractions, out = list(dict.fromkeys(args.rows.split(","))), sorted(set(args.fractions)), Path(args.out)
    unknown = sorted(set(names) - set(ROWS))
    if unknown:
        raise utils.UserError(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    experiments = [utils.find_experiment(each, args.exp_dir) for each in args.exp_path]
    weights = [utils.digest(experiment / "pre.pth") for experiment in experiments]
    folder = common_folder(experiments, args)
    with utils.locked(out):
        kept = {name: getattr(args, name) for name in KEPT}
        kept |= {"weights": weights, "arrays": digest_of_arrays(folder)[:16], "defaults": defaults()}
        utils.keep_settings(out / "settings.json", kept)
        copies = [copied(*each, out / "exp") for each in zip(experiments, weights, strict=True)]
        rows = read_rows(out / "label_efficiency.csv")
        keys = [(name, fraction, seed) for seed in range(args.num_seeds) for fraction in fractions for name in names]
        for key in utils.progress([key for key in keys if key not in rows], desc="runs"):
            rows[key] = run(*key, copies[key[2] % len(copies)], folder, args)
            lines = [[row[column] for column in COLUMNS] for row in rows.values()]
            utils.write_csv(out / "label_efficiency.csv", COLUMNS, lines)
        shown = [{**rows[key], "name": ROWS[key[0]][1]} for key in sorted(keys, key=lambda key: names.index(key[0]))]
        print(write(shown, args, out))
    print(out / "label_efficiency.md")


def common_folder(experiments, args):
    """The :class:`data.folder.Folder` that all are judged on. Raises :class:`utils.UserError` where they are many."""
    folders = [Experiment.read(one).spectrograms(args.data_dir, args.dataset) for one in experiments]
    if len({folder.path.resolve() for folder in folders}) > 1:
        raise utils.UserError("the experiments were trained on different folders: give --data_dir and --dataset")
    return folders[0]


def write(shown, args, out):
    """The table and the figure. Returns the table's text."""
    text = markdown(shown, args)
    utils.write_text(out / "label_efficiency.md", text)
    title = f"{shown[0]['dataset']}: accuracy on {shown[0]['n_test']} {args.test_split} tracks"
    chance = 1 / shown[0]["num_genres"]
    plots.write(out / "label_efficiency.png", plots.label_efficiency, shown, chance, title=title)
    return text


def copied(experiment, weights, folder):
    """The experiment without its results, which the many runs to come would crowd out. Returns its place.

    Named by the digest of its weights: two experiments may have one name, and one may be trained on.
    """
    for name in ("configuration.json", "pre.pth"):
        copy = folder / weights / name
        if not copy.exists() or utils.digest(copy) != utils.digest(experiment / name):
            with utils.atomic_path(copy) as temporary:
                shutil.copyfile(experiment / name, temporary)
    return folder / weights


def defaults():
    """What transfer.py trains by where no flag says otherwise: rows of other defaults are of another table."""
    return ", ".join(f"{name} --lr {one.lr:g} --num_epochs {one.num_epochs}" for name, one in PROTOCOLS.items())


def read_rows(path):
    """{(row, fraction, seed): row} of a table that an earlier call has left."""
    rows = tables.read_runs(path, COLUMNS, TEXTS)
    for row in rows:
        if not (0 <= row["accuracy"] <= 1 and min(row["n_train"], row["n_test"], row["num_genres"] - 1) >= 1):
            raise utils.UserError(f"{path} says what no run has said, of {row['row']}: choose another --out")
    return {(row["row"], row["fraction"], row["seed"]): row for row in rows}


def run(name, fraction, seed, experiment, folder, args):
    """One classifier, trained and judged: a dict of ``COLUMNS``."""
    flags = [*shlex.split(ROWS[name][0]), *shlex.split(args.transfer_flags)]
    flags += shlex.split(args.scratch_flags) if name == "scratch" else []  # of a flag twice, the last counts
    flags += ["--dataset", folder.dataset, "--data_dir", folder.path.parent]
    flags += ["--label_fraction", fraction, "--seed", seed, "--test_split", args.test_split, "--device", args.device]
    file = Path(utils.call("transfer.py", "--exp_path", experiment, *flags))
    if file.parent.parent.resolve() != experiment.resolve():
        raise utils.UserError(f"--out {args.out}: choose a folder whose name is on one line")
    result = utils.read_json(file)
    (file.parent / "transfer.pth").unlink()  # there will be many
    return {
        "row": name, "fraction": fraction, "seed": seed, **{each: result[each] for each in RESULT},
        "num_genres": len(result["genres"]), "dataset": result["dataset"], "chosen_by": result["chosen"]["by"],
        "result": str(file.parent),
    }  # fmt: skip


def markdown(rows, args):
    """A line for each row, a column for each share: mean ± standard deviation over the seeds."""
    table = pd.DataFrame(rows)
    tracks = table.groupby("fraction")["n_train"].first()
    head = ["accuracy on " + args.test_split, *(f"{share:.3g} ({n} tracks)" for share, n in tracks.items())]
    cells = [
        [name, *(tables.mean_std(part[part["fraction"] == share]["accuracy"]) for share in tracks.index)]
        for name, part in table.groupby("name", sort=False)
    ]
    text = tables.markdown(head, cells, "l" + "r" * len(tracks))
    chance = 1 / rows[0]["num_genres"]
    used = ", ".join(args.exp_path[: args.num_seeds])
    about = f"Seeds: {args.num_seeds}, ± is their deviation. Pre-trained: {used}. Chance is {chance:.3f}."
    if args.test_split == "validation" and tracks.index[-1] == 1:
        about += " With all labels, epoch and penalty are chosen on the tracks that judge: a little too good."
    return f"{text}\n\n{about}\n"


if __name__ == "__main__":
    utils.run(main, get_args_parser())
