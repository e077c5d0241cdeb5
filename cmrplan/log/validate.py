"""What a probe log has to satisfy as a whole, and what to say where it does not.

An error keeps a log from being read. The cells of each column are looked at first (columns.py),
then the shares of each row, then the rows together. Warnings, on logs without errors, are in
advice.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import Code
from cmrplan.log.cells import LogFinding, RawLog, listed, shown
from cmrplan.log.columns import (
    LOG_COLUMNS,
    REPLAY_RATIO,
    Column,
    canonical_columns,
    parse_column,
    share_columns,
)

SHARE_TOLERANCE = 1e-6  # of the sum of shares, and of a ratio against its share
ROUNDED_SUM = 0.01  # how far shares that were rounded may lie from a sum of 1

_DECIMALS = 12  # of a complement: 1 - 0.9 is 0.1
_ONE_VALUE_A_RUN = ("model_params", "domain_ratio", "seed", "base_tokens")  # and the shares


def convert(raw: RawLog) -> tuple[pd.DataFrame, list[LogFinding]]:
    """Return the log in canonical types and order, and every error in it.

    The frame is a log only when the list is empty. Columns outside the contract follow the others
    as they are.
    """
    table = raw.table
    if hidden := _unprintable_corpora(raw):
        return table, hidden
    errors = _missing_columns(raw)
    cells: dict[str, Any] = {}
    for column in canonical_columns(table):
        cells[column.name], wrong = parse_column(raw, column)
        errors += wrong
    if REPLAY_RATIO in table:
        errors += _complement(raw, cells, has_errors=bool(errors))
    if not errors:
        errors = _share_errors(raw, cells)
    if share_columns(table) == ["share_domain", "share_general"]:
        cells.setdefault("domain_ratio", cells["share_domain"])
    extras = {name: table[name] for name in table if name not in {*cells, REPLAY_RATIO}}
    frame = pd.DataFrame(cells | extras)
    frame = frame[[column.name for column in canonical_columns(frame)] + list(extras)]
    if not errors:
        errors = [*_duplicate_rows(raw, frame), *_changing_runs(raw, frame)]
    return frame, errors


def _complement(raw: RawLog, cells: dict[str, Any], *, has_errors: bool) -> list[LogFinding]:
    """Add ``domain_ratio`` to the cells where the log says the share of replay; return what is wrong with that."""
    is_alone = "domain_ratio" not in cells
    column = Column(REPLAY_RATIO, "number", "fraction", required=is_alone)
    replay, errors = parse_column(raw, column)
    domain_ratio = np.round(1 - np.asarray(replay, dtype=float), _DECIMALS)
    if is_alone:
        cells["domain_ratio"] = domain_ratio
    if errors or has_errors or is_alone:
        return errors
    rows = np.flatnonzero(np.abs(cells["domain_ratio"] - domain_ratio) > SHARE_TOLERANCE)
    return _disagreement(raw, rows, cells["domain_ratio"], "replay_ratio says", domain_ratio)


def _disagreement(
    raw: RawLog, rows: Any, ratio: Any, who_says: str, meant: Any
) -> list[LogFinding]:
    """Return an error where ``domain_ratio`` is not what other columns of the row say it is."""
    if not len(rows):
        return []
    got = f"{ratio[rows[0]]:.9g}"
    return [
        raw.finding(
            Code.RATIO_DISAGREES,
            f"domain_ratio is {got} and {who_says} {meant[rows[0]]:.9g}",
            "Keep one of the two.",
            rows=rows,
            column="domain_ratio",
            value=got,
        )
    ]


def _unprintable_corpora(raw: RawLog) -> list[LogFinding]:
    """Refuse names of corpora that no message could show."""
    names = [shown(name) for name in share_columns(raw.table) if not name.isprintable()]
    rule = "must not hold control or invisible characters in its name. Write a plain one."
    return [
        LogFinding(Code.UNPRINTABLE, f"{raw.source}: column {name} {rule}", raw.source, column=name)
        for name in names
    ]


def _missing_columns(raw: RawLog) -> list[LogFinding]:
    present = list(raw.table.columns)
    known = [column.name for column in canonical_columns(raw.table)]
    others = [name for name in present if name not in known]
    lacking = [
        column.name for column in LOG_COLUMNS if column.required and column.name not in present
    ]
    has_other = REPLAY_RATIO in present or bool(share_columns(raw.table))
    if has_other and "domain_ratio" in lacking:
        lacking.remove("domain_ratio")
    findings = []
    for name in lacking:
        remedy = _missing_remedy(name, present, others)
        or_shares = " (and no share_<corpus> columns)" if name == "domain_ratio" else ""
        message = f"{raw.source} has no column {name}{or_shares}; {remedy}"
        findings.append(LogFinding(Code.MISSING_COLUMN, message, raw.source, column=name))
    return findings


def _missing_remedy(name: str, present: list[str], others: list[str]) -> str:
    replay = next((other for other in others if "replay" in other.lower()), None)
    if name == "domain_ratio" and replay is not None:
        return f"rename {shown(replay)} to {REPLAY_RATIO} if it is the share of replay, whose complement is read"
    alike = _alike(name, others)
    return f"rename {shown(alike)} to it" if alike else f"it has {listed(present)}"


def _alike(name: str, others: list[str]) -> str | None:
    """Return the column that was probably meant by ``name``."""
    lower = {other.lower(): other for other in others}
    inside = [key for key in lower if len(key) > 2 and (key in name or name in key)]
    best = inside or get_close_matches(name, list(lower), n=1)
    return lower[best[0]] if best else None


def _share_errors(raw: RawLog, cells: dict[str, Any]) -> list[LogFinding]:
    names = share_columns(raw.table)
    if not names:
        return []
    findings = []
    total = np.sum([cells[name] for name in names], axis=0)
    rows = np.flatnonzero(np.abs(total - 1) > SHARE_TOLERANCE)
    if len(rows):
        got = f"{total[rows[0]]:.9g}"
        remedy = "Write the share of every training corpus."
        if np.abs(total - 1).max() <= ROUNDED_SUM + SHARE_TOLERANCE:
            remedy = (
                "Rounded? Write more digits, or have the shares of each row divided by their sum: cmrplan logs import "
                "table LOG --normalize-shares --out NEW."
            )
        problem = f"{', '.join(names)} must sum to 1, got {got}"
        findings.append(
            raw.finding(
                Code.SHARE_SUM,
                problem,
                remedy,
                rows=rows,
                value=got,
            )
        )
    meant = cells.get("share_domain", 1 - cells.get("share_general", np.nan))
    ratio = cells.get("domain_ratio", np.nan)
    rows = np.flatnonzero(np.abs(ratio - meant) > SHARE_TOLERANCE)
    return findings + _disagreement(raw, rows, ratio, "the shares say", meant)


def _duplicate_rows(raw: RawLog, frame: pd.DataFrame) -> Iterator[LogFinding]:
    key = frame[["run_id", "train_tokens", "eval_corpus"]]
    rows = np.flatnonzero(key.duplicated())
    if not len(rows):
        return
    run_id, tokens, corpus = key.iloc[rows[0]]
    first = np.flatnonzero((key == key.iloc[rows[0]]).all(axis=1))[0]
    yield raw.finding(
        Code.DUPLICATE_ROW,
        f"run_id {shown(run_id)}, train_tokens {tokens:.12g}, eval_corpus {shown(corpus)} "
        f"repeats {raw.called(int(first))}",
        "Keep one of them.",
        rows=rows,
    )


def _changing_runs(raw: RawLog, frame: pd.DataFrame) -> Iterator[LogFinding]:
    run_of, _ = pd.factorize(frame["run_id"])
    first_row = np.unique(run_of, return_index=True)[1][run_of]
    for name in (*_ONE_VALUE_A_RUN, *share_columns(frame)):
        if name not in frame:
            continue
        value, _ = pd.factorize(frame[name])
        rows = np.flatnonzero(value != value[first_row])
        if len(rows):
            before, now = (shown(frame[name].iloc[row]) for row in (first_row[rows[0]], rows[0]))
            yield raw.finding(
                Code.RUN_CHANGES,
                f"run_id {shown(frame['run_id'].iloc[rows[0]])} has {name} {before}, then {now}",
                "Give every training run a run_id of its own.",
                rows=rows,
                column=name,
                value=now,
            )
