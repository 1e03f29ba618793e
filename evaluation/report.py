"""One page of HTML about one experiment: self-contained, for screens light and dark, for print and for ears.

What it says is gathered here; how it looks stands in report.html.jinja, which escapes every text.
"""

import base64
import itertools
import struct
from pathlib import Path
from typing import NamedTuple

import jinja2

from evaluation import results, tables
from utils import atomic_path, read_configuration

MOST_CONFUSED = 10  # pairs of genres
MOST_WRONG = 15  # tracks
FEW_SECTIONS = 3  # that need no list of contents

# key of result.json, its name, what it says; an interval stands beside it as <key>_ci95
METRICS = (
    ("accuracy", "accuracy", "share of test tracks whose genre is right"),
    ("balanced_accuracy", "balanced accuracy", "the same, every genre counting alike"),
    ("top5_accuracy", "top-5 accuracy", "the right genre is among the five most probable"),
    ("macro_f1", "macro F1", "precision and recall in one, averaged over genres"),
    ("macro_precision", "macro precision", "how often a named genre is right, averaged over genres"),
    ("macro_recall", "macro recall", "how many tracks of a genre are found, averaged over genres"),
    ("pr_auc", "PR-AUC", "area under precision over recall, averaged over tags"),
    ("roc_auc", "ROC-AUC", "how often a track of the genre, or tag, ranks above another; 0.5 is chance"),
    ("average_precision", "average precision", "area under precision over recall, averaged over genres"),
    ("log_loss", "log-loss", "surprise at the true genre, in nats; lower is better"),
    ("calibration_error", "calibration error", "how far confidence is from accuracy; lower is better"),
    ("validation_pr_auc", "validation PR-AUC", "what the classifier was chosen by"),
    ("crop_accuracy", "accuracy of single crops", "before the crops of a track are averaged"),
    ("validation_accuracy", "validation accuracy", "what the classifier was chosen by, given all labels"),
)
NOT_SHARES = ("roc_auc", "pr_auc", "validation_pr_auc", "log_loss", "calibration_error")  # the others: percentages
IN_OVERVIEW = {"genres": ("Results", "accuracy", "macro_f1"), "tags": ("Tags", "pr_auc", "roc_auc")}
ON_CARDS = ("accuracy", "macro_f1", "pr_auc", "roc_auc", "calibration_error")
PICTURES = (  # heading, what it shows, file, and its name in older folders
    ("Confusion matrix", "Rows are true genres, columns predicted: counts and row percentages.", "confusion.png"),
    ("Genres", "Precision, recall and F1 of each genre; the numbers stand in the table above.", "per_genre.png"),
    ("Tags", "PR-AUC of each tag, its interval, and what chance reaches; also in tags.csv.", "tags.png"),
    ("Reliability", "Accuracy against confidence; on the dashed line the two agree.", "reliability.png"),
    ("Map of the features", "Test tracks in two dimensions, coloured by genre.", "features.png"),
    (
        *("Label curve", "Training and validation against the number of training tracks."),
        *("label_curve.png", "learning_curve.png"),
    ),
    ("Epochs", "Loss and accuracy of the classifier over its epochs.", "transfer_log.png", "learning_curves.png"),
)
SETTINGS = ("flags", "spectrogram", "normalisation", "versions")  # parts of configuration.json


class Table(NamedTuple):
    """Rows are named by their first cell; a cell is text, or a :class:`Number`."""

    heading: str
    caption: str
    head: list
    rows: list


class Number(NamedTuple):
    """Stands flush right; over a bar as long as ``share`` where there is one."""

    text: str
    share: float | None = None


class Picture(NamedTuple):
    """A png inside the page, with its own size, so that nothing moves while it loads."""

    heading: str
    text: str
    alt: str
    source: str
    width: int
    height: int


class Link(NamedTuple):
    text: str
    anchor: str


def write_report(experiment):
    """Write ``report.html`` into an experiment's folder from what lies there, and return its path.

    Raises :class:`utils.UserError` when configuration.json or a result is broken; what is not there is left out.
    """
    experiment = Path(experiment)
    configuration = read_configuration(experiment)
    found = [results.read(file.parent) for file in experiment.glob("*/result.json")]
    found.sort(key=lambda result: (result.task, -result.score, result.name))
    flags, versions = configuration.get("flags", {}), configuration.get("versions", {})
    about = [flags.get("method"), flags.get("backbone"), flags.get("dataset"), str(versions.get("time") or "")[:10]]
    overviews = [_overview(kind, [*group]) for kind, group in itertools.groupby(found, lambda one: one.task)]
    pretraining, settings = _pretraining(experiment), _settings(configuration)
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = templates.get_template("report.html.jinja").render(
        experiment=experiment.resolve().name,
        about=[*filter(None, about)],
        contents=_contents(overviews, found, pretraining, settings),
        overviews=overviews,
        transfers=[_transfer(result) for result in found],
        pretraining=pretraining,
        settings=settings,
    )
    with atomic_path(experiment / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return experiment / "report.html"


# ------------------------------------------------------------------ sections


def _contents(overviews, found, pretraining, settings):
    """A link to each section, in the order of the page; none where they are few."""
    links = [Link(overview.heading, overview.heading) for overview in overviews]
    links += [Link(result.folder.name, _anchor(result)) for result in found]
    links += [Link(name, name) for name, there in (("Pre-training", pretraining), ("Settings", settings)) if there]
    return links if len(links) > FEW_SECTIONS else []


def _overview(task, found):
    heading, main, second = IN_OVERVIEW[task]
    names = {key: label for key, label, _ in METRICS}
    rows = [
        [
            Link(result.folder.name, _anchor(result)),
            Number(_value(result, main)),
            Number(_interval(result, main)),
            Number(_value(result, second)),
            result.network_name,
            Number(_text(result.n_train)),
            Number(f"{_text(result.metrics.get('n_test'))} {result.test_split}"),
            result.protocol or "",
            result.dataset or "",
        ]
        for result in found
    ]
    head = ["transfer", names[main], "95 % interval", names[second]]
    head += ["network", "trained on", "tested on", "protocol", "dataset"]
    caption = "Every classifier; intervals by bootstrap over tracks, or over known artists"
    return Table(heading, caption, head, rows)


def _transfer(result):
    there = [metric for metric in METRICS if result.summary.get(metric[0]) is not None]
    parts = [_metrics(result, there), _over_seeds(result.seeds), _genres(result.metrics.get("per_genre"))]
    parts.append(_tags(result.metrics.get("per_tag")))
    parts += [_picture(result.folder, *picture) for picture in PICTURES]
    if result.task == "genres" and (result.folder / "predictions.csv").is_file():
        parts += _mistakes(result)
    return {
        "name": result.folder.name,
        "anchor": _anchor(result),
        "how": _how(result),
        "cards": [
            {"label": label, "value": _value(result, key), "interval": _interval(result, key)}
            for key, label, _ in there
            if key in ON_CARDS
        ],
        "parts": [part for part in parts if part],
    }


def _how(result):
    """One line: what the classifier was trained on and how it was chosen."""
    parts = [
        f"{result.protocol} on {result.dataset}",
        f"trained on {_text(result.n_train)} tracks ({result.train_split})",
        f"tested on {_text(result.metrics.get('n_test'))}",
        f"intervals over {result.over}",
    ]
    chosen = {key: value for key, value in result.chosen.items() if key != "by" and not key.startswith("validation_")}
    if chosen:
        by = result.chosen.get("by", "validation")  # older results do not say it
        parts.append(f"chosen by {by}: " + ", ".join(f"{key} {_text(value)}" for key, value in chosen.items()))
    if result.few:
        parts.append(result.few)
    if result.metrics.get("genres_without_test_tracks"):
        parts.append("no test tracks, so left out: " + ", ".join(result.metrics["genres_without_test_tracks"]))
    return " · ".join(parts)


def _metrics(result, there):
    rows = [[label, Number(_value(result, key)), Number(_interval(result, key)), what] for key, label, what in there]
    return Table("All figures", "", ["figure", "value", "95 % interval", "what it says"], rows)


def _over_seeds(seeds):
    rows = [
        [label, Number(_text(seeds[key]["n"])), *(Number(_format(key, seeds[key][part])) for part in ("mean", "std"))]
        for key, label, _ in METRICS
        if key in (seeds or {})
    ]
    caption = "What chance in training changes; all other figures and pictures are of the first seed"
    return rows and Table("Over seeds", caption, ["figure", "seeds", "mean", "std"], rows)


def _genres(per_genre):
    rows = [
        [genre, *(_bar(row[key]) for key in ("precision", "recall", "f1")), Number(_text(row["support"]))]
        for genre, row in sorted((per_genre or {}).items(), key=lambda item: -item[1]["f1"])
    ]
    return rows and Table("Each genre", "Best first", ["genre", "precision", "recall", "F1", "test tracks"], rows)


def _tags(per_tag):
    rows = [
        [tag, _bar(row["pr_auc"]), Number(_format("roc_auc", row["roc_auc"])), Number(_text(row["n_test"]))]
        for tag, row in sorted((per_tag or {}).items(), key=lambda item: -item[1]["pr_auc"])
    ]
    return rows and Table("Each tag", "Best first", ["tag", "PR-AUC", "ROC-AUC", "test tracks that have it"], rows)


def _mistakes(result):
    """Which genres are taken for which, and the tracks that it is most sure about and wrong."""
    table = result.predictions
    wrong = table[table["truth"] != table["prediction"]]
    if wrong.empty:
        return
    support = table["truth"].value_counts()
    pairs = wrong.groupby(["truth", "prediction"]).size().sort_values(ascending=False, kind="stable")
    rows = [
        [truth, prediction, Number(_text(int(count))), _bar(count / support[truth])]
        for (truth, prediction), count in pairs.head(MOST_CONFUSED).items()
    ]
    head = ["true genre", "taken for", "tracks", "share of the true genre"]
    yield Table("Genres confused most often", "", head, rows)

    columns = [results.PROBABILITY + genre for genre in result.genres]
    probabilities = wrong[columns].set_axis(result.genres, axis="columns")
    confidence = probabilities.max(axis=1).sort_values(ascending=False, kind="stable")
    rows = []
    for track in confidence.index[:MOST_WRONG]:
        truth, prediction = wrong.loc[track, ["truth", "prediction"]]
        rows.append([track, truth, prediction, _bar(confidence[track]), _bar(probabilities.loc[track, truth])])
    head = ["track", "true genre", "predicted", "probability", "of the true genre"]
    yield Table("Tracks it is most sure about, and wrong", "", head, rows)


def _pretraining(experiment):
    text, log = "Loss and monitors over the epochs.", experiment / "train_log.csv"
    if log.is_file():
        rows = tables.read(log, dtype=str, keep_default_na=False).to_dict("records")
        last = ", ".join(f"{name} {_text(value)}" for name, value in (rows[-1] if rows else {}).items() if value)
        text += f" The last one: {last}." if last else ""
    return _picture(experiment, "Pre-training", text, "train_loss.png")


def _settings(configuration):
    parts = {key: configuration.get(key) for key in SETTINGS}
    return [
        Table(key.capitalize(), "", ["name", "value"], [[name, _setting(value)] for name, value in values.items()])
        for key, values in parts.items()
        if isinstance(values, dict) and values
    ]


def _setting(value):
    """A setting as text: of a number for each of many bands, how many there are and how far they reach."""
    if isinstance(value, list) and len(value) > 10 and all(isinstance(one, (int, float)) for one in value):
        return f"{len(value)} values from {min(value):.4g} to {max(value):.4g}"
    return str(value)


# ------------------------------------------------------------------ pieces


def _bar(share):
    return Number(f"{share:.1%}", share)


def _picture(folder, heading, text, *files):
    """The first of ``files`` that is there, or None where that is no picture."""
    there = [folder / file for file in files if (folder / file).is_file()]
    content = there[0].read_bytes() if there else b""
    if not content.startswith(b"\x89PNG") or len(content) < 24:
        return None
    width, height = (round(pixels * 0.64) for pixels in struct.unpack(">II", content[16:24]))  # 150 dpi → 96
    source = "data:image/png;base64," + base64.b64encode(content).decode()
    return Picture(heading, text, f"{heading} of {folder.name}. {text}", source, width, height)


def _value(result, key):
    return _format(key, result.summary.get(key))


def _interval(result, key):
    bounds = result.summary.get(f"{key}_ci95")
    return " to ".join(_format(key, bound) for bound in bounds) if bounds else ""


def _format(key, value):
    """A figure of result.json as people read it."""
    if value is None:
        return "–"
    return f"{value:.3f}" if key in NOT_SHARES else f"{value:.1%}"


def _text(value):
    """A number, or the text of one, as people read it."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    try:
        return f"{float(value):.4g}" if "." in str(value) else str(value)
    except (ValueError, TypeError):
        return str(value)


def _anchor(result):
    return "".join(letter if letter.isalnum() else "-" for letter in result.folder.name)
