"""The allowed rise of the general loss, and the base loss it is measured from."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import CmrplanError, Code, Finding, InputError

SHOWN_DIGITS = 3
ROUNDING = 1e-12  # a rise this far above a tolerance is not above it

Reference = Literal["base", "replay"]  # what a rise is counted from
Unit = Literal["nats", "fraction", "perplexity_fraction", "perplexity"]
_SPELLED_UNITS: dict[tuple[str, str], Unit] = {
    ("", ""): "nats",
    ("", "nats"): "nats",
    ("%", ""): "fraction",
    ("%", "ppl"): "perplexity_fraction",
    ("", "ppl"): "perplexity",
}


@dataclass(frozen=True)
class Tolerance:
    """How far the general loss may rise above a reference: the base loss, or pure replay's.

    Parameters
    ----------
    value : float
        In the unit: nats per token, a fraction of the reference loss, a fraction of its perplexity, or perplexity.
    unit : {"nats", "fraction", "perplexity_fraction", "perplexity"}
    """

    value: float
    unit: Unit

    def limit(self, reference: float) -> float:
        """Return the largest general loss allowed over a reference loss, both in nats per token."""
        if self.unit == "fraction":
            return reference * (1 + self.value)
        if self.unit == "perplexity_fraction":
            return reference + math.log1p(self.value)
        if self.unit == "perplexity":
            return math.log(math.exp(reference) + self.value)
        return reference + self.value

    @property
    def largest_rise(self) -> float:
        """The value, with room for rounding."""
        return self.value + ROUNDING

    def rise(self, loss: Array, reference: Array | float) -> Array:
        """Return how far losses lie above a reference, in this tolerance's unit.

        A loss is allowed where its rise is at most :attr:`largest_rise`.
        """
        if self.unit == "fraction":
            return np.asarray(loss / reference - 1)
        if self.unit == "perplexity_fraction":
            return np.asarray(np.expm1(loss - reference))
        if self.unit == "perplexity":
            return np.asarray(np.exp(loss) - np.exp(reference))
        return np.asarray(loss - reference)

    def least_above(self, rise: float) -> Tolerance:
        """Return the smallest tolerance of few digits that allows a rise in its unit."""
        if not (np.isfinite(rise) and rise > 0):
            return replace(self, value=max(rise, 0.0))
        step = 10.0 ** (math.floor(math.log10(rise)) - SHOWN_DIGITS + 1)
        return replace(self, value=math.ceil((rise - ROUNDING) / step) * step)

    def __str__(self) -> str:
        if self.unit == "fraction":
            return f"{100 * self.value:g}%"
        if self.unit == "perplexity_fraction":
            return f"{100 * self.value:g}%ppl"
        return f"{self.value:g} {'ppl' if self.unit == 'perplexity' else 'nats'}"


def parse_tolerance(given: float | str | Tolerance, name: str = "max_general_rise") -> Tolerance:
    """Return a tolerance from its spelling.

    ``0.05``: nats per token. ``"3%"``: of the reference loss. ``"5%ppl"``: of its perplexity. ``"0.5ppl"``: perplexity.
    ``name`` is what a message calls it.

    Raises
    ------
    InputError
        If it is none of these, or negative.

    Examples
    --------
    >>> parse_tolerance("3%").limit(2.8602)
    2.946006
    >>> round(parse_tolerance("5%ppl").limit(2.0) - 2.0, 6)  # ln 1.05
    0.04879
    """
    if isinstance(given, Tolerance):
        return given
    text = str(given).strip()
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(%?)\s*(nats|ppl|)", text)
    unit = _SPELLED_UNITS.get((match[2], match[3])) if match else None
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    if unit is None or not 0 <= value < math.inf:
        raise InputError(
            f"{name} must be nats per token such as 0.05, a percentage of the loss such as 3%, or of the "
            f"perplexity such as 5%ppl, zero or more; got {text!r}"
        )
    return Tolerance(value / 100 if match and match[2] else value, unit)


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
                Code.BASE_LOSS_OF_OTHER_SIZE,
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
            Code.BASE_LOSS_EXTRAPOLATED,
            f"the base loss {value:.4f} at {model_params:.4g} parameters is drawn through the sizes "
            f"{sizes[upper - 1]:.4g} and {sizes[upper]:.4g}; give --base-loss if you have measured it",
        )
    ]
