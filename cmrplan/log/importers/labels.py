"""``--map OLD=NEW`` where OLD is a validation corpus in the rows of a table, and not one of its columns."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cmrplan.errors import InputError
from cmrplan.log.cells import RawLog, listed, raw_frame, shown
from cmrplan.log.columns import LOSS_PREFIX, parse_numbers
from cmrplan.log.importers.run_facts import is_log_column


def corpora_of(table: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """Return the validation corpora in the rows of a table, as far as ``names`` leaves a column of them."""
    column = next((old for old in map(str, table) if names.get(old, old) == "eval_corpus"), None)
    if column is None:
        return []
    cells = table[column].dropna().astype(str).str.strip()
    return [name for name in cells.unique() if name]


def renamed(raw: RawLog, names: Mapping[str, str]) -> pd.DataFrame:
    """Return the table with new names of columns, and of validation corpora where no column is called so.

    Raises
    ------
    InputError
        If a name is of neither, or of both where either may be meant; two corpora would become one; or a column of
        numbers is to name the corpora.
    """
    present = list(raw.table.columns)
    corpora = corpora_of(raw.table, names)
    columns = {old: new for old, new in names.items() if old in present}
    labels = {
        old: _label(new) for old, new in names.items() if old not in present and old in corpora
    }
    for old, new in names.items():
        _require_known(raw, old, new, corpora)
    table = raw_frame(raw.table.rename(columns=columns), raw.source).table
    if not corpora:
        return table
    _require_names(raw, names, corpora, labels)
    _require_apart(raw, corpora, labels)
    if not labels:
        return table
    cells = table["eval_corpus"]
    cells = cells.where(cells.isna(), cells.astype(str).str.strip()).astype(object)
    return table.assign(eval_corpus=cells.replace(labels))


def _label(new: str) -> str:
    return new.removeprefix(LOSS_PREFIX) or new


def _require_known(raw: RawLog, old: str, new: str, corpora: list[str]) -> None:
    """Refuse a name that is of no column and no corpus, or of both, or that turns a corpus into a column."""
    present = list(raw.table.columns)
    if old in present:
        if old in corpora and not is_log_column(new) and not new.startswith(LOSS_PREFIX):
            raise InputError(
                f"--map {old}={new} may mean the column {shown(old)} of {raw.source} or its eval_corpus {shown(old)}; "
                "give the column another name in the file"
            )
        return
    if old not in corpora:
        rows = f", and rows on {listed(corpora)}" if corpora else ""
        raise InputError(
            f"{raw.source} has no column {shown(old)} to rename; it has {listed(present)}{rows}"
        )
    if is_log_column(new):
        raise InputError(
            f"--map {old}={new} cannot make a column of {shown(old)}, which is an eval_corpus of {raw.source}; give it "
            f"the name of a corpus: --map {old}=general"
        )


def _require_names(
    raw: RawLog, names: Mapping[str, str], corpora: list[str], labels: Mapping[str, str]
) -> None:
    """Refuse a column of numbers that the caller calls eval_corpus, unless each number gets a name."""
    column = next((old for old, new in names.items() if new == "eval_corpus"), None)
    _, _, bad = parse_numbers(pd.Series(corpora, dtype=object))
    if column is None or bad.any() or all(name in labels for name in corpora):
        return
    raise InputError(
        f"--map {column}=eval_corpus takes names of validation corpora, and the column {shown(column)} of {raw.source} "
        f"holds numbers such as {corpora[0]}; if they are losses: --map {column}=loss_domain, or loss_general"
    )


def _require_apart(raw: RawLog, corpora: list[str], labels: Mapping[str, str]) -> None:
    """Refuse to give a corpus the name of another one that keeps it."""
    for old, new in labels.items():
        if new in corpora and new not in labels and new.casefold() != old.casefold():
            raise InputError(
                f"--map {old}={new}: {raw.source} has rows on {shown(new)} already; give those another name too: --map "
                f"{new}=NAME"
            )
