"""A table of any trainer: a CSV, JSONL or Parquet file whose columns have other names and units.

One row for each evaluation, with the corpus in a column, or one row for each checkpoint, with a
loss column for each corpus::

    cmrplan logs import table runs.csv --out log.csv \
        --map run=run_id --map tokens_B=train_tokens --scale train_tokens=1e9 \
        --map code_share=domain_ratio --set model_params=1.2e8 \
        --map val/wiki=loss_general --map val/code=loss_domain

``training_flops`` may stand in place of ``train_tokens``: D = FLOPs / (6 N).
"""

from __future__ import annotations

from pathlib import Path

from cmrplan.log.cells import read_raw
from cmrplan.log.importers.changes import Changes, Imported, to_log
from cmrplan.log.importers.spellings import with_contract_names


def import_table(source: Path, changes: Changes) -> Imported:
    """Return a table as a probe log; see the module for what it may look like."""
    raw = read_raw(source)
    return to_log(raw, with_contract_names([str(name) for name in raw.table], changes))
