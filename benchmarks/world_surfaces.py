"""True losses of simulated worlds in which no law of the library is true.

A surface gives the general loss ``G(N, D, r) = G0(N) (1 + rise)`` and the domain loss ``M(N, D, r) = M0(N) (1 - gain)``
of any size N, tokens D and domain ratio r, exactly and vectorised; rise and gain are 0 at D = 0. They are written in
``u``, the size over the smallest probed one, ``x``, the tokens over the largest probed budget, and ``r``. The building
blocks, each 1 where its argument is 1:

- ``hill(x) = x^m (1 + h^m) / (x^m + h^m)``, m in 0.6 to 1.3, h in 0.1 to 0.8: fast at first, then level; ``early(x)``
  is the same with h in 0.002 to 0.1 (its logarithm uniform): mostly over before the first evaluation;
- ``bend(r) = w r^p + (1 - w) r / (1 + q (1 - r))``, w in 0.3 to 0.7, p in 1.3 to 3, q in 2 to 12: steep near 1;
- ``A u^-a``, a in 0 to 0.35: a rise of A, which shrinks with size;
- ``fall = b u^-c (1 - r)^q hill(x)``, b in 0 to 0.04, c in 0 to 0.5, q in 0.5 to 2: what replay brings.

``G0(N) = g u^-e (1 + w (sin(o ln u + p) - sin p))``, g in 2 to 2.9 nats, e in 0.02 to 0.05, w in 0 to 0.01; M0 is the
same with its own e, w, o and p, and 0.92 to 1.15 times g. Ranges are uniform unless said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
Relative = Callable[[Values, Values, Values], Values]
"""A function of (u, x, r)."""


@dataclass(frozen=True)
class TrueLosses:
    """Both losses in nats per token, as functions of size, tokens and domain ratio, which are broadcast.

    Parameters
    ----------
    smallest : float
        Parameters of the smallest probed size.
    largest_budget : float
        Tokens.
    bases : dict of str to callable
        The loss at 0 tokens of each corpus as a function of ``u``.
    rise, gain : callable
        Of ``(u, x, r)``, relative to the base.
    """

    smallest: float
    largest_budget: float
    bases: dict[str, Callable[[Values], Values]]
    rise: Relative
    gain: Relative

    def loss(self, corpus: str, size: ArrayLike, tokens: ArrayLike, ratio: ArrayLike) -> Values:
        """Return the true loss of a corpus."""
        u, x, r = np.broadcast_arrays(
            np.asarray(size, dtype=float) / self.smallest,
            np.asarray(tokens, dtype=float) / self.largest_budget,
            np.asarray(ratio, dtype=float),
        )
        change = self.rise(u, x, r) if corpus == "general" else -self.gain(u, x, r)
        return self.bases[corpus](u) * (1 + change)


def base_loss(rng: np.random.Generator, level: float) -> Callable[[Values], Values]:
    """Return ``level u^-e (1 + w (sin(o ln u + p) - sin p))``; o in 1 to 3."""
    e, w, o, p = rng.uniform((0.02, 0, 1, 0), (0.05, 0.01, 3, 2 * np.pi))
    return lambda u: level * u**-e * (1 + w * (np.sin(o * np.log(u) + p) - np.sin(p)))


def leveling(m: float, h: float) -> Callable[[Values], Values]:
    return lambda x: x**m * (1 + h**m) / (x**m + h**m)


def hill(rng: np.random.Generator) -> Callable[[Values], Values]:
    m, h = rng.uniform((0.6, 0.1), (1.3, 0.8))
    return leveling(m, h)


def early(rng: np.random.Generator) -> Callable[[Values], Values]:
    m, log_h = rng.uniform((0.6, np.log(0.002)), (1.3, np.log(0.1)))
    return leveling(m, np.exp(log_h))


def bend(rng: np.random.Generator) -> Callable[[Values], Values]:
    w, p, q = rng.uniform((0.3, 1.3, 2), (0.7, 3, 12))
    return lambda r: w * r**p + (1 - w) * r / (1 + q * (1 - r))


def shrinking(rng: np.random.Generator, low: float, high: float) -> Callable[[Values], Values]:
    amplitude, a = rng.uniform((low, 0), (high, 0.35))
    return lambda u: amplitude * u**-a


def fall(rng: np.random.Generator, most: float = 0.04) -> Relative:
    time = hill(rng)
    b, c, q = rng.uniform((0, 0, 0.5), (most, 0.5, 2))
    return lambda u, x, r: b * u**-c * (1 - r) ** q * time(x)


# --- rises of the general loss ---------------------------------------------------------------


def plain_rise(rng: np.random.Generator) -> Relative:
    """Smooth, and settled early: ``A u^-a bend(r)^(u^b) early(x) - fall``, A in 0.04 to 0.2, b in 0 to 0.25."""
    size, shape, time, lowered = shrinking(rng, 0.04, 0.2), bend(rng), early(rng), fall(rng)
    b = rng.uniform(0, 0.25)
    return lambda u, x, r: size(u) * shape(r) ** (u**b) * time(x) - lowered(u, x, r)


def exponential_rise(rng: np.random.Generator) -> Relative:
    """Exponential in the ratio, steeper or flatter with tokens.

    ``A u^-a early(x) (e^(k r) - 1) / (e^k - 1) - fall`` with ``k = k0 + k1 ln(1 + 4 x)``, A in 0.04 to 0.2, k0 in
    1.5 to 4, k1 in -0.4 to 1.2.
    """
    size, time, lowered = shrinking(rng, 0.04, 0.2), early(rng), fall(rng)
    k0, k1 = rng.uniform((1.5, -0.4), (4, 1.2))

    def rise(u: Values, x: Values, r: Values) -> Values:
        k = k0 + k1 * np.log1p(4 * x)
        return size(u) * time(x) * np.expm1(k * r) / np.expm1(k) - lowered(u, x, r)

    return rise


def rising_rise(rng: np.random.Generator) -> Relative:
    """Above a ratio r0 the loss rises with tokens all along, below it falls all along.

    ``A u^-a ln(1 + k x) / ln(1 + k) (bend(r) - bend(r0)) / (1 - bend(r0))`` with ``k = k0 (1 + k1 r)``, A in 0.04 to
    0.2, k0 in 1 to 8, k1 in 0 to 2, r0 in 0.05 to 0.5.
    """
    size, shape = shrinking(rng, 0.04, 0.2), bend(rng)
    k0, k1, r0 = rng.uniform((1, 0, 0.05), (8, 2, 0.5))
    level = shape(np.asarray(r0))

    def rise(u: Values, x: Values, r: Values) -> Values:
        k = k0 * (1 + k1 * r)
        return size(u) * np.log1p(k * x) / np.log1p(k) * (shape(r) - level) / (1 - level)

    return rise


def u_shaped_rise(rng: np.random.Generator) -> Relative:
    """First down, then up with tokens, at every ratio; the turn comes before the largest budget, the sooner the more r.

    ``A u^-a (bend(r) + s) / (1 + s) ln(1 + k x^p) / ln(1 + k) - F u^-a' (1 - r / 2) (1 - e^(-x / t))``, A in 0.06 to
    0.2, s in 0.2 to 0.4, k in 0.5 to 4, p in 1.3 to 1.8, F in 0.02 to 0.06, t in 0.08 to 0.25.
    """
    size, first, shape = shrinking(rng, 0.06, 0.2), shrinking(rng, 0.02, 0.06), bend(rng)
    s, k, p, t = rng.uniform((0.2, 0.5, 1.3, 0.08), (0.4, 4, 1.8, 0.25))

    def rise(u: Values, x: Values, r: Values) -> Values:
        up = size(u) * (shape(r) + s) / (1 + s) * np.log1p(k * x**p) / np.log1p(k)
        return up + first(u) * (1 - r / 2) * np.expm1(-x / t)

    return rise


def humped_rise(rng: np.random.Generator) -> Relative:
    """Jump early and relearn (a stability gap), above a slow lasting rise.

    ``J u^-a (j + (1 - j) r) (x / t e^(1 - x / t))^s + A u^-a' bend(r) hill(x) - fall``, J in 0.04 to 0.12, j in 0.4 to
    1, t in 0.05 to 0.25, s in 0.5 to 1.5, A in 0.01 to 0.05, b of the fall at most 0.02.
    """
    jump, size = shrinking(rng, 0.04, 0.12), shrinking(rng, 0.01, 0.05)
    shape, time, lowered = bend(rng), hill(rng), fall(rng, most=0.02)
    j, t, s = rng.uniform((0.4, 0.05, 0.5), (1, 0.25, 1.5))

    def rise(u: Values, x: Values, r: Values) -> Values:
        hump = jump(u) * (j + (1 - j) * r) * (x / t * np.exp(1 - x / t)) ** s
        return hump + size(u) * shape(r) * time(x) - lowered(u, x, r)

    return rise


def exponents_rise(rng: np.random.Generator) -> Relative:
    """Let the exponent of the tokens depend on the ratio.

    ``A u^-a bend(r) early(x) + b u^-c ((1 + k x)^-d(r) - 1)`` with ``d = d0 + d1 (1 - r)^2``, A in 0.04 to 0.2, b in
    0.02 to 0.08, c in 0 to 0.5, k in 2 to 20, d0 in 0 to 0.2, d1 in 0.2 to 0.6.
    """
    size, shape, time = shrinking(rng, 0.04, 0.2), bend(rng), early(rng)
    b, c, k, d0, d1 = rng.uniform((0.02, 0, 2, 0, 0.2), (0.08, 0.5, 20, 0.2, 0.6))

    def rise(u: Values, x: Values, r: Values) -> Values:
        exponent = d0 + d1 * (1 - r) ** 2
        return size(u) * shape(r) * time(x) + b * u**-c * np.expm1(-exponent * np.log1p(k * x))

    return rise


# --- gains of the domain loss ----------------------------------------------------------------


def spill(rng: np.random.Generator) -> Relative:
    """Return what general data do to the domain loss: ``s (1 - r)^2 hill(x)``, s in -0.01 to 0.02."""
    time, s = hill(rng), rng.uniform(-0.01, 0.02)
    return lambda u, x, r: s * (1 - r) ** 2 * time(x)


def gain_of_size(rng: np.random.Generator) -> Callable[[Values], Values]:
    """``B u^-c``, B in 0.06 to 0.2, c in -0.02 to 0.1: nearly the same at every size."""
    amplitude, c = rng.uniform((0.06, -0.02), (0.2, 0.1))
    return lambda u: amplitude * u**-c


def plain_gain(rng: np.random.Generator) -> Relative:
    """Smooth in the domain tokens alone: ``B u^-c hill(x r^p) + spill``, p in 0.4 to 1."""
    size, time, other, p = gain_of_size(rng), hill(rng), spill(rng), rng.uniform(0.4, 1)
    return lambda u, x, r: size(u) * time(x * r**p) + other(u, x, r)


def exponential_gain(rng: np.random.Generator) -> Relative:
    """``B u^-c hill(x) (1 - e^(-l r)) / (1 - e^-l) + spill``, ``l = l0 + l1 x / (1 + x)``, l0 2 to 8, l1 -1.5 to 4."""
    size, time, other = gain_of_size(rng), hill(rng), spill(rng)
    l0, l1 = rng.uniform((2, -1.5), (8, 4))

    def gain(u: Values, x: Values, r: Values) -> Values:
        steepness = l0 + l1 * x / (1 + x)
        return size(u) * time(x) * np.expm1(-steepness * r) / np.expm1(-steepness) + other(u, x, r)

    return gain


def exponents_gain(rng: np.random.Generator) -> Relative:
    """Let the exponent of the tokens depend on the ratio.

    ``B u^-c r^p (1 - (1 + k x)^-d(r)) / (1 - (1 + k)^-d(1)) + spill`` with ``d = d0 + d1 r``, p in 0.3 to 0.8, k in 2
    to 20, d0 in 0.1 to 0.4, d1 in 0.1 to 0.6.
    """
    size, other = gain_of_size(rng), spill(rng)
    p, k, d0, d1 = rng.uniform((0.3, 2, 0.1, 0.1), (0.8, 20, 0.4, 0.6))

    def gain(u: Values, x: Values, r: Values) -> Values:
        time = np.expm1(-(d0 + d1 * r) * np.log1p(k * x)) / np.expm1(-(d0 + d1) * np.log1p(k))
        return size(u) * r**p * time + other(u, x, r)

    return gain


def dip_gain(rng: np.random.Generator) -> Relative:
    """Put the lowest domain loss at an inner ratio r0, in 0.55 to 0.85.

    ``B u^-c hill(x) f(r) / f(r0)`` with ``f = r^p (1 - c r^m)``, ``c = p / ((p + m) r0^m)``, p in 0.3 to 0.6, m in
    2 to 3.
    """
    size, time = gain_of_size(rng), hill(rng)
    p, m, r0 = rng.uniform((0.3, 2, 0.55), (0.6, 3, 0.85))
    c = p / ((p + m) * r0**m)
    top = r0**p * (1 - c * r0**m)
    return lambda u, x, r: size(u) * time(x) * r**p * (1 - c * r**m) / top


RISES = {
    "plain": plain_rise,
    "exponential": exponential_rise,
    "rising": rising_rise,
    "u_shaped": u_shaped_rise,
    "humped": humped_rise,
    "exponents": exponents_rise,
}
GAINS = {
    "plain": plain_gain,
    "exponential": exponential_gain,
    "exponents": exponents_gain,
    "dip": dip_gain,
}


def draw_losses(rng: np.random.Generator, rise: str, gain: str, **scales: Any) -> TrueLosses:
    """Return true losses with a rise and a gain of those names; ``scales`` are the first two fields."""
    level = rng.uniform(2, 2.9)
    bases = {
        "general": base_loss(rng, level),
        "domain": base_loss(rng, level * rng.uniform(0.92, 1.15)),
    }
    return TrueLosses(bases=bases, rise=RISES[rise](rng), gain=GAINS[gain](rng), **scales)
