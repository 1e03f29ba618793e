"""Pictures of a training run and of a classifier: each function draws a Figure, :func:`write` makes a png of it.

Figures are plain objects (no pyplot): nothing global, safe in threads and without a screen. They grow with the names
on them, and titles go on in a second line: no name is too long.
Axes: N tracks, C genres, D feature dimension.
"""

import contextlib
import math
import re
import warnings

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator, NullLocator, PercentFormatter

import utils
from evaluation.metrics import calibration_bins, calibration_error

INK, MUTED, GRID = "#1d2733", "#66727f", "#e6eaee"
MAIN, SECOND, THIRD, FOURTH, PALE = "#2a6fb0", "#e07b39", "#3a9a78", "#7d5bb8", "#bcd3ea"
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#cfe0f1", "#7fb0dc", "#2a6fb0", "#123a63"])
# The first ten differ in hue; the next ten repeat the hues in another lightness, with another marker.
GENRE_COLOURS = (
    *("#2a6fb0", "#e07b39", "#3a9a78", "#c8435a", "#7d5bb8", "#c9a227", "#46b3c9", "#8a5a3c", "#d876ad", "#6b7785"),
    *("#174b7c", "#f2b37e", "#8fce8a", "#7c1f35", "#b9a3e3", "#6f6a1d", "#a5dbe6", "#d9a98a", "#8c2f6b", "#b8c0c8"),
)
MARKERS = "os^D"

DPI = 150
FEW_IN_BIN = 5  # tracks of about the same confidence
TITLE_SIZE = 12  # points
T_SNE_LIMIT = 5000  # tracks; beyond it t-SNE takes minutes
RUN_PANELS = (  # column of train_log.csv, title, colour
    ("loss", "loss", MAIN),
    ("knn_accuracy", "kNN accuracy on validation tracks", THIRD),
    ("probe_accuracy", "linear probe (ridge) on validation tracks", THIRD),
    ("std", "std of the normalised projections", SECOND),
    ("effective_rank", "effective rank of the projections", FOURTH),
    ("backbone_rank", "effective rank of the features", FOURTH),
    ("lr", "learning rate", MUTED),
)
LOG_FIGURES = (("validation_accuracy", "validation accuracy"), ("validation_pr_auc", "validation PR-AUC"))


def write(path, draw, *data, **options):
    """``draw(*data, **options)``, a function of this file, as a png.

    One that fails is a warning: a picture is not worth the numbers that it shows, nor the run that made them.
    """
    names_as_they_are = matplotlib.rc_context({"text.parse_math": False})  # "$" in a genre is no formula
    with or_warn(path, "drawn"), names_as_they_are, warnings.catch_warnings(), utils.atomic_path(path) as temporary:
        warnings.filterwarnings("ignore", "Glyph .* missing")  # boxes stand for letters that the font lacks
        draw(*data, **options).savefig(temporary, dpi=DPI)


def write_all(folder, result, features, title):
    """Every picture of a :class:`results.Result` into ``folder``; features (N, D) are those of the test tracks."""
    {"genres": write_genres, "tags": write_tags}[result.task](folder, result, features, title)
    if len(result.log):
        write(folder / "transfer_log.png", transfer_log, result.log, title=title)
    if len(result.curve):
        write(folder / "label_curve.png", label_curve, result.curve, title=title)


def write_genres(folder, result, features, title):
    truth, genres = result.truth, result.genres
    write(folder / "confusion.png", confusion, result.confusion, genres, title=title)
    write(folder / "per_genre.png", per_genre, result.metrics["per_genre"], title=title)
    write(folder / "reliability.png", reliability, result.probabilities, truth, title=title)
    write(folder / "features.png", feature_map, features, truth, genres, title=title)


def write_tags(folder, result, features, title):
    write(folder / "tags.png", per_tag, result.metrics["per_tag"], result.metrics["n_test"], title=title)


@contextlib.contextmanager
def or_warn(path, done):
    """Whatever goes wrong in making ``path`` becomes one line that says so."""
    try:
        yield
    except Exception as error:
        print(f"WARNING: {path} could not be {done} ({type(error).__name__}: {error})")


def training_curves(rows, dim=None, title="pre-training"):
    """One panel for each known column of train_log.csv that holds numbers; ``rows`` are its dicts or a data frame.

    ``dim``, the dimension of the projections, adds the healthy std 1/√dim to that panel.
    """
    panels = [panel for panel in RUN_PANELS if np.isfinite(_column(rows, panel[0])).any()]
    columns = min(4 if len(panels) > 6 else 3, max(1, len(panels)))
    lines = max(1, math.ceil(len(panels) / columns))
    figure = _figure(4.2 * columns, 2.9 * lines + 0.4, title)
    epoch = _column(rows, "epoch")
    for place, (name, label, colour) in enumerate(panels):
        axes = _axes(figure.add_subplot(lines, columns, place + 1), label)
        _curve(axes, epoch, _column(rows, name), colour)
        if name == "std" and dim:
            axes.axhline(dim**-0.5, color=MUTED, linestyle="--", linewidth=1, label="healthy: 1/√D")
            axes.legend(frameon=False, fontsize=8, loc="lower right", labelcolor=MUTED)
        if name != "loss":
            axes.set_ylim(0, 1.08 * axes.dataLim.y1 or None)
        axes.set_xlim(epoch[0] - 0.5, epoch[-1] + 0.5)
        axes.set_xlabel("epoch")
    return figure


def transfer_log(rows, title="transfer"):
    """Loss and validation accuracy (of tags PR-AUC) over the epochs; ``rows`` are those of transfer_log.csv."""
    figure = _figure(8.4, 3.3, title)
    name, label = next((pair for pair in LOG_FIGURES if pair[0] in pd.DataFrame(rows)), LOG_FIGURES[0])
    epoch, accuracy = _column(rows, "epoch"), _column(rows, name)
    axes = _axes(figure.add_subplot(1, 2, 1), "loss")
    _curve(axes, epoch, _column(rows, "train_loss"), MAIN, "training")
    _curve(axes, epoch, _column(rows, "validation_loss"), SECOND, "validation")
    axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("epoch")
    axes = _axes(figure.add_subplot(1, 2, 2), label)
    _curve(axes, epoch, accuracy, SECOND)
    if np.isfinite(accuracy).any():
        best = int(np.nanargmax(accuracy))
        axes.plot(epoch[best], accuracy[best], "o", color=SECOND, markersize=6)
        axes.annotate(f"highest: {accuracy[best]:.1%} in epoch {epoch[best]:g}", (1, 1.04),
                      xycoords="axes fraction", ha="right", color=INK, fontsize=8)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("epoch")
    return figure


def label_curve(rows, title="label curve"):
    """Macro F1 and loss on training and validation tracks against the size of the training set, the gap shaded.

    ``rows`` are those of label_curve.csv; points are means over the seeds, bars their standard deviation.
    """
    figure = _figure(8.8, 3.6, title)
    sizes = np.unique(_column(rows, "train_size"))
    for place, (name, label) in enumerate((("macro_f1", "macro F1"), ("loss", "loss (cross-entropy)"))):
        axes = _axes(figure.add_subplot(1, 2, place + 1), label)
        means = []
        for split, colour, marker in (("train", MAIN, "o"), ("validation", SECOND, "s")):
            value = _column(rows, f"{split}_{name}")
            values = [value[_column(rows, "train_size") == size] for size in sizes]
            means.append([part.mean() for part in values])
            spread = [part.std(ddof=1) if len(part) > 1 else 0 for part in values]
            named = "training" if split == "train" else split
            axes.errorbar(sizes, means[-1], yerr=spread, fmt=f"{marker}-", color=colour, markersize=5,
                          linewidth=1.8, elinewidth=1.2, capsize=3, label=named)  # fmt: skip
        axes.fill_between(sizes, *means, color=PALE, alpha=0.35, linewidth=0, label="gap")
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.set_xlabel("training tracks")
        axes.set_ylim(0, 1.02 if name == "macro_f1" else None)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False, fontsize=9)
    return figure


def timeline(probabilities, seconds, genres, title="genres along a file"):
    """Stacked probabilities (W, C) of windows that overlap by half, along a file of ``seconds``; NaN where silent.

    Each is drawn around the middle of its window. The first genre is on top, as in the legend.
    """
    probabilities = np.asarray(probabilities, dtype=float)
    length = 2 * seconds / (len(probabilities) + 1)
    edges = np.array([0, *length / 4 * (1 + 2 * np.arange(1, len(probabilities))), seconds])
    figure = _figure(8.2 + _width(genres, 9), max(3.8, 0.2 * len(genres) + 1), title)
    heard = f"the {length:.3g} s around each moment" if len(probabilities) > 1 else "the file as a whole"
    axes = _axes(figure.add_subplot(), f"how likely each genre is, judged by {heard}", grid="both")
    top = 1 - np.cumsum(probabilities, axis=1) + probabilities
    for number, genre in enumerate(genres):
        colour, hatch = GENRE_COLOURS[number % 20], ("", "//", "..", "xx")[number // 20 % 4]
        axes.stairs(top[:, number], edges, baseline=top[:, number] - probabilities[:, number], fill=True,
                    facecolor=colour, edgecolor="white", linewidth=0.4, hatch=hatch, label=genre)  # fmt: skip
    silent = np.isnan(probabilities[:, 0])
    if silent.any():
        axes.stairs(silent.astype(float), edges, fill=True, color=GRID, label="silence")
    axes.set_xlim(0, seconds)
    axes.set_ylim(0, 1)
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
    axes.xaxis.set_major_locator(MultipleLocator(next((step for step in steps if seconds <= 9 * step), 1800)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: _clock(place)))
    axes.set_xlabel("time (min:s)")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("probability", color=MUTED, fontsize=9)
    figure.legend(loc="outside right center", frameon=False, fontsize=9, labelcolor=INK)
    return figure


def _clock(seconds):
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


def label_efficiency(rows, chance, title="label efficiency"):
    """Accuracy over the share of the training labels, on a log axis: a line for each ``name`` in ``rows``.

    rows: dicts with name, fraction, n_train and accuracy. Points are means over the seeds, bars their standard
    deviation; the dashed line is ``chance``, from where the axis goes up.
    """
    table = pd.DataFrame(rows)
    names = table["name"].unique()
    figure = _figure(6.3 + _width(names, 9), 4.2, title)
    axes = _axes(figure.add_subplot(), None)
    for number, name in enumerate(names):
        colour, marker = (MAIN, SECOND, THIRD, FOURTH)[number % 4], MARKERS[number % 4]  # told apart in grey, too
        of = table[table["name"] == name].groupby("fraction")["accuracy"]
        mean, spread = of.mean(), of.std().fillna(0)
        aside = mean.index * 1.04 ** (number - (len(names) - 1) / 2)  # bars that would hide each other
        axes.errorbar(aside, mean, spread, fmt=f"{marker}-", color=colour, linewidth=1.6, markersize=5.5, capsize=3,
                      elinewidth=1, label=name)
    axes.axhline(chance, color=MUTED, linestyle="--", linewidth=1, label="chance")
    axes.set_xscale("log")
    tracks = table.groupby("fraction")["n_train"].first()
    axes.set_xticks(tracks.index, [f"{100 * share:.3g} %\n{n:,}" for share, n in tracks.items()])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the training labels, and how many tracks that is (log scale)")
    axes.set_ylabel("accuracy", color=MUTED, fontsize=9)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(max(0, min(chance, table["accuracy"].min()) - 0.02), None)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    return figure


def confusion(matrix, genres, title="confusion"):
    """Counts and row percentages of a (C, C) confusion matrix: row = true genre, column = predicted genre."""
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    cell = 0.62 if len(genres) <= 12 else 0.5
    side = max(cell * len(genres), 2.6)
    names = [f"{genre} ({count})" for genre, count in zip(genres, matrix.sum(1), strict=True)]
    below = math.sqrt(0.5) * _width(genres, 9)  # they stand at 45 degrees
    figure = _figure(side + 1.1 + _width(names, 9), side + 1.2 + below, title)
    axes = figure.add_subplot()
    axes.imshow(share, cmap=SHADES, vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        if matrix[row, column]:
            text = f"{matrix[row, column]}\n{share[row, column]:.0%}"
            colour = "white" if share[row, column] > 0.62 else INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7 if cell > 0.6 else 6)
    axes.set_xticks(range(len(genres)), genres, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(genres)), names)
    axes.set_xticks(np.arange(1, len(genres)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(genres)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0, colors=INK, labelsize=9)
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("true (tracks)", color=MUTED)
    axes.spines[:].set_visible(False)
    return figure


def per_genre(per_genre, title="per genre"):
    """F1 as a bar, precision and recall as points, best genre on top; ``per_genre`` as in result.json."""
    ordered = sorted(per_genre.items(), key=lambda item: item[1]["f1"])
    names = [f"{genre} ({row['support']})" for genre, row in ordered]
    value = {key: [row[key] for _, row in ordered] for key in ("precision", "recall", "f1")}
    height = np.arange(len(ordered))
    figure = _figure(6 + _width(names, 9), 0.36 * len(ordered) + 1.7, title)
    axes = _axes(figure.add_subplot(), None, grid="x")
    axes.barh(height, value["f1"], height=0.62, color=PALE, label="F1")
    axes.plot(value["recall"], height, "o", color=SECOND, markersize=7, label="recall", clip_on=False)
    axes.plot(value["precision"], height, "D", color=MAIN, markersize=4.5, label="precision", clip_on=False)
    axes.set_yticks(height, names)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False, fontsize=9)
    return figure


def per_tag(per_tag, num_tracks, title="tags"):
    """PR-AUC as a bar with its interval, the highest on top, beside the share of the tracks that have the tag.

    ``per_tag`` as in result.json, of ``num_tracks`` test tracks.
    """
    ordered = sorted(per_tag.items(), key=lambda item: item[1]["pr_auc"])
    names = [f"{tag} ({row['n_test']})" for tag, row in ordered]
    value = np.array([row["pr_auc"] for _, row in ordered])
    errors = np.abs(np.array([row["pr_auc_ci95"] for _, row in ordered]).T - value)
    height = np.arange(len(ordered))
    figure = _figure(6 + _width(names, 9), 0.28 * len(ordered) + 1.7, title)
    axes = _axes(figure.add_subplot(), None, grid="x")
    axes.barh(height, value, height=0.62, color=PALE, label="PR-AUC")
    axes.errorbar(value, height, xerr=errors, fmt="none", ecolor=MAIN, elinewidth=1.2, capsize=2, label="95 %")
    share = [row["n_test"] / num_tracks for _, row in ordered]
    axes.plot(share, height, "|", color=SECOND, markersize=10, markeredgewidth=2, label="chance", clip_on=False)
    axes.set_yticks(height, names)
    axes.set_xlabel("in brackets: test tracks that have the tag", loc="left")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False, fontsize=9)
    return figure


def score_dots(names, series, title="scores"):
    """Scores of many conditions as dots with their intervals, the first condition on top, at a line of its own.

    names: N conditions; series: {what is scored: list of N dicts of :func:`statistics.pooled_intervals`}.
    """
    figure = _figure(6 + _width(names, 9), 0.3 * len(names) + 1.6, title)
    axes = _axes(figure.add_subplot(), None, grid="both")
    for number, (label, spreads) in enumerate(series.items()):
        height = np.arange(len(names)) + 0.16 * (number - (len(series) - 1) / 2)
        mean = np.array([spread["mean"] for spread in spreads])
        reach = np.array([spread["ci95"][1] - spread["mean"] if spread["ci95"] else 0 for spread in spreads])
        colour = (MAIN, SECOND, THIRD, FOURTH)[number % 4]
        axes.errorbar(mean, height, xerr=reach, fmt="o", color=colour, markersize=5, linewidth=1.4, label=label)
        axes.axvline(mean[0], color=colour, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=4, frameon=False, fontsize=9)
    return figure


def interval_bars(series, chance, title="accuracy"):
    """A bar with its interval for each (name, share, (low, high)), first on top, and a line at ``chance``."""
    names, shares, intervals = zip(*reversed(series), strict=True)
    names = [f"{name}   {share:.1%}" for name, share in zip(names, shares, strict=True)]  # on a bar some hid
    height, shares = np.arange(len(names)), np.array(shares)
    errors = np.abs(np.array(intervals).T - shares)
    figure = _figure(6 + _width(names, 9), 0.42 * len(names) + 1.6, title)
    axes = _axes(figure.add_subplot(), None, grid="x")
    axes.barh(height, shares, height=0.62, color=PALE)
    axes.errorbar(shares, height, xerr=errors, fmt="o", color=MAIN, markersize=5, elinewidth=1.4, capsize=3)
    axes.axvline(chance, color=MUTED, linestyle="--", linewidth=1, label="chance")
    axes.set_yticks(height, names)
    axes.set_xlim(0, min(1, 1.15 * np.max(intervals)))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", frameon=False, fontsize=9)
    return figure


def reliability(probabilities, truth, title="reliability"):
    """Accuracy against confidence in equal-width bins, and how many tracks are in each; (N, C) and (N,).

    Bins of a few tracks are pale: their accuracy is anything.
    """
    probabilities, truth = np.asarray(probabilities, dtype=float), np.asarray(truth)
    number, confidence, accuracy = calibration_bins(probabilities, truth)
    width = 1 / len(number)
    middle = (np.arange(len(number)) + 0.5) * width
    figure = _figure(4.6, 5.2, title)
    grid = figure.add_gridspec(2, 1, height_ratios=(3.4, 1))
    axes = _axes(figure.add_subplot(grid[0]), f"calibration error {calibration_error(probabilities, truth):.3f}")
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1)
    bars = axes.bar(middle, accuracy, width * 0.92, color=PALE, label="accuracy")
    few = (number > 0) & (number < FEW_IN_BIN)
    for bar in np.array(bars)[few]:
        bar.set_alpha(0.3)
    shown = np.where(few, np.nan, accuracy)
    axes.plot(confidence, shown, "o-", color=MAIN, markersize=4, linewidth=1.2, clip_on=False)
    axes.plot(confidence, np.where(few, accuracy, np.nan), "o", color=PALE, markersize=4, clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy", color=MUTED)
    if few.any():
        note = f"pale: fewer than {FEW_IN_BIN} tracks"
        axes.text(0.02, 0.95, note, color=MUTED, fontsize=8, transform=axes.transAxes)
    below = _axes(figure.add_subplot(grid[1], sharex=axes), None)
    below.bar(middle, number, width * 0.92, color=MUTED)
    below.set_ylabel("tracks", color=MUTED)
    below.set_xlabel("confidence (highest probability)")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


def feature_map(features, labels, genres, method="auto", title="features", seed=0):
    """Features (N, D) in two dimensions, coloured by genre; ``labels`` (N,) are indices into ``genres``.

    method: ``tsne`` (van der Maaten & Hinton 2008), ``pca``, or ``auto``: t-SNE up to 5,000 tracks.
    """
    features, labels = np.asarray(features, dtype=np.float32), np.asarray(labels)
    if method == "auto":
        method = "tsne" if 10 <= len(features) <= T_SNE_LIMIT else "pca"
    place = flatten(features, method, seed, steps=500)  # hardly another picture than after 1,000, in half the time
    names = [f"{genre} ({(labels == index).sum()})" for index, genre in enumerate(genres)]
    figure = _figure(6 + _width(names, 9), max(5.8, 0.2 * len(names) + 1), title)
    axes = figure.add_subplot()
    size = float(np.clip(16000 / len(features), 8, 50))
    for index, name in enumerate(names):
        colour, marker = GENRE_COLOURS[index % 20], MARKERS[index // 10 % 4]
        points = place[labels == index].T
        axes.scatter(*points, s=size, color=colour, marker=marker, alpha=0.75, linewidths=0, label=name)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(GRID)
    axes.set_xlabel(f"{'t-SNE' if method == 'tsne' else 'PCA'} of {len(features):,} tracks", color=MUTED)
    legend = figure.legend(loc="outside right center", frameon=False, fontsize=9, labelcolor=INK)
    for handle in legend.legend_handles:
        handle.set(alpha=1, sizes=[36])
    return figure


def flatten(features, method, seed, steps=1000):
    """(N, D) → (N, 2): standardised, then PCA, then ``steps`` of t-SNE where asked for."""
    from sklearn.decomposition import PCA  # slow to import
    from sklearn.manifold import TSNE

    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    kept = min(50 if method == "tsne" else 2, *features.shape)
    with np.errstate(invalid="ignore"):  # features that are all the same have no share of variance to explain
        reduced = PCA(kept, random_state=seed).fit_transform(features)
    place = np.pad(reduced, ((0, 0), (0, 1)))[:, :2]
    if method == "tsne":
        start = 1e-4 * place / max(place.std(), 1e-12)  # small, as t-SNE needs it
        perplexity = min(30, (len(features) - 1) / 3)
        place = TSNE(perplexity=perplexity, init=start, random_state=seed, max_iter=steps).fit_transform(reduced)
    return place


def _column(rows, name):
    """Numbers of one column; NaN where it is empty or not there."""
    table = pd.DataFrame(rows)
    return pd.to_numeric(table.get(name, pd.Series(np.nan, table.index)), errors="coerce").to_numpy(dtype=float)


def _figure(width, height, title):
    """``width`` and ``height`` in inches; the lines of the title after the first come on top."""
    title = _wrapped(title, width - 0.4)
    height += 0.2 * title.count("\n")
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.14, h_pad=0.12, hspace=0.03, wspace=0.03)
    figure.suptitle(title, x=0.14 / width, ha="left", fontsize=TITLE_SIZE, fontweight="bold", color=INK)
    return figure


def _wrapped(title, width):
    """The title in lines of at most ``width`` inches, broken behind spaces and underscores, or in a long word."""
    lines = [""]
    for part in re.findall(r".{1,16}?(?:[\s_]+|$)|.{16}", title):
        if lines[-1] and _width([lines[-1] + part.rstrip()], TITLE_SIZE, "bold") > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _width(texts, size, weight="normal"):
    """Inches that the widest of ``texts`` takes in a font of ``size`` points."""
    font, measure = FontProperties(weight=weight, size=size), text_to_path.get_text_width_height_descent
    return max((measure(text, font, ismath=False)[0] for text in texts if text.strip()), default=0) / 72


def _axes(axes, title, grid="y"):
    axes.set_title(title or "", fontsize=10, color=INK, loc="left")
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#b8c0c8")
    axes.tick_params(colors=MUTED, labelsize=8.5, length=3)
    axes.xaxis.label.set(color=MUTED, fontsize=9)
    return axes


def _curve(axes, x, y, colour, label=None):
    """A line through the measured points only; points are marked where they are few."""
    there = np.isfinite(y)
    marker = "o" if there.sum() <= 25 else None
    axes.plot(x[there], y[there], color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
