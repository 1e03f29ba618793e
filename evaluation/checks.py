"""What a result.json can hold: anybody may have changed it, and a disk may have.

What the tables, the page and the networks read of it is looked at here, once, so that they need not.
"""

import json
import re

NUMBERS = (
    *("accuracy", "top5_accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall", "roc_auc"),
    *("average_precision", "log_loss", "calibration_error", "n_test", "n_train", "crop_accuracy", "num_seeds"),
    *("n_resampled", "pr_auc", "validation_pr_auc"),
    *("validation_accuracy", "label_fraction", "seconds"),
)
REQUIRED = {"genres": ("accuracy", "genres"), "tags": ("pr_auc", "roc_auc", "genres", "per_tag")}  # by task
A_DAY = 86_400  # seconds: no crop is longer


def what_is_wrong(summary, kinds):
    """Of the content of a result.json: what cannot be as it is, in a few words, or None. kinds: key → its type."""
    if not isinstance(summary, dict):
        return "it is no object"
    if re.search(r"[\ud800-\udfff]", json.dumps(summary, ensure_ascii=False)):
        return "it holds halves of characters"
    for name, value in summary.items():
        if value is not None and not (_has_kind(value, kinds.get(name)) and _is_right(name, value)):
            return f"{name} is {str(value)[:60]}"
    missing = [name for name in REQUIRED[summary.get("task") or "genres"] if summary.get(name) is None]
    return f"{missing[0]} is missing" if missing else None


def _has_kind(value, kind):
    return kind is None or isinstance(value, kind) or (is_number(value) and isinstance(0.0, kind))


def _is_right(name, value):
    if name in NUMBERS:
        return is_number(value)
    if name.endswith("_ci95"):
        return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))
    match name:
        case "task":
            return isinstance(value, str) and value in REQUIRED
        case "genres":
            return len(value) > 0 and _are_names(value)
        case "resampled":
            return value in ("tracks", "artists")
        case "genres_without_test_tracks":
            return _are_names(value)
        case "per_genre":
            return _are_rows(value, "precision", "recall", "f1", "support")
        case "per_tag":
            return _are_rows(value, "n_test", "roc_auc", "pr_auc")
        case "seeds":
            return _are_rows(value, "mean", "std", "n")
        case "network":
            texts = [value.get(key, 0) for key in ("kind", "method", "backbone", "layer")]
            return isinstance(value.get("head"), dict) and all(isinstance(text, str | None) for text in texts)
        case "crop_seconds":
            return 0 < value <= A_DAY
        case "num_crops":
            return 0 < value <= 10_000
    return True


def is_number(value):
    """Whether it can be reckoned with: also nan, but not what no float can hold exactly."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (value != value or abs(value) < 2**53)


def _are_names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len({*value}) == len(value)


def _are_rows(value, *numbers):
    """Whether it is {name: {each of ``numbers``: a number}}."""
    rows = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(row, dict) and all(is_number(row.get(number)) for number in numbers) for row in rows)
