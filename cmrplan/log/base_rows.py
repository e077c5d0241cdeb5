"""Base rows of one size that have several losses, as where runs of several checkpoints stand in one log."""

from __future__ import annotations

import pandas as pd

from cmrplan.errors import Code, Finding
from cmrplan.log.cells import shown

_WORTH_SAYING = 0.005  # of the loss: one that was measured again differs by less


def base_rows_apart(log: pd.DataFrame, least: float) -> pd.DataFrame:
    """Return ``model_params``, ``eval_corpus``, ``min``, ``max`` and ``mean`` where base losses differ by more."""
    base = log[log["train_tokens"] == 0]
    losses = base.groupby(["model_params", "eval_corpus"])["loss"].agg(["min", "max", "mean"])
    return losses[losses["max"] - losses["min"] > least].reset_index()


def base_row_findings(log: pd.DataFrame) -> list[Finding]:
    """Return a finding for each base loss of a fit that is the mean of losses that lie apart, the general one first."""
    apart = base_rows_apart(log, 0.0)
    apart = apart[apart["max"] > (1 + _WORTH_SAYING) * apart["min"]]
    order = apart["eval_corpus"].ne("general").sort_values(kind="stable").index
    return [
        Finding(
            Code.BASE_ROWS_DIFFER,
            f"base rows of model_params {row['model_params']:.12g} on {shown(row['eval_corpus'])} run from "
            f"{row['min']:.4f} to {row['max']:.4f}, and their mean {row['mean']:.4f} is taken for the base loss, which "
            "no checkpoint has; fit the runs of one checkpoint alone",
        )
        for row in apart.loc[order].to_dict("records")
    ]
