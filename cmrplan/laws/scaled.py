"""The factors of the laws of this project: functions of size, tokens and share that are scaled, and smooth through 0.

Scales such as N0 and D1 are parameters that a law holds, so that its other parameters mean the same in every unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cmrplan.arrays import Array
from cmrplan.laws.law import Inputs

_SERIES = 0.02  # arguments below which a quotient of differences is taken from its series


def box_cox(x: Array, power: Array) -> tuple[Array, Array, Array]:
    """Return ``(1 - exp(-power x)) / power``, and its slopes by ``x`` and by ``power``; at ``power = 0`` it is ``x``.

    Of ``x = ln u`` this is the Box-Cox transform ``(u^-power - 1) / -power``.

    Examples
    --------
    >>> value, by_x, by_power = box_cox(np.log([1.0, 4.0]), np.array([0.5]))
    >>> value.tolist(), by_x.tolist()
    ([0.0, 1.0], [1.0, 0.5])
    """
    y = -power * x
    is_small = np.abs(y) < _SERIES
    safe = np.where(is_small, 1.0, y)
    quotient = np.where(
        is_small,
        1 + y / 2 * (1 + y / 3 * (1 + y / 4 * (1 + y / 5 * (1 + y / 6)))),
        np.expm1(safe) / safe,
    )
    series = 1 / 2 + y * (1 / 3 + y * (1 / 8 + y * (1 / 30 + y * (1 / 144 + y / 840))))
    slope = np.where(is_small, series, (np.exp(safe) - quotient) / safe)
    return x * quotient, np.exp(y), -x * x * slope


@dataclass(frozen=True)
class Linear:
    """``sign * (x - origin)``."""

    variable: str
    origin: float = 0.0
    sign: Literal[1, -1] = 1

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """None."""
        return ()

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value; there is no derivative."""
        return self.sign * (inputs[self.variable] - self.origin), []


@dataclass(frozen=True)
class LogOnePlus:
    """``ln(1 + x / scale)``."""

    variable: str
    scale: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The scale."""
        return (self.scale,)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the logarithm and its derivative by the scale."""
        x, scale = inputs[self.variable], theta[self.scale]
        return np.log1p(x / scale), [-(x / (scale + x)) / scale]


@dataclass(frozen=True)
class BoxCox:
    """``((x/scale)^-exponent - 1) / -exponent``: the logarithm where the exponent is 0, of either sign."""

    variable: str
    exponent: str
    scale: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The exponent and the scale."""
        return (self.exponent, self.scale)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivatives by the exponent and the scale."""
        scale = theta[self.scale]
        value, by_log, by_exponent = box_cox(
            np.log(inputs[self.variable] / scale), theta[self.exponent]
        )
        return value, [by_exponent, -by_log / scale]


@dataclass(frozen=True)
class ScaledPower:
    """``(x + offset)^-exponent``, moved and scaled to 0 at ``x = 1`` and 1 at ``x = 1/2``."""

    variable: str
    offset: str
    exponent: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The offset and the exponent."""
        return (self.offset, self.exponent)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivatives by the offset and the exponent."""
        offset, power = theta[self.offset], theta[self.exponent]
        shifted, half, end = inputs[self.variable] + offset, 0.5 + offset, 1 + offset
        above, by_log, by_power = box_cox(np.log(shifted / end), power)
        unit, unit_by_log, unit_by_power = box_cox(np.log(half / end), power)
        value = above / unit
        by_offset = by_log * (1 / shifted - 1 / end) - value * unit_by_log * (1 / half - 1 / end)
        return value, [by_offset / unit, (by_power - value * unit_by_power) / unit]


@dataclass(frozen=True)
class ScaledExponential:
    """``exp(-rate x)``, moved and scaled to 0 at ``x = 1`` and 1 at ``x = 1/2``; the rate is above 0."""

    variable: str
    rate: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The one rate."""
        return (self.rate,)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivative by the rate."""
        rate, left = theta[self.rate], 1 - inputs[self.variable]
        value = np.exp(rate * (left - 0.5)) * np.expm1(-rate * left) / np.expm1(-rate / 2)
        slope = left - 0.5 + _over_growth(left, rate) - _over_growth(np.full(1, 0.5), rate)
        return value, [value * slope]


def _over_growth(x: Array, rate: Array) -> Array:
    """Return ``x / (exp(rate x) - 1)``, and its limit ``1 / rate`` at 0."""
    growth = np.expm1(rate * x)
    return np.where(growth == 0, 1 / rate, x / np.where(growth == 0, 1.0, growth))


@dataclass(frozen=True)
class SizePower:
    """``(size / scale)^-exponent``, or to the power ``-exponent * x`` of another input."""

    size: str
    exponent: str
    scale: str
    times: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """The size, and the other input where there is one."""
        return (self.size, self.times) if self.times else (self.size,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The exponent and the scale."""
        return (self.exponent, self.scale)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the power and its derivatives by the exponent and the scale."""
        scale, power = theta[self.scale], theta[self.exponent]
        times = inputs[self.times] if self.times else np.ones(1)
        log = np.log(inputs[self.size] / scale)
        value = np.exp(-power * times * log)
        return value, [-times * log * value, power * times / scale * value]


@dataclass(frozen=True)
class Relearned:
    """``(1 + share^speed * tokens/scale)^-exponent - 1``: 0 at no tokens or no share, then down toward -1."""

    share: str
    tokens: str
    speed: str
    scale: str
    exponent: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The share and the tokens."""
        return (self.share, self.tokens)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The exponent of the share, the scale of the tokens, and the exponent of the whole."""
        return (self.speed, self.scale, self.exponent)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivatives."""
        share, scale, power = inputs[self.share], theta[self.scale], theta[self.exponent]
        grown = share ** theta[self.speed] * inputs[self.tokens] / scale
        left = (1 + grown) ** -power
        by_log = power * left * grown / (1 + grown)
        log_share = np.log(np.where(share > 0, share, 1.0))
        slopes = [-by_log * log_share, by_log / scale, -left * np.log1p(grown)]
        return left - 1, slopes
