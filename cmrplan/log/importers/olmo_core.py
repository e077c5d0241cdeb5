"""The ``metrics_step<N>.json`` files of OLMo-core's MetricSaverCallback: a folder is a run.

``eval/lm/<corpus>/CE loss`` become rows, ``throughput/total tokens`` counts the tokens. A file holds the latest value
of every metric, so one that was saved between evaluations repeats the evaluation before it; such values are left out,
and a remark says how many.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmrplan.errors import InputError
from cmrplan.files import read_json
from cmrplan.log.cells import named
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.repeats import shown_again
from cmrplan.log.importers.run_cells import cells_of, unique_names
from cmrplan.log.importers.run_facts import corpus_name
from cmrplan.log.importers.run_layout import RunLayout, TrainerRun
from cmrplan.log.importers.runs import runs_to_log

_FILE = re.compile(r"metrics_step(\d{1,15})\.json")
_LOSS_OF_CORPUS = re.compile(r"eval/lm/(.+)/CE loss")


def is_olmo_core(path: Path, head: bytes) -> bool:
    """Tell whether a file is one that the callback saves at a step."""
    return _FILE.fullmatch(path.name) is not None and head.lstrip().startswith(b"{")


def import_olmo_core(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the evaluations in such files as a probe log, one run for each folder.

    Raises
    ------
    InputError
        If a file has another name, or is no JSON object.
    """
    folders: dict[Path, list[tuple[int, Path]]] = defaultdict(list)
    for path in paths:
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise InputError(
                f"{named(path)}: OLMo-core saves metrics at a step as metrics_step<N>.json; give those files"
            )
        folders[path.resolve().parent].append((int(match[1]), path))
    names = unique_names([folder.parts for folder in folders], changes.facts.pattern)
    runs, repeated = [], 0
    for name, files in zip(names, folders.values(), strict=True):
        rows, stale = _steps(sorted(files))
        repeated += stale
        runs.append(TrainerRun(name, named(files[0][1].parent), cells_of(rows)))
    layout = RunLayout(steps={"step": 0}, tokens=("total tokens",), corpus_of=_corpus_of)
    imported = runs_to_log(runs, layout, changes)
    if repeated:
        remedy = "; save metrics at the steps of evaluations"
        imported = imported.with_remark(shown_again(runs[0].source, repeated, remedy))
    return imported


def _corpus_of(metric: str) -> str | None:
    match = _LOSS_OF_CORPUS.fullmatch(metric)
    return corpus_name(match[1]) if match else None


def _steps(files: Sequence[tuple[int, Path]]) -> tuple[list[dict[str, Any]], int]:
    """Return a row for each step, and how many losses were those of the step before."""
    rows: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    stale = 0
    for step, path in files:
        metrics = read_json(path)
        if not isinstance(metrics, dict):
            raise InputError(
                f"{named(path)} is no JSON object; give a metrics_step<N>.json of OLMo-core"
            )
        repeated = {
            name
            for name, value in metrics.items()
            if _corpus_of(name) is not None and name in before and before[name] == value
        }
        stale += len(repeated)
        rows.append(
            {"step": step}
            | {name: value for name, value in metrics.items() if name not in repeated}
        )
        before |= metrics
    return rows, stale
