"""What a law reads beside size, tokens and ratio: found in a log, and completed where a loss is asked for.

At a point that was not measured, domain tokens are fresh unless their number is given, the learning rate follows the
log's own schedule (:mod:`cmrplan.fit.schedule_areas`), and the base loss is that of
:func:`cmrplan.tolerance.base_loss_at`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.fit.corpus_model import Columns
from cmrplan.fit.law_model import LawModel
from cmrplan.fit.schedule_areas import longest_schedule, with_areas
from cmrplan.laws.registry import AUTO, REGISTRY
from cmrplan.log.files import base_losses
from cmrplan.tolerance import base_loss_at

_AREAS = ("s1_cpt", "s2_cpt")


def with_law_columns(log: pd.DataFrame, law: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return a log with the columns that a law reads, and their names.

    Raises
    ------
    InputError
        If the log lacks one, or values in it.
    """
    if law == AUTO:
        return log, ()
    entry = REGISTRY[law]
    added: list[str] = []
    if "learning_rate" in entry.columns:
        log = with_areas(log, law)
        added += [name for name in ("learning_rate", "step") if name in log]
        added += _AREAS
    if "unique_domain_tokens" in entry.columns:
        # a law of what repeats may be told nothing of a row: its tokens are fresh then
        _require_unique_tokens(log, law, is_needed_everywhere=not entry.plain)
        added.append("unique_domain_tokens")
    if entry.fits_rises:
        log = _with_base_loss(log, law)
        added.append("base_loss")
    return log, tuple(added)


def _require_unique_tokens(log: pd.DataFrame, law: str, *, is_needed_everywhere: bool) -> None:
    rows = log[log["train_tokens"] > 0]
    known = rows["unique_domain_tokens"].notna() if "unique_domain_tokens" in rows else None
    if known is None or not (known.all() if is_needed_everywhere else known.any()):
        raise InputError(
            f"the law {law} reads the column unique_domain_tokens, which the log lacks"
            + (" in some rows" if known is not None and known.any() else "")
            + ": the tokens that the domain corpus of a run holds before it repeats"
        )


def _with_base_loss(log: pd.DataFrame, law: str) -> pd.DataFrame:
    known = base_losses(log, "general")
    base = log["model_params"].map(known)
    if base.isna().any():
        size = float(log["model_params"][base.isna()].iloc[0])
        raise InputError(
            f"the law {law} is fitted to rises over the base loss and the log has no general loss at train_tokens = 0 "
            f"for model_params = {size:.4g}; add that row"
        )
    return log.assign(base_loss=base.to_numpy(dtype=float))


def completed(
    columns: Columns,
    law: LawModel,
    log: pd.DataFrame,
    base_loss: dict[float, float],
    unique_domain_tokens: float | None,
) -> dict[str, Array]:
    """Return columns at ``n`` points of one size with what else a fitted law reads.

    Parameters
    ----------
    columns : mapping of str to array (n,)
    law : LawModel
    log : DataFrame
        The log of its fit.
    base_loss : dict of float to float
        By size, of the law's corpus.
    unique_domain_tokens : float or None
        None where the domain corpus never repeats.

    Raises
    ------
    InputError
        If the law cannot do without the unique tokens.
    """
    whole = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
    tokens = whole["train_tokens"]
    if unique_domain_tokens is not None:
        whole["unique_domain_tokens"] = np.full_like(tokens, unique_domain_tokens)
    elif "unique_domain_tokens" in law.fit.law.inputs:
        raise InputError(
            f"the law {law.law} reads the unique tokens of the domain corpus; give unique_domain_tokens"
        )
    if "s1_cpt" in law.fit.law.inputs:
        areas = longest_schedule(log, law.law).areas(tokens)
        whole |= dict(zip(_AREAS, areas, strict=True))
    if law.entry.fits_rises:
        base, _ = base_loss_at(base_loss, float(whole["model_params"][0]))
        whole["base_loss"] = np.full_like(tokens, base)
    return whole
