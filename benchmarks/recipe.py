"""Search for a pre-training recipe: many candidates for a few epochs, the best for more, judged on validation.

    python -m benchmarks.recipe --dataset fma_small_coarse --out exp/recipe
    python -m benchmarks.recipe --dataset gtzan_coarse --candidates mine.txt --epochs 4,12 --keep 0.5

Successive halving (Jamieson & Talwalkar 2016): every candidate is trained for the first number of epochs, the better
share of them anew for the next, and so on. A candidate is a line ``name: flags of train_simsiam.py``. The score is
the linear probe's accuracy on validation tracks, averaged over the seeds; the test split is not touched. Writes
<out>/recipe.csv after every run and <out>/recipe.md at the end. It can be stopped and run again.
"""

import argparse
from pathlib import Path

import utils

CANDIDATES = """
default:                        --method simsiam
two views:                      --method simsiam --num_views 2
two views of 9.4 s:             --method simsiam --num_views 2 --crop_seconds 9.4
without the covariance term:    --method simsiam --cov 0
more covariance:                --method simsiam --cov 0.1
predictor starts at random:     --method simsiam --no-identity_start
both as in the paper:           --method simsiam --cov 0 --no-identity_start
crops may overlap:              --method simsiam --pair different
the same crop twice:            --method simsiam --pair same --num_views 2
one mean for all bands:         --method simsiam --normalise global
norms of augmented views:       --method simsiam --no-precise_norms
no mixing:                      --method simsiam --lam 1
more mixing:                    --method simsiam --lam 0.6
masks too:                      --method simsiam --aug spec,time_mask,frequency_mask
image views:                    --method simsiam --aug image
audio views:                    --method simsiam --aug audio
SGD:                            --method simsiam --optim SGD
twice the rate:                 --method simsiam --lr 0.002
half the rate:                  --method simsiam --lr 0.0005
batch of 128:                   --method simsiam --batch_size 128
wide projections:               --method simsiam --dim 1024 --proj_dim 1024
narrow projections:             --method simsiam --dim 128
ResNet-18:                      --method simsiam --backbone resnet18
paper's on a ResNet-18:         --method simsiam --backbone resnet18 --aug image --lam 0.7 --aug_p 0.6 --optim SGD \
--pair same --num_views 2 --pool average --normalise global --proj_dim 0 --dim 2048 --pred_dim 512 --cov 0 \
--no-identity_start --no-precise_norms
SimCLR:                         --method simclr
SimCLR of temperature 0.2:      --method simclr --temperature 0.2
BYOL:                           --method byol
autoencoder:                    --method autoencoder
"""
KEPT = ("dataset", "train_flags", "transfer_flags")  # one --out, one choice of these


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--dataset", default="fma_small", help="spectrogram folder <data_dir>/<dataset>_npy")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--candidates", metavar="FILE", help="lines 'name: flags' (default: the list in this file)")
    parser.add_argument("--only", help="comma list of candidates' names (default: all)")
    parser.add_argument("--epochs", type=utils.counts, default="4,12", help="of each round, from few to many")
    parser.add_argument(
        "--keep", type=utils.fraction, default=0.34, help="share of the candidates that the next round gets"
    )
    parser.add_argument("--num_seeds", type=utils.count, default=2, help="runs of each candidate in each round")
    parser.add_argument(
        "--train_flags",
        type=utils.flags,
        default="",
        help="flags of train_simsiam.py for all candidates, as one text",
    )
    parser.add_argument(
        "--transfer_flags", type=utils.validation_flags, default="", help="flags of transfer.py, as one text"
    )
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--exp_dir", default="exp/recipe/exp", help="folder of the experiments")
    parser.add_argument("--out", default="exp/recipe", help="folder of the table")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import pandas as pd

from evaluation import tables
from training import trials

COLUMNS = ["candidate", "epochs", "seed", *trials.COLUMNS, "flags"]
TEXTS = ("candidate", "experiment", "flags")  # of these columns


def main(args):
    utils.check_name("--dataset", args.dataset)
    out = Path(args.out)
    flags_of = choose_candidates(args)
    with utils.locked(out):
        trials.keep_settings(out / "settings.json", args, KEPT)
        rows = read_rows(out / "recipe.csv")
        check_flags(rows, flags_of, args)
        names = list(flags_of)
        for epochs in sorted(args.epochs):
            run_round(names, flags_of, epochs, rows, args, out / "recipe.csv")
            scores = {name: mean_score(rows, name, epochs, args.num_seeds) for name in names}
            names = sorted(names, key=lambda name: -scores[name])[: max(1, round(args.keep * len(names)))]
        utils.write_text(out / "recipe.md", table(rows) + "\n")
    print(table(rows))
    print(out / "recipe.md")


def choose_candidates(args):
    """{name: flags} of those that are asked for. Raises :class:`utils.UserError`."""
    try:
        text = Path(args.candidates).read_text(encoding="utf-8") if args.candidates else CANDIDATES
    except UnicodeDecodeError:
        raise utils.UserError(f"{args.candidates} is not text in UTF-8: save it as that") from None
    flags_of = read_candidates(text)
    names = args.only.split(",") if args.only else flags_of
    unknown = sorted(set(names) - set(flags_of))
    if unknown:
        raise utils.UserError(f"no candidate {', '.join(unknown)}; there are {', '.join(flags_of)}")
    if not flags_of:
        raise utils.UserError("there must be a candidate")
    return {name: flags_of[name] for name in names}


def check_flags(rows, flags_of, args):
    """Raises :class:`utils.UserError` where a candidate has runs by other flags than it has now."""
    now = {name: utils.printable(all_flags(args, flags)) for name, flags in flags_of.items()}
    changed = {name for (name, *_), row in rows.items() if name in now and row["flags"] != now[name]}
    if changed:
        raise utils.UserError(
            f"{args.out} has runs of {', '.join(sorted(changed))} by other flags: choose another --out"
        )


def read_candidates(text):
    """{name: flags} of lines ``name: flags``. Raises :class:`utils.UserError`."""
    whole = text.replace("\\\n", "").splitlines()
    lines = [line.strip() for line in whole if line.strip() and not line.startswith("#")]
    if not all(":" in line for line in lines):
        raise utils.UserError("a candidate is a line 'name: flags of train_simsiam.py'")
    flags_of = {}
    for name, flags in (line.split(":", 1) for line in lines):
        name = utils.printable(name.strip())  # as it will stand in the table
        if name in flags_of:
            raise utils.UserError(f"there are two candidates '{name}': give each a name of its own")
        try:
            flags_of[name] = utils.flags(flags.strip())
        except argparse.ArgumentTypeError as error:
            raise utils.UserError(f"candidate {name}: {error}") from None
    return flags_of


def read_rows(path):
    """{(candidate, epochs, seed): row} of a table that an earlier call has left."""
    rows = tables.read_runs(path, COLUMNS, TEXTS)
    return {(row["candidate"], row["epochs"], row["seed"]): row for row in rows}


def run_round(names, flags_of, epochs, rows, args, path):
    """Runs what is not there yet of one round, and writes the table after each run."""
    todo = [(name, epochs, seed) for seed in range(args.num_seeds) for name in names]
    todo = [key for key in todo if key not in rows]
    for key in utils.progress(todo, desc=f"{epochs} epochs"):
        name, _, seed = key
        common = ["--dataset", args.dataset, "--data_dir", args.data_dir, "--exp_dir", args.exp_dir]
        common += ["--device", args.device, "--seed", seed]
        flags = all_flags(args, flags_of[name])
        row = trials.trial(common, flags, args.transfer_flags, epochs)
        rows[key] = {"candidate": name, "epochs": epochs, "seed": seed, **row, "flags": flags}
        utils.write_csv(path, COLUMNS, [[one[column] for column in COLUMNS] for one in rows.values()])


def all_flags(args, own):
    return f"{args.train_flags} {own}".strip()


def mean_score(rows, name, epochs, num_seeds):
    return sum(rows[name, epochs, seed]["linear_accuracy"] for seed in range(num_seeds)) / num_seeds


def table(rows):
    """As Markdown: one line for each candidate and number of epochs, the best of the longest round first."""
    means = pd.DataFrame(rows.values()).groupby(["candidate", "epochs"]).agg(
        runs=("seed", "size"), linear=("linear_accuracy", "mean"), lowest=("linear_accuracy", "min"),
        highest=("linear_accuracy", "max"), knn=("knn_accuracy", "mean"), loss=("loss", "mean"),
        rank=("effective_rank", "mean"), backbone_rank=("backbone_rank", "mean"), minutes=("minutes", "mean"),
    ).reset_index().sort_values(["epochs", "linear"], ascending=False)  # fmt: skip
    head = ["candidate", "epochs", "runs", "linear probe, lowest to highest", "kNN", "loss"]
    head += ["rank of z", "rank of features", "minutes"]
    lines = [
        [
            row.candidate, str(row.epochs), str(row.runs),
            f"{row.linear:.3f} ({row.lowest:.3f} to {row.highest:.3f})",
            f"{row.knn:.3f}", f"{row.loss:.3f}", f"{row.rank:.0f}", f"{row.backbone_rank:.0f}", f"{row.minutes:.1f}",
        ]
        for row in means.itertuples()
    ]  # fmt: skip
    return tables.markdown(head, lines, "lrrrrrrrr")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
