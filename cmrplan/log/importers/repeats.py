"""Evaluations that a trainer logged twice, and what messages call an evaluation of a file without rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import LogFinding, shown
from cmrplan.log.columns import parse_numbers
from cmrplan.log.importers.run_cells import is_filled, last_before

if TYPE_CHECKING:
    from cmrplan.log.importers.run_layout import TrainerRun

_MANY_DIGITS = r"\.\d{4}"  # losses of fewer decimals may be the same by rounding
_FEWEST = 8  # of them that say how a metric is logged


def labels_of(
    table: pd.DataFrame, lines: npt.NDArray[np.int64] | None, metric: str = ""
) -> tuple[str, ...] | None:
    """Return what to call each entry of a run that has no lines: its metric and step, or its number."""
    if lines is not None:
        return None
    steps = table["step"] if metric and "step" in table else [None] * len(table)
    numbers = enumerate(steps, start=1)
    named = f"{metric} in " if metric else ""
    return tuple(
        f"{named}entry {number}"
        if step is None or step != step
        else f"{metric} at step {step:.12g}"
        for number, step in numbers
    )


def shown_again(source: str, number: int, remedy: str = "") -> LogFinding:
    """Return the remark that losses gave no row, as the trainer showed its last evaluation again, or made another."""
    message = (
        f"{source}: {number} loss(es) gave no row, since the evaluation before them counts{remedy}"
    )
    return LogFinding(Code.CELLS_LEFT_OUT, message, source, num_rows=number)


def replaced_later(run: TrainerRun, number: int) -> LogFinding:
    """Return the remark that values gave no row, since the run went over their steps again."""
    message = (
        f"{run.source}: {number} values of run {shown(run.name)} gave no row, since a later one has their step, as in "
        "a run that was resumed"
    )
    return LogFinding(Code.CELLS_LEFT_OUT, message, run.source, num_rows=number)


def without_repeats(
    runs: Sequence[TrainerRun], metrics: Sequence[str], keys_of: Callable[[TrainerRun], list[str]]
) -> tuple[list[TrainerRun], list[LogFinding]]:
    """Return runs without losses that stand twice, as ``trainer.evaluate()`` after the training logs the last one.

    Of two values the later one stays where the step fell between them, as it does where a run was resumed.

    Parameters
    ----------
    runs : sequence of TrainerRun
    metrics : sequence of str
        The columns of losses.
    keys_of : callable
        The columns that say when a run evaluated.

    Raises
    ------
    InputError
        If two values of one metric differ, and the run was not resumed between them.
    """
    kept: list[TrainerRun] = []
    left_out: list[str] = []
    for run in runs:
        current = _without_last_ones(run, metrics)
        table, twice, replaced = _without_repeats(current, metrics, keys_of(run))
        remarks = (replaced_later(run, replaced),) if replaced else ()
        kept.append(replace(current, table=table, remarks=(*current.remarks, *remarks)))
        left_out += [f"{what} of run {shown(run.name)}" for what in twice]
    if not left_out:
        return kept, []
    source = runs[0].source if len(runs) == 1 else f"{len(runs)} runs"
    message = (
        f"{source}: {len(left_out)} loss(es) were logged again with the same value and gave no row of their own, "
        f"the first {left_out[0]}"
    )
    return kept, [LogFinding(Code.CELLS_LEFT_OUT, message, source, num_rows=len(left_out))]


def _without_last_ones(run: TrainerRun, metrics: Sequence[str]) -> TrainerRun:
    """Return a run without losses that stand on every line until the next evaluation.

    So it is where half of the values of a metric, or more, are those of the line before to all of their digits.
    """
    table, number = run.table, 0
    for metric in (name for name in metrics if name in table):
        rows = np.flatnonzero(is_filled(table[metric]))
        texts = table[metric].iloc[rows].astype(str)
        is_again = (texts == texts.shift()).to_numpy() & texts.str.contains(_MANY_DIGITS).to_numpy()
        if is_again.sum() < max(len(rows) / 2, _FEWEST):
            continue
        cells = table[metric].astype(object).to_numpy(copy=True)
        cells[rows[is_again]] = None
        table = table.assign(**{metric: pd.Series(cells, index=table.index, dtype=object)})
        number += int(is_again.sum())
    if not number:
        return run
    return replace(run, table=table, remarks=(*run.remarks, shown_again(run.source, number)))


def _without_repeats(
    run: TrainerRun, metrics: Sequence[str], keys: Sequence[str]
) -> tuple[pd.DataFrame, list[str], int]:
    """Return the table of a run with empty cells for losses that stand twice.

    Beside it, what those are called that stand above with the same value, and the number of those that a resumed run
    has again with another one.
    """
    table, twice, replaced = run.table, [], 0
    if not keys:
        return table, [], 0
    step, _, _ = parse_numbers(last_before(table[keys[0]]))
    falls = np.diff(step, prepend=step[:1]) < 0
    stretch = np.cumsum(falls)  # a step that falls begins another one
    when = pd.DataFrame({key: last_before(table[key]) for key in keys}).astype(object)
    for metric in (name for name in metrics if name in table):
        rows = np.flatnonzero(is_filled(table[metric]) & when.notna().all(axis=1).to_numpy())
        moments = when.iloc[rows].astype(str)
        if not moments.duplicated().any():
            continue
        cells = table[metric].astype(object).to_numpy(copy=True)
        row_of: dict[tuple[Any, ...], int] = {}
        for row, moment in zip(
            rows.tolist(), moments.itertuples(index=False, name=None), strict=True
        ):
            first = row_of.setdefault(moment, row)
            if first == row:
                continue
            what = f"{metric} at {keys[0]} {moment[0]}"
            if str(cells[first]) == str(cells[row]):
                cells[row] = None
                twice.append(what)
            elif stretch[first] != stretch[row]:
                cells[first] = None
                row_of[moment] = row
                replaced += 1
            else:
                raise InputError(
                    f"{run.source}: {what} was logged twice, as {shown(cells[first])} and {shown(cells[row])}; keep "
                    "the one that is right"
                )
        table = table.assign(**{metric: pd.Series(cells, index=table.index, dtype=object)})
    return table, twice, replaced
