"""A caller says how a table differs from a probe log, and the changes are made in one order.

Columns get their new names, columns that the table lacks are set to one value, numbers are
multiplied by their unit, tokens follow from FLOPs where only those are known, and a table with one loss column
for each corpus becomes one row for each. What comes out is checked as every log is; a message names the file, row and
column of the source and the option that would help.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import LogFinding, RawLog, listed, shown
from cmrplan.log.columns import LOSS_PREFIX, Column, parse_column, parse_numbers, share_columns
from cmrplan.log.corpora import with_one_spelling
from cmrplan.log.files import validate_log
from cmrplan.log.importers.labels import renamed
from cmrplan.log.importers.loss_units import LossUnit, in_nats, require_named_unit
from cmrplan.log.importers.remedies import option_for
from cmrplan.log.importers.run_facts import NAMES_OF_RUNS, STEP_TOKENS, RunFacts, expanded
from cmrplan.log.phases import first_phase, with_mean_mixture, with_phases_of_rows
from cmrplan.log.plausibility import require_plausible
from cmrplan.log.validate import ROUNDED_SUM, SHARE_TOLERANCE, convert

FLOPS_PER_TOKEN = 6.0  # for each parameter, forward and backward
PhaseReading = Literal["keep", "rows", "first"]
PHASE_READINGS: tuple[PhaseReading, ...] = ("keep", "rows", "first")
_SAME = 1e-12  # relative; what multiplying by a unit may leave beside a whole number


@dataclass(frozen=True)
class Changes:
    """What to change in a table, or to know beside it.

    Parameters
    ----------
    names : mapping of str to str
        New name by old: of columns; for formats that have labels instead, of those.
    scales : mapping of str to float
        What to multiply a column by, under its new name: 1e9 where tokens are in billions. Cells that name their own
        unit (``70M``, ``30%``) are not multiplied.
    constants : mapping of str to str
        Value of each column that is not there.
    loss_unit : {"nats", "ppl", "bits", "bpb"}, optional
        What the losses are in: nats per token (the default), perplexity, bits per token, or bits per byte.
    bytes_per_token : mapping of str to float
        For bits per byte: the mean bytes of a token by ``eval_corpus``, or under ``""`` for every corpus.
    normalize_shares : bool
        Divide the shares of each row by their sum, which may lie :data:`ROUNDED_SUM` from 1.
    facts : RunFacts
        Columns read from the names of the runs, or from a table joined on them.
    phases : {"keep", "rows", "first"}
        What becomes of a mixture that changes during a run: ``keep`` takes the columns of phases.py, ``rows`` makes
        them where each row names the mixture since the row before, ``first`` keeps their first phase alone.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    loss_unit: LossUnit | None = None
    bytes_per_token: Mapping[str, float] = field(default_factory=dict)
    normalize_shares: bool = False
    facts: RunFacts = field(default_factory=RunFacts)
    phases: PhaseReading = "keep"

    def gives(self, name: str) -> bool:
        """Tell whether a column is set to one value, or known of each run."""
        return name in self.constants or name in self.facts.columns

    def with_defaults(self, names: Mapping[str, str], constants: Mapping[str, str]) -> Changes:
        """Return the changes with a format's own names and values where the caller gave none."""
        named = {**names, **self.names}
        free = {name: value for name, value in constants.items() if name not in named.values()}
        return replace(self, names=named, constants={**free, **self.constants})


@dataclass(frozen=True)
class Imported:
    """A probe log, and what was done to the table that its reader should know.

    Parameters
    ----------
    log : DataFrame
    remarks : tuple of LogFinding
    columns : mapping of str to str
        What became of each column, metric or setting that was read, by its old name.
    left_out : tuple of str
        Columns, metrics and settings that were not read.
    """

    log: pd.DataFrame
    remarks: tuple[LogFinding, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def with_remark(self, remark: LogFinding) -> Imported:
        """Return the same log with one more remark."""
        return replace(self, remarks=(*self.remarks, remark))


def joined(parts: list[Imported], source: str) -> Imported:
    """Return the logs of several files as one, checked; ``source`` is what messages call it."""
    log = validate_log(pd.concat([part.log for part in parts], ignore_index=True), source=source)
    require_plausible(log, source)
    columns = {old: new for part in parts for old, new in part.columns.items()}
    left_out = dict.fromkeys(name for part in parts for name in part.left_out)
    remarks = tuple(remark for part in parts for remark in part.remarks)
    return Imported(log, remarks, columns, tuple(left_out))


def runs_named(raw: RawLog, column: str | None, names: pd.Series[Any]) -> LogFinding:
    """Return the remark that runs got ``names``, one a row, where ``column`` named them, or nothing did."""
    old = "has no run_id" if column is None else f"names them by {shown(column)}"
    first, last = shown(names.iloc[0]), shown(names.iloc[-1])
    called = (
        f"the run is called {first}" if len(names) == 1 else f"runs are called {first} to {last}"
    )
    return LogFinding(
        Code.RUNS_NAMED,
        f"{raw.source}: {called}, since the table {old}",
        raw.source,
        column="run_id",
        num_rows=len(names),
    )


def to_log(raw: RawLog, changes: Changes) -> Imported:
    """Return a table as a probe log, with a remark on each column of which empty cells gave no row.

    Parameters
    ----------
    raw : RawLog
        The cells as they are.
    changes : Changes

    Raises
    ------
    InputError
        If a change does not fit the table, or the outcome breaks a rule of the probe log.
    """
    changes = replace(changes, names=expanded(changes.names, list(raw.table.columns)))
    require_named_unit(_loss_columns(raw, changes), changes.loss_unit, raw.source)
    raw, respelled = with_one_spelling(_prepared(raw, changes))
    frames, parts = [], list(_one_loss_each(raw))
    for part in parts:
        frame, errors = convert(part)
        if errors:
            raise InputError(errors[0].message + option_for(errors[0], part.table))
        frames.append(in_nats(part, frame, changes.loss_unit, changes.bytes_per_token))
    if not frames:
        raise InputError(
            f"{raw.source}: every {LOSS_PREFIX}<corpus> cell is empty; map other columns"
        )
    log = validate_log(pd.concat(frames, ignore_index=True), source=raw.source)
    if changes.phases == "first":
        log = validate_log(first_phase(log), source=raw.source)
    old_names = {new: old for old, new in changes.names.items()}
    require_plausible(log, raw.source, old_names.get("domain_ratio", "domain_ratio"))
    remarks = [
        *respelled,
        *_left_out(raw, parts),
        *([ends_open(raw.source)] if raw.ends_open else []),
    ]
    return Imported(log, tuple(remarks), changes.names)


def ends_open(source: str, what: str = "if it was cut, its last number lacks digits") -> LogFinding:
    """Return the remark on a text whose last line has no line end."""
    message = f"{source} ends without a line end; {what}: copy it again when its writer is done"
    return LogFinding(Code.CUT_OFF, message, source)


def _prepared(raw: RawLog, changes: Changes) -> RawLog:
    """Return the table under the names of the probe log, with every column that it needs."""
    raw = replace(raw, table=renamed(raw, changes.names))
    raw = replace(raw, table=_with_facts(raw, changes.facts))
    raw = replace(raw, table=_filled(raw, changes.constants))
    raw = replace(raw, table=_multiplied(raw, changes.scales))
    raw = replace(raw, table=_tokens_from_steps(raw))
    raw = replace(raw, table=_tokens_from_flops(raw))
    if changes.normalize_shares:
        raw = replace(raw, table=_normalized(raw))
    if changes.phases != "keep":
        raw = replace(raw, table=with_phases_of_rows(raw))
    return replace(raw, table=with_mean_mixture(raw))


def _left_out(raw: RawLog, parts: list[RawLog]) -> Iterator[LogFinding]:
    for part in parts:
        if len(part.table) < len(raw.table):
            corpus = str(part.table["eval_corpus"].iloc[0])
            rows = np.setdiff1d(np.arange(len(raw.table)), np.array(part.numbers) - 1)
            yield raw.finding(
                Code.CELLS_LEFT_OUT,
                f"{len(rows)} empty cells of {LOSS_PREFIX}{corpus} gave no row",
                "That corpus was not evaluated then.",
                rows=rows,
                column=f"{LOSS_PREFIX}{corpus}",
            )


def numbers_of(raw: RawLog, column: Column) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column as float64; raise InputError for its first bad cell."""
    numbers, errors = parse_column(raw, column)
    if errors:
        raise InputError(errors[0].message)
    return np.asarray(numbers, dtype=np.float64)


def as_number(text: str, what: str) -> float:
    """Return a positive number that the caller gave for ``what``."""
    numbers, _, bad = parse_numbers(pd.Series([text], dtype=object))
    if bad[0] or not 0 < numbers[0] < np.inf:
        raise InputError(f"{what} must be a number above 0 such as 1.8e9, got {shown(text)}")
    return float(numbers[0])


def _with_facts(raw: RawLog, facts: RunFacts) -> pd.DataFrame:
    """Return the table with what is known of each run beside it."""
    if not facts.columns:
        return raw.table
    column = next((name for name in NAMES_OF_RUNS if name in raw.table), None)
    if column is None:
        raise InputError(
            f"{raw.source} has no column run_id, whose names a pattern or a table of runs needs; --map OLD=run_id"
        )
    known = facts.of_rows(raw.table[column], raw.source)
    twice = next((name for name in known if name in raw.table), None)
    if twice is not None:
        raise InputError(
            f"{raw.source} has a column {shown(twice)} already; leave it out of --run-pattern or the joined table"
        )
    return pd.concat([raw.table, known], axis=1)


def _filled(raw: RawLog, constants: Mapping[str, str]) -> pd.DataFrame:
    table = raw.table.copy(deep=False)
    for name, value in constants.items():
        if name in table:
            raise InputError(
                f"{raw.source} has a column {shown(name)} already; leave out --set {name}"
            )
        table[name] = pd.Series([value] * len(table), dtype=object)
    return table


def _multiplied(raw: RawLog, scales: Mapping[str, float]) -> pd.DataFrame:
    table = raw.table.copy(deep=False)
    for name, factor in scales.items():
        if name not in table:
            raise InputError(
                f"{raw.source} has no column {shown(name)} to scale; it has {listed(list(table))}"
            )
        numbers, missing, bad = parse_numbers(table[name])
        scaled = numbers * factor
        whole = np.round(scaled)
        scaled = np.where(np.abs(scaled - whole) <= _SAME * np.abs(scaled), whole, scaled)
        cells = table[name].astype(object).to_numpy(copy=True)
        good = ~missing & ~bad
        cells[good] = scaled[good]  # what is no number stays as it is, for the check to name
        table[name] = pd.Series(cells, dtype=object)
    return table


def _loss_columns(raw: RawLog, changes: Changes) -> list[str]:
    """Return the columns of losses, under the names they had."""
    named = {str(old): changes.names.get(str(old), str(old)) for old in raw.table}
    return [
        old
        for old, new in named.items()
        if new != "loss_stderr" and (new == "loss" or new.startswith(LOSS_PREFIX))
    ]


def _normalized(raw: RawLog) -> pd.DataFrame:
    """Return the table with shares that sum to 1, where they did but for rounding; a larger gap stays for the check."""
    names = share_columns(raw.table)
    if not names:
        raise InputError(
            f"{raw.source} has no share_<corpus> columns to normalize; map them: --map OLD=share_code"
        )
    columns = [Column(name, "number", "fraction", required=True) for name in names]
    shares = np.column_stack([numbers_of(raw, column) for column in columns])
    total = shares.sum(axis=1)
    is_rounded = (np.abs(total - 1) > SHARE_TOLERANCE) & (
        np.abs(total - 1) <= ROUNDED_SUM * (1 + _SAME)
    )
    shares[is_rounded] /= total[is_rounded, None]
    return raw.table.assign(**dict(zip(names, shares.T, strict=True)))


def _tokens_from_steps(raw: RawLog) -> pd.DataFrame:
    """Return the table with ``train_tokens`` from ``step`` and ``tokens_per_step``, where it has the latter."""
    if STEP_TOKENS not in raw.table or "step" not in raw.table:
        return raw.table
    if "train_tokens" in raw.table:
        raise InputError(f"{raw.source} counts tokens already; leave out {STEP_TOKENS}")
    step = numbers_of(raw, Column("step", "number", "nonnegative", required=True))
    each = numbers_of(raw, Column(STEP_TOKENS, "count", "positive", required=True))
    return raw.table.drop(columns=STEP_TOKENS).assign(train_tokens=step * each)


def _tokens_from_flops(raw: RawLog) -> pd.DataFrame:
    """Return the table with ``train_tokens`` in place of ``training_flops``: ``FLOPs / 6 N``."""
    if "training_flops" not in raw.table or "train_tokens" in raw.table:
        return raw.table
    if "model_params" not in raw.table:
        raise InputError(f"{raw.source}: training_flops needs model_params; {_params_hint()}")
    flops = numbers_of(raw, Column("training_flops", "number", "positive", required=True))
    size = numbers_of(raw, Column("model_params", "count", "positive", required=True))
    table = raw.table.drop(columns="training_flops")
    table["train_tokens"] = np.round(flops / (FLOPS_PER_TOKEN * size))
    return table


def _params_hint() -> str:
    return "add --map OLD=model_params or --set model_params=1.2e8"


def _one_loss_each(raw: RawLog) -> Iterator[RawLog]:
    """Yield the table itself, or one table for each column ``loss_<corpus>`` where no ``eval_corpus`` is.

    An empty cell there means that the corpus was not evaluated then, and gives no row. A plain ``loss`` beside such
    columns is the trainer's own, on training data, and is left out. ``loss_<corpus>_stderr``, or
    ``loss_stderr_<corpus>``, is the standard error of ``loss_<corpus>``.
    """
    table = raw.table
    columns = [
        name
        for name in table.columns
        if name.startswith(LOSS_PREFIX) and name not in (LOSS_PREFIX, "loss_stderr")
    ]
    if not columns or "eval_corpus" in table:
        yield raw
        return
    rest = table.drop(columns=columns)
    error_of = {name: error for name in columns for error in _errors_of(name) if error in columns}
    for name in columns:
        if name in error_of.values():
            continue
        corpus = name.removeprefix(LOSS_PREFIX)
        _, missing, _ = parse_numbers(table[name])
        part = replace(raw, table=rest.assign(eval_corpus=corpus, loss=table[name]))
        if name in error_of:
            part = replace(part, table=part.table.assign(loss_stderr=table[error_of[name]]))
        if not missing.all():
            yield part.kept(~missing)


def _errors_of(loss: str) -> tuple[str, str]:
    """Return what the column of the standard errors of a ``loss_<corpus>`` may be called."""
    return f"{loss}_stderr", loss.replace(LOSS_PREFIX, f"{LOSS_PREFIX}stderr_", 1)
