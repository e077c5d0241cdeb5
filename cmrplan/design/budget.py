"""A budget bounds what probes cost, in tokens, FLOPs or GPU-hours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.numbers import (
    COUNT_SUFFIXES,
    FLOPS_PER_PARAM_AND_TOKEN,
    GPU_FLOPS,
    SECONDS_PER_HOUR,
    require_positive,
)

BudgetUnit = Literal["GPU-hours", "tokens", "FLOPs"]
_BUDGET_UNITS: dict[str, BudgetUnit] = {"gpu": "GPU-hours", "tok": "tokens", "flo": "FLOPs"}


@dataclass(frozen=True)
class ProbeBudget:
    """An amount, and what a probe takes of it.

    Parameters
    ----------
    amount : float
        In ``unit``.
    unit : {"GPU-hours", "tokens", "FLOPs"}
    gpu_flops : float or None
        FLOP/s of one GPU, for GPU-hours.
    """

    amount: float
    unit: BudgetUnit
    gpu_flops: float | None = None

    def cost(self, model_params: Array, train_tokens: Array) -> Array:
        """Return what runs cost, at 6 FLOPs a parameter and token."""
        if self.unit == "tokens":
            return np.asarray(train_tokens, dtype=float)
        flops = FLOPS_PER_PARAM_AND_TOKEN * model_params * train_tokens
        if self.gpu_flops is None:
            return np.asarray(flops)
        return np.asarray(flops / self.gpu_flops / SECONDS_PER_HOUR)

    def __str__(self) -> str:
        return f"{self.amount:.4g} {self.unit}"


def parse_probe_budget(given: str, gpu_flops: float | None = None) -> ProbeBudget:
    """Return a budget from text such as ``20gpu-hours``, ``5Btokens`` or ``1e18flops``.

    Parameters
    ----------
    given : str
    gpu_flops : float, optional
        FLOP/s that one GPU really does in the probes; :data:`GPU_FLOPS` by default.

    Raises
    ------
    InputError
        If the amount or the unit is wrong.

    Examples
    --------
    >>> parse_probe_budget("5Btokens").amount, parse_probe_budget("0.5 gpu-hours").unit
    (5000000000.0, 'GPU-hours')
    """
    pattern = r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([kmbt]?)\s*(gpu-?h(?:our)?|token|flop)s?"
    match = re.fullmatch(pattern, str(given).strip().replace("_", "").lower())
    amount = float(match[1]) * COUNT_SUFFIXES[match[2]] if match else 0.0
    if match is None or not 0 < amount < float("inf"):
        raise InputError(
            f"budget must be an amount above 0 with its unit, such as 20gpu-hours, 5Btokens or 1e18flops; got "
            f"{str(given)!r}"
        )
    unit = match[3][:3]
    if unit != "gpu":
        return ProbeBudget(amount, _BUDGET_UNITS[unit])
    rate = GPU_FLOPS if gpu_flops is None else gpu_flops
    require_positive("gpu_flops", rate)
    return ProbeBudget(amount, "GPU-hours", float(rate))
