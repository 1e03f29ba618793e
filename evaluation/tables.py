"""Tables for people: aligned text for the screen, Markdown for pages.

A table is a list of headings, rows of as many texts, and ``align``, a letter for each column: l (text), r (numbers).
And the one reader of tables that scripts have left.
"""

import numpy as np
import pandas as pd

import utils


def text(head, rows, align):
    """Aligned columns under a rule; columns that are empty in every row are left out."""
    used = [index for index, column in enumerate(zip(*rows, strict=True)) if any(column)]
    lines = [[line[index] for index in used] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [{"l": "<", "r": ">"}[align[index]] for index in used]
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def markdown(head, rows, align):
    """A Markdown table; ``|`` in a cell stays a ``|`` that is seen, and a line break becomes an escape."""
    lines = [
        f"| {' | '.join(utils.printable(cell).replace('|', chr(92) + '|') for cell in line)} |"
        for line in (head, *rows)
    ]
    rule = f"|{'|'.join({'l': '---', 'r': '---:'}[letter] for letter in align)}|"
    return "\n".join([lines[0], rule, *lines[1:]])


def number(value, digits=3, times=1, none="–"):
    """``times`` the value: 100 makes percent of a share; ``none`` where there is no value."""
    return none if value is None else f"{times * value:.{digits}f}"


def with_interval(value, interval, digits=3, times=1, sign=""):
    """``0.466 [0.432, 0.501]``, without brackets where there is no interval; sign "+" shows that of gains too."""
    value, *bounds = (f"{times * one:{sign}.{digits}f}" for one in (value, *(interval or ())))
    return f"{value} [{', '.join(bounds)}]" if bounds else value


def mean_std(values):
    """``0.489 ± 0.004`` over seeds; of one alone its value."""
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def read(path, columns=(), numbers=(), **options):
    """A CSV that has ``columns`` as a data frame; ``options`` of pandas.read_csv. Raises :class:`utils.UserError`.

    numbers: those of the columns that hold a finite number in every row.
    """
    try:
        utils.check_file(path)
        table = pd.read_csv(path, **options)
    except FileNotFoundError:
        raise utils.UserError(f"{path} does not exist") from None
    except (ValueError, OverflowError) as error:  # of every kind that pandas has
        raise utils.UserError(f"{path} is not a readable table ({type(error).__name__})") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise utils.UserError(f"{path} has no column {', '.join(missing)}")
    for name in numbers:
        table[name] = pd.to_numeric(table[name], errors="coerce")
        if not np.isfinite(table[name]).all():
            raise utils.UserError(f"{path} has no finite number as {name} in some row: mend it, or move it away")
    return table


def read_runs(path, columns, texts):
    """The rows of the table of runs that an earlier call has left, as dicts; none where there is no table.

    ``texts`` are as they stand in the file, be it ``1`` or ``null``; all other ``columns`` are finite numbers.
    """
    if not path.exists():
        return []
    numbers = [name for name in columns if name not in texts]
    return read(path, columns, numbers, dtype=dict.fromkeys(texts, str), keep_default_na=False).to_dict("records")
