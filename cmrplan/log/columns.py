"""The columns of a probe log: what each may hold, and its cells in their canonical type.

A cell that breaks the rule of its column gives an error with the remedy; one error stands for all
cells of a column that break the same rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import LogFinding, RawLog, shown
from cmrplan.numbers import PERCENT_HINT, parse_count

SHARE_PREFIX = "share_"
LOSS_PREFIX = "loss_"  # of a column of losses of one corpus, in a table to import
WORTH = "worth_tokens"  # in a fit of mixtures: what the tokens of a run are worth to the loss, where some are repeats
PARAMS_KINDS = ("non_embedding", "total")

_ROUNDING = 1e-6  # relative; counts above a million may carry a fraction from arithmetic
_WITH_UNIT = re.compile(r"[\d.]+\s*[kmbgt]\w*", re.IGNORECASE)
_THOUSANDS = re.compile(r"\d{1,3}([,' \u2019\u00a0\u202f]\d{3})+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

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
    Column("base_tokens", "count", "positive"),
    Column("tokenizer", "text"),
    Column("params_kind", "text"),
)
REPLAY_RATIO = "replay_ratio"  # read in place of domain_ratio, which is 1 - replay_ratio
LOG_COLUMNS = _BEFORE_SHARES + _AFTER_SHARES

# A remedy belongs to the code of an error, or to code and column where that helps more.
_CELL_REMEDIES: dict[Code | tuple[Code, str], str] = {
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


def unique_tokens_column(corpus: str) -> str:
    """Return the name of the column with the tokens that a training corpus holds before it repeats."""
    return f"unique_{corpus}_tokens"


def canonical_columns(table: pd.DataFrame) -> list[Column]:
    """Return the columns of the contract that the table has, in the contract's order."""
    shares = [Column(name, "number", "fraction", required=True) for name in share_columns(table)]
    of_domain = {column.name for column in _AFTER_SHARES}
    unique = [
        Column(name, "count", "positive")
        for share in shares
        if (name := unique_tokens_column(share.name.removeprefix(SHARE_PREFIX))) not in of_domain
    ]
    return [
        column
        for column in (*_BEFORE_SHARES, *shares, *_AFTER_SHARES, *unique)
        if column.name in table.columns
    ]


class _Remarks:
    """The errors on one column, one for each kind of trouble."""

    def __init__(self, raw: RawLog, column: Column) -> None:
        self.raw = raw
        self.column = column
        self.cells = raw.table[column.name]
        self.errors: list[LogFinding] = []

    def add(self, wrong: Flags, code: Code, rule: str, remedy: str | None = None) -> None:
        """Note ``<column> <rule>, got <value> (<where>). <remedy>`` where ``wrong``, if it is."""
        rows = np.flatnonzero(wrong)
        if not len(rows):
            return
        name = self.column.name
        value = None if code == Code.EMPTY_VALUE else shown(self.cells.iloc[rows[0]])
        problem = f"{name} {rule}" if value is None else f"{name} {rule}, got {value}"
        remedy = remedy or _CELL_REMEDIES.get((code, name)) or _CELL_REMEDIES[code]
        self.errors.append(
            self.raw.finding(code, problem, remedy, rows=rows, column=name, value=value)
        )


def parse_column(raw: RawLog, column: Column) -> tuple[Any, list[LogFinding]]:
    """Return a column of ``raw`` in its canonical type, and what is wrong with its cells."""
    remarks = _Remarks(raw, column)
    if column.kind == "text":
        return _parse_text(remarks), remarks.errors
    cells = remarks.cells
    numbers, missing, bad = parse_numbers(cells)
    if bad.any():
        numbers, bad = _with_own_units(column, cells, numbers, bad)
    finite = np.isfinite(numbers)
    if bad.any():
        hint = _number_hint(cells.iloc[np.flatnonzero(bad)[0]], column.kind)
        remarks.add(bad, Code.NOT_A_NUMBER, "must be a number", hint)
    remarks.add(~finite & ~missing & ~bad, Code.NOT_FINITE, "must be finite")
    if column.required:
        remarks.add(missing, Code.EMPTY_VALUE, "is empty")
    _check_range(remarks, numbers, finite)
    if column.kind == "integer":
        whole = finite & (numbers == np.round(numbers)) & (np.abs(numbers) < 2.0**63)
        remarks.add(finite & ~whole, Code.NOT_WHOLE, "must be a whole number below 2**63")
        return (numbers if remarks.errors else _integers(cells, missing)), remarks.errors
    if column.kind == "count":
        apart = np.abs(numbers[finite] - np.round(numbers[finite]))
        fractional = np.zeros_like(finite)
        fractional[finite] = apart > _ROUNDING * np.abs(numbers[finite])
        remarks.add(fractional, Code.NOT_WHOLE, "must be a whole number")
    return numbers, remarks.errors


def _with_own_units(
    column: Column, cells: pd.Series[Any], numbers: Numbers, bad: Flags
) -> tuple[Numbers, Flags]:
    """Return numbers and bad cells again, with counts such as ``70M`` and shares such as ``30%`` read.

    Percent signs count only where every cell above 0 has one: ``30%`` beside ``1`` may be 1 % or all.
    """
    values = cells.to_numpy(dtype=object)
    rows = [row for row in np.flatnonzero(bad) if isinstance(values[row], str)]
    numbers, bad = numbers.copy(), bad.copy()
    if column.allowed == "fraction" and (numbers[~bad & np.isfinite(numbers)] != 0).any():
        return numbers, bad
    for row in rows:
        number = _own_unit(column, values[row].strip())
        if number is not None:
            numbers[row], bad[row] = number, False
    return numbers, bad


def _own_unit(column: Column, text: str) -> float | None:
    try:
        if column.kind == "count":
            return parse_count(text)
        if column.allowed == "fraction" and text.endswith("%"):
            return float(Decimal(text[:-1].strip()) / 100)
    except (InputError, InvalidOperation):
        pass
    return None


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
    bad = [text for text in texts.dropna().unique() if not text.isprintable()]
    remarks.add(
        texts.isin(bad).to_numpy(dtype=bool),
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
    if set(map(type, values)) <= {str, float, int} and not _may_be_odd(values):
        try:
            return values.astype(np.float64), missing, bad
        except (ValueError, OverflowError):
            pass  # find out below which cell it was
    numbers = np.full(len(cells), np.nan)
    for row in np.flatnonzero(~missing):
        value = values[row]
        if isinstance(value, str) and not value.strip():
            missing[row] = True
        elif _is_odd(value):
            bad[row] = True
        elif isinstance(value, bool | np.bool_) or not isinstance(value, str | Real | Decimal):
            bad[row] = True
        else:
            try:
                numbers[row] = float(value)
            except (ValueError, OverflowError):
                bad[row] = True
    return numbers, missing, bad


def _is_odd(value: object) -> bool:
    """Tell whether a text is one that Python reads as a number and other readers do not: 1_000, or foreign digits."""
    return isinstance(value, str) and ("_" in value or not value.strip().isascii())


def _may_be_odd(values: npt.NDArray[Any]) -> bool:
    """Tell whether any of some cells may be odd; one look at all of them takes a tenth of one at each."""
    text = "".join(value for value in values if isinstance(value, str))
    return "_" in text or not text.isascii()


def _number_hint(value: object, kind: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if kind in ("count", "integer") and _THOUSANDS.fullmatch(text):
        return f"Write it without signs between thousands: {re.sub('[^0-9]', '', text)}."
    if text.endswith("%"):
        return "Write the percent sign in every row, or divide by 100."
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
