"""A table fits the width of a terminal: turned where that helps, else in blocks of columns."""

import numpy as np
import pandas as pd
import pytest

from cmrplan.report.tables import errors_text, table_text


def table(rows, columns):
    cells = np.arange(rows * columns, dtype=float).reshape(rows, columns) / 7
    names = [f"column_{j}" for j in range(columns)]
    return pd.DataFrame(cells, columns=names).assign(train_tokens=np.arange(1, rows + 1) * 1e9)[
        ["train_tokens", *names]
    ]


def longest(text):
    return max(map(len, text.split("\n")))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_fits_and_every_column_stands_once_after_the_first(width):
    blocks = table_text(table(40, 14), width).split("\n\n")
    assert all(longest(block) <= width for block in blocks)
    heads = [block.split("\n")[0].split() for block in blocks]
    assert [head[0] for head in heads] == ["train_tokens"] * len(blocks)
    assert [name for head in heads for name in head[1:]] == [f"column_{j}" for j in range(14)]
    assert all(block.split("\n")[3].split()[0] == "3.0B" for block in blocks)


def test_few_rows_are_turned():
    text = table_text(table(2, 14), 60)
    assert "\n\n" not in text
    assert len(text.split("\n")) == 15
    assert longest(text) <= 60


def test_what_fits_and_what_has_no_width_stays_whole():
    narrow = table(12, 3)
    assert table_text(narrow, 80) == table_text(narrow)
    assert longest(table_text(table(12, 14))) > 120


def test_a_column_wider_than_the_terminal_has_a_block_of_its_own():
    rows = pd.DataFrame({"law": ["a", "b"] * 8, "x": 1.0, "reason": "w" * 59, "y": 2.0})
    heads = [block.split("\n")[0].split() for block in table_text(rows, 40).split("\n\n")]
    assert heads == [["law", "x"], ["law", "reason"], ["law", "y"]]


def test_errors_are_broken_too():
    errors = pd.DataFrame({"predictor": ["auto", "line"], "is_law": [True, False]})
    errors = errors.assign(**{f"split_{j}": [0.01, np.nan] for j in range(12)})
    text = errors_text(errors, 80)
    assert longest(text) <= 80
    assert text.count("predictor") == len(text.split("\n\n")) > 1
    assert "is_law" not in text
    assert text.split("\n")[2].split() == ["line", *["-"] * (len(text.split("\n")[0].split()) - 1)]
