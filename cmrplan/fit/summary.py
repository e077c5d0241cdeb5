"""The figures of a law fit that reports and files show."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import central_interval
from cmrplan.solve.law_fit import LawFit, user_parameters


def law_summary(
    fit: LawFit, search: Array, coefficients: Array, confidence: float
) -> dict[str, Any]:
    """Return a law fit as plain values, numbers unrounded; null where float64 has no number.

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
        with np.errstate(all="ignore"):  # coefficients of extreme inputs leave float64
            low, high = central_interval(values, confidence)
            largest = np.maximum(np.max(np.abs(values), axis=0), np.finfo(float).tiny)
            spread = np.std(values / largest, axis=0, ddof=1) * largest
        for k, name in enumerate(names[: fit.law.num_free]):
            stderr[name] = _number(spread[k])
            if np.isfinite([low[k], high[k]]).all():
                interval[name] = [float(low[k]), float(high[k])]
    return {
        "law": fit.law.name,
        "formula": fit.law.formula,
        "reference": fit.law.reference,
        "params": {name: _number(value) for name, value in fit.params.items()},
        "held": dict(fit.law.fixed),
        "stderr": stderr,
        "interval": interval,
        "r2": _number(fit.r2),
        "huber": fit.huber,
        "mae": fit.mae,
        "objective": fit.objective,
        "delta": _number(fit.delta),
        "status": str(fit.status),
        "unidentified": list(fit.unidentified),
        "at_bound": list(fit.at_bound),
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
