"""One page of HTML about one experiment: self-contained, for screens light and dark, for print and for ears.

Axes: N test tracks, C genres.
"""

import base64
import struct
from html import escape
from pathlib import Path

from evaluation import results
from utils import atomic_path, read_json

MOST_CONFUSED = 10  # pairs of genres
MOST_WRONG = 15  # tracks

# key of result.json, its name, what it says; an interval stands beside it as <key>_ci95
METRICS = (
    ("accuracy", "accuracy", "share of test tracks whose genre is right"),
    ("balanced_accuracy", "balanced accuracy", "the same, every genre counting alike"),
    ("top5_accuracy", "top-5 accuracy", "the right genre is among the five most probable"),
    ("macro_f1", "macro F1", "precision and recall in one, averaged over genres"),
    ("macro_precision", "macro precision", "how often a named genre is right, averaged over genres"),
    ("macro_recall", "macro recall", "how many tracks of a genre are found, averaged over genres"),
    ("roc_auc", "ROC-AUC", "how often a track of the genre ranks above another; 0.5 is chance"),
    ("average_precision", "average precision", "area under precision over recall, averaged over genres"),
    ("log_loss", "log-loss", "surprise at the true genre, in nats; lower is better"),
    ("calibration_error", "calibration error", "how far confidence is from accuracy; lower is better"),
    ("crop_accuracy", "accuracy of single crops", "before the crops of a track are averaged"),
    ("validation_accuracy", "validation accuracy", "what the classifier was chosen by"),
)
NOT_SHARES = ("roc_auc", "log_loss", "calibration_error")  # shown as numbers, the others as percentages
ON_CARDS = ("accuracy", "macro_f1", "roc_auc", "calibration_error")
PICTURES = (  # file, heading, what it shows
    ("confusion.png", "Confusion matrix", "Rows are true genres, columns predicted: counts and row percentages."),
    ("per_genre.png", "Genres", "Precision, recall and F1 of each genre; the numbers stand in the table above."),
    ("reliability.png", "Reliability", "Accuracy against confidence; on the dashed line the two agree."),
    ("features.png", "Map of the features", "Test tracks in two dimensions, coloured by genre."),
    ("learning_curve.png", "Learning curve", "Training and validation against the number of training tracks."),
    ("learning_curves.png", "Learning curves", "Loss and accuracy of the classifier over its epochs."),
)
SETTINGS = ("flags", "spectrogram", "normalisation", "versions")  # parts of configuration.json

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --muted: #586571; --page: #f5f7f9; --card: #ffffff;
  --line: #dde3e9; --bar: #cfe0f1; --accent: #1f5f9e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --muted: #a3afbb; --page: #12171d; --card: #1b222a;
  --line: #303a45; --bar: #234566; --accent: #8fc1f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.2rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.4rem; margin: 3rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .6rem; }
p { margin: .4rem 0 1rem; }
a { color: var(--accent); }
.muted, caption, figcaption, thead th, small { color: var(--muted); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; }
.cards div, .scroll, figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.cards div { padding: .7rem 1rem .8rem; }
.cards b { display: block; font-size: 1.6rem; line-height: 1.3; }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; padding: .7rem .8rem .4rem; }
th, td { padding: .36rem .8rem; text-align: left; border-top: 1px solid var(--line); }
thead th { border-top: 0; font-weight: 600; }
tbody th { font-weight: 600; }
details td { overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.bar { width: 20%; background: linear-gradient(to right, var(--bar) var(--share), transparent var(--share)); }
figure { margin: 0 0 1rem; padding: 1rem; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff; border-radius: 6px; }
figcaption { padding-top: .7rem; font-size: .92rem; }
summary { cursor: pointer; padding: .3rem 0 .6rem; font-weight: 600; }
@media print { .scroll, figure { break-inside: avoid; } }
"""


def write_report(experiment):
    """Write ``report.html`` into an experiment's folder from what lies there, and return its path.

    Raises :class:`utils.UserError` when configuration.json or a result is broken; what is not there is left out.
    """
    experiment = Path(experiment)
    configuration = read_json(experiment / "configuration.json")
    found = [results.read(file.parent) for file in experiment.glob("*/result.json")]
    found.sort(key=lambda result: (-result.summary["accuracy"], result.name))
    with atomic_path(experiment / "report.html") as temporary:
        temporary.write_text(_page(experiment.resolve(), configuration, found), encoding="utf-8")
    return experiment / "report.html"


def _page(experiment, configuration, found):
    flags, versions = configuration.get("flags", {}), configuration.get("versions", {})
    about = [flags.get("method"), flags.get("backbone"), flags.get("dataset"), (versions.get("time") or "")[:10]]
    title = f"Experiment {experiment.name}"
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _tag("title", title),
        _tag("style", _Markup(STYLE)),
    )
    main = _tag(
        "main",
        _tag("header", _tag("h1", title), _tag("p", " · ".join(filter(None, about)), class_="muted")),
        _overview(found),
        *map(_transfer, found),
        _pretraining(experiment),
        _settings(configuration),
    )
    return "<!DOCTYPE html>\n" + _tag("html", head, _tag("body", main), lang="en") + "\n"


# ------------------------------------------------------------------ sections


def _overview(found):
    if not found:
        return _tag("p", "No classifier has been trained on it yet: run transfer.py.")
    rows = []
    for result in found:
        summary, name = result.summary, result.folder.name
        row = [_tag("a", name, href=f"#{_anchor(name)}"), result.network]
        row += [summary.get(key) for key in ("protocol", "dataset")]
        row += [_number(summary.get(key)) for key in ("n_train", "n_test")]
        row += [_number(_value(summary, "accuracy")), _number(_interval(summary, "accuracy"))]
        row += [_number(_value(summary, "macro_f1"))]
        rows.append(row)
    head = ["transfer", "network", "protocol", "dataset", "trained on", "tested on"]
    head += ["accuracy", "95 % interval", "macro F1"]
    caption = "Every classifier, tested on all test tracks; intervals by bootstrap over tracks"
    return _tag("section", _tag("h2", "Results"), _table(caption, head, rows))


def _transfer(result):
    summary, name = result.summary, result.folder.name
    return _tag(
        "section",
        _tag("h2", name, id=_anchor(name)),
        _tag("p", _how(summary), class_="muted"),
        _metrics(summary),
        _over_seeds(summary.get("seeds")),
        _genres(summary.get("per_genre") or {}),
        *(_picture(result.folder / file, heading, text, name) for file, heading, text in PICTURES),
        *(_mistakes(result) if (result.folder / "predictions.csv").is_file() else ()),
    )


def _how(summary):
    """One line: what the classifier was trained on and how it was chosen."""
    parts = [
        f"{summary.get('protocol')} on {summary.get('dataset')}",
        f"trained on {_text(summary.get('n_train'))} tracks ({summary.get('train_split', 'training')})",
        f"tested on {_text(summary.get('n_test'))}",
    ]
    chosen = {key: value for key, value in (summary.get("chosen") or {}).items() if key != "validation_accuracy"}
    if chosen:
        parts.append("chosen on validation: " + ", ".join(f"{key} {_text(value)}" for key, value in chosen.items()))
    if summary.get("genres_without_test_tracks"):
        parts.append("no test tracks, so left out: " + ", ".join(summary["genres_without_test_tracks"]))
    return " · ".join(parts)


def _metrics(summary):
    there = [metric for metric in METRICS if summary.get(metric[0]) is not None]
    cards = [
        _tag("div", _tag("small", label), _tag("b", _value(summary, key)), _tag("small", _interval(summary, key)))
        for key, label, _ in there
        if key in ON_CARDS
    ]
    rows = [
        [label, _number(_value(summary, key)), _number(_interval(summary, key)), what] for key, label, what in there
    ]
    return _Markup(
        _tag("div", *cards, class_="cards")
        + _tag("h3", "All figures")
        + _table("", ["figure", "value", "95 % interval", "what it says"], rows)
    )


def _over_seeds(seeds):
    if not seeds:
        return None
    rows = [
        [label, _number(seeds[key]["n"]), *(_number(_format(key, seeds[key][part])) for part in ("mean", "std"))]
        for key, label, _ in METRICS
        if key in seeds
    ]
    caption = "What chance in training changes; all other figures and pictures are of the first seed"
    return _Markup(_tag("h3", "Over seeds") + _table(caption, ["figure", "seeds", "mean", "std"], rows))


def _genres(per_genre):
    if not per_genre:
        return None
    rows = [
        [genre, *(_bar(row[key]) for key in ("precision", "recall", "f1")), _number(row["support"])]
        for genre, row in sorted(per_genre.items(), key=lambda item: -item[1]["f1"])
    ]
    table = _table("Best first", ["genre", "precision", "recall", "F1", "test tracks"], rows)
    return _Markup(_tag("h3", "Each genre") + table)


def _mistakes(result):
    """Which genres are taken for which, and the tracks that it is most sure about and wrong."""
    table = result.predictions
    wrong = table[table["truth"] != table["prediction"]]
    if wrong.empty:
        return
    support = table["truth"].value_counts()
    pairs = wrong.groupby(["truth", "prediction"]).size().sort_values(ascending=False, kind="stable")
    rows = [
        [truth, prediction, _number(count), _bar(count / support[truth])]
        for (truth, prediction), count in pairs.head(MOST_CONFUSED).items()
    ]
    yield _tag("h3", "Genres confused most often")
    yield _table("", ["true genre", "taken for", "tracks", "share of the true genre"], rows)

    confidence = wrong[result.summary["genres"]].max(axis=1).sort_values(ascending=False, kind="stable")
    rows = []
    for track in confidence.index[:MOST_WRONG]:
        truth, prediction = wrong.loc[track, ["truth", "prediction"]]
        rows.append([track, truth, prediction, _bar(confidence[track]), _bar(wrong.loc[track, truth])])
    yield _tag("h3", "Tracks it is most sure about, and wrong")
    yield _table("", ["track", "true genre", "predicted", "probability", "of the true genre"], rows)


def _pretraining(experiment):
    rows = results.read_rows(experiment / "train_log.csv")
    last = ", ".join(f"{name} {_text(value)}" for name, value in (rows[-1] if rows else {}).items() if value)
    text = "Loss and monitors over the epochs." + (f" The last one: {last}." if last else "")
    picture = _picture(experiment / "train_loss.png", "Pre-training", text, experiment.name, level="h2")
    return picture and _tag("section", picture)


def _settings(configuration):
    tables = []
    for key in SETTINGS:
        values = configuration.get(key)
        if isinstance(values, dict) and values:
            table = _table("", ["name", "value"], [[name, str(value)] for name, value in values.items()])
            tables.append(_tag("details", _tag("summary", key.capitalize()), table))
    return _tag("section", _tag("h2", "Settings"), *tables) if tables else None


# ------------------------------------------------------------------ pieces


def _table(caption, head, rows):
    """A table whose rows are named by their first cell. Cells are text, or made by _number, _bar or _tag."""
    flush = [_is_cell(value) for value in rows[0]]
    titles = [
        _tag("th", text, scope="col", class_="number" if right else None)
        for text, right in zip(head, flush, strict=True)
    ]
    lines = [
        _tag("tr", _tag("th", row[0], scope="row"), *(v if _is_cell(v) else _tag("td", v) for v in row[1:]))
        for row in rows
    ]
    title = _tag("caption", caption) if caption else None
    table = _tag("table", title, _tag("thead", _tag("tr", *titles)), _tag("tbody", *lines))
    return _tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption or head[0])


def _number(value):
    return _tag("td", _text(value), class_="number")


def _bar(share):
    """A percentage over a bar as long as it."""
    return _tag("td", f"{share:.1%}", class_="number bar", style=f"--share: {100 * share:.1f}%")


def _is_cell(value):
    return isinstance(value, _Markup) and value.startswith("<td")


def _picture(path, heading, text, name, level="h3"):
    """A heading and a png inside the page, with its own size, so that nothing moves while it loads."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    width, height = (round(pixels * 0.64) for pixels in struct.unpack(">II", content[16:24]))  # 150 dpi → 96
    source = "data:image/png;base64," + base64.b64encode(content).decode()
    image = _tag("img", src=source, alt=f"{heading} of {name}. {text}", width=str(width), height=str(height))
    return _Markup(_tag(level, heading) + _tag("figure", image, _tag("figcaption", text)))


def _value(summary, key):
    return _format(key, summary.get(key))


def _interval(summary, key):
    bounds = summary.get(f"{key}_ci95")
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
    except ValueError:
        return str(value)


def _anchor(name):
    return "".join(letter if letter.isalnum() else "-" for letter in name)


class _Markup(str):
    """HTML that is finished; any other text is escaped when it becomes part of a page."""


def _tag(name, /, *children, **attributes):
    """An element. ``class_`` means class, ``aria_label`` aria-label; children and attributes of None are left out."""
    pairs = [(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None]
    opening = " ".join([name, *(f'{key}="{escape(value)}"' for key, value in pairs)])
    if name in ("meta", "img"):
        return _Markup(f"<{opening}>")
    inner = "".join(c if isinstance(c, _Markup) else escape(str(c)) for c in children if c is not None)
    return _Markup(f"<{opening}>{inner}</{name}>\n")
