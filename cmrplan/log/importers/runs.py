"""Runs as trainers log them -> the probe log: which metric is a validation loss, and where the tokens come from.

A reader of one format gives a :class:`TrainerRun` for each run: the lines that its trainer wrote, under the trainer's
own names, and the settings beside them. What they become is one rule for all formats; run_layout.py says what a name
means, and ``--map METRIC=CORPUS`` or ``--map NAME=COLUMN`` says it for others. Tokens are those that the trainer
counted, at the line or at the last one before it, or else steps times ``tokens_per_step``; at step 0 they are 0. The
learning rate is the last one logged before the evaluation; one that a run was set to is that of its peak, and is not
read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import LogFinding, RawLog, listed, shown
from cmrplan.log.columns import LOSS_PREFIX, Column
from cmrplan.log.importers.changes import (
    Changes,
    Imported,
    ends_open,
    joined,
    numbers_of,
    to_log,
)
from cmrplan.log.importers.loss_units import require_named_unit
from cmrplan.log.importers.name_patterns import require_mixture
from cmrplan.log.importers.repeats import labels_of, replaced_later, without_repeats
from cmrplan.log.importers.run_cells import is_filled, last_before
from cmrplan.log.importers.run_facts import OF_A_ROW, STEP_TOKENS, expanded, is_log_column
from cmrplan.log.importers.run_layout import (
    LINE_COUNTER,
    RunLayout,
    TrainerRun,
    lines_as_steps,
    rates_of,
    steps_done,
    tokens_like,
)


def runs_to_log(runs: Sequence[TrainerRun], layout: RunLayout, changes: Changes) -> Imported:
    """Return the validation losses of runs as a probe log, with the use that was made of each name.

    Raises
    ------
    InputError
        If no metric is a validation loss, tokens are not known, or a name that is mapped is in no run.
    """
    present = list(dict.fromkeys(str(name) for run in runs for name in (*run.table, *run.settings)))
    names = expanded(changes.names, present)
    unknown = [old for old in names if old not in present]
    if unknown:
        raise InputError(
            f"{runs[0].source} has no {shown(unknown[0])} to map; it has {listed(present, 20)}"
        )
    corpora = _corpora(runs, layout, names)
    if not corpora:
        raise InputError(_no_loss(runs[0].source, runs))
    require_named_unit(corpora, changes.loss_unit, runs[0].source)
    rest = {old: new for old, new in names.items() if old not in corpora}
    runs, repeats = without_repeats(runs, list(corpora), lambda run: layout.keys_of(run, rest))
    evaluated = [run for run in runs if any(metric in run.table for metric in corpora)]
    called = [run.name for run in evaluated]
    parts = [_one_run(run, called, layout, corpora, rest, changes) for run in evaluated]
    log = joined(parts, runs[0].source if len(runs) == 1 else f"{len(runs)} runs")
    used = {**{metric: f"{LOSS_PREFIX}{corpus}" for metric, corpus in corpora.items()}, **rest}
    used |= {name: name for name in _of_the_contract(runs)}
    used |= {column: "train_tokens" for column in _counted(runs, layout, changes, rest)}
    used |= {old: new for run in runs for old, new in _rate_of(run, changes, rest).items()}
    left_out = tuple(name for name in present if name not in {*used, *layout.steps})
    remarks = (
        *log.remarks,
        *repeats,
        *_lines_as_steps(evaluated, layout, changes, rest),
        *(remark for run in runs for remark in run.remarks),
    )
    return Imported(log.log, remarks, used, left_out)


def _lines_as_steps(
    runs: Sequence[TrainerRun], layout: RunLayout, changes: Changes, names: Mapping[str, str]
) -> list[LogFinding]:
    """Return a remark where tokens are those of the lines of a log, which may not be steps."""
    by_line = [run for run in runs if layout.step_of(run) == LINE_COUNTER]
    if not by_line or not changes.gives(STEP_TOKENS) or "step" in names.values():
        return []
    return [lines_as_steps(by_line[0].source, LINE_COUNTER)]


def _corpora(
    runs: Sequence[TrainerRun], layout: RunLayout, names: Mapping[str, str]
) -> dict[str, str]:
    """Return the corpus of each metric that is a validation loss."""
    corpora: dict[str, str] = {}
    columns = list(dict.fromkeys(str(name) for run in runs for name in run.table))
    others = [corpus for name in columns if (corpus := layout.corpus_of(name))]
    for column in columns:
        if column in names:
            new = names[column]
            if new.startswith(LOSS_PREFIX) and new not in ("loss_stderr", LOSS_PREFIX):
                corpora[column] = new.removeprefix(LOSS_PREFIX)
            elif not is_log_column(new):
                corpora[column] = new
            continue
        corpus = layout.corpus_of(column)
        if corpus == "":
            raise InputError(
                f"{runs[0].source}: {shown(column)} does not say on which corpus the loss is; "
                f"{_name_for(column, others)}"
            )
        if corpus is not None:
            corpora[column] = corpus
    _require_apart(runs, {metric: name for metric, name in corpora.items() if metric not in names})
    return corpora


def _name_for(metric: str, others: Sequence[str]) -> str:
    """Return what to say of a loss on no corpus that is named, beside those on others."""
    if not others:
        return f"add --map {metric}=general, or --map {metric}=domain"
    return f"others are on {listed(list(others))}, so add --map {metric}=NAME with a name that is none of theirs"


def _require_apart(runs: Sequence[TrainerRun], guessed: Mapping[str, str]) -> None:
    """Refuse two metrics of one run whose names give them one corpus."""
    for run in runs:
        metric_of: dict[str, str] = {}
        for metric, corpus in guessed.items():
            if metric not in run.table or not is_filled(run.table[metric]).any():
                continue
            if (other := metric_of.setdefault(corpus, metric)) != metric:
                raise InputError(
                    f"{run.source}: {shown(other)} and {shown(metric)} both say that they are losses on "
                    f"{shown(corpus)}; give one another name: --map {metric}={corpus}_2"
                )


def _no_loss(source: str, runs: Sequence[TrainerRun]) -> str:
    metrics = list(dict.fromkeys(str(name) for run in runs for name in run.table))
    return (
        f"{source}: no metric is a validation loss, such as eval_<corpus>_loss; it has {listed(metrics, 20)}: --map "
        "METRIC=general says what one is of"
    )


def _one_run(
    run: TrainerRun,
    called: Sequence[str],
    layout: RunLayout,
    corpora: Mapping[str, str],
    names: Mapping[str, str],
    changes: Changes,
) -> Imported:
    """Return one run as a probe log; ``called`` are the names of all."""
    raw = RawLog(run.table, run.source, run.lines, labels=labels_of(run.table, run.lines))
    cells: dict[str, Any] = {}
    counter = layout.step_of(run)
    if counter is not None:
        step = numbers_of(raw, Column(counter, "number", "nonnegative"))
        is_evaluated = np.any([is_filled(run.table[m]) for m in corpora if m in run.table], axis=0)
        count = pd.Series(step, index=run.table.index).ffill()
        cells["step"] = steps_done(count, layout.steps[counter], is_evaluated)
    carried = {old: new for old, new in names.items() if old in run.table}
    for old in _counted([run], layout, changes, names):
        carried[old] = "train_tokens"
    carried |= _rate_of(run, changes, names)
    for old, new in carried.items():
        cells[new] = last_before(run.table[old])
    if "train_tokens" in cells and counter not in (None, LINE_COUNTER):
        at_start = cells["train_tokens"].isna() & (cells["step"] == 0)
        cells["train_tokens"] = cells["train_tokens"].mask(at_start, 0)
    table = pd.DataFrame(cells, index=run.table.index, dtype=object).assign(run_id=run.name)
    for new, value in _of_settings(run, names, changes, table).items():
        table[new] = value
    parts = [
        replace(
            raw,
            table=table.assign(eval_corpus=corpus, loss=run.table[metric]),
            labels=labels_of(table, run.lines, metric),
        ).kept(is_filled(run.table[metric]))
        for metric, corpus in corpora.items()
        if metric in run.table
    ]
    parts = [part for part in parts if len(part.table)]
    if not parts:
        raise InputError(
            f"{run.source}: run {shown(run.name)} has no validation loss; leave it out"
        )
    _require_tokens(run, table, parts, layout, changes)
    given = {*map(str, table), *changes.constants, *changes.facts.columns}
    require_mixture(run.source, run.name, called, given, run.settings)
    imported = to_log(_concatenated(parts, changes), replace(changes, names={}))
    late = _steps_without_count(run, layout, names, changes, [m for m in corpora if m in run.table])
    if not late:
        return imported
    message = (
        f"{run.source}: run {shown(run.name)} counted no tokens at {late} steps of its evaluations, which have those "
        "of "
        "the last count before; log them together, or add --tokens-per-step VALUE"
    )
    return imported.with_remark(
        LogFinding(Code.TOKENS_CARRIED, message, run.source, column="train_tokens", num_rows=late)
    )


def _of_settings(
    run: TrainerRun, names: Mapping[str, str], changes: Changes, table: pd.DataFrame
) -> dict[str, str]:
    """Return what a run was set to, as columns that it does not have otherwise.

    A run that was set to a number of tokens, of a step or of all, has its tokens from one source: what the trainer
    counted, what the caller gives, and only then the setting.
    """
    values: dict[str, str] = {}
    for old, value in run.settings.items():
        new = names.get(old, old if _is_setting(old) else "")
        if not new or new in table or changes.gives(new):
            continue
        if new == STEP_TOKENS and "train_tokens" in table:
            continue
        if new == "train_tokens" and (changes.gives(STEP_TOKENS) or STEP_TOKENS in run.settings):
            continue
        values[new] = value
    return values


def _steps_without_count(
    run: TrainerRun,
    layout: RunLayout,
    names: Mapping[str, str],
    changes: Changes,
    metrics: Sequence[str],
) -> int:
    """Return at how many steps a run evaluated more than one step after its last count of tokens."""
    counter, counted = layout.step_of(run), _counted([run], layout, changes, names)
    if counter is None or not counted or counter == LINE_COUNTER:
        return 0
    step = pd.Series(pd.to_numeric(run.table[counter], errors="coerce")).ffill()
    of_count = step.where(is_filled(run.table[counted[0]])).ffill()
    is_evaluated = np.any([is_filled(run.table[metric]) for metric in metrics], axis=0)
    return int(step[is_evaluated & (step - of_count > 1)].nunique())


def _concatenated(parts: Sequence[RawLog], changes: Changes) -> RawLog:
    lines = None
    if parts[0].lines is not None:
        lines = np.concatenate([part.lines for part in parts if part.lines is not None])
    numbers = [number for part in parts if part.numbers is not None for number in part.numbers]
    table = pd.concat([part.table for part in parts], ignore_index=True)
    table = table.drop(columns=[name for name in ("run_id",) if name in changes.constants])
    labels = tuple(label for part in parts for label in part.labels or ())
    return RawLog(table, parts[0].source, lines, np.array(numbers), labels=labels or None)


def _require_tokens(
    run: TrainerRun,
    table: pd.DataFrame,
    parts: Sequence[RawLog],
    layout: RunLayout,
    changes: Changes,
) -> None:
    """Refuse a run whose evaluations have no count of tokens."""
    if STEP_TOKENS in table or changes.gives(STEP_TOKENS) or changes.gives("train_tokens"):
        return
    why = f"; {layout.counting} counts them next time" if layout.counting else ""
    if "train_tokens" not in table:
        alike = tokens_like(run.table)
        by_name = (
            f"; if one of {listed(alike)} is the count of all training tokens so far: --map COLUMN=train_tokens"
            if alike
            else ""
        )
        raise InputError(
            f"{run.source}: the tokens of run {shown(run.name)} were not counted{' for sure' if alike else ''}; add "
            f"--tokens-per-step VALUE (global batch size times sequence length){by_name}{why}"
        )
    for part in parts:
        missing = part.table["train_tokens"].isna().to_numpy()
        if missing.any():
            step = part.table["step"].iloc[int(missing.argmax())] if "step" in part.table else "?"
            step = f"{step:.12g}" if isinstance(step, float) else step
            raise InputError(
                f"{run.source}: no tokens were counted before the evaluation at step {shown(step)} of run "
                f"{shown(run.name)}; add --tokens-per-step VALUE{why}"
            )


def _counted(
    runs: Sequence[TrainerRun], layout: RunLayout, changes: Changes, names: Mapping[str, str]
) -> list[str]:
    """Return the columns of counted tokens that are read."""
    if (
        "train_tokens" in names.values()
        or changes.gives(STEP_TOKENS)
        or changes.gives("train_tokens")
    ):
        return []
    counted = (layout.tokens_of(run) for run in runs)
    return list(dict.fromkeys(name for name in counted if name is not None and name not in names))


def _of_the_contract(runs: Sequence[TrainerRun]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.settings if _is_setting(name)))


def _is_setting(name: str) -> bool:
    return is_log_column(name) and name not in {*OF_A_ROW, "learning_rate"}


def _rate_of(run: TrainerRun, changes: Changes, names: Mapping[str, str]) -> dict[str, str]:
    """Return the metric that is the learning rate, as what the log calls it, unless another was named."""
    if "learning_rate" in names.values() or changes.gives("learning_rate"):
        return {}
    rates = rates_of(name for name in run.table if name not in names)
    return dict.fromkeys(rates[:1], "learning_rate")


def by_step(run: TrainerRun, step: str) -> TrainerRun:
    """Return a run with one row for each step, with a remark on values that were written twice.

    Of several values of a metric at one step the last one stays, as a resumed run repeats its steps.
    """
    table = run.table
    if step not in table or not table[step].duplicated().any():
        return run
    metrics = [name for name in table if name != step]
    rows: dict[Any, dict[str, Any]] = {}
    replaced = 0
    for cells in table.to_dict("records"):
        row = rows.setdefault(cells[step], {})
        for name in metrics:
            value = cells[name]
            if value is not None and value == value and value != "":
                replaced += name in row and row[name] != value
                row[str(name)] = value
    keys = list(rows)
    numbers = pd.to_numeric(pd.Series(keys, dtype=object), errors="coerce").to_numpy(dtype=float)
    if (is_none := np.isnan(numbers)).any():
        wrong = shown(keys[int(np.argmax(is_none))])
        raise InputError(
            f"{run.source}: {step} of run {shown(run.name)} must be a number, got {wrong}"
        )
    steps = [keys[at] for at in np.argsort(numbers, kind="stable")]
    columns = {step: steps} | {
        str(name): [rows[at].get(str(name)) for at in steps] for name in metrics
    }
    frame = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
    remarks = run.remarks
    if replaced:
        remarks = (*remarks, replaced_later(run, int(replaced)))
    return replace(run, table=frame, lines=None, remarks=remarks)


def run_of_table(raw: RawLog, name: str) -> TrainerRun:
    """Return the run in a table of a trainer that ends every line, without a last line that has no end."""
    if not raw.ends_open:
        return TrainerRun(name, raw.source, raw.table, lines=raw.lines)
    lines = None if raw.lines is None else raw.lines[:-1]
    remark = ends_open(raw.source, "its last line was left out")
    return TrainerRun(name, raw.source, raw.table.iloc[:-1], lines=lines, remarks=(remark,))
