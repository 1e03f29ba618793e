"""benchmarks/fits.py: both ways find the same, and the table says so."""

from conftest import call

from benchmarks import fits


def test_the_table_has_a_line_for_each_width_and_little_is_apart(capsys):
    call(fits, "--tracks 300 --widths 40,120")
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("| features |")
    assert [line.split(" | ")[0] for line in lines] == ["| 40", "| 120"]
    assert all(float(line.strip("| ").split(" | ")[-1]) < 0.02 for line in lines)
