"""A chart of Weights & Biases as its CSV export writes it, or as Parquet: one column for each run.

The axis, which is ``Step`` or the key that the chart was drawn over, such as ``train/global_step`` where transformers
logs; then ``<run> - <metric>``, and the same with ``__MIN`` and ``__MAX`` behind it; these are dropped, as is
``<run> - _step``. The corpus is what the metric's name has beside words such as ``eval`` and ``loss``; an empty cell
gives no row. A chart does not say how the runs were made::

    cmrplan logs import wandb_chart chart.csv --out log.csv --set model_params=410M --tokens-per-step 1048576 \
        --map r010-s0=0.1 --map r050-s0=0.5 --map val/wiki/loss=general

gives every run its domain ratio (``--set domain_ratio=VALUE`` one for all) and a metric its corpus. Where the axis
counts tokens, ``--map Step=train_tokens``; one that is called so (``train/num_input_tokens_seen``) is read so. A
folder holds one chart for each metric.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cmrplan.errors import InputError
from cmrplan.log.cells import RawLog, listed, named, read_raw, shown
from cmrplan.log.columns import LOSS_PREFIX, Column
from cmrplan.log.importers.changes import (
    Changes,
    Imported,
    as_number,
    ends_open,
    joined,
    numbers_of,
    to_log,
)
from cmrplan.log.importers.headers import column_names
from cmrplan.log.importers.loss_units import require_named_unit
from cmrplan.log.importers.run_facts import STEP_TOKENS, corpus_name
from cmrplan.log.importers.run_layout import LINE_COUNTER, lines_as_steps, steps_done
from cmrplan.log.importers.wandb_offline import WANDB_LAYOUT

_STEP_AXIS = "Step"
_AXES = {_STEP_AXIS, *WANDB_LAYOUT.steps}  # what an axis of steps is called
_CURVE = re.compile(r"(?P<run>.+?) - (?P<metric>.+)")
_MIXTURES = ("domain_ratio", "replay_ratio")
_DROPPED = ("__MIN", "__MAX")
_NO_CORPUS = {"eval", "val", "valid", "validation", "test", "loss", "metrics"}


def is_wandb_chart(path: Path, head: bytes) -> bool:
    """Tell whether the header of a file is one of an exported chart."""
    header = column_names(path, head)
    curves = [name for name in header if _CURVE.fullmatch(name)]
    return bool(curves) and (_STEP_AXIS in header or header[1:] == curves)


def import_wandb_chart(source: Path, changes: Changes) -> Imported:
    """Return the chart in a file, or all of a folder's, as one probe log."""
    paths = [source]
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.suffix in (".csv", ".parquet"))
    if not paths:
        raise InputError(
            f"{named(source)}: no .csv or .parquet file in this folder; give an exported chart"
        )
    return joined([_import_chart(path, changes) for path in paths], named(source))


def _import_chart(path: Path, changes: Changes) -> Imported:
    raw = read_raw(path)
    series = _series(raw)
    axis = _STEP_AXIS if _STEP_AXIS in raw.table else str(raw.table.columns[0])
    if not series or axis in series:
        raise InputError(
            f"{raw.source} is no exported chart: it has {listed(list(raw.table))}; there must be a column {_STEP_AXIS} "
            "and one '<run> - <metric>' for each run"
        )
    metrics = dict.fromkeys(metric for _, metric in series.values())
    require_named_unit(metrics, changes.loss_unit, raw.source)
    constants = dict(changes.constants)
    is_counted = STEP_TOKENS not in changes.facts.columns
    _require_axis(raw, axis, changes)
    steps = pd.Series(numbers_of(raw, Column(axis, "number", "nonnegative", required=True)))
    steps = steps_done(steps, WANDB_LAYOUT.steps.get(axis, 0), np.ones(len(steps), dtype=bool))
    tokens = _tokens(raw, axis, steps, changes, constants) if is_counted else steps
    parts = []
    for column, (run, metric) in series.items():
        cells = {
            "run_id": run,
            "train_tokens" if is_counted else "step": tokens if is_counted else steps,
            f"{LOSS_PREFIX}{changes.names.get(metric, _corpus(metric))}": raw.table[column],
        }
        if run in changes.names or not any(map(changes.gives, _MIXTURES)):
            cells["domain_ratio"] = _ratio(run, changes, raw)
        part = RawLog(pd.DataFrame(cells, dtype=object), raw.source, raw.lines)
        parts.append(to_log(part, replace(changes, names={}, constants=constants)))
    used = {
        column: f"{LOSS_PREFIX}{changes.names.get(metric, _corpus(metric))}"
        for column, (_, metric) in series.items()
    }
    dropped = tuple(str(name) for name in raw.table if name not in series and name != axis)
    if axis in (_STEP_AXIS, LINE_COUNTER) and axis not in changes.names:
        parts[-1] = parts[-1].with_remark(lines_as_steps(raw.source, axis))
    if raw.ends_open:
        parts[-1] = parts[-1].with_remark(ends_open(raw.source))
    return replace(joined(parts, raw.source), columns=used, left_out=dropped)


def _series(raw: RawLog) -> dict[str, tuple[str, str]]:
    """Return run and metric by column."""
    series = {}
    for column in raw.table:
        match = _CURVE.fullmatch(str(column))
        if match and not match["metric"].endswith(_DROPPED) and match["metric"] not in _AXES:
            series[str(column)] = (match["run"], match["metric"])
    return series


def _counts_tokens(axis: str, changes: Changes) -> bool:
    return changes.names.get(axis, "step") == "train_tokens" or (
        axis not in changes.names and axis.rsplit("/", 1)[-1] in WANDB_LAYOUT.tokens
    )


def _require_axis(raw: RawLog, axis: str, changes: Changes) -> None:
    """Refuse an axis that may be hours, or anything else than steps or tokens."""
    if axis in _AXES or axis in changes.names or _counts_tokens(axis, changes):
        return
    raise InputError(
        f"{raw.source} is drawn over {shown(axis)}, and a probe log needs steps or tokens; export the chart over its "
        f"step, or say what that counts: --map {shlex.quote(f'{axis}=step')}, or --map "
        f"{shlex.quote(f'{axis}=train_tokens')}"
    )


def _tokens(
    raw: RawLog,
    axis: str,
    steps: pd.Series[float],
    changes: Changes,
    constants: dict[str, str],
) -> pd.Series[float]:
    if _counts_tokens(axis, changes):
        return steps
    if "tokens_per_step" not in constants:
        raise InputError(
            f"{raw.source} counts steps, and a probe log tokens; add --tokens-per-step VALUE, or --map "
            f"{axis}=train_tokens if it counts tokens"
        )
    return steps * as_number(constants.pop("tokens_per_step"), "tokens_per_step")


def _ratio(run: str, changes: Changes, raw: RawLog) -> str:
    if run not in changes.names:
        raise InputError(
            f"{raw.source} does not say the domain ratio of run {shown(run)}; add --map {run}=0.1, --run-pattern if "
            "the "
            "names of the runs say it, or --set domain_ratio=0.1 for all runs"
        )
    return changes.names[run]


def _corpus(metric: str) -> str:
    words = [word for word in corpus_name(metric).split("_") if word not in _NO_CORPUS]
    return "_".join(words) or corpus_name(metric)
