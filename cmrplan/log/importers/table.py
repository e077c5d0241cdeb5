"""A table of any trainer: a CSV, JSONL or Parquet file whose columns have other names and units.

One row for each evaluation, with the corpus in a column, or one row for each checkpoint, with a
loss column for each corpus::

    cmrplan logs import table runs.csv --out log.csv \
        --map run=run_id --map tokens_B=train_tokens --scale train_tokens=1e9 \
        --map code_share=domain_ratio --set model_params=1.2e8 \
        --map val/wiki=loss_general --map val/code=loss_domain

``--map wiki=general`` gives a validation corpus in ``eval_corpus`` another name where no column is called wiki.
``training_flops`` may stand in place of ``train_tokens``: D = FLOPs / (6 N).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cmrplan.log.cells import RawLog, read_raw
from cmrplan.log.importers.changes import Changes, Imported, joined, to_log
from cmrplan.log.importers.guess import with_contract_names
from cmrplan.log.importers.labels import corpora_of


def import_tables(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return tables as one probe log; see the module for what they may look like."""
    raws = [read_raw(path) for path in paths]
    corpora = [set(corpora_of(raw.table, changes.names)) for raw in raws]
    parts = []
    for raw, own in zip(raws, corpora, strict=True):
        elsewhere = set().union(*corpora) - own - set(raw.table.columns)
        names = {old: new for old, new in changes.names.items() if old not in elsewhere}
        parts.append(_import_table(raw, replace(changes, names=names)))
    return parts[0] if len(parts) == 1 else joined(parts, f"{len(parts)} files")


def _import_table(raw: RawLog, changes: Changes) -> Imported:
    return to_log(raw, with_contract_names([str(name) for name in raw.table], changes))
