"""How far a question about a mixture lies outside of what was probed: in size, in tokens, in the mixture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import Code, Finding

FAR = 0.05  # share of the tokens that would have to move to reach a blend of probed mixtures


def beyond_levels(rows: pd.DataFrame, model_params: float, train_tokens: float) -> list[Finding]:
    """Return a finding where a size, or a budget, lies outside those of the fitted rows."""
    findings = []
    if beyond := _beyond(rows["model_params"], model_params, "parameters"):
        findings.append(Finding(Code.EXTRAPOLATES_SIZE, beyond))
    if beyond := _beyond(rows["train_tokens"], train_tokens, "training tokens"):
        findings.append(Finding(Code.EXTRAPOLATES_TOKENS, beyond))
    return findings


def far_from_probed(probed: Array, shares: Array) -> list[Finding]:
    """Return a finding where shares ``(m,)`` are no blend of probed mixtures ``(R, m)``, nor near one."""
    far = distance_to_probed(probed, shares)
    if far <= FAR:
        return []
    return [
        Finding(
            Code.EXTRAPOLATES_MIXTURE,
            f"{100 * far:.0f} % of the tokens would have to move to make the mixture a blend of probed ones; probe "
            "near it before you rely on its losses",
        )
    ]


def beyond_shares(corpora: Sequence[str], probed: Array, shares: Array) -> list[Finding]:
    """Return a finding for each corpus whose share lies above or below all that were probed.

    Parameters
    ----------
    corpora : sequence of m str
    probed : array (R, m)
    shares : array (m,)
    """
    findings = []
    lows, highs = probed.min(axis=0), probed.max(axis=0)
    for name, share, low, high in sorted(zip(corpora, shares, lows, highs, strict=True)):
        if low * (1 - SAME_SIZE) <= share <= high * (1 + SAME_SIZE):
            continue
        side = "above the largest" if share > high else "below the smallest"
        findings.append(
            Finding(
                Code.EXTRAPOLATES_SHARE,
                f"the share of {name}, {share:.3g}, lies {side} fitted share (fitted are {low:.3g} to {high:.3g}), so "
                "nothing shows what the losses do there; probe it before you rely on them",
            )
        )
    return findings


def _beyond(fitted: pd.Series[float], value: float, what: str) -> str:
    """Return how far a size or a budget lies outside the fitted ones; empty where it does not."""
    levels = np.unique(fitted.to_numpy(dtype=float))
    if levels[0] * (1 - SAME_SIZE) <= value <= levels[-1] * (1 + SAME_SIZE):
        return ""
    edge, side = (levels[-1], "largest") if value > levels[-1] else (levels[0], "smallest")
    alone = ""
    if len(levels) == 1:
        alone = (
            "; the laws have no term for it, so the losses are those of that one and only the order of mixtures can be "
            "carried over"
        )
    return f"{value:.4g} {what} is {value / edge:.3g} times the {side} fitted, {edge:.4g}{alone}"


def distance_to_probed(probed: Array, shares: Array) -> float:
    """Return the part of the tokens that differ from the nearest blend of probed mixtures.

    Parameters
    ----------
    probed : array (R, m)
    shares : array (m,)

    Examples
    --------
    >>> round(distance_to_probed(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0.2, 0.8])), 6)
    0.3
    """
    count, num = probed.shape
    # The unknowns are the blend weights, then the parts above and below the shares.
    cost = np.concatenate([np.zeros(count), np.full(2 * num, 0.5)])
    equal = np.hstack([probed.T, np.eye(num), -np.eye(num)])
    total = np.concatenate([np.ones(count), np.zeros(2 * num)])
    solution = linprog(
        cost, A_eq=np.vstack([equal, total]), b_eq=np.append(shares, 1.0), method="highs"
    )
    return float(solution.fun or 0.0)
