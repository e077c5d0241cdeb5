"""Tables of mixtures beside tables of losses, as in github.com/sail-sg/regmix (Liu et al., arXiv:2407.01492).

Two CSV files go together, ``<split>_mixture_<size>.csv`` and ``<split>_pile_loss_<size>.csv``, a row for each run,
known by ``index`` in both. Mixtures have a column ``train_<corpus>`` for each training corpus, losses a column
``metric/<corpus>_val_loss`` for each validation corpus, in nats per token. What comes out has a column
``share_<corpus>`` for each training corpus, without ``the_pile_``. Shares are rounded to three decimals in the
authors' files, so they are divided by their sum, which must lie within one percent of 1. What the files do not say:

- the parameters of a size: what its name says, ``60m`` is 6e7; ``names`` gives others, ``{"1m": "1.2e6"}``;
- the tokens of a run: 1e9 as in the paper; the constant ``train_tokens`` gives another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import RawLog, named, read_raw, shown
from cmrplan.log.columns import Column
from cmrplan.log.importers.changes import (
    Changes,
    Imported,
    as_number,
    ends_open,
    joined,
    numbers_of,
    runs_named,
    to_log,
)
from cmrplan.log.importers.headers import header_of
from cmrplan.log.importers.run_facts import corpus_name
from cmrplan.log.validate import ROUNDED_SUM
from cmrplan.numbers import COUNT_SUFFIXES

TRAIN_TOKENS = "1e9"
_MIXTURE = re.compile(r"(?P<split>.+)_mixture_(?P<size>[^_]+)\.csv")
_SHARE = re.compile(r"train_(?:the_pile_)?(.+)")
_LOSS = re.compile(r"metric/(?:the_pile_)?(.+)_val_loss")


def is_regmix(path: Path, head: bytes) -> bool:
    """Tell whether a file is a table of mixtures."""
    return _MIXTURE.fullmatch(path.name) is not None and any(
        _SHARE.fullmatch(n) for n in header_of(head)
    )


def import_regmix(source: Path, changes: Changes) -> Imported:
    """Return a mixture table with its losses, or all of a folder's, as one probe log."""
    if not source.exists():
        raise InputError(f"{named(source)}: no such file or folder")
    paths = sorted(source.glob("*_mixture_*.csv")) if source.is_dir() else [source]
    if not paths:
        raise InputError(f"{named(source)}: no SPLIT_mixture_SIZE.csv in this folder")
    return joined([_import_pair(path, changes) for path in paths], named(source))


def _import_pair(path: Path, changes: Changes) -> Imported:
    name = _MIXTURE.fullmatch(path.name)
    if name is None:
        raise InputError(f"{named(path)}: a mixture table is called SPLIT_mixture_SIZE.csv")
    mixtures = read_raw(path)
    shares = _shares(mixtures)
    raw = read_raw(path.with_name(f"{name['split']}_pile_loss_{name['size']}.csv"))
    index = _index(raw)
    unknown = np.flatnonzero(~index.isin(shares.index))
    if len(unknown):
        first = unknown[0]
        raise InputError(
            f"{raw.source} row {first + 1} has index {shown(index[first])}, which {named(path)} lacks"
        )
    evaluated = _corpora(raw, _LOSS, "metric/the_pile_arxiv_val_loss")
    losses = {f"loss_{corpus}": raw.table[old] for old, corpus in evaluated.items()}
    table = pd.DataFrame(losses).assign(
        run_id=[f"{name['split']}_{name['size']}_{which}" for which in index],
        model_params=_size(name["size"], changes.names),
        **{str(column): values.loc[index].to_numpy() for column, values in shares.items()},
    )
    constants = {"train_tokens": TRAIN_TOKENS, **changes.constants}
    changes = replace(changes, names={}, constants=constants)
    imported = to_log(replace(raw, table=table), changes)
    if mixtures.ends_open:
        imported = imported.with_remark(ends_open(mixtures.source))
    return imported.with_remark(runs_named(raw, "index", table["run_id"]))


def _shares(raw: RawLog) -> pd.DataFrame:
    """Return the shares of each run, by index, as columns ``share_<corpus>`` that sum to 1."""
    columns = {
        f"share_{corpus}": numbers_of(raw, Column(old, "number", "fraction", required=True))
        for old, corpus in _corpora(raw, _SHARE, "train_the_pile_arxiv").items()
    }
    shares = pd.DataFrame(columns, index=_index(raw))
    total = shares.sum(axis=1).to_numpy()
    rows = np.flatnonzero(np.abs(total - 1) > ROUNDED_SUM)
    if len(rows):
        problem = f"the shares must sum to 1, got {total[rows[0]]:g}"
        raise InputError(
            raw.finding(
                Code.SHARE_SUM, problem, "Write fractions of the tokens.", rows=rows
            ).message
        )
    return shares.div(total, axis=0)


def _index(raw: RawLog) -> pd.Index[str]:
    if "index" not in raw.table:
        raise InputError(f"{raw.source} has no column index, which names the run of a row")
    index = pd.Index(raw.table["index"].astype("str"))
    twice = np.flatnonzero(index.duplicated())
    if len(twice):
        raise InputError(f"{raw.source} row {twice[0] + 1} repeats index {shown(index[twice[0]])}")
    return index


def _corpora(raw: RawLog, pattern: re.Pattern[str], example: str) -> dict[str, str]:
    """Return the corpus of each column that a pattern finds, by column."""
    corpora = {str(old): match[1] for old in raw.table if (match := pattern.fullmatch(str(old)))}
    if not corpora:
        raise InputError(f"{raw.source} has no column such as {example}")
    return {old: corpus_name(corpus) for old, corpus in corpora.items()}


def _size(label: str, names: Mapping[str, str]) -> float:
    if label in names:
        return as_number(names[label], f"--map {label}")
    match = re.fullmatch(r"([0-9.]+)([kmb])", label.lower())
    if match is None:
        raise InputError(f"the parameters of size {label!r} are not known; --map {label}=1.2e8")
    return as_number(match[1], f"size {label}") * COUNT_SUFFIXES[match[2]]
