r"""What a log does not say of its runs: read from their names by a pattern, or from a table joined on the run.

``--run-pattern 'r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)'`` takes the named groups of the first match in the name of a
run, ``--join runs.csv`` the columns of a table with one row for each run. Both give columns of the probe log only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import RawLog, listed, raw_frame, shown
from cmrplan.log.columns import (
    LOG_COLUMNS,
    REPLAY_RATIO,
    SHARE_PREFIX,
    Column,
    canonical_columns,
    parse_column,
)
from cmrplan.log.phases import is_phase_column

STEP_TOKENS = "tokens_per_step"
EXAMPLE_PATTERN = r"r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)"
NAMES_OF_RUNS = ("run_id", "run", "run_name", "name", "Name", "run_uuid")
_NUMBER_OR_PERCENT = re.compile(r"\s*[\d.]+\s*%?\s*")  # a number, with its percent sign or without
_KNOWN = {column.name for column in LOG_COLUMNS} | {
    REPLAY_RATIO,
    STEP_TOKENS,
    "realized_domain_ratio",
    "training_flops",
}
OF_A_ROW = {"run_id", "eval_corpus", "loss", "loss_stderr", "step"}


def is_log_column(name: str) -> bool:
    """Tell whether a probe log, or an import, gives a column of this name a meaning."""
    return name in _KNOWN or name.startswith(SHARE_PREFIX) or is_phase_column(name)


def expanded(names: Mapping[str, str], columns: Iterable[str]) -> dict[str, str]:
    """Return new names by old, with each ``phase_0_*=share_*`` replaced by one pair for each column that it fits.

    Parameters
    ----------
    names : mapping of str to str
        New name, or pattern with one star, by old.
    columns : iterable of str
        The names that the table has.

    Raises
    ------
    InputError
        If a star stands on one side alone, or no column fits.

    Examples
    --------
    >>> expanded({"w_*": "share_*"}, ["run", "w_code", "w_Web 2"])
    {'w_code': 'share_code', 'w_Web 2': 'share_web_2'}
    """
    columns = [str(column) for column in columns]
    pairs: dict[str, str] = {}
    for old, new in names.items():
        if "*" not in old or old in columns:
            pairs[old] = new
            continue
        if old.count("*") != 1 or new.count("*") != 1:
            raise InputError(f"--map {old}={new} must have one * on each side, as in w_*=share_*")
        start, end = old.split("*")
        fits = {
            column: new.replace("*", corpus_name(column[len(start) : len(column) - len(end)]))
            for column in columns
            if column.startswith(start) and column.endswith(end) and len(column) > len(start + end)
        }
        if not fits:
            raise InputError(f"--map {old}={new} fits no column; the log has {listed(columns)}")
        pairs |= {column: name for column, name in fits.items() if column not in names}
    return pairs


def corpus_name(text: str) -> str:
    """Return a name that a column can end in: lower case, with an underscore for any other character.

    Examples
    --------
    >>> corpus_name("Pile-CC")
    'pile_cc'
    """
    return re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_") or "corpus"


@dataclass(frozen=True)
class RunFacts:
    """What is known of the runs beside their log.

    Parameters
    ----------
    pattern : re.Pattern, optional
        Its named groups are columns of the probe log.
    table : DataFrame, optional
        One row for each run, by its name; columns of the probe log.
    source : str
        What messages call the table.
    """

    pattern: re.Pattern[str] | None = None
    table: pd.DataFrame | None = None
    source: str = ""
    columns: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        groups = set(self.pattern.groupindex) if self.pattern else set()
        joined = set() if self.table is None else set(self.table)
        twice = sorted(groups & joined)
        if twice:
            raise InputError(
                f"--run-pattern and {self.source} both give {twice[0]}; leave it out of one of them"
            )
        object.__setattr__(self, "columns", frozenset(groups | joined))

    def of_rows(self, runs: pd.Series[Any], where: str) -> pd.DataFrame:
        """Return a column of cells for each fact, a row for each name in ``runs``.

        Raises
        ------
        InputError
            If a run does not match the pattern, or the table lacks it.
        """
        names = [str(run) for run in runs]
        of_run = {name: self._of_run(name, where) for name in dict.fromkeys(names)}
        return pd.DataFrame(
            [of_run[name] for name in names], dtype=object, columns=sorted(self.columns)
        )

    def _of_run(self, name: str, where: str) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if self.pattern is not None:
            match = self.pattern.search(name)
            if match is None:
                raise InputError(
                    f"{where}: run {shown(name)} does not match --run-pattern {shown(self.pattern.pattern)}; leave the "
                    "run out, or write a pattern that fits every name"
                )
            facts |= match.groupdict()
        if self.table is not None:
            if name not in self.table.index:
                raise InputError(
                    f"{where}: {self.source} has no row for run {shown(name)}; it has {listed(list(self.table.index))}"
                )
            facts |= {str(key): cell for key, cell in self.table.loc[name].items()}
        return facts


def run_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern in ``text``, whose named groups are columns of the probe log.

    Raises
    ------
    InputError
        If it is none, or names no column.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(
            f"--run-pattern {text!r} is no regular expression ({error}); it may look like {EXAMPLE_PATTERN}"
        ) from None
    for name in pattern.groupindex:
        if not is_log_column(name) or name in OF_A_ROW:
            raise InputError(
                f"--run-pattern names {name!r}, which is no column of a run in a probe log; it may look like "
                f"{EXAMPLE_PATTERN}"
            )
    if not pattern.groupindex:
        raise InputError(
            f"--run-pattern {text!r} names no column; it may look like {EXAMPLE_PATTERN}"
        )
    return pattern


def joined_runs(raw: RawLog, names: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a table of runs by their name, and the names of ``names`` that it does not have.

    Columns that the probe log gives no meaning are left out.

    Raises
    ------
    InputError
        If no column names the run, a run stands twice, no column is of use, or a percent sign stands in some rows
        of a column.
    """
    present = list(raw.table.columns)
    own: dict[str, str] = {}
    rest: dict[str, str] = {}
    for old, new in names.items():
        try:
            pairs = expanded({old: new}, present)
        except InputError:
            pairs = {}
        is_here = bool(pairs) and all(column in present for column in pairs)
        (own if is_here else rest).update(pairs if is_here else {old: new})
    table = raw_frame(raw.table.rename(columns=own), raw.source).table
    run_column = next((name for name in NAMES_OF_RUNS if name in table), None)
    if run_column is None:
        raise InputError(
            f"{raw.source} has no column run_id to join on; it has {listed(present)}: --map OLD=run_id"
        )
    runs = table[run_column].astype(str).str.strip()
    if runs.duplicated().any():
        row = int(runs.duplicated().to_numpy().argmax())
        raise InputError(
            f"{raw.source} row {raw.number(row)} repeats run {shown(runs[row])}; give each run one row"
        )
    kept = [str(name) for name in table if is_log_column(str(name)) and name not in OF_A_ROW]
    if not kept:
        raise InputError(
            f"{raw.source} says nothing of a run that a probe log holds; it has {listed(present)}: --map "
            "OLD=domain_ratio"
        )
    table = table[kept]
    _require_percent_signs(replace(raw, table=table))
    table.index = pd.Index(runs.tolist())
    return table, rest


def _require_percent_signs(raw: RawLog) -> None:
    """Refuse a percent sign in some rows of a column, which the cells of each run alone would not show.

    Other texts may be of runs that are not imported.
    """
    replay = [Column(REPLAY_RATIO, "number", "fraction")] if REPLAY_RATIO in raw.table else []
    for column in (*canonical_columns(raw.table), *replay):
        cells = raw.table[column.name].astype(str)
        _, errors = parse_column(
            raw.kept(cells.str.fullmatch(_NUMBER_OR_PERCENT).to_numpy()), column
        )
        wrong = next((error for error in errors if error.code == Code.NOT_A_NUMBER), None)
        if wrong is not None:
            raise InputError(wrong.message)
