"""The parameters of a fit as a table, for people and programs."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import pandas as pd

from cmrplan.numbers import compact_exact

COLUMNS = (
    *("corpus", "law", "model_params", "train_tokens", "parameter"),
    *("estimate", "stderr", "low", "high", "status"),
)
_COUNTS = ("model_params", "train_tokens")
_NUMBERS = (*_COUNTS, "estimate", "stderr", "low", "high")


class ParameterStatus(StrEnum):
    """What a fit knows of a parameter.

    ``FREE``: fitted, and settled by the data. ``HELD``: not fitted, its value was given. ``AT_BOUND``: it ended at the
    edge of its range. ``UNIDENTIFIED``: other values fit as well.
    """

    FREE = "free"
    HELD = "held"
    AT_BOUND = "at a bound"
    UNIDENTIFIED = "not identified"


def status_of(figures: dict[str, Any], parameter: str) -> ParameterStatus:
    """Return the status of a parameter from the summary of its model."""
    if parameter in figures["held"]:
        return ParameterStatus.HELD
    if parameter in figures["at_bound"]:
        return ParameterStatus.AT_BOUND
    if parameter in figures["unidentified"]:
        return ParameterStatus.UNIDENTIFIED
    return ParameterStatus.FREE


def uncertainty(figures: dict[str, Any], parameter: str) -> tuple[float | None, ...]:
    """Return the standard error of a parameter and the bounds of its interval; None for what means nothing.

    What the data do not tell has neither, and an interval without a width says only where the range ends.
    """
    if parameter in figures["unidentified"]:
        return (None, None, None)
    low, high = figures["interval"].get(parameter) or (None, None)
    bounds = (None, None) if low == high else (low, high)
    return (figures["stderr"].get(parameter), *bounds)


def top_law(figures: dict[str, Any]) -> str:
    """Return the law whose parameters a summary holds; of laws that were averaged, the top-weighted one."""
    return str(figures.get("members", [figures])[0]["law"])


def parameter_table(figures: Iterable[tuple[str, dict[str, Any]]]) -> pd.DataFrame:
    """Return one row for each parameter, NaN where a number is not known or means nothing.

    Parameters
    ----------
    figures : iterable of (str, dict)
        Each a corpus and a summary of its model. Of laws that were averaged, the top-weighted one is shown.

    Returns
    -------
    DataFrame
        The columns are ``corpus``, ``law``, ``model_params`` and ``train_tokens`` (of laws that hold at one size and
        budget, else NaN), ``parameter``, ``estimate``, ``stderr``, ``low``, ``high`` and ``status``.
    """
    rows = []
    for corpus, values in figures:
        counts = tuple(values.get(name) for name in _COUNTS)
        for name, estimate in values["params"].items():
            numbers = (estimate, *uncertainty(values, name))
            status = status_of(values, name).value
            rows.append((corpus, top_law(values), *counts, name, *numbers, status))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(_NUMBERS, float))


def shown_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table for readers: counts in short forms, and no columns that hold nothing."""
    table = table.dropna(axis="columns", how="all")
    counts = [name for name in _COUNTS if name in table]
    short = {name: table[name].map(compact_exact, na_action="ignore") for name in counts}
    return table.assign(**short)
