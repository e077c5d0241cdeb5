"""The text that nanotron prints: one file a run.

``iteration: 100 / 2000 | consumed_tokens: 52.4M | ... | lm_loss: 2.1 | ...`` is a line of it. Nanotron prints the
loss of training alone, and counts of tokens with three digits. Neither is what a probe log asks for, so the loss is
read only where ``--map lm_loss=CORPUS`` says that it may stand for a validation loss, as on data that no run repeats;
``--tokens-per-step`` gives exact counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmrplan.errors import InputError
from cmrplan.files import read_text
from cmrplan.log.cells import named
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.run_cells import cells_of, folders_of, unique_names, whole_lines
from cmrplan.log.importers.run_layout import RunLayout, TrainerRun
from cmrplan.log.importers.runs import runs_to_log
from cmrplan.numbers import COUNT_SUFFIXES

NANOTRON_LAYOUT = RunLayout(steps={"iteration": 0}, tokens=("consumed_tokens",))
_PROGRESS = re.compile(r"\biteration: (\d+) / (\d+) \|(.*)")
_ENTRY_OF_LINE = re.compile(
    r"\s*([A-Za-z]\w*): ([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)([KMBT]?)\s*(?:\||$)"
)


def is_nanotron(path: Path, head: bytes) -> bool:
    """Tell whether a text has nanotron's lines of progress."""
    return b"consumed_tokens: " in head and b"iteration: " in head


def import_nanotron(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return what nanotron printed as a probe log, where the caller says what its loss may stand for.

    Raises
    ------
    InputError
        If a text has no such line, or no metric is mapped.
    """
    paths = sorted(paths)
    names = unique_names(folders_of(paths), changes.facts.pattern)
    runs = [_run_of_print(path, name) for path, name in zip(paths, names, strict=True)]
    if not set(changes.names) & {str(name) for run in runs for name in run.table}:
        raise InputError(
            f"{runs[0].source}: nanotron prints the loss of training alone; evaluate its checkpoints, or add --map "
            "lm_loss=general if that may stand for a validation loss"
        )
    return runs_to_log(runs, NANOTRON_LAYOUT, changes)


def _run_of_print(path: Path, name: str) -> TrainerRun:
    text = read_text(path)
    whole, remarks = whole_lines(text, named(path))
    rows, lines = [], []
    for number, line in enumerate(whole, start=1):
        progress = _PROGRESS.search(line)
        if progress:
            entries = _ENTRY_OF_LINE.findall(progress[3])
            row = {key: float(value) * COUNT_SUFFIXES[unit.lower()] for key, value, unit in entries}
            rows.append({"iteration": int(progress[1]), **row})
            lines.append(number)
    if not rows:
        lack = (
            "is empty"
            if not text.strip()
            else "has no line such as 'iteration: 100 / 2000 | consumed_tokens: 52.4M | ...'"
        )
        raise InputError(f"{named(path)} {lack}; give what nanotron printed")
    return TrainerRun(name, named(path), cells_of(rows), lines=np.array(lines), remarks=remarks)
