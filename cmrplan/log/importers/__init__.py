"""Other people's logs -> the probe log, one file a source.

======================  ============================================================================
format                  what it reads
======================  ============================================================================
``table``               a CSV, JSONL or Parquet table of any trainer: columns renamed, scaled, set
``mixinglaws``          checkpoint paths with losses, as in github.com/yegcjs/mixinglaws
``regmix``              tables of mixtures beside tables of losses, as in github.com/sail-sg/regmix
``chinchilla``          one loss for each model size and number of FLOPs
``wandb_chart``         a chart of Weights & Biases, exported as CSV: a column for each run
``trainer_state``       the trainer_state.json of the transformers Trainer: one run
======================  ============================================================================

What a file does not say the caller adds, in the same words for every format: a :class:`Changes`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cmrplan.errors import InputError
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.chinchilla import import_chinchilla
from cmrplan.log.importers.mixinglaws import import_mixinglaws
from cmrplan.log.importers.regmix import import_regmix
from cmrplan.log.importers.table import import_table
from cmrplan.log.importers.trainer_state import import_trainer_state
from cmrplan.log.importers.wandb_chart import import_wandb_chart

Importer = Callable[[Path, Changes], Imported]

IMPORTERS: dict[str, Importer] = {
    "table": import_table,
    "mixinglaws": import_mixinglaws,
    "regmix": import_regmix,
    "chinchilla": import_chinchilla,
    "wandb_chart": import_wandb_chart,
    "trainer_state": import_trainer_state,
}


def import_log(
    format: str, source: str | os.PathLike[str], changes: Changes | None = None
) -> pd.DataFrame:
    """Return somebody's log as a probe log, checked; see :func:`import_with_remarks`."""
    return import_with_remarks(format, source, changes).log


def import_with_remarks(
    format: str, source: str | os.PathLike[str], changes: Changes | None = None
) -> Imported:
    """Return somebody's log as a probe log, checked, and what was left out or named anew.

    Parameters
    ----------
    format : str
        One of :data:`IMPORTERS`.
    source : str or path
        The file, or for ``mixinglaws`` and ``regmix`` also the folder.
    changes : Changes, optional
        What the files do not say.

    Raises
    ------
    InputError
        If the source is not in that format; the message names the file, row and column.
    """
    if format not in IMPORTERS:
        raise InputError(f"format must be one of {', '.join(IMPORTERS)}, got {format!r}")
    return IMPORTERS[format](Path(source), changes or Changes())
