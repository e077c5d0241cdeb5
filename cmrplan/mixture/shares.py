"""Mixtures as they are handed over, by corpus, as rows of numbers or as a table, as rows of shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.log.columns import SHARE_PREFIX, share_columns
from cmrplan.numbers import PERCENT_HINT, parse_named_number

SAME_SUM = 1e-6

Mixture = Mapping[str, float]
Mixtures = Mixture | pd.DataFrame | ArrayLike
"""One mixture by corpus; or several as a table, or as rows of shares in the order of a fit."""


def shares_from(given: Mixtures, corpora: Sequence[str]) -> Array:
    """Return one mixture or several as shares in the order of the corpora, ``(G, m)``; absent corpora have none.

    Parameters
    ----------
    given : mapping, Series, DataFrame, sequence of mappings, or array (m,) or (G, m)
        Names of corpora may have the prefix ``share_`` of a log; where columns of a table have it, others are not read.
    corpora : sequence of m str

    Raises
    ------
    InputError
        If a corpus is unknown, or the shares of a row are no fractions that sum to 1.
    """
    if rows := _by_corpus(given):
        named = [_in_order(row, corpora, _row(k, rows)) for k, row in enumerate(rows)]
        shares = np.array(named)
    else:
        shares = _as_rows(given, corpora)
    _require_mixtures(shares, corpora)
    return shares


def require_trained(names: Iterable[str], corpora: Sequence[str]) -> None:
    """Refuse training corpora that the log does not have."""
    for name in names:
        if name not in corpora:
            known = ", ".join(sorted(corpora))
            raise InputError(f"the log has no training corpus {name!r}; it has {known}")


def _by_corpus(given: object) -> list[Mapping[Any, Any]]:
    """Return mixtures that are given by corpus; none where they are rows of numbers."""
    if isinstance(given, pd.DataFrame):
        return list(given[share_columns(given) or list(given.columns)].to_dict("records"))
    if isinstance(given, pd.Series):
        return [given.to_dict()]
    if isinstance(given, Mapping):
        return [given]
    if isinstance(given, Sequence) and all(isinstance(one, Mapping) for one in given):
        return list(given)
    return []


def _in_order(row: Mapping[Any, Any], corpora: Sequence[str], where: str) -> list[float]:
    """Return the shares of a mixture that are given by corpus."""
    plain = {
        name if name in corpora else str(name).removeprefix(SHARE_PREFIX): share
        for name, share in row.items()
    }
    require_trained(plain, corpora)
    return [
        parse_named_number(f"{where}the share of {name}", plain.get(name, 0.0)) for name in corpora
    ]


def _as_rows(given: object, corpora: Sequence[str]) -> Array:
    """Return rows of shares that are given as numbers; one alone is a row."""
    try:
        rows: Array = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        rows = np.empty(0)
    if rows.ndim == 1:
        rows = rows[None, :]
    if rows.ndim != 2 or rows.shape[1] != len(corpora):
        raise InputError(
            "a mixture must be shares by corpus, such as {'code': 0.3, ...}, or rows of "
            f"{len(corpora)} shares in the order {', '.join(corpora)}; got {_described(given)}"
        )
    return rows


def _described(given: object) -> str:
    """Return what was given, in one short line."""
    if isinstance(given, np.ndarray):
        return f"an array of the shape {given.shape}"
    text = " ".join(repr(given).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _row(position: int, rows: Sequence[object] | Array) -> str:
    """Return which of several rows is meant; nothing where there is one."""
    return "" if len(rows) == 1 else f"row {position} (the first is 0): "


def _require_mixtures(shares: Array, corpora: Sequence[str]) -> None:
    """Refuse rows whose shares are no fractions that sum to 1, with what is wrong in the first of them."""
    is_sound = np.all(shares >= 0, axis=1) & (np.abs(shares.sum(axis=1) - 1) <= SAME_SUM)
    if is_sound.all():
        return
    which = int(np.argmin(is_sound))
    row = shares[which]
    total, wrong = float(row.sum()), np.flatnonzero(~(row >= 0))
    got = f"{row[wrong[0]]:g} of {corpora[wrong[0]]}" if len(wrong) else f"{total:g}"
    hint = f". {PERCENT_HINT}" if abs(total - 100) <= 100 * SAME_SUM else ""
    raise InputError(
        f"{_row(which, shares)}the shares of a mixture must be 0 or more and sum to 1, got {got}{hint}"
    )
