"""The figures of a law fit that reports and files show."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmrplan.fitting.lawfit import LawFit, user_parameters
from cmrplan.laws.law import Array


def law_summary(
    fit: LawFit, search: Array, coefficients: Array, confidence: float
) -> dict[str, Any]:
    """Return a law fit as plain values, numbers unrounded.

    Parameters
    ----------
    fit : LawFit
    search, coefficients : array (B, q), (B, p)
        Optima of the resamples; with fewer than two, errors and intervals are null.
    confidence : float
        Level of the intervals, each tail holding half the rest.
    """
    names = fit.law.parameter_names
    stderr: dict[str, float | None] = dict.fromkeys(names)
    interval: dict[str, list[float] | None] = dict.fromkeys(names)
    if len(search) > 1:
        values = user_parameters(fit.law, fit.scales, search, coefficients)
        tail = (1 - confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail], axis=0)
        spread = np.std(values, axis=0, ddof=1)
        for k, name in enumerate(names[: fit.law.num_free]):
            stderr[name] = float(spread[k])
            interval[name] = [float(low[k]), float(high[k])]
    return {
        "law": fit.law.name,
        "formula": fit.law.formula,
        "reference": fit.law.reference,
        "params": fit.params,
        "held": dict(fit.law.fixed),
        "stderr": stderr,
        "interval": interval,
        "r2": fit.r2 if np.isfinite(fit.r2) else None,
        "huber": fit.huber,
        "mae": fit.mae,
        "objective": fit.objective,
        "delta": fit.delta if np.isfinite(fit.delta) else None,
        "status": str(fit.status),
        "unidentified": list(fit.unidentified),
        "at_bound": list(fit.at_bound),
    }
