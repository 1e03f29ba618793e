"""Do coarse frames bound the accuracy? The same tracks with ever fewer columns, judged on validation tracks.

    python -m benchmarks.resolution --dataset gtzan_coarse --every 1,3,6,12
    python -m benchmarks.resolution --dataset gtzan_coarse --rows simsiam --train_flags "--num_epochs 60"

Of each stored spectrogram one column of ``--every`` is kept, in copies under <out>/data, and nothing else changes:
the windows are as long as they were, the crops hold as many columns. Rows: stats (band statistics), kmeans (a
dictionary of columns), scratch (the default network, supervised) and simsiam (pre-trained on the thinned arrays, then
a linear probe). Where accuracy still rises from one resolution to the next finer one, finer arrays may raise it
further. Writes <out>/resolution.csv after every run, and resolution.md at the end. It can be stopped and run again.
"""

import dataclasses
import shlex
from pathlib import Path

import utils

ROWS = {  # flags of transfer.py, and the name in the table
    "stats": ("--protocol linear --baseline stats", "band statistics"),
    "kmeans": ("--protocol linear --baseline kmeans", "k-means dictionary"),
    "scratch": ("--protocol scratch --backbone frames", "the default network from scratch"),
    "simsiam": ("--protocol linear", "SimSiam, linear probe"),
}
COLUMNS = ["row", "every", "seed", "accuracy"]
KEPT = ("dataset", "train_flags", "transfer_flags", "scratch_flags")  # one --out, one choice of these


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--dataset", default="fma_small", help="spectrogram folder <data_dir>/<dataset>_npy")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--every", type=utils.counts, default="1,2,4,8", help="keep one column of so many")
    parser.add_argument("--rows", default="stats,kmeans", help=f"comma list of what to compare: {', '.join(ROWS)}")
    parser.add_argument("--num_seeds", type=utils.count, default=3, help="runs of each row that has a seed")
    parser.add_argument(
        "--train_flags", type=utils.flags, default="", help='of train_simsiam.py, as one text: "--num_epochs 30"'
    )
    parser.add_argument(
        "--transfer_flags", type=utils.validation_flags, default="", help="flags of transfer.py for all rows"
    )
    parser.add_argument("--scratch_flags", type=utils.validation_flags, default="", help="more of the row scratch")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", default="exp/resolution", help="folder of the copies and of the table")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    get_args_parser().parse_args()

import numpy as np

from data.folder import COLUMNS as TRACKS
from data.folder import open_folder, read_array
from evaluation import tables


def main(args):
    names, out = list(dict.fromkeys(args.rows.split(","))), Path(args.out)
    unknown = sorted(set(names) - set(ROWS))
    if unknown:
        raise utils.UserError(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    folder = open_folder(args.data_dir, args.dataset, kinds=("spectrogram",))
    every = sorted(set(args.every))
    with utils.locked(out):
        utils.keep_settings(out / "settings.json", {name: getattr(args, name) for name in KEPT})
        settings = {number: thinned(folder, number, out / "data") for number in every}
        rows = {(row["row"], row["every"], row["seed"]): row for row in read_rows(out / "resolution.csv")}
        keys = [
            (name, number, seed) for seed in range(args.num_seeds) for number in every for name in names
            if not (name == "stats" and seed)
        ]  # fmt: skip
        for key in utils.progress([key for key in keys if key not in rows], desc="runs"):
            rows[key] = dict(zip(COLUMNS, (*key, run(*key, out, args)), strict=True))
            utils.write_csv(out / "resolution.csv", COLUMNS, [list(row.values()) for row in rows.values()])
        text = markdown([rows[key] for key in keys], names, settings)
        utils.write_text(out / "resolution.md", text)
    print(text)
    print(out / "resolution.md")


def thinned(folder, every, data_dir):
    """``<data_dir>/every<N>_npy``: the folder with one column of ``every``. Returns its settings."""
    copy = data_dir / f"every{every}_npy"
    settings = dataclasses.replace(folder.settings, hop_length=every * folder.settings.hop_length)
    if (copy / "tracks.csv").exists():  # written last
        return settings
    lines = []
    for row in utils.progress(folder.tracks.itertuples(), total=len(folder.tracks), desc=f"one column of {every}"):
        array = read_array(folder, row)[:, ::every]
        path = f"{row.Index // 1000:03d}/{row.Index:06d}.npy"
        utils.save_array(copy / path, np.ascontiguousarray(array))
        lines.append([row.track_id, path, row.genre_top, row.split, array.shape[1]])
    utils.write_json(copy / "spectrogram.json", {k: v for k, v in settings.to_json().items() if k != "index_of"})
    utils.write_csv(copy / "tracks.csv", TRACKS, lines)
    return settings


def read_rows(path):
    return tables.read_runs(path, COLUMNS, texts=("row",))


def run(name, every, seed, out, args):
    """One row at one resolution: its accuracy on the validation tracks."""
    common = ["--dataset", f"every{every}", "--data_dir", out / "data", "--exp_dir", out / "exp"]
    common += ["--seed", seed, "--device", args.device]
    flags = [*shlex.split(ROWS[name][0]), *shlex.split(args.transfer_flags), "--test_split", "validation"]
    if name == "simsiam":
        flags += ["--exp_path", utils.call("train_simsiam.py", *common, *shlex.split(args.train_flags))]
    if name == "scratch":
        flags += shlex.split(args.scratch_flags)
    if name in ("stats", "kmeans"):
        flags += ["--num_seeds", 1]
    return utils.read_json(utils.call("transfer.py", *common, *flags))["accuracy"]


def markdown(rows, names, settings):
    """A line for each row, a column for each resolution: mean ± standard deviation over the seeds."""
    head = ["accuracy on validation", *(f"1 of {n}: {rate(one):.3g} columns/s" for n, one in settings.items())]
    lines = []
    for name in names:
        found = [[row["accuracy"] for row in rows if (row["row"], row["every"]) == (name, n)] for n in settings]
        lines.append([ROWS[name][1], *map(mean_std, found)])
    return tables.markdown(head, lines, "l" + "r" * len(settings)) + "\n"


def rate(settings):
    return settings.sample_rate / settings.hop_length


def mean_std(values):
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
