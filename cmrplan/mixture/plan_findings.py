"""What a planned mixture has to say about itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import Code, Finding
from cmrplan.laws.repetition import REPEAT_SCALE, effective_tokens
from cmrplan.log.cells import listed
from cmrplan.mixture.fit import MixtureFit
from cmrplan.mixture.request import MixturePlanRequest

if TYPE_CHECKING:
    from cmrplan.mixture.mixture_plan import BindingConstraint

FAR = 0.05  # share of the tokens that would have to move to reach a blend of probed mixtures
MOST_EPOCHS = 1.0 + 1e-6


def plan_findings(
    fit: MixtureFit,
    asked: MixturePlanRequest,
    shares: Array,
    binding: Sequence[BindingConstraint],
) -> list[Finding]:
    """Return remarks on how far a mixture lies from what was probed, and on repeated data."""
    findings = _levels(fit, asked.size(fit), asked.tokens)
    far = distance_to_probed(fit.mixtures(), shares)
    if far > FAR:
        findings.append(
            Finding(
                Code.EXTRAPOLATES_MIXTURE,
                f"{100 * far:.0f} % of the tokens would have to move to make the mixture a blend of probed ones; "
                f"probe near "
                "it before you rely on its losses",
            )
        )
    edges = sorted(b.corpus for b in binding if b.kind.startswith("probed"))
    if edges:
        findings.append(
            Finding(
                Code.SHARE_AT_EDGE,
                f"the share of {listed(edges)} ends where probing did; probe beyond to see whether more, or less, is "
                f"better",
            )
        )
    for name, share in sorted(zip(fit.corpora, shares, strict=True)):
        if name not in asked.unique_tokens:
            continue
        drawn, unique = share * asked.tokens, asked.unique_tokens[name]
        if drawn > MOST_EPOCHS * unique:
            worth = float(effective_tokens(np.array([drawn]), unique, REPEAT_SCALE)[0]) / drawn
            findings.append(
                Finding(
                    Code.REPETITION_NOT_COUNTED,
                    f"{name} is passed over {drawn / unique:.3g} times and the laws count its repeats as fresh; after "
                    f"Muennighoff et al. its tokens are worth {worth:.2f} of fresh ones: probe with as many passes",
                )
            )
    return findings


def _levels(fit: MixtureFit, model_params: float, train_tokens: float) -> list[Finding]:
    rows = fit.log[fit.log["train_tokens"] > 0]
    findings = []
    if beyond := _beyond(rows["model_params"], model_params, "parameters"):
        findings.append(Finding(Code.EXTRAPOLATES_SIZE, beyond))
    if beyond := _beyond(rows["train_tokens"], train_tokens, "training tokens"):
        findings.append(Finding(Code.EXTRAPOLATES_TOKENS, beyond))
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
