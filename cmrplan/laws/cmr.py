"""The laws of the critical mixture ratio (CMR) paper.

Symbols of the paper: R is ``domain_ratio``, T is ``train_tokens`` (the paper counts it in units of
0.2e9 tokens), a Delta is a difference from the base checkpoint in nats per token.

- ratio law, at fixed T: ``L(R) = alpha R^s + beta`` on ratios strictly inside (0, 1);
- token law of the domain loss, at fixed R: ``dL(T) = alpha1 T^s1 + beta1``;
- token law of the general loss: ``dL(T) = alpha2 T^s2 + alpha3 T^s3 + beta2`` (first up, then down);
- turning point: where the general loss stops rising faster than lambda allows;
- CMR law, per model size: ``R_CMR(T) = alpha4 T^s4 + beta3``.

No sign is imposed on the coefficients, and exponents run over both signs: on the paper's own data
the ratio law has alpha < 0.

References
----------
Gu et al., CMR Scaling Law, EMNLP 2024, arXiv:2407.17467.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.laws.law import Exponent, Law, Power, Term

_REFERENCE = "Gu et al. 2024, arXiv:2407.17467"


def ratio_law() -> Law:
    """Return ``L(R) = alpha R^s + beta``; fit it on ratios strictly inside (0, 1)."""
    return Law(
        name="cmr_ratio",
        formula="L = alpha*R^s + beta",
        latex=r"L(R) = \alpha R^{s} + \beta",
        reference=_REFERENCE,
        needs="Losses of one corpus at one size and one budget, at 3 or more ratios inside (0, 1).",
        exponents=(Exponent("s", -5.0, 5.0, is_log=False),),
        terms=(Term("alpha", (Power("domain_ratio", "s"),), sign=0), Term("beta", sign=0)),
        scaled=(),
    )


def domain_token_law() -> Law:
    """Return ``dL_dom(T) = alpha1 T^s1 + beta1``, a law of differences from the base."""
    return Law(
        name="cmr_domain_tokens",
        formula="dL = alpha1*T^s1 + beta1",
        latex=r"\Delta L(T) = \alpha_1 T^{s_1} + \beta_1",
        reference=_REFERENCE,
        needs="One run's domain losses less the base loss, at 4 or more token counts.",
        exponents=(Exponent("s1", -2.0, 2.0, is_log=False),),
        terms=(Term("alpha1", (Power("train_tokens", "s1"),), sign=0), Term("beta1", sign=0)),
        link="identity",
    )


def general_token_law() -> Law:
    """Return ``dL_gen(T) = alpha2 T^s2 + alpha3 T^s3 + beta2``, a law of differences from the base."""
    return Law(
        name="cmr_general_tokens",
        formula="dL = alpha2*T^s2 + alpha3*T^s3 + beta2",
        latex=r"\Delta L(T) = \alpha_2 T^{s_2} + \alpha_3 T^{s_3} + \beta_2",
        reference=_REFERENCE,
        needs="One run's general losses less the base loss, at 6 or more token counts.",
        exponents=(
            Exponent("s2", -2.0, 2.0, is_log=False),
            Exponent("s3", -2.0, 2.0, is_log=False),
        ),
        terms=(
            Term("alpha2", (Power("train_tokens", "s2"),), sign=0),
            Term("alpha3", (Power("train_tokens", "s3"),), sign=0),
            Term("beta2", sign=0),
        ),
        link="identity",
    )


def critical_ratio_law() -> Law:
    """Return ``R_CMR(T) = alpha4 T^s4 + beta3``, a law of ratios."""
    return Law(
        name="cmr",
        formula="R = alpha4*T^s4 + beta3",
        latex=r"R_{\mathrm{CMR}}(T) = \alpha_4 T^{s_4} + \beta_3",
        reference=_REFERENCE,
        needs="Critical ratios of one size at 4 or more budgets, from turning_tokens.",
        exponents=(Exponent("s4", -2.0, 2.0, is_log=False),),
        terms=(Term("alpha4", (Power("train_tokens", "s4"),), sign=0), Term("beta3", sign=0)),
        link="identity",
    )


def peak_tokens(alpha2: float, s2: float, alpha3: float, s3: float) -> float:
    """Return where the two-term general loss peaks, in the unit of T; NaN where it has no peak.

    ``T_peak = (-alpha2 s2 / (alpha3 s3))^(1 / (s3 - s2))``, the turning point as lambda grows
    without bound. A stationary point that is a minimum is not a peak.
    """
    slope2, slope3 = alpha2 * s2, alpha3 * s3
    if s2 == s3 or slope2 == 0 or slope3 == 0 or slope2 * slope3 > 0:
        return math.nan
    with np.errstate(all="ignore"):
        peak = float(np.float64(-slope2 / slope3) ** (1 / (s3 - s2)))
    # The slope T^(s2-1) (slope2 + slope3 T^(s3-s2)) must go from positive to negative.
    is_peak = slope3 * (s3 - s2) < 0
    return peak if is_peak and 0 < peak < math.inf else math.nan


def turning_tokens(
    domain: tuple[float, float],
    general: tuple[float, float, float, float],
    *,
    multiplier: float,
    longest: float,
    shortest: float = 1e-6,
) -> float:
    """Return T0, where ``d(general) / d(domain) = -1 / multiplier``; NaN where there is none.

    From there on, training lowers the objective ``L_dom + multiplier * L_gen``.

    Parameters
    ----------
    domain : (alpha1, s1)
        Token law of the domain loss.
    general : (alpha2, s2, alpha3, s3)
        Token law of the general loss, in the same unit of T.
    multiplier : float
        The weight lambda of the general loss, at or above zero; ``math.inf`` gives the peak.
    longest, shortest : float
        The bracket of T to search; the last sign change from rise to fall is returned.
    """
    if not multiplier >= 0:
        raise InputError(f"multiplier (lambda) must be at or above 0, got {multiplier}")
    if math.isinf(multiplier):
        return peak_tokens(*general)
    (alpha1, s1), (alpha2, s2, alpha3, s3) = domain, general

    def slope(log_tokens: float) -> float:
        """Return the derivative of the objective by log T."""
        t = np.exp(log_tokens)
        rise = alpha2 * s2 * t**s2 + alpha3 * s3 * t**s3
        return float(alpha1 * s1 * t**s1 + multiplier * rise)

    from scipy.optimize import brentq  # takes a quarter of a second to import

    grid = np.linspace(np.log(shortest), np.log(longest), 400)
    values = np.array([slope(point) for point in grid])
    crossings = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
    if not len(crossings):
        return math.nan
    k = crossings[-1]
    return float(np.exp(brentq(slope, grid[k], grid[k + 1], xtol=1e-13)))


def cmr_ratio(tokens: Array | float, alpha4: float, s4: float, beta3: float) -> Array:
    """Return ``alpha4 T^s4 + beta3`` clipped to [0, 1]; T in the unit of the coefficients.

    Warns
    -----
    UserWarning
        Where the law leaves [0, 1]: it does not hold there.
    """
    value = alpha4 * np.asarray(tokens, dtype=float) ** s4 + beta3
    clipped = np.clip(value, 0.0, 1.0)
    outside = np.ravel(value)[np.ravel(clipped != value)]
    if len(outside):
        warnings.warn(
            f"the CMR law gives {len(outside)} ratio(s) outside [0, 1], the first {outside[0]:.3g}; clipped, "
            "since it does not hold there",
            stacklevel=2,
        )
    return clipped
