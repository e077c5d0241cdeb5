"""The tracking stores of MLflow: the SQLite file ``mlflow.db``, and the ``mlruns`` folder that earlier versions wrote.

Every run that was not deleted is read, with its metrics by step and its params, which fill the columns of the probe log
that are called like them. The tokens are a metric that was logged, such as ``tokens``. Both are read by the standard
library alone; the database is opened for reading only.
"""

from __future__ import annotations

import math
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from cmrplan.errors import InputError
from cmrplan.files import read_text, require_regular
from cmrplan.log.cells import named, shown
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.run_cells import cells_of
from cmrplan.log.importers.run_layout import TOKEN_COUNTS, RunLayout, TrainerRun
from cmrplan.log.importers.runs import by_step, runs_to_log

MLFLOW_LAYOUT = RunLayout(steps={"step": 0}, tokens=TOKEN_COUNTS)
MOST_METRIC_ROWS = 5_000_000
_SQLITE_HEADER = b"SQLite format 3\x00"
_TABLES = ("runs", "metrics", "params")
_MOST_STEPS = 2_000_000  # thousands of SQLite's instructions; a million rows take a twentieth of it
_METRIC = tuple[str, float, int]  # key, value, step
_ENTRY = re.compile(r"^(\w+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)


def is_mlflow_database(path: Path, head: bytes) -> bool:
    """Tell whether a file is an SQLite database with the tables of MLflow."""
    return head.startswith(_SQLITE_HEADER)


def is_mlruns_entry(path: Path, head: bytes) -> bool:
    """Tell whether a file is the ``meta.yaml`` of a run in MLflow's file store."""
    return path.name == "meta.yaml" and b"run_id:" in head and b"lifecycle_stage:" in head


def import_mlflow(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the validation losses in MLflow's stores as a probe log.

    Parameters
    ----------
    paths : sequence of Path
        Databases, and the ``meta.yaml`` of runs in file stores.
    changes : Changes

    Raises
    ------
    InputError
        If a store is damaged or holds no runs with metrics.
    """
    runs: list[tuple[str, TrainerRun]] = []
    for path in sorted(paths):
        runs += _run_of_folder(path) if path.name == "meta.yaml" else _runs_of_database(path)
    if not runs:
        raise InputError(f"{named(paths[0])} holds no run with metrics; deleted runs are not read")
    times = Counter(run.name for _, run in runs)
    called = []
    for run_id, run in runs:
        name = run.name if times[run.name] == 1 else f"{run.name}-{run_id[:8]}"
        called.append(by_step(replace(run, name=name), "step"))
    return runs_to_log(called, MLFLOW_LAYOUT, changes)


def _runs_of_database(path: Path) -> list[tuple[str, TrainerRun]]:
    source = named(path)
    require_regular(path)
    if not path.stat().st_size:
        raise InputError(f"{source} is empty; give the mlflow.db of a tracking server")
    uri = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as base:
            base.execute("PRAGMA trusted_schema=OFF")
            steps = iter(range(_MOST_STEPS))
            base.set_progress_handler(lambda: next(steps, None) is None, 1000)
            return _read(base, source)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        why = error if isinstance(error, sqlite3.Error) else "a text in it is no UTF-8"
        raise InputError(
            f"{source} cannot be read as MLflow's database ({why}); copy it again while no server writes to it"
        ) from None


def _read(base: sqlite3.Connection, source: str) -> list[tuple[str, TrainerRun]]:
    tables = {
        name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    lacking = [name for name in _TABLES if name not in tables]
    if lacking:
        raise InputError(
            f"{source} is no database of MLflow: it has no table {lacking[0]}; give its mlflow.db"
        )
    query = "SELECT run_uuid, key, value, step, is_nan FROM metrics ORDER BY step, timestamp"
    metrics: dict[str, list[_METRIC]] = {}
    rows = base.execute(f"{query} LIMIT {MOST_METRIC_ROWS + 1}").fetchall()
    if len(rows) > MOST_METRIC_ROWS:
        raise InputError(
            f"{source} has more than {MOST_METRIC_ROWS:,} values of metrics; export the runs of one experiment"
        )
    for run_id, key, value, step, is_nan in rows:
        metrics.setdefault(run_id, []).append((key, math.nan if is_nan else _number(value), step))
    params: dict[str, dict[str, str]] = {}
    for run_id, key, value in base.execute("SELECT run_uuid, key, value FROM params"):
        params.setdefault(run_id, {})[key] = value
    runs = base.execute(
        "SELECT run_uuid, name FROM runs WHERE lifecycle_stage != 'deleted' ORDER BY start_time"
    )
    return [
        (
            run_id,
            TrainerRun(name or run_id, source, _table(metrics[run_id]), params.get(run_id, {})),
        )
        for run_id, name in runs
        if run_id in metrics
    ]


def _number(value: float) -> float:
    """Return a value as it was logged: MLflow's database has the largest float for infinity."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def _table(metrics: Sequence[_METRIC]) -> pd.DataFrame:
    """Return a row for each value, of which those of one step are put together later."""
    return cells_of([{"step": step, key: value} for key, value, step in metrics])


def _run_of_folder(meta: Path) -> list[tuple[str, TrainerRun]]:
    """Return the run whose ``meta.yaml`` this is, nothing where it was deleted or logged nothing."""
    source = named(meta.parent)
    entries = {name: value.strip("'\"") for name, value in _ENTRY.findall(read_text(meta))}
    if entries.get("lifecycle_stage") == "deleted":
        return []
    metrics = [
        metric
        for path in _files(meta.parent / "metrics")
        for metric in _metrics_of(path, path.relative_to(meta.parent / "metrics").as_posix())
    ]
    folder = meta.parent / "params"
    params = {
        path.relative_to(folder).as_posix(): read_text(path).strip() for path in _files(folder)
    }
    run_id = entries.get("run_id", meta.parent.name)
    name = entries.get("run_name") or run_id
    metrics.sort(key=lambda metric: metric[2])
    return [(run_id, TrainerRun(name, source, _table(metrics), params))] if metrics else []


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _metrics_of(path: Path, key: str) -> Iterator[_METRIC]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            _, value, step = line.split()[:3]
            yield key, float(value), int(step)
        except ValueError:
            raise InputError(
                f"{named(path)} line {number} is {shown(line)}, and must be 'timestamp value step'; copy the store "
                "again"
            ) from None
