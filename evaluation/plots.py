"""Pictures of a training run and of a classifier, as png files.

Figures are plain objects (no pyplot): nothing global, safe in threads and without a screen.
Axes: N tracks, C genres, D feature dimension.
"""

import math

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from evaluation.metrics import calibration_bins, calibration_error
from utils import atomic_path

INK, MUTED, GRID = "#1d2733", "#66727f", "#e6eaee"
MAIN, SECOND, THIRD, FOURTH, PALE = "#2a6fb0", "#e07b39", "#3a9a78", "#7d5bb8", "#bcd3ea"
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#cfe0f1", "#7fb0dc", "#2a6fb0", "#123a63"])
# The first ten differ in hue; the next ten repeat the hues in another lightness, with another marker.
GENRE_COLOURS = (
    *("#2a6fb0", "#e07b39", "#3a9a78", "#c8435a", "#7d5bb8", "#c9a227", "#46b3c9", "#8a5a3c", "#d876ad", "#6b7785"),
    *("#174b7c", "#f2b37e", "#8fce8a", "#7c1f35", "#b9a3e3", "#6f6a1d", "#a5dbe6", "#d9a98a", "#8c2f6b", "#b8c0c8"),
)
MARKERS = "os^D"

T_SNE_LIMIT = 5000  # tracks; beyond it t-SNE takes minutes
RUN_PANELS = (  # column of train_log.csv, title, colour
    ("loss", "loss", MAIN),
    ("knn_accuracy", "kNN accuracy on validation tracks", THIRD),
    ("std", "std of the normalised projections", SECOND),
    ("effective_rank", "effective rank of the projections", FOURTH),
    ("lr", "learning rate", MUTED),
)


def training_curves(path, rows, dim=None, title="pre-training"):
    """One panel for each known column of train_log.csv that holds numbers; ``rows`` is its list of dicts.

    ``dim``, the dimension of the projections, adds the healthy std 1/√dim to that panel.
    """
    panels = [panel for panel in RUN_PANELS if np.isfinite(_column(rows, panel[0])).any()]
    columns = min(3, max(1, len(panels)))
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
    _save(figure, path)


def learning_curves(path, rows, title="transfer"):
    """Loss and validation accuracy of a classifier over epochs; ``rows`` are the dicts of transfer_log.csv."""
    figure = _figure(8.4, 3.3, title)
    epoch, accuracy = _column(rows, "epoch"), _column(rows, "validation_accuracy")
    axes = _axes(figure.add_subplot(1, 2, 1), "loss")
    _curve(axes, epoch, _column(rows, "train_loss"), MAIN, "training")
    _curve(axes, epoch, _column(rows, "validation_loss"), SECOND, "validation")
    axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("epoch")
    axes = _axes(figure.add_subplot(1, 2, 2), "validation accuracy")
    _curve(axes, epoch, accuracy, SECOND)
    if np.isfinite(accuracy).any():
        best = int(np.nanargmax(accuracy))
        axes.plot(epoch[best], accuracy[best], "o", color=SECOND, markersize=6)
        axes.annotate(f"highest: {accuracy[best]:.1%} in epoch {epoch[best]:g}", (0.98, 0.05),
                      xycoords="axes fraction", ha="right", color=INK, fontsize=8)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("epoch")
    _save(figure, path)


def learning_curve(path, rows, title="learning curve"):
    """Macro F1 and loss on training and validation tracks against the size of the training set, the gap shaded.

    ``rows`` are the dicts of learning_curve.csv; points are means over the seeds, bars their standard deviation.
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
    _save(figure, path)


def confusion(path, matrix, genres, title="confusion"):
    """Counts and row percentages of a (C, C) confusion matrix: row = true genre, column = predicted genre."""
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    cell = 0.62 if len(genres) <= 12 else 0.5
    side = max(cell * len(genres), 2.6)
    figure = _figure(side + 2.6, side + 2.0, title)
    axes = figure.add_subplot()
    axes.imshow(share, cmap=SHADES, vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        if matrix[row, column]:
            text = f"{matrix[row, column]}\n{share[row, column]:.0%}"
            colour = "white" if share[row, column] > 0.62 else INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7 if cell > 0.6 else 6)
    names = [f"{genre} ({count})" for genre, count in zip(genres, matrix.sum(1), strict=True)]
    axes.set_xticks(range(len(genres)), genres, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(genres)), names)
    axes.set_xticks(np.arange(1, len(genres)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(genres)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0, colors=INK, labelsize=9)
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("true (tracks)", color=MUTED)
    axes.spines[:].set_visible(False)
    _save(figure, path)


def per_genre(path, per_genre, title="per genre"):
    """F1 as a bar, precision and recall as points, best genre on top; ``per_genre`` as in result.json."""
    ordered = sorted(per_genre.items(), key=lambda item: item[1]["f1"])
    names = [f"{genre} ({row['support']})" for genre, row in ordered]
    value = {key: [row[key] for _, row in ordered] for key in ("precision", "recall", "f1")}
    height = np.arange(len(ordered))
    figure = _figure(7, 0.36 * len(ordered) + 1.7, title)
    axes = _axes(figure.add_subplot(), None, grid="x")
    axes.barh(height, value["f1"], height=0.62, color=PALE, label="F1")
    axes.plot(value["precision"], height, "D", color=MAIN, markersize=5, label="precision")
    axes.plot(value["recall"], height, "o", color=SECOND, markersize=6, label="recall")
    axes.set_yticks(height, names)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False, fontsize=9)
    _save(figure, path)


def score_dots(path, names, series, title="scores"):
    """Scores of many conditions as dots with their intervals, the first condition on top, at a line of its own.

    names: N conditions; series: {what is scored: list of N dicts of :func:`statistics.pooled_intervals`}.
    """
    figure = _figure(7.5, 0.3 * len(names) + 1.6, title)
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
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=4, frameon=False, fontsize=9)
    _save(figure, path)


def interval_bars(path, series, chance, title="accuracy"):
    """A bar with its interval for each (name, share, (low, high)), first on top, and a line at ``chance``."""
    names, shares, intervals = zip(*reversed(series), strict=True)
    height, shares = np.arange(len(names)), np.array(shares)
    errors = np.abs(np.array(intervals).T - shares)
    figure = _figure(7, 0.42 * len(names) + 1.3, title)
    axes = _axes(figure.add_subplot(), None, grid="x")
    axes.barh(height, shares, height=0.62, color=PALE)
    axes.errorbar(shares, height, xerr=errors, fmt="o", color=MAIN, markersize=5, elinewidth=1.4, capsize=3)
    axes.axvline(chance, color=MUTED, linestyle="--", linewidth=1, label="chance")
    for place, share in zip(height, shares, strict=True):
        axes.text(0.004, place, f"{share:.1%}", va="center", color=INK, fontsize=8)
    axes.set_yticks(height, names)
    axes.set_xlim(0, min(1, 1.15 * np.max(intervals)))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", length=0)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    _save(figure, path)


def reliability(path, probabilities, truth, title="reliability"):
    """Accuracy against confidence in equal-width bins, and how many tracks are in each; (N, C) and (N,)."""
    probabilities, truth = np.asarray(probabilities, dtype=float), np.asarray(truth)
    number, confidence, accuracy = calibration_bins(probabilities, truth)
    width = 1 / len(number)
    middle = (np.arange(len(number)) + 0.5) * width
    error = calibration_error(probabilities, truth)
    figure = _figure(4.6, 5.2, f"{title}: calibration error {error:.3f}")
    grid = figure.add_gridspec(2, 1, height_ratios=(3.4, 1))
    axes = _axes(figure.add_subplot(grid[0]), None)
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1)
    axes.bar(middle, accuracy, width * 0.92, color=PALE, label="accuracy")
    axes.plot(confidence, accuracy, "o-", color=MAIN, markersize=4, linewidth=1.2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy", color=MUTED)
    below = _axes(figure.add_subplot(grid[1], sharex=axes), None)
    below.bar(middle, number, width * 0.92, color=MUTED)
    below.set_ylabel("tracks", color=MUTED)
    below.set_xlabel("confidence (highest probability)")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    _save(figure, path)


def feature_map(path, features, labels, genres, method="auto", subtitle=None, title="features", seed=0):
    """Features (N, D) in two dimensions, coloured by genre; ``labels`` (N,) are indices into ``genres``.

    method: ``tsne`` (van der Maaten & Hinton 2008), ``pca``, or ``auto``: t-SNE up to 5,000 tracks.
    """
    features, labels = np.asarray(features, dtype=np.float32), np.asarray(labels)
    if method == "auto":
        method = "tsne" if 10 <= len(features) <= T_SNE_LIMIT else "pca"
    place = _flatten(features, method, seed)
    figure = _figure(7.4, 5.8, title)
    axes = figure.add_subplot()
    size = float(np.clip(16000 / len(features), 8, 50))
    for index, genre in enumerate(genres):
        points = place[labels == index]
        axes.scatter(*points.T, s=size, color=GENRE_COLOURS[index % 20], marker=MARKERS[index // 10 % 4],
                     alpha=0.75, linewidths=0, label=f"{genre} ({len(points)})")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(GRID)
    name = "t-SNE" if method == "tsne" else "PCA"
    axes.set_xlabel(" · ".join(filter(None, [f"{name} of {len(features):,} tracks", subtitle])), color=MUTED)
    legend = figure.legend(loc="outside right center", frameon=False, fontsize=9, labelcolor=INK)
    for handle in legend.legend_handles:
        handle.set(alpha=1, sizes=[36])
    _save(figure, path)


def _flatten(features, method, seed):
    """(N, D) → (N, 2): standardised, then PCA, then t-SNE where asked for."""
    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    kept = min(50 if method == "tsne" else 2, *features.shape)
    with np.errstate(invalid="ignore"):  # features that are all the same have no share of variance to explain
        reduced = PCA(kept, random_state=seed).fit_transform(features)
    place = np.pad(reduced, ((0, 0), (0, 1)))[:, :2]
    if method == "tsne":
        start = 1e-4 * place / max(place.std(), 1e-12)  # small, as t-SNE needs it
        perplexity = min(30, (len(features) - 1) / 3)
        place = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(reduced)
    return place


def _column(rows, name):
    """Numbers of one column; NaN where it is empty or not there."""
    return np.array([float(value) if (value := row.get(name)) not in (None, "") else np.nan for row in rows])


def _figure(width, height, title):
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.14, h_pad=0.12, hspace=0.03, wspace=0.03)
    figure.suptitle(title, x=0.14 / width, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


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


def _save(figure, path):
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
