"""The allowed rise of the general loss, and the base loss it is measured from."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from cmrplan.errors import CmrplanError, Finding, InputError

SAME_SIZE = 0.01  # relative difference below which two model sizes are the same


@dataclass(frozen=True)
class Tolerance:
    """How far the general loss may rise above the base loss.

    Parameters
    ----------
    value : float
        Nats per token, or a fraction of the base loss.
    is_relative : bool
    """

    value: float
    is_relative: bool

    def limit(self, base_loss: float) -> float:
        """Return the largest general loss allowed, nats per token."""
        return base_loss * (1 + self.value) if self.is_relative else base_loss + self.value

    def __str__(self) -> str:
        return f"{100 * self.value:g}%" if self.is_relative else f"{self.value:g} nats"


def parse_tolerance(given: float | str | Tolerance) -> Tolerance:
    """Return a tolerance from ``0.05`` (nats per token) or ``"3%"`` (of the base loss).

    Raises
    ------
    InputError
        If it is neither, or negative.

    Examples
    --------
    >>> parse_tolerance("3%").limit(2.8602)
    2.946006
    """
    if isinstance(given, Tolerance):
        return given
    text = str(given).strip()
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(%?)", text)
    try:
        value = float(match[1]) if match else float("nan")
    except ValueError:
        value = float("nan")
    if match is None or not 0 <= value < float("inf"):
        raise InputError(
            f"max_general_rise must be nats per token such as 0.05, or a percentage of the base loss such as 3%, "
            f"zero or more; got {text!r}"
        )
    return Tolerance(value / 100, True) if match[2] else Tolerance(value, False)


def base_loss_at(measured: dict[float, float], model_params: float) -> tuple[float, list[Finding]]:
    """Return the general loss of the base checkpoint at a model size.

    Measured sizes are taken as they are; between and beyond them the loss follows a straight line through
    the two nearest sizes in the logarithms, and a finding says so.

    Parameters
    ----------
    measured : dict of float to float
        Base loss by ``model_params``.
    model_params : float

    Raises
    ------
    CmrplanError
        If nothing was measured.
    """
    if not measured:
        raise CmrplanError(
            "the base loss is not known: the log has no row with train_tokens = 0 for the general corpus; add one, or "
            "give --base-loss"
        )
    sizes = np.array(sorted(measured))
    loss = np.array([measured[size] for size in sizes])
    near = np.abs(sizes / model_params - 1) <= SAME_SIZE
    if near.any():
        return float(loss[near][0]), []
    if len(sizes) == 1:
        return float(loss[0]), [
            Finding(
                "base_loss_of_other_size",
                f"the base loss is taken from the only probed size, {sizes[0]:.4g} parameters; give --base-loss "
                f"of the checkpoint with {model_params:.4g}",
            )
        ]
    upper = int(np.clip(np.searchsorted(sizes, model_params), 1, len(sizes) - 1))
    x0, x1 = np.log(sizes[upper - 1 : upper + 1])
    y0, y1 = np.log(loss[upper - 1 : upper + 1])
    value = float(np.exp(y0 + (y1 - y0) * (np.log(model_params) - x0) / (x1 - x0)))
    return value, [
        Finding(
            "base_loss_extrapolated",
            f"the base loss {value:.4f} at {model_params:.4g} parameters is drawn through the sizes "
            f"{sizes[upper - 1]:.4g} and {sizes[upper]:.4g}; give --base-loss if you have measured it",
        )
    ]
