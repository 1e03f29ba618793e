"""Measure the linear probe's fits against scikit-learn's, on made-up features; prints Markdown.

    python -m benchmarks.fits

5,754 tracks of eight genres, as FMA-small; the features are strong along few directions, as those of a network. Both
fit the three strongest penalties, each from where the one before ended.
"""

import time

import utils

TRACKS, GENRES, WIDTHS = 5754, 8, (1536, 6144)
STRENGTH = -0.75  # exponent by which directions weaken


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--tracks", type=utils.count, default=TRACKS, help="training tracks")
    parser.add_argument("--widths", type=utils.counts, default=",".join(map(str, WIDTHS)), help="numbers of features")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch

from models.classifier import INVERSE_PENALTIES
from models.logistic import Logistic

PENALTIES = INVERSE_PENALTIES[:3]


def main(args):
    print("| features | scikit-learn, CPU s | ours, CPU s | ratio | largest difference of a probability |")
    print("|---:|---:|---:|---:|---:|")
    for width in args.widths:
        x, y = made_up(args.tracks, width)
        theirs, slow = timed(lambda x=x, y=y: fit_theirs(x.numpy(), y.numpy()))
        ours, fast = timed(lambda x=x, y=y: fit_ours(x, y))
        apart = abs((x @ ours.weight.T + ours.bias).softmax(1).numpy() - theirs.predict_proba(x.numpy())).max()
        print(f"| {width:,} | {slow:.1f} | {fast:.1f} | {slow / fast:.1f} | {apart:.4f} |", flush=True)


def made_up(tracks, width):
    """Standardised features (N, D), and labels (N,) that some of their directions tell."""
    chance = torch.Generator().manual_seed(0)
    strength = torch.arange(1, width + 1) ** STRENGTH
    hidden = torch.randn(tracks, width, generator=chance)
    labels = (hidden[:, :GENRES] + 2 * torch.randn(tracks, GENRES, generator=chance)).argmax(1)
    x = (hidden * strength) @ torch.randn(width, width, generator=chance)
    std, mean = torch.std_mean(x, 0)
    return (x - mean) / std, labels


def fit_theirs(x, y):
    from sklearn.linear_model import LogisticRegression  # slow to import

    fit = LogisticRegression(max_iter=1000, warm_start=True)
    for inverse_penalty in PENALTIES:
        fit.set_params(C=inverse_penalty).fit(x, y)
    return fit


def fit_ours(x, y):
    regression, fit = Logistic(x, y, GENRES), None
    for inverse_penalty in PENALTIES:
        fit = regression.fit(inverse_penalty, fit)
    return fit


def timed(function):
    """(what it returns, CPU seconds)."""
    begin = time.process_time()
    result = function()
    return result, time.process_time() - begin


if __name__ == "__main__":
    utils.run(main, get_args_parser())
