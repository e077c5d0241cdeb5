"""A question may lie outside what was probed; findings say how far."""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.fit import Fit

TWO_DIGITS = 0.01  # a size given to two digits is still the probed one
WIDEST_GAP = 2.0  # how far above a share the next fitted one may be, where 0 was fitted too


def ratio_range(fit: Fit) -> tuple[float, float]:
    """Return the smallest and largest ratio at which both losses were fitted."""
    lows, highs = [], []
    for corpus in fit.models:
        ratios = fit.fitted_ratios(corpus)
        lows.append(float(min(ratios)))
        highs.append(float(max(ratios)))
    return max(lows), min(highs)


def extrapolation_findings(
    fit: Fit, *, model_params: float, train_tokens: float, domain_ratio: float | None = None
) -> list[Finding]:
    """Return a finding for each input that lies outside the fitted range, with the distance."""
    rows = fit.log[fit.log["train_tokens"] > 0]
    findings = []
    size = _distance(rows["model_params"].to_numpy(dtype=float), model_params)
    if size:
        findings.append(
            Finding(Code.EXTRAPOLATES_SIZE, f"model_params = {model_params:.4g} is {size}")
        )
    tokens = _distance(rows["train_tokens"].to_numpy(dtype=float), train_tokens)
    if tokens:
        findings.append(
            Finding(Code.EXTRAPOLATES_TOKENS, f"train_tokens = {train_tokens:.4g} is {tokens}")
        )
    if domain_ratio is not None:
        findings += _below_shares(fit, domain_ratio) or _outside_ratios(fit, domain_ratio)
    return findings


def _distance(fitted: Array, value: float) -> str:
    """Return in words how far a value lies outside the fitted ones; empty inside."""
    largest, smallest = float(fitted.max()), float(fitted.min())
    if value > largest * (1 + TWO_DIGITS):
        return f"{value / largest:.3g} times the largest fitted ({largest:.4g})"
    if value < smallest * (1 - TWO_DIGITS):
        return f"{value / smallest:.3g} times the smallest fitted ({smallest:.4g})"
    return ""


def _below_shares(fit: Fit, domain_ratio: float) -> list[Finding]:
    """Return a finding for each corpus whose share lies below those at which its loss was fitted."""
    findings = []
    for corpus in fit.models:
        ratios = np.array([domain_ratio, *fit.fitted_ratios(corpus)])
        shares = ratios if corpus == "domain" else 1.0 - ratios
        text = _below(float(shares[0]), shares[1:])
        if text:
            findings.append(
                Finding(
                    Code.EXTRAPOLATES_SHARE,
                    f"the share of {corpus} data, {shares[0]:.3g}, {text}; do not rely on this {corpus} loss, probe "
                    f"domain_ratio {domain_ratio:g} first",
                )
            )
    return findings


def _below(share: float, fitted: Array) -> str:
    """Return in words how far a share lies below the fitted ones; empty where it does not.

    A run at share 0 holds the end of the curve, not how it bends, so a gap above it counts from a factor of two on.
    """
    smallest = float(np.min(fitted[fitted > 0], initial=1.0))
    has_zero = bool(np.any(fitted == 0))
    if has_zero and (share == 0 or share * WIDEST_GAP >= smallest):
        return ""
    if share >= smallest * (1 - TWO_DIGITS):
        return ""
    if has_zero:
        return (
            f"lies in the gap between 0 and {smallest:.3g}, {smallest / share:.3g} times below the smallest fitted "
            "share above 0: nothing shows how the loss bends there"
        )
    factor = f"is {smallest / share:.3g} times below" if share > 0 else "is without end below"
    return (
        f"{factor} the smallest fitted ({smallest:.3g}): the laws bend sharply there and have been wrong by up to "
        "190 %"
    )


def _outside_ratios(fit: Fit, domain_ratio: float) -> list[Finding]:
    low, high = ratio_range(fit)
    if low <= domain_ratio <= high:
        return []
    return [
        Finding(
            Code.EXTRAPOLATES_RATIO,
            f"domain_ratio = {domain_ratio:g} is outside the fitted ratios {low:g} to {high:g}; predictions there can "
            "be far off",
        )
    ]
