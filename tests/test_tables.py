"""evaluation.tables: aligned text, Markdown and numbers."""

import os

import pytest

from evaluation import tables

HEAD, ROWS = ["name", "note", "share"], [["a|b", "", "1.5"], ["folk", "", "–"]]


def test_text_is_aligned_and_leaves_empty_columns_out():
    assert tables.text(HEAD, ROWS, "llr").splitlines() == [
        "name  share",
        "-----------",
        "a|b     1.5",
        "folk      –",
    ]


def test_markdown_keeps_every_column_and_escapes():
    assert tables.markdown(HEAD, ROWS, "llr").splitlines() == [
        "| name | note | share |",
        "|---|---|---:|",
        r"| a\|b |  | 1.5 |",
        "| folk |  | – |",
    ]


def test_numbers():
    assert tables.number(None) == "–"
    assert tables.number(0.1234) == "0.123"
    assert tables.number(0.1234, 1, 100) == "12.3"
    assert tables.with_interval(0.4664, [0.432, 0.501]) == "0.466 [0.432, 0.501]"
    assert tables.with_interval(0.05, (-0.01, 0.11), 1, 100, "+") == "+5.0 [-1.0, +11.0]"
    assert tables.with_interval(0.5, None) == "0.500"


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(OSError, match="is not a file"):
        tables.read(tmp_path / "x.csv")
