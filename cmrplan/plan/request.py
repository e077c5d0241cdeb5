"""What a plan has to keep to, as it was asked."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cmrplan.errors import InputError
from cmrplan.numbers import require_confidence, require_fraction
from cmrplan.tolerance import Reference, Tolerance, parse_tolerance


@dataclass(frozen=True)
class Limits:
    """Everything that is asked of a run but its size and budget. Checked when it is made.

    Parameters
    ----------
    max_general_rise : float or str, optional
        Allowed rise of the general loss, as :func:`~cmrplan.tolerance.parse_tolerance` reads it. May be left
        out where ``general_weight`` or ``turning_point`` says how much the general loss matters.
    rise_over : {"base", "replay"}
        What the rise is measured from: the base checkpoint, or a run of the same tokens on general data alone.
        Re-warming a schedule raises the general loss by itself, and that is not forgetting.
    base_loss : float, optional
        General loss of the base checkpoint, nats per token; from the log by default.
    confidence : float
        How surely the tolerance is to hold, and the level of the intervals; in (0, 1).
    domain_tokens : float, optional
        Unique tokens of the domain corpus; the ratio is kept from using more than ``max_epochs`` passes over them.
    max_epochs : float
        Passes allowed over the domain corpus.
    turning_point : float, optional
        Weight lambda of the CMR paper's second test, ``inf`` for the version without it. Needs a fit with the
        CMR laws.
    min_ratio, max_ratio : float, optional
        Floor and ceiling of the domain ratio, in [0, 1].
    general_weight : float
        The lowest ``domain_loss + general_weight * general_loss`` is sought; 0 for the domain loss alone.

    Raises
    ------
    InputError
        If a number is out of its range, or the floor is above the ceiling.
    """

    max_general_rise: float | str | Tolerance | None = None
    rise_over: Reference = "base"
    base_loss: float | None = None
    confidence: float = 0.9
    domain_tokens: float | None = None
    max_epochs: float = 1.0
    turning_point: float | None = None
    min_ratio: float | None = None
    max_ratio: float | None = None
    general_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("base_loss", "domain_tokens", "max_epochs"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"{name} must be a number above 0, got {value:g}")
        require_confidence(self.confidence)
        if self.rise_over not in ("base", "replay"):
            raise InputError(f"rise_over must be base or replay, got {self.rise_over!r}")
        if self.turning_point is not None and not self.turning_point >= 0:
            raise InputError(
                f"turning_point must be a weight (lambda) at or above 0, got {self.turning_point}"
            )
        if not (np.isfinite(self.general_weight) and self.general_weight >= 0):
            raise InputError(f"general_weight must be 0 or more, got {self.general_weight:g}")
        self._check_ratios()
        if self.tolerance is None and not self.general_weight and self.turning_point is None:
            raise InputError(
                "max_general_rise must be given (0.05 nats per token, 3%, 5%ppl), or else general_weight or "
                "turning_point, which say what the general loss is worth"
            )

    def _check_ratios(self) -> None:
        for name in ("min_ratio", "max_ratio"):
            value = getattr(self, name)
            if value is not None:
                require_fraction(name, value)
        low, high = self.min_ratio, self.max_ratio
        if low is not None and high is not None and low > high:
            raise InputError(
                f"min_ratio {low:g} is above max_ratio {high:g}, so no ratio is left; lower the one or raise the other"
            )

    @property
    def tolerance(self) -> Tolerance | None:
        """The allowed rise, or None where there is no tolerance."""
        return None if self.max_general_rise is None else parse_tolerance(self.max_general_rise)

    def for_any_size(self) -> Limits:
        """Return the limits without a given base loss, which belongs to one size."""
        return replace(self, base_loss=None)

    def refuse_base_loss(self) -> None:
        """Refuse a given base loss where sizes are compared."""
        if self.base_loss is not None:
            raise InputError(
                "base_loss belongs to one size, and sizes are compared; leave it out, each size's comes from the log"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return every field as a plain value; a tolerance as its text, infinity as ``"inf"``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.max_general_rise is not None:
            values["max_general_rise"] = str(self.tolerance)
        if self.turning_point is not None and np.isinf(self.turning_point):
            values["turning_point"] = "inf"
        return values
