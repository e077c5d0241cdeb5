"""Coefficients that belong to the size: each probed size has its own, and other sizes have what follows from them.

Bases of different sizes are in different states, so what a run does to their losses does not follow one formula of N.
Between two probed sizes a coefficient goes along the straight line in ``N^-0.35`` (the published exponent of size,
:data:`~cmrplan.laws.chinchilla.HELD_EXPONENT`). Beyond the outermost sizes a level goes on along that line and any
other coefficient keeps its value.

Coefficients are those of the smallest size, and for the others differences from it, so that a size of which a resample
tells nothing has the curve of the others. A size has its own where its rows can tell it: those of a curve of the share
need three shares there, those of a curve of the tokens two token counts. The other sizes share theirs, or have what
follows from the sizes that do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import Array
from cmrplan.laws.chinchilla import HELD_EXPONENT
from cmrplan.laws.law import Factor, Inputs, Term

SizeLevels = tuple[
    float, int, int
]  # a size, and how many shares and token counts were measured there
CURVE_SHARES = 3  # of a size that has its own coefficient of a curve of the share
CURVE_TOKENS = 2


@dataclass(frozen=True)
class AtSize:
    """How much the coefficient of one probed size counts: 1 there, 0 at the other probed sizes.

    Parameters
    ----------
    sizes : tuple of float
        The probed sizes, ascending, two or more.
    which : int
        The one whose coefficient it is.
    goes_on : bool
        Beyond the outermost sizes the line through the nearest two goes on; by default the nearest one counts alone.
    """

    sizes: tuple[float, ...]
    which: int
    goes_on: bool = False

    @property
    def variables(self) -> tuple[str, ...]:
        """The size."""
        return ("model_params",)

    @property
    def exponents(self) -> tuple[str, ...]:
        """None."""
        return ()

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the weight; there is no derivative."""
        size, probed = inputs["model_params"], np.array(self.sizes)
        left = np.clip(np.searchsorted(probed, size, side="right") - 1, 0, len(probed) - 2)
        start, end = probed[left] ** -HELD_EXPONENT, probed[left + 1] ** -HELD_EXPONENT
        part = (start - size**-HELD_EXPONENT) / (start - end)
        if not self.goes_on:
            part = np.clip(part, 0.0, 1.0)
        weight = np.where(left == self.which, 1 - part, np.where(left + 1 == self.which, part, 0.0))
        return weight, []


def checked_levels(levels: Sequence[Sequence[float]]) -> tuple[SizeLevels, ...]:
    """Return the levels of each size in the order of the sizes; files hold them as lists."""
    return tuple(sorted((float(size), int(shares), int(tokens)) for size, shares, tokens in levels))


def own_terms(
    coefficient: str,
    factors: tuple[Factor, ...],
    levels: Sequence[SizeLevels],
    *,
    shares: int = 1,
    tokens: int = 1,
) -> list[Term]:
    """Return the terms of a coefficient that belongs to the size, of either sign.

    Parameters
    ----------
    coefficient : str
        That of the smallest size; ``<coefficient>_k`` is what the size of number ``k`` adds to it.
    factors : tuple of Factor
        Empty for a level.
    levels : sequence of (size, shares, token counts)
        In the order of the sizes.
    shares, tokens : int
        How many of them a size must have for a coefficient of its own.
    """
    numbers = [k for k, (_, m, n) in enumerate(levels) if m >= shares and n >= tokens]
    first = Term(coefficient, factors, sign=0)
    if len(numbers) < 2:
        return [first]
    sizes = tuple(levels[k][0] for k in numbers)
    others = [
        Term(f"{coefficient}_{k + 1}", (*factors, AtSize(sizes, which, not factors)), sign=0)
        for which, k in enumerate(numbers)
    ]
    return [first, *others[1:]]


def sizes_in_words(levels: Sequence[SizeLevels]) -> str:
    """Return what a formula says of the sizes; nothing where there is one."""
    if len(levels) < 2:
        return ""
    return ", each N with its own: " + ", ".join(f"{size:.4g}" for size, _, _ in levels)
