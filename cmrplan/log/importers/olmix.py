"""The pair ``ratios.csv`` and ``metrics.csv`` that github.com/allenai/olmix reads: a folder of one swarm of runs.

Users prepare the pair; olmix writes none. Both have a row for each run, known by ``run_id`` or ``run``. ``ratios.csv``
has a column for each source, whose shares may lie one percent from a sum of 1 and are divided by it; ``metrics.csv`` a
column for each task, in bits per byte, lower is better. Sources become ``share_<source>``, tasks ``loss_<task>``; an
empty cell gives no row. The files do not say how long the runs were, how large, nor the bytes of a token::

    cmrplan logs import olmix SWARM --out log.csv --set model_params=30M --set train_tokens=3B \
        --loss-unit bpb --bytes-per-token 4.3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import LogFinding, RawLog, listed, named, read_raw, shown
from cmrplan.log.columns import LOSS_PREFIX
from cmrplan.log.importers.changes import Changes, Imported, ends_open, joined, to_log
from cmrplan.log.importers.run_facts import corpus_name, expanded, is_log_column

RATIOS_FILE, METRICS_FILE = "ratios.csv", "metrics.csv"
_KEYS = ("run_id", "run")
_NOT_READ = {"name", "index"}


def is_olmix(path: Path, head: bytes) -> bool:
    """Tell whether a file is one of a pair."""
    return (
        path.name in (RATIOS_FILE, METRICS_FILE)
        and path.with_name(RATIOS_FILE).exists()
        and path.with_name(METRICS_FILE).exists()
    )


def import_olmix(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return pairs of tables as one probe log.

    Parameters
    ----------
    paths : sequence of Path
        The folders, or one file of each pair.
    changes : Changes

    Raises
    ------
    InputError
        If a table of a pair is missing or has no runs in common with the other, or the unit is not given.
    """
    folders = list(dict.fromkeys(path if path.is_dir() else path.parent for path in paths))
    return joined([_import_swarm(folder, changes) for folder in folders], named(folders[0]))


def _import_swarm(folder: Path, changes: Changes) -> Imported:
    ratios, metrics = _table_of(folder / RATIOS_FILE), _table_of(folder / METRICS_FILE)
    if changes.loss_unit is None:
        raise InputError(
            f"{metrics.source}: olmix's metrics are bits per byte, and a probe log holds nats per token; add "
            "--loss-unit "
            "bpb --bytes-per-token X, or the unit that they have"
        )
    names = expanded(changes.names, [*ratios.table, *metrics.table])
    shares = ratios.table.rename(columns=_names(ratios, names, "share_"))
    losses = metrics.table.rename(columns=_names(metrics, names, LOSS_PREFIX))
    left_out = sorted(_NOT_READ & {*shares, *losses})
    shares = shares.drop(columns=left_out, errors="ignore")
    losses = losses.drop(columns=left_out, errors="ignore")
    common = shares["run_id"].isin(losses["run_id"])
    if not common.any():
        raise InputError(
            f"{ratios.source} and {metrics.source} have no run in common; {shown(shares['run_id'][0])} is in one alone"
        )
    both = losses.merge(shares[common], on="run_id", how="inner", suffixes=("", " "))
    raw = RawLog(both.astype(object), metrics.source)
    imported = to_log(raw, replace(changes, names={}, normalize_shares=True))
    for raw in (ratios, metrics):
        if raw.ends_open:
            imported = imported.with_remark(ends_open(raw.source))
    lost = sorted(set(shares["run_id"]) ^ set(losses["run_id"]))
    if lost:
        message = (
            f"{metrics.source}: {len(lost)} runs gave no row, since one of the two tables lacks them "
            f"({listed(lost, 4)})"
        )
        imported = imported.with_remark(
            LogFinding(Code.CELLS_LEFT_OUT, message, metrics.source, num_rows=len(lost))
        )
    used = {**_names(ratios, names, "share_"), **_names(metrics, names, LOSS_PREFIX)}
    return replace(imported, columns=used, left_out=tuple(left_out))


def _table_of(path: Path) -> RawLog:
    """Return a table of runs, known by ``run_id``."""
    raw = read_raw(path)
    key = next((name for name in _KEYS if name in raw.table), None)
    if key is None:
        raise InputError(f"{raw.source} has no column run_id; it has {listed(list(raw.table))}")
    table = raw.table.rename(columns={key: "run_id"})
    table["run_id"] = pd.Series([str(run).strip() for run in table["run_id"]], dtype=object)
    twice = table["run_id"].duplicated().to_numpy()
    if twice.any():
        row = int(twice.argmax())
        raise InputError(
            f"{raw.source} row {raw.number(row)} repeats run {shown(table['run_id'][row])}; keep one"
        )
    return replace(raw, table=table)


def _names(raw: RawLog, names: dict[str, str], prefix: str) -> dict[str, str]:
    """Return the column of the probe log that each source or task becomes."""
    pairs = {}
    for column in raw.table:
        old = str(column)
        if old == "run_id" or old in _NOT_READ or is_log_column(old):
            continue
        new = names.get(old, corpus_name(old))
        is_whole = is_log_column(new) or new.startswith(LOSS_PREFIX)
        pairs[old] = new if is_whole else prefix + new
    return pairs
