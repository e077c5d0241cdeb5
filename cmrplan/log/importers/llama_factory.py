"""The ``trainer_log.jsonl`` of LLaMA-Factory: one file a run.

Its lines have ``current_steps``, ``eval_loss`` and, with ``include_num_input_tokens_seen``, ``total_tokens``. There
is one ``eval_loss``, of which set it does not say: ``--map eval_loss=general``. Runs with several evaluation sets
have them in the ``trainer_state.json`` of their checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmrplan.errors import InputError
from cmrplan.log.cells import listed, read_raw
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.run_cells import unique_names
from cmrplan.log.importers.run_layout import RunLayout
from cmrplan.log.importers.runs import run_of_table, runs_to_log

LLAMA_FACTORY_LAYOUT = RunLayout(
    steps={"current_steps": 0}, tokens=("total_tokens",), counting="include_num_input_tokens_seen"
)


def is_llama_factory(path: Path, head: bytes) -> bool:
    """Tell whether the first line of a file is one of LLaMA-Factory's log."""
    first = head.lstrip().split(b"\n", 1)[0]
    return first.startswith(b"{") and b'"current_steps"' in first and b'"total_steps"' in first


def import_llama_factory(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the evaluations in such files as a probe log."""
    paths = sorted(paths)
    names = unique_names([path.resolve().parent.parts for path in paths], changes.facts.pattern)
    runs = []
    for path, name in zip(paths, names, strict=True):
        raw = read_raw(path)
        if "current_steps" not in raw.table:
            raise InputError(
                f"{raw.source} is no log of LLaMA-Factory: it has {listed(list(raw.table))} and not current_steps; "
                "give a "
                "trainer_log.jsonl"
            )
        runs.append(run_of_table(raw, name))
    return runs_to_log(runs, LLAMA_FACTORY_LAYOUT, changes)
