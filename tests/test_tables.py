"""evaluation.tables: aligned text, Markdown and numbers."""

import os

import pytest

import utils
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


def test_runs_are_read_back_as_they_were_written(tmp_path):
    columns, rows = ["name", "seed", "score", "flags"], [["null", 0, 0.5, ""], ["1", 1, 0.25, "null"]]
    assert tables.read_runs(tmp_path / "runs.csv", columns, ("name", "flags")) == []
    utils.write_csv(tmp_path / "runs.csv", columns, rows)
    there = tables.read_runs(tmp_path / "runs.csv", columns, ("name", "flags"))
    assert there == [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.mark.parametrize("score", ["", "nan", "inf", "good", "0,5"])
def test_runs_without_a_finite_number_are_refused(tmp_path, score):
    utils.write_csv(tmp_path / "runs.csv", ["name", "score"], [["a", 0.5], ["b", score]])
    with pytest.raises(utils.UserError, match=r"runs\.csv has no finite number as score"):
        tables.read_runs(tmp_path / "runs.csv", ["name", "score"], ("name",))


def test_runs_of_other_columns_are_refused(tmp_path):
    utils.write_csv(tmp_path / "runs.csv", ["name"], [["a"]])
    with pytest.raises(utils.UserError, match=r"runs\.csv has no column score"):
        tables.read_runs(tmp_path / "runs.csv", ["name", "score"], ("name",))
