"""Measured losses for a fit that counts the learning rate, whose predictions are of runs that end at their tokens.

An evaluation within a decay is no such run: it is compared with what the fit says of that evaluation, and is not held
against the limit of a finished one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import MeanLosses, mean_losses, shared_budgets
from cmrplan.fit.schedule_areas import COOLED

SAME_FALL = 0.01  # of the peak rate: rates are logged with a few digits


def ended_runs(fit: Fit, corpus: str) -> MeanLosses:
    """Return the mean losses of the evaluations whose rate is as far down as at the end of a finished run."""
    rows = fit.rows(corpus)
    sizes = rows["model_params"].to_numpy(dtype=float)
    supply = None if fit.probed.supply is None else fit.probed.supply.unique_tokens
    fallen = np.empty(len(rows))
    for size in np.unique(sizes):
        one = {"model_params": size, "train_tokens": 1.0, "domain_ratio": 0.0}
        columns = {name: np.array([value]) for name, value in one.items()}
        fallen[sizes == size] = fit.completed(corpus, columns, supply)[COOLED]
    ended = rows[rows[COOLED].to_numpy(dtype=float) >= fallen - SAME_FALL]
    return mean_losses(ended) if len(ended) else {}


def fitted_evaluations(fit: Fit, corpus: str, size: float, tokens: float) -> pd.Series:
    """Return the mean loss by the fit of the very evaluations at a probed size and budget, by ratio."""
    rows = fit.rows(corpus)
    is_there = (rows["model_params"] == size) & (shared_budgets(rows) == tokens)
    rows = pd.DataFrame(rows[is_there]).reset_index(drop=True)
    loss = fit.model_of(corpus).fitted_loss(rows)
    return rows.assign(loss=loss).groupby("domain_ratio")["loss"].mean()
