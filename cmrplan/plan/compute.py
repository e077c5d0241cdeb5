"""What a budget of compute pays for."""

from __future__ import annotations

import re

from cmrplan.errors import InputError
from cmrplan.numbers import require_positive

FLOPS_PER_PARAM_AND_TOKEN = 6  # forward and backward pass, Kaplan et al. 2020
SECONDS_PER_HOUR = 3600


def parse_compute(given: float | str, gpu_flops: float | None = None) -> float:
    """Return a budget in FLOPs from ``1e21``, or from ``"500gpu-hours"`` at a stated speed.

    Parameters
    ----------
    given : float or str
    gpu_flops : float, optional
        What one GPU really does, in FLOP/s, not what its data sheet says; needed for GPU-hours.

    Raises
    ------
    InputError
        If it is neither, not above zero, or the speed is missing.

    Examples
    --------
    >>> parse_compute("10 gpu-hours", gpu_flops=4e14)
    1.44e+19
    """
    match = re.fullmatch(r"(\S+?)\s*(gpu-?hours?|gpuh|)", str(given).strip().lower())
    try:
        amount = float(match[1]) if match else float("nan")
    except ValueError:
        amount = float("nan")
    if match is None or not 0 < amount < float("inf"):
        raise InputError(
            f"compute must be FLOPs such as 1e21, or GPU-hours such as 500gpu-hours, above 0; got {str(given)!r}"
        )
    if not match[2]:
        return amount
    if gpu_flops is None:
        raise InputError(
            "compute in GPU-hours needs gpu_flops, the FLOP/s that one GPU really does in your training, such as "
            "4e14; multiply a data sheet's figure by your utilization"
        )
    require_positive("gpu_flops", gpu_flops)
    return amount * SECONDS_PER_HOUR * gpu_flops


def training_flops(model_params: float, train_tokens: float) -> float:
    """Return the FLOPs of a run."""
    return FLOPS_PER_PARAM_AND_TOKEN * model_params * train_tokens


def affordable_tokens(model_params: float, compute: float) -> float:
    """Return the tokens that a budget in FLOPs pays for."""
    return compute / (FLOPS_PER_PARAM_AND_TOKEN * model_params)
