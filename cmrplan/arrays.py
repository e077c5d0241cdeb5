"""Arrays of floats, and what several folders ask of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SAME_SIZE = 0.01  # relative difference below which two model sizes, or budgets, are the same


def is_among(sizes: Array, model_params: float) -> bool:
    """Tell whether a size is one of those, to within one percent."""
    return bool(np.any(np.abs(sizes / model_params - 1) <= SAME_SIZE))


def central_interval(draws: Array, confidence: float) -> tuple[Array, Array]:
    """Return the bounds that leave half of the rest on either side, each ``(...,)``.

    Parameters
    ----------
    draws : array (B, ...)
        At least one.
    confidence : float
        In (0, 1).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds that hold the truth with the level asked for.

    Parameters
    ----------
    low, high : float or None
        None without resamples.
    estimate : float
    """

    low: float | None
    estimate: float
    high: float | None

    @classmethod
    def of_draws(cls, estimate: float, draws: Array, confidence: float) -> Interval:
        """Return an estimate with the central interval of its resamples ``(B,)``; B may be 0."""
        if not len(draws):
            return cls(None, float(estimate), None)
        low, high = central_interval(draws, confidence)
        return cls(float(low), float(estimate), float(high))

    def less(self, reference: float) -> Interval:
        """Return how far everything lies above a reference."""
        low = None if self.low is None else self.low - reference
        high = None if self.high is None else self.high - reference
        return Interval(low, self.estimate - reference, high)

    def text(self, digits: int) -> str:
        """Return the estimate with its bounds behind it, where there are any."""
        if self.low is None or self.high is None:
            return f"{self.estimate:.{digits}f}"
        return f"{self.estimate:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def interval_as_dict(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Return an interval as plain values by name, ``name_low`` and ``name_high``; None for each where there is none."""
    keys = (name, f"{name}_low", f"{name}_high")
    if interval is None:
        return dict.fromkeys(keys)
    return dict(zip(keys, (interval.estimate, interval.low, interval.high), strict=True))
