"""What do columns and their order hold? The same tracks with fewer, or shuffled, ones, judged on validation tracks.

    python -m benchmarks.resolution --dataset gtzan_coarse --every 1,3,6,12
    python -m benchmarks.resolution --dataset gtzan_coarse --rows simsiam --train_flags "--num_epochs 60"
    python -m benchmarks.resolution --dataset gtzan_coarse --every 1 --shuffle --rows scratch --out exp/shuffled

Of each stored spectrogram one column of ``--every`` is kept, in copies under <out>/data, and nothing else changes:
the windows are as long as they were, the crops hold as many columns. Rows: stats (band statistics), kmeans (a
dictionary of columns), scratch (the default network, supervised) and simsiam (pre-trained on the thinned arrays, then
a linear probe). Where accuracy still rises from one resolution to the next finer one, finer arrays may raise it
further. With ``--shuffle`` the columns that are kept come in a random order: what is worse then has made use of what
follows what. Writes <out>/resolution.csv after every run, and resolution.md at the end. It can be stopped and run
again: of pre-trainings that are finished, pretrained.csv says where they are.
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
PRETRAINED = ["row", "every", "seed", "experiment"]
KEPT = ("dataset", "train_flags", "transfer_flags", "scratch_flags")  # one --out, one choice of these
OWN = {"--device": "this command has such a flag itself", "--size": "--dataset says it"}
COPY = "copy.json"  # in each copy: of what it is one, and what it holds
LEAST = 8  # columns of the shortest track: of fewer there is nothing to learn


def train_flags(text):
    """:func:`utils.flags` of train_simsiam.py, without what this command says itself."""
    return utils.without(utils.flags(text), OWN)


def row_flags(text):
    """:func:`utils.validation_flags` that leave a row what its name says."""
    row = dict.fromkeys(("--protocol", "--baseline", "--backbone", "--layer", "--sweep_layers"), "the row says it")
    return utils.without(utils.validation_flags(text), {**OWN, "--num_seeds": OWN["--device"], **row})


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--dataset", default="fma_small", help="spectrogram folder <data_dir>/<dataset>_npy")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--every", type=utils.counts, default="1,2,4,8", help="keep one column of so many")
    parser.add_argument(
        "--shuffle", action="store_true", help="put the columns that are kept of a track into a random order"
    )
    parser.add_argument("--rows", default="stats,kmeans", help=f"comma list of what to compare: {', '.join(ROWS)}")
    parser.add_argument("--num_seeds", type=utils.count, default=3, help="runs of each row that has a seed")
    parser.add_argument(
        "--train_flags", type=train_flags, default="", help='of train_simsiam.py, as one text: "--num_epochs 30"'
    )
    parser.add_argument("--transfer_flags", type=row_flags, default="", help="flags of transfer.py for all rows")
    parser.add_argument("--scratch_flags", type=row_flags, default="", help="more of the row scratch")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", default="exp/resolution", help="folder of the copies and of the table")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import numpy as np

from data.folder import COLUMNS as TRACKS
from data.folder import open_folder, read_array
from evaluation import tables
from training.kept import digest_of_arrays


def main(args):
    names, out = list(dict.fromkeys(args.rows.split(","))), Path(args.out)
    unknown = sorted(set(names) - set(ROWS))
    if unknown:
        raise utils.UserError(f"no row {', '.join(map(repr, unknown))}; there are {', '.join(ROWS)}")
    folder = open_folder(args.data_dir, args.dataset, kinds=("spectrogram",))
    every = sorted(set(args.every))
    check(folder, every[-1], out / "data")
    with utils.locked(out):
        kept = {name: getattr(args, name) for name in KEPT}
        kept["shuffle"] = args.shuffle or None  # as in tables from before there was this flag
        kept["arrays"] = digest_of_arrays(folder)[:16]
        utils.keep_settings(out / "settings.json", kept)
        settings = {number: thinned(folder, number, out / "data", args.shuffle) for number in every}
        rows = {(row["row"], row["every"], row["seed"]): row for row in read_rows(out / "resolution.csv")}
        keys = [
            (name, number, seed) for seed in range(args.num_seeds) for number in every for name in names
            if not (name == "stats" and seed)
        ]  # fmt: skip
        for key in utils.progress([key for key in keys if key not in rows], desc="runs"):
            rows[key] = dict(zip(COLUMNS, (*key, run(*key, out, args)), strict=True))
            lines = [[row[column] for column in COLUMNS] for row in rows.values()]
            utils.write_csv(out / "resolution.csv", COLUMNS, lines)
        text = markdown([rows[key] for key in keys], names, settings, args.shuffle)
        utils.write_text(out / "resolution.md", text)
    print(text)
    print(out / "resolution.md")


def check(folder, every, data_dir):
    """Raises :class:`utils.UserError` where copies in ``data_dir`` would replace their source, or hold too little."""
    if any(Path(one).resolve().is_relative_to(data_dir.resolve()) for one in (folder.path, folder.base)):
        raise utils.UserError(f"{folder.dataset} lies in {data_dir}, where the copies of it go: choose another --out")
    shortest = folder.tracks["frames"].min()
    most = max(1, (shortest - 1) // (LEAST - 1))  # every column, as the dataset is, may always be kept
    if every > most:
        raise utils.UserError(
            f"--every {every} leaves fewer than {LEAST} of the {shortest} columns of the shortest track: "
            f"{most} is the largest number for {folder.dataset}"
        )


def thinned(folder, every, data_dir, shuffle=False):
    """``<data_dir>/every<N>_npy``: the folder with one column of ``every``, shuffled or not. Returns its settings."""
    copy, made = data_dir / f"every{every}_npy", {"of": digest_of_arrays(folder), "every": every, "shuffle": shuffle}
    if copy.exists() and not (copy / COPY).is_file():
        raise utils.UserError(f"{copy} is there, and no copy that this command has made: choose another --out")
    settings = dataclasses.replace(folder.settings, hop_length=every * folder.settings.hop_length)
    content = {name: value for name, value in settings.to_json().items() if name != "index_of"}
    tracks = list(folder.tracks.itertuples())
    paths = [f"{row.Index // 1000:03d}/{row.Index:06d}.npy" for row in tracks]
    lines = [
        [row.track_id, path, row.genre_top, row.split, -(-row.frames // every)]
        for row, path in zip(tracks, paths, strict=True)
    ]
    if is_whole(copy, made):
        return settings
    utils.write_json(copy / COPY, made)  # and what else is there was begun and not ended, damaged, or of other arrays
    for row, path in zip(utils.progress(tracks, desc=f"one column of {every}"), paths, strict=True):
        kept = read_array(folder, row)[:, ::every]
        if shuffle:
            kept = np.random.default_rng(row.Index).permutation(kept, axis=1)
        utils.save_array(copy / path, np.ascontiguousarray(kept))
    utils.write_json(copy / "spectrogram.json", content)
    utils.write_csv(copy / "tracks.csv", TRACKS, lines)
    utils.write_json(copy / COPY, {**made, "arrays": digest_of_copy(copy)})
    return settings


def is_whole(copy, made):
    """Whether an earlier call has made this copy to its end, and nothing of it has changed since."""
    try:
        return utils.read_json(copy / COPY) == {**made, "arrays": digest_of_copy(copy)}
    except (utils.UserError, OSError):
        return False


def digest_of_copy(copy):
    return digest_of_arrays(open_folder(copy.parent, copy.name.removesuffix("_npy")))


def read_rows(path):
    return tables.read_runs(path, COLUMNS, texts=("row",))


def run(name, every, seed, out, args):
    """One row at one resolution: its accuracy on the validation tracks."""
    common = ["--dataset", f"every{every}", "--data_dir", out / "data", "--exp_dir", out / "exp"]
    common += ["--seed", seed, "--device", args.device]
    flags = [*shlex.split(ROWS[name][0]), *shlex.split(args.transfer_flags), "--test_split", "validation"]
    if name == "simsiam":
        flags += ["--exp_path", pretrained((name, every, seed), common, out / "pretrained.csv", args)]
    if name == "scratch":
        flags += shlex.split(args.scratch_flags)
    if name in ("stats", "kmeans"):
        flags += ["--num_seeds", 1]
    return utils.read_json(utils.call("transfer.py", *common, *flags))["accuracy"]


def pretrained(key, common, path, args):
    """The experiment of (row, every, seed): one that an earlier call has finished, but not judged, or a new one."""
    rows = tables.read_runs(path, PRETRAINED, texts=("row", "experiment"))
    rows = {(row["row"], row["every"], row["seed"]): row["experiment"] for row in rows}
    if key not in rows or not (Path(rows[key]) / "pre.pth").exists():
        rows[key] = Path(utils.call("train_simsiam.py", *common, *shlex.split(args.train_flags))).resolve()
        utils.write_csv(path, PRETRAINED, [[*key, experiment] for key, experiment in rows.items()])
    return rows[key]


def markdown(rows, names, settings, shuffled):
    """A line for each row, a column for each resolution: mean ± standard deviation over the seeds."""
    head = [f"accuracy on validation{', columns shuffled' if shuffled else ''}"]
    head += [f"1 of {n}: {rate(one):.3g} columns/s" for n, one in settings.items()]
    lines = []
    for name in names:
        found = [[row["accuracy"] for row in rows if (row["row"], row["every"]) == (name, n)] for n in settings]
        lines.append([ROWS[name][1], *map(tables.mean_std, found)])
    return tables.markdown(head, lines, "l" + "r" * len(settings)) + "\n"


def rate(settings):
    return settings.sample_rate / settings.hop_length


if __name__ == "__main__":
    utils.run(main, get_args_parser())
