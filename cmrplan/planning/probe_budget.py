"""What probes may cost, in GPU-hours, tokens or FLOPs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cmrplan.errors import InputError
from cmrplan.fits import require_positive
from cmrplan.laws.law import Array
from cmrplan.planning.plan import FLOPS_PER_PARAM_AND_TOKEN

# An H100 in bf16 at 40 % of its 989e12 FLOP/s: what a well-filled GPU reaches. Small probes reach far less.
FLOPS_PER_SECOND = 4e14
SECONDS_PER_HOUR = 3600

Unit = Literal["GPU-hours", "tokens", "FLOPs"]
_UNITS: dict[str, Unit] = {"gpu-hour": "GPU-hours", "token": "tokens", "flop": "FLOPs"}
_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


@dataclass(frozen=True)
class Budget:
    """An amount, and what a probe takes of it.

    Parameters
    ----------
    amount : float
        In ``unit``.
    unit : {"GPU-hours", "tokens", "FLOPs"}
    flops_per_second : float
        Training speed of one GPU; used for GPU-hours alone.
    """

    amount: float
    unit: Unit
    flops_per_second: float = FLOPS_PER_SECOND

    def cost(self, model_params: Array | float, train_tokens: Array | float) -> Array | float:
        """Return what a run costs, at 6 FLOPs a parameter and token."""
        if self.unit == "tokens":
            return train_tokens
        flops = FLOPS_PER_PARAM_AND_TOKEN * model_params * train_tokens
        if self.unit == "FLOPs":
            return flops
        return flops / self.flops_per_second / SECONDS_PER_HOUR

    def __str__(self) -> str:
        return f"{self.amount:.4g} {self.unit}"


def parse_budget(given: str | Budget, *, flops_per_second: float | None = None) -> Budget:
    """Return a budget from text such as ``20gpu-hours``, ``5Btokens`` or ``1e18flops``.

    Parameters
    ----------
    given : str or Budget
    flops_per_second : float, optional
        Training speed of one GPU; :data:`FLOPS_PER_SECOND` by default.

    Raises
    ------
    InputError
        If the amount or the unit is wrong.

    Examples
    --------
    >>> parse_budget("5Btokens").amount, parse_budget("0.5 gpu-hour").unit
    (5000000000.0, 'GPU-hours')
    """
    if isinstance(given, Budget):
        return given
    rate = FLOPS_PER_SECOND if flops_per_second is None else flops_per_second
    require_positive("flops_per_second", rate)
    pattern = r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([kmbt]?)\s*(gpu-hour|token|flop)s?"
    match = re.fullmatch(pattern, given.strip().replace("_", "").lower())
    amount = float(match[1]) * _SUFFIXES[match[2]] if match else 0.0
    if match is None or not 0 < amount < float("inf"):
        raise InputError(
            f"budget must be an amount above 0 with its unit, such as 20gpu-hours, 5Btokens or 1e18flops; got {given!r}"
        )
    return Budget(amount, _UNITS[match[3]], rate)
