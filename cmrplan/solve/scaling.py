"""What inputs and losses are divided by inside a fit, so that all numbers there are of order one."""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.laws.law import Inputs, Law


def input_scales(law: Law, inputs: Inputs) -> dict[str, float]:
    """Return the geometric mean of each input that the law wants scaled."""
    return {
        name: float(np.exp(np.mean(np.log(inputs[name]))))
        for name in law.scaled
        if name in law.inputs
    }


def loss_level(law: Law, target: Array) -> float:
    """Return what losses are divided by inside a fit: their geometric mean, or the largest of differences."""
    if law.link == "log":
        return float(np.exp(np.mean(np.log(target))))
    return float(np.max(np.abs(target))) or 1.0


def residual_unit(law: Law, level: float) -> float:
    """Return what a residual inside the fit is worth outside: logarithms have no unit."""
    return 1.0 if law.link == "log" else level
