"""The tables of a plan are shown as text on a terminal, and as plain values in JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cmrplan.numbers import compact

LONGEST_CELL = 60  # characters of a reason
COUNT_COLUMNS = ("train_tokens", "model_params")
RATE_COLUMNS = ("peak_rate",)  # of the learning: far below what four decimals show


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values, with null for what is not a finite number."""
    plain = table.astype(object).where(table.notna(), None)
    rows = plain.to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def table_text(table: pd.DataFrame, width: int | None = None) -> str:
    """Return a table for a terminal: counts short, rates to three digits, others to four decimals, no empty columns.

    One that is wider than ``width`` is turned, a row a column, where that fits, and else broken into blocks of columns.
    """
    shown = {}
    for name in table.columns:
        values = table[name].tolist()
        if all(value is None or value == "" or value != value for value in values):
            continue
        shown[name] = [_cell(str(name), value) for value in values]
    texts = pd.DataFrame(shown)
    text = texts.to_string(index=False)
    if width is None or _columns(text) <= width:
        return text
    turned = texts.T.to_string(header=False)
    return turned if _columns(turned) <= width else _in_blocks(texts, width)


def _in_blocks(texts: pd.DataFrame, width: int) -> str:
    """Return a table in blocks of columns that fit a width, each after the first column."""
    first, *rest = texts.columns
    blocks: list[list[str]] = []
    for name in rest:
        wider = [*blocks[-1], name] if blocks else [first, name]
        if blocks and _columns(texts[wider].to_string(index=False)) <= width:
            blocks[-1] = wider
        else:
            blocks.append([first, name])
    return "\n\n".join(texts[names].to_string(index=False) for names in blocks or [[first]])


def _columns(text: str) -> int:
    return max(map(len, text.split("\n")))


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value if len(value) <= LONGEST_CELL else value[: LONGEST_CELL - 1] + "…"
    if name in COUNT_COLUMNS:
        return compact(float(value))
    if name in RATE_COLUMNS:
        return f"{value:.3g}"
    return f"{value:.4f}" if np.isfinite(value) else "-"


def errors_text(table: pd.DataFrame, width: int | None = None) -> str:
    """Return a table of errors for a terminal, all numbers to four decimals; which rows are laws is left out.

    A star marks who has no loss for some rows. One that is wider than ``width`` is broken into blocks of columns.
    """
    shown = table.drop(columns="is_law")
    if "is_whole" in shown:
        marks = np.where(shown.pop("is_whole"), "", "*")
        shown = shown.assign(predictor=shown["predictor"] + marks)
    texts = shown.map(_error_cell)
    text = texts.to_string(index=False)
    return text if width is None or _columns(text) <= width else _in_blocks(texts, width)


def _error_cell(value: Any) -> Any:
    if value is None or value != value:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else value
