"""Columns that are called as the contract of the probe log calls them but for capitals."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from cmrplan.log import CORPORA
from cmrplan.log.columns import LOSS_PREFIX
from cmrplan.log.importers.run_facts import is_log_column

_UNIQUE_TOKENS = re.compile(r"unique_.+_tokens")


def contract_name(column: str) -> str:
    """Return what the contract calls a column, "" where it has no such column under any capitals.

    Examples
    --------
    >>> [contract_name(name) for name in ("Seed", "Loss_General", "loss_Wiki", "LOSS_WIKI", "lr")]
    ['seed', 'loss_general', 'loss_Wiki', 'loss_wiki', '']
    """
    lower = column.lower()
    if is_log_column(column) or _UNIQUE_TOKENS.fullmatch(column):
        return column
    if is_log_column(lower) or _UNIQUE_TOKENS.fullmatch(lower):
        return lower
    corpus = lower.removeprefix(LOSS_PREFIX)
    if corpus in ("", lower):
        return ""
    return column if column.startswith(LOSS_PREFIX) and corpus not in CORPORA else lower


def respelled(columns: Sequence[str], taken: Collection[str]) -> dict[str, str]:
    """Return the contract's name by that of each column that differs from it by capitals, unless it is taken."""
    names: dict[str, str] = {}
    for column in columns:
        new = contract_name(column)
        if new not in ("", column, *taken, *names.values()):
            names[column] = new
    return names
