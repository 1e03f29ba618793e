"""Which layer of a pre-trained network knows most of genre? A linear probe on each, judged on validation tracks.

Axes: N tracks, D feature dimension.
"""

import torch

import utils
from evaluation import plots, statistics, tables
from models import heads
from models.classifier import fit_linear_probe
from models.layers import stages_of
from training.given import prepare
from training.options import LINEAR

AT_ONCE = 512  # tracks whose crops are held before they are averaged
COLUMNS = ("layer", "num_features", "C", "validation_accuracy", "ci95_low", "ci95_high")


def layers_to_try(stages):
    """(single layers, what is tried) of a network of ``stages``, the last of which is the backbone's own features."""
    lower = stages[:-1]
    below = [f"{lower[-1]}+backbone"] if lower else []
    sums = [*below, "backbone+projector", "backbone+stats", "backbone+kmeans", "backbone+kmeans+stats"]
    singles = [*lower, "backbone", "projector"]
    return [*singles, "stats", "kmeans"], [*singles, *sums]


def sweep_layers(given):
    """The rows of layers.csv: the probe of each layer of :func:`layers_to_try`. No test track has a part in it.

    Every track passes through the network once; a layer is some columns of what comes out.
    """
    task, seed = given.task, given.flags.seed
    singles, tried = layers_to_try(stages_of(given.backbone(seed)))
    given = prepare(task, given.experiment, given.flags.but(layer="+".join(singles)))
    backbone = given.backbone(seed)
    train, validation = (mean_features(given.cut, backbone, part) for part in (task.train, task.validation))
    columns = dict(zip(singles, torch.arange(train.shape[1]).split(backbone.widths), strict=True))
    rows = []
    for layer in utils.progress(tried, desc="layers"):
        chosen = torch.cat([columns[name] for name in layer.split("+")])
        rows.append({"layer": layer, **probe(train[:, chosen], validation[:, chosen], task)})
    return rows


def mean_features(cut, network, crops):
    """(N, D): those of each track, averaged over its crops."""
    parts = utils.progress(torch.arange(len(crops)).split(AT_ONCE), desc="features of all layers")
    return torch.cat([cut.extract(network, crops, tracks, desc=None).mean(1) for tracks in parts])


def probe(train, validation, task):
    """A row of layers.csv, but for its name; train and validation (N, D)."""
    head = heads.genre_head(train.shape[1], len(task.genres), **LINEAR).to(train.device)
    chosen = fit_linear_probe(head, train, task.labels[0], validation, task.labels[1])
    with torch.no_grad():
        right = head(validation).argmax(1) == task.labels[1]
    artists = statistics.drawn_together(task.validation.rows["artist"])
    interval = statistics.bootstrap_interval(right.cpu().numpy(), artists)
    values = (train.shape[1], chosen["C"], chosen["validation_accuracy"], *interval)
    return dict(zip(COLUMNS[1:], values, strict=True))


def best_layer(rows):
    """The layer of the highest validation accuracy; of equals, the one of the fewest features."""
    return max(rows, key=lambda row: (row["validation_accuracy"], -row["num_features"]))["layer"]


def write_sweep(folder, rows, task):
    """layers.csv and layers.png."""
    utils.write_csv(folder / "layers.csv", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    series = [(row["layer"], row["validation_accuracy"], (row["ci95_low"], row["ci95_high"])) for row in rows]
    title = f"linear probe by layer: accuracy on {len(task.validation)} validation tracks"
    plots.write(folder / "layers.png", plots.interval_bars, series, 1 / len(task.genres), title=title)


def describe_sweep(rows):
    """As text, for the screen."""
    cells = [
        [
            row["layer"], str(row["num_features"]), f"{row['C']:g}",
            tables.with_interval(row["validation_accuracy"], (row["ci95_low"], row["ci95_high"])),
        ]
        for row in rows
    ]  # fmt: skip
    table = tables.text(["layer", "features", "C", "validation accuracy [95 %]"], cells, "lrrr")
    most = max(row["validation_accuracy"] for row in rows)
    equal = sum(row["validation_accuracy"] == most for row in rows)
    if equal == 1:
        return table
    return f"{table}\n{equal} layers share the highest accuracy: {best_layer(rows)} is taken, of the fewest features"
