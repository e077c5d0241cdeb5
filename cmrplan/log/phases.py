"""Mixtures that change during a run: the tokens and the mixture of each phase.

A log says them in columns ``phase_<k>_tokens`` with ``phase_<k>_domain_ratio`` or ``phase_<k>_share_<corpus>``, one
value a run, the phases in the order of k; an empty cell is a phase that the run does not have. The ``domain_ratio`` or
the shares of the run are then those of all its tokens. The published laws take one mixture from the first token to the
last, so a log with such runs is read, checked and kept, and not fitted.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.log.cells import RawLog, shown
from cmrplan.log.columns import Column, parse_column, share_columns

MOST_PHASES = 20
_PHASE = re.compile(r"phase_(\d{1,3})_(tokens|domain_ratio|share_.+)")
_SAME_SHARE = 1e-9
_SAME_TOKENS = 1e-6  # relative; tokens of phases that were rounded


def is_phase_column(name: str) -> bool:
    """Tell whether a column says the tokens or the mixture of one phase of a run."""
    return _PHASE.fullmatch(name) is not None


def with_mean_mixture(raw: RawLog) -> pd.DataFrame:
    """Return the table of a log with the mean mixture of its phases, where it has such columns.

    Parameters
    ----------
    raw : RawLog
        With a column ``phase_<k>_tokens`` for each phase that has a mixture.

    Raises
    ------
    InputError
        If the tokens of a phase are missing, a cell is no number, or the log has the mean already.
    """
    phases = _mixtures(raw.table)
    if not phases:
        return raw.table
    tokens, shares = {}, {}
    for phase, names in phases.items():
        column = f"phase_{phase}_tokens"
        if column not in raw.table:
            raise InputError(
                f"{raw.source} has the mixture of phase {phase} and not its tokens; add --set {column}=VALUE, or a "
                f"column {column}"
            )
        tokens[phase] = _numbers(raw, Column(column, "count", "nonnegative"))
        for name in names:
            shares[phase, name] = _numbers(
                raw, Column(f"phase_{phase}_{name}", "number", "fraction")
            )
    total = np.sum(list(tokens.values()), axis=0)
    table = raw.table.copy(deep=False)
    for name in sorted({name for _, name in shares}):
        if name in table:
            raise InputError(
                f"{raw.source} has a column {shown(name)} beside the phases; leave it out, it follows from them"
            )
        of_name = [
            tokens[phase] * share for (phase, which), share in shares.items() if which == name
        ]
        mean = np.sum(of_name, axis=0) / np.where(total > 0, total, 1)
        first = shares.get((min(phases), name), mean)
        table[name] = np.round(np.where(total > 0, mean, first), 12)
    return table


def with_phases_of_rows(raw: RawLog) -> pd.DataFrame:
    """Return the table of a log whose rows name the mixture since the row before, as phases of each run.

    Rows of a run in the order of their tokens that have one mixture are a phase, whose tokens are those up to its last
    row. A row at 0 tokens belongs to the first phase.

    Raises
    ------
    InputError
        If two rows of a run at one token count differ, or a run has more than :data:`MOST_PHASES` phases.
    """
    names = share_columns(raw.table) or ["domain_ratio"]
    if _mixtures(raw.table) or not {"run_id", "train_tokens", *names} <= set(raw.table):
        return raw.table
    tokens = _numbers(raw, Column("train_tokens", "count", "nonnegative", required=True))
    columns = [Column(name, "number", "fraction", required=True) for name in names]
    shares = np.column_stack([_numbers(raw, column) for column in columns])
    cells: dict[str, Array] = {}
    runs = raw.table["run_id"].astype(str)
    for run, rows in runs.groupby(runs).groups.items():
        at = np.asarray(rows)
        at = at[np.argsort(tokens[at], kind="stable")]
        for phase, (amount, mixture) in enumerate(
            _phases(raw, str(run), tokens[at], shares[at]), start=1
        ):
            facts = {"tokens": amount, **dict(zip(names, mixture, strict=True))}
            for name, value in facts.items():
                column = cells.setdefault(f"phase_{phase}_{name}", np.full(len(runs), np.nan))
                column[at] = value
    table = raw.table.drop(columns=names)
    return table.assign(**{name: cells[name] for name in sorted(cells)})


def _phases(raw: RawLog, run: str, tokens: Array, shares: Array) -> list[tuple[float, Array]]:
    """Return the tokens and the mixture of each phase of a run, whose rows stand in the order of their tokens."""
    after = tokens > 0
    if not after.any():
        return [(0.0, shares[0])]
    tokens, shares = tokens[after], shares[after]
    same = np.all(np.abs(np.diff(shares, axis=0)) <= _SAME_SHARE, axis=1)
    at_once = np.diff(tokens) == 0
    if (at_once & ~same).any():
        count = tokens[1:][at_once & ~same][0]
        raise InputError(
            f"{raw.source}: run {shown(run)} has two mixtures at {count:.12g} tokens; a row names the mixture of the "
            "tokens before it"
        )
    ends = np.append(np.flatnonzero(~same), len(tokens) - 1)
    if len(ends) > MOST_PHASES:
        raise InputError(
            f"{raw.source}: run {shown(run)} changes its mixture {len(ends) - 1} times; at most {MOST_PHASES} phases "
            "are read, so leave the run out"
        )
    starts = np.append(0.0, tokens[ends[:-1]])
    return [
        (float(tokens[end] - start), shares[end]) for start, end in zip(starts, ends, strict=True)
    ]


def require_constant_mixture(log: pd.DataFrame) -> None:
    """Refuse a checked log with runs whose mixture changes, since no law that is fitted here can hold them.

    Raises
    ------
    CmrplanError
        Naming a run, its phases and what to do.
    """
    changing = changing_runs(log)
    if not changing:
        return
    run = changing[0]
    row = log[log["run_id"] == run].iloc[0]
    phases = [_phase_text(row, phase, names) for phase, names in _mixtures(log).items()]
    told = ", then ".join(text for text in phases if text)
    raise CmrplanError(
        f"{len(changing)} of {log['run_id'].nunique()} runs change their mixture ({shown(run)}: {told}), and "
        "every law here (D-CPT, CMR, mixing laws and those of this project) takes one mixture from first to last "
        "token; "
        "keep the first phase of such runs (cmrplan logs import table LOG --phases first), or leave them out"
    )


def changing_runs(log: pd.DataFrame) -> list[str]:
    """Return the runs of a checked log whose phases differ in their mixture."""
    phases = _mixtures(log)
    if len(phases) < 2:
        return []
    of_run = log.drop_duplicates("run_id")
    names = sorted({name for names in phases.values() for name in names})
    shares = np.stack(
        [np.column_stack([_share(of_run, phase, name) for name in names]) for phase in phases]
    )
    is_empty = np.stack([_share(of_run, phase, "tokens") == 0 for phase in phases])
    shares[is_empty] = np.nan
    low, high = np.fmin.reduce(shares, axis=0), np.fmax.reduce(shares, axis=0)
    differs = np.any(high - low > _SAME_SHARE, axis=1)
    return [str(run) for run in of_run["run_id"][differs]]


def first_phase(log: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a checked log up to the end of each run's first phase, with the mixture of that phase.

    Runs without phases stay as they are.
    """
    phases = _mixtures(log)
    if not phases:
        return log
    first, names = next(iter(phases.items()))
    end = pd.to_numeric(log[f"phase_{first}_tokens"], errors="coerce").to_numpy(dtype=float)
    has = ~np.isnan(end)
    tokens = log["train_tokens"].to_numpy(dtype=float)
    rows = log[~has | (tokens <= end * (1 + _SAME_TOKENS))].copy()
    for name in names:
        share = pd.to_numeric(rows[f"phase_{first}_{name}"], errors="coerce")
        rows[name] = share.where(share.notna(), rows[name])
    gone = [name for name in rows if is_phase_column(str(name))]
    return pd.DataFrame(rows.drop(columns=gone).reset_index(drop=True))


def _mixtures(table: pd.DataFrame) -> dict[int, list[str]]:
    """Return the columns of the mixture by phase, phases ascending."""
    phases: dict[int, list[str]] = {}
    for column in table:
        match = _PHASE.fullmatch(str(column))
        if match and match[2] != "tokens":
            phases.setdefault(int(match[1]), []).append(match[2])
    return {phase: sorted(phases[phase]) for phase in sorted(phases)}


def _share(table: pd.DataFrame, phase: int, name: str) -> Array:
    cells: Any = table.get(f"phase_{phase}_{name}", pd.Series(np.nan, index=table.index))
    shares: Array = np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=float)
    return shares


def _phase_text(row: pd.Series[Any], phase: int, names: list[str]) -> str:
    tokens = float(row.get(f"phase_{phase}_tokens", np.nan))
    shares = [(name, float(row[f"phase_{phase}_{name}"])) for name in names]
    told = ", ".join(f"{name} {share:.4g}" for name, share in shares[:4])
    return f"{told} for {tokens:.4g} tokens" if tokens > 0 else ""


def _numbers(raw: RawLog, column: Column) -> Array:
    """Return a column as float64, empty cells as 0 where they are tokens or shares of a phase."""
    numbers, errors = parse_column(raw, column)
    if errors:
        raise InputError(errors[0].message)
    filled: Array = np.nan_to_num(np.asarray(numbers, dtype=float))
    return filled
