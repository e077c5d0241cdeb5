"""What a probe log has to satisfy, and what to say where it does not.

An error keeps a log from being read (:class:`cmrplan.errors.Code` lists them). Errors across rows
are looked for once every cell is sound. Warnings, on logs without errors, are in advice.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmrplan.errors import Code
from cmrplan.log.cells import LogFinding, RawLog, shown
from cmrplan.numbers import PERCENT_HINT

SHARE_PREFIX = "share_"
PARAMS_KINDS = ("non_embedding", "total")
SHARE_TOLERANCE = 1e-6  # of the sum of shares, and of a ratio against its share

_ROUNDING = 1e-6  # relative; counts above a million may carry a fraction from arithmetic
_WITH_UNIT = re.compile(r"[\d.]+\s*[kmbgt]\w*", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_ONE_VALUE_A_RUN = ("model_params", "domain_ratio", "seed")  # and the shares

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """A column of the log: its name, and what its cells may hold."""

    name: str
    kind: Literal["text", "number", "count", "integer"]  # a count may be as large as 1e13
    allowed: Literal["any", "nonnegative", "positive", "fraction"] = "any"
    required: bool = False


_BEFORE_SHARES = (
    Column("run_id", "text", required=True),
    Column("model_params", "count", "positive", required=True),
    Column("train_tokens", "count", "nonnegative", required=True),
    Column("domain_ratio", "number", "fraction", required=True),
)
_AFTER_SHARES = (
    Column("eval_corpus", "text", required=True),
    Column("loss", "number", "positive", required=True),
    Column("seed", "integer"),
    Column("step", "integer", "nonnegative"),
    Column("loss_stderr", "number", "nonnegative"),
    Column("schedule", "text"),
    Column("learning_rate", "number", "nonnegative"),
    Column("unique_domain_tokens", "count", "positive"),
    Column("base_model", "text"),
    Column("tokenizer", "text"),
    Column("params_kind", "text"),
)
COLUMNS = _BEFORE_SHARES + _AFTER_SHARES

# what to do about an error, by code, and by code and column where that helps more
_REMEDIES: dict[Code | tuple[Code, str], str] = {
    Code.EMPTY_VALUE: "Every row needs one.",
    (Code.EMPTY_VALUE, "loss"): "Remove the row: a run without a loss belongs in the run ledger.",
    Code.NOT_FINITE: "Write the number, or remove the row.",
    (Code.NOT_FINITE, "loss"): "Remove the row: a diverged run belongs in the run ledger.",
    Code.NOT_POSITIVE: "Write the number, or remove the row.",
    (Code.NOT_POSITIVE, "loss"): "Remove the row: a failed run belongs in the run ledger.",
    Code.NEGATIVE: "Correct the sign.",
    (Code.NEGATIVE, "train_tokens"): "0 is the base checkpoint.",
    Code.NOT_WHOLE: "Billions? Multiply by 1e9.",
    (Code.NOT_WHOLE, "seed"): "Write it without a fraction.",
    (Code.NOT_WHOLE, "step"): "Write it without a fraction.",
    Code.UNPRINTABLE: "Write a plain name.",
    Code.UNKNOWN_PARAMS_KIND: "Say whether model_params counts the embeddings.",
}


def share_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of the ``share_<corpus>`` columns, sorted."""
    return sorted(
        name for name in table.columns if name.startswith(SHARE_PREFIX) and name != SHARE_PREFIX
    )


def canonical_columns(table: pd.DataFrame) -> list[Column]:
    """Return the columns of the contract that the table has, in the contract's order."""
    shares = [Column(name, "number", "fraction", required=True) for name in share_columns(table)]
    return [
        column
        for column in (*_BEFORE_SHARES, *shares, *_AFTER_SHARES)
        if column.name in table.columns
    ]


def convert(raw: RawLog) -> tuple[pd.DataFrame, list[LogFinding]]:
    """Return the log in canonical types and order, and every error in it.

    The frame is a log only when the list is empty. Columns outside the contract follow the others
    as they are.
    """
    table = raw.table
    errors = _missing_columns(raw)
    cells: dict[str, Any] = {}
    for column in canonical_columns(table):
        cells[column.name], found = parse_column(raw, column)
        errors += found
    if not errors:
        errors = _share_errors(raw, cells)
    if share_columns(table) == ["share_domain", "share_general"]:
        cells.setdefault("domain_ratio", cells["share_domain"])
    extras = {name: table[name] for name in table.columns if name not in cells}
    frame = pd.DataFrame(cells | extras)
    frame = frame[[column.name for column in canonical_columns(frame)] + list(extras)]
    if not errors:
        errors = [*_duplicate_rows(raw, frame), *_changing_runs(raw, frame)]
    return frame, errors


# ---- one column ----


def _missing_columns(raw: RawLog) -> list[LogFinding]:
    present = list(raw.table.columns)
    known = [column.name for column in canonical_columns(raw.table)]
    others = [name for name in present if name not in known]
    lacking = [column.name for column in COLUMNS if column.required and column.name not in present]
    if share_columns(raw.table) and "domain_ratio" in lacking:
        lacking.remove("domain_ratio")
    findings = []
    for name in lacking:
        alike = _alike(name, others)
        remedy = f"rename {shown(alike)} to it" if alike else f"it has {listed(present)}"
        or_shares = " (and no share_<corpus> columns)" if name == "domain_ratio" else ""
        message = f"{raw.source} has no column {name}{or_shares}; {remedy}"
        findings.append(LogFinding(Code.MISSING_COLUMN, message, raw.source, column=name))
    return findings


def _alike(name: str, others: list[str]) -> str | None:
    """Return the column that was probably meant by ``name``."""
    lower = {other.lower(): other for other in others}
    inside = [key for key in lower if len(key) > 2 and (key in name or name in key)]
    best = inside or get_close_matches(name, list(lower), n=1)
    return lower[best[0]] if best else None


def listed(values: list[Any], most: int = 8) -> str:
    """Return values as a message may show them, the first few of many."""
    text = ", ".join(shown(value) for value in values[:most])
    return text + (f" and {len(values) - most} more" if len(values) > most else "")


class _Remarks:
    """The errors on one column, one for each kind of trouble."""

    def __init__(self, raw: RawLog, column: Column) -> None:
        self.raw = raw
        self.column = column
        self.cells = raw.table[column.name]
        self.found: list[LogFinding] = []

    def add(self, wrong: Flags, code: Code, rule: str, remedy: str | None = None) -> None:
        """Note ``<column> <rule>, got <value> (<place>). <remedy>`` where ``wrong``, if it is."""
        rows = np.flatnonzero(wrong)
        if not len(rows):
            return
        name = self.column.name
        value = None if code == Code.EMPTY_VALUE else shown(self.cells.iloc[rows[0]])
        problem = f"{name} {rule}" if value is None else f"{name} {rule}, got {value}"
        remedy = remedy or _REMEDIES.get((code, name)) or _REMEDIES[code]
        self.found.append(
            self.raw.finding(code, problem, remedy, rows=rows, column=name, value=value)
        )


def parse_column(raw: RawLog, column: Column) -> tuple[Any, list[LogFinding]]:
    """Return a column of ``raw`` in its canonical type, and what is wrong with its cells."""
    remarks = _Remarks(raw, column)
    if column.kind == "text":
        return _parse_text(remarks), remarks.found
    cells = remarks.cells
    numbers, missing, bad = parse_numbers(cells)
    finite = np.isfinite(numbers)
    if bad.any():
        hint = _number_hint(cells.iloc[np.flatnonzero(bad)[0]])
        remarks.add(bad, Code.NOT_A_NUMBER, "must be a number", hint)
    remarks.add(~finite & ~missing & ~bad, Code.NOT_FINITE, "must be finite")
    if column.required:
        remarks.add(missing, Code.EMPTY_VALUE, "is empty")
    _check_range(remarks, numbers, finite)
    if column.kind == "integer":
        whole = finite & (numbers == np.round(numbers)) & (np.abs(numbers) < 2.0**63)
        remarks.add(finite & ~whole, Code.NOT_WHOLE, "must be a whole number below 2**63")
        return (numbers if remarks.found else _integers(cells, missing)), remarks.found
    if column.kind == "count":
        apart = np.abs(numbers[finite] - np.round(numbers[finite]))
        fractional = np.zeros_like(finite)
        fractional[finite] = apart > _ROUNDING * np.abs(numbers[finite])
        remarks.add(fractional, Code.NOT_WHOLE, "must be a whole number")
    return numbers, remarks.found


def _parse_text(remarks: _Remarks) -> pd.Series[Any]:
    cells = remarks.cells
    values = [
        None if lacks else str(cell).strip() or None
        for cell, lacks in zip(cells.to_numpy(dtype=object), cells.isna(), strict=True)
    ]
    texts = pd.Series(values, dtype="str")
    missing = texts.isna().to_numpy(dtype=bool)
    if remarks.column.required:
        remarks.add(missing, Code.EMPTY_VALUE, "is empty")
    odd = [text for text in texts.dropna().unique() if not text.isprintable()]
    remarks.add(
        texts.isin(odd).to_numpy(dtype=bool),
        Code.UNPRINTABLE,
        "must not hold control or invisible characters",
    )
    if remarks.column.name == "params_kind":
        unknown = ~missing & ~texts.isin(PARAMS_KINDS).to_numpy(dtype=bool)
        remarks.add(unknown, Code.UNKNOWN_PARAMS_KIND, "must be non_embedding or total")
    return texts


def _check_range(remarks: _Remarks, numbers: Numbers, finite: Flags) -> None:
    allowed = remarks.column.allowed
    below = finite & (numbers < 0)
    if allowed == "fraction":
        above = finite & (numbers > 1)
        percent = above.any() and not below.any() and numbers[above].max() <= 100
        remarks.add(
            below | above,
            Code.NOT_A_FRACTION,
            "must be a fraction in [0, 1]",
            PERCENT_HINT if percent else "Write the share of the training tokens.",
        )
    elif allowed == "positive":
        remarks.add(finite & (numbers <= 0), Code.NOT_POSITIVE, "must be > 0")
    elif allowed == "nonnegative":
        remarks.add(below, Code.NEGATIVE, "must be >= 0")


def parse_numbers(cells: pd.Series[Any]) -> tuple[Numbers, Flags, Flags]:
    """Return cells as float64, exactly as Python reads them.

    Returns
    -------
    numbers : array of float64, shape (rows,)
        NaN where there is no number.
    missing, bad : array of bool, shape (rows,)
        True where the cell is empty, and where it holds something else than a number.
    """
    missing = cells.isna().to_numpy(dtype=bool, copy=True)
    bad = np.zeros(len(cells), dtype=bool)
    if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "iuf":
        return cells.to_numpy(dtype=np.float64), missing, bad
    values = cells.to_numpy(dtype=object)
    if set(map(type, values)) <= {str, float, int}:
        try:
            return values.astype(np.float64), missing, bad
        except (ValueError, OverflowError):
            pass  # find out below which cell it was
    numbers = np.full(len(cells), np.nan)
    for row in np.flatnonzero(~missing):
        value = values[row]
        if isinstance(value, str) and not value.strip():
            missing[row] = True
        elif isinstance(value, bool | np.bool_) or not isinstance(value, str | Real | Decimal):
            bad[row] = True
        else:
            try:
                numbers[row] = float(value)
            except (ValueError, OverflowError):
                bad[row] = True
    return numbers, missing, bad


def _number_hint(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if text.endswith("%"):
        return PERCENT_HINT
    if _DECIMAL_COMMA.fullmatch(text):
        return "Write a decimal point."
    if _WITH_UNIT.fullmatch(text):
        return "Write it out, such as 1.8e9."
    return "Write it in digits, such as 2.9 or 1.8e9."


def _integers(cells: pd.Series[Any], missing: Flags) -> pd.Series[Any]:
    """Return whole numbers without a detour over float64, which would round large seeds."""

    def integer(value: Any) -> int:
        try:
            return int(value)
        except ValueError:  # "3.0"
            return int(float(value))

    values = cells.to_numpy(dtype=object)
    return pd.Series(
        [None if lacks else integer(value) for value, lacks in zip(values, missing, strict=True)],
        dtype="Int64",
    )


# ---- several columns or rows ----


def _share_errors(raw: RawLog, cells: dict[str, Any]) -> list[LogFinding]:
    names = share_columns(raw.table)
    if not names:
        return []
    findings = []
    total = np.sum([cells[name] for name in names], axis=0)
    rows = np.flatnonzero(np.abs(total - 1) > SHARE_TOLERANCE)
    if len(rows):
        got = f"{total[rows[0]]:.9g}"
        problem = f"{', '.join(names)} must sum to 1, got {got}"
        findings.append(
            raw.finding(
                Code.SHARE_SUM,
                problem,
                "Write the share of every training corpus.",
                rows=rows,
                value=got,
            )
        )
    meant = cells.get("share_domain", 1 - cells.get("share_general", np.nan))
    ratio = cells.get("domain_ratio", np.nan)
    rows = np.flatnonzero(np.abs(ratio - meant) > SHARE_TOLERANCE)
    if len(rows):
        got = f"{ratio[rows[0]]:.9g}"
        problem = f"domain_ratio is {got} and the shares say {meant[rows[0]]:.9g}"
        findings.append(
            raw.finding(
                Code.RATIO_DISAGREES,
                problem,
                "Keep one of the two.",
                rows=rows,
                column="domain_ratio",
                value=got,
            )
        )
    return findings


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
        f"repeats row {raw.number(int(first))}",
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
