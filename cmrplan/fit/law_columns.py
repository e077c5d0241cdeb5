"""The columns of a log that a law reads beside size, tokens and ratio."""

from __future__ import annotations

import pandas as pd

from cmrplan.errors import InputError
from cmrplan.fit.schedule_areas import (
    AREA_COLUMNS,
    COOLED,
    has_known_decay,
    with_areas,
    with_cooled,
)
from cmrplan.laws.registry import AUTO, REGISTRY
from cmrplan.log.files import base_losses


def with_law_columns(log: pd.DataFrame, law: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return a log with the columns that a law reads, and their names.

    Raises
    ------
    InputError
        If the log lacks one, or values in it.
    """
    if law == AUTO:
        return _with_known_decay(log)
    entry = REGISTRY[law]
    added: list[str] = []
    if "learning_rate" in entry.columns:
        log = with_areas(log, law)
        added += _rate_columns(log)
    if "unique_domain_tokens" in entry.columns:
        # A law of what repeats may be told nothing of a row: its tokens are fresh then.
        _require_unique_tokens(log, law, is_needed_everywhere=not entry.plain)
        added.append("unique_domain_tokens")
    if entry.fits_rises:
        log = _with_base_loss(log, law)
        added.append("base_loss")
    return log, tuple(added)


def _with_known_decay(log: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    if not has_known_decay(log):
        return log, ()
    log = with_cooled(with_areas(log, AUTO))
    return log, (*_rate_columns(log), COOLED)


def _rate_columns(log: pd.DataFrame) -> tuple[str, ...]:
    return (*(name for name in ("learning_rate", "step") if name in log), *AREA_COLUMNS)


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
