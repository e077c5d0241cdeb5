"""What a planned mixture has to say about itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import Interval
from cmrplan.log.cells import listed
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.mixture.extrapolation import beyond_levels, far_from_probed
from cmrplan.mixture.loss_functions import LossFunctions
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.other_sizes import other_size_findings
from cmrplan.mixture.repetition import repetition_findings
from cmrplan.mixture.request import MixturePlanRequest

NUM_BESIDE = 2  # probed mixtures beside a planned one
MISFIT_SHARE = 0.25  # of the allowed rise that a fit may miss them by

if TYPE_CHECKING:
    from cmrplan.mixture.mixture_plan import BindingConstraint


def plan_findings(
    fit: MixtureFit,
    asked: MixturePlanRequest,
    shares: Array,
    binding: Sequence[BindingConstraint],
) -> list[Finding]:
    """Return remarks on how far a mixture, and that which rises count from, lie from what was probed."""
    sizes = fit.fitted()["model_params"].unique()
    findings = [
        *other_size_findings(asked.size(fit), sizes, fit.carried(asked.size(fit))),
        *beyond_levels(fit.fitted(), asked.size(fit), asked.tokens),
        *far_from_probed(fit.mixtures(), shares),
    ]
    edges = sorted(b.corpus for b in binding if b.kind.startswith("probed"))
    if edges:
        findings.append(
            Finding(
                Code.SHARE_AT_EDGE,
                f"the share of {listed(edges)} ends where probing did; probe beyond to see whether more, or less, is "
                f"better",
            )
        )
    findings += [
        *misfit_findings(fit, asked, shares),
        *repetition_findings(fit, shares, asked.tokens, asked.unique_tokens),
    ]
    return [*findings, *_reference_findings(fit, asked, findings)]


def _reference_findings(
    fit: MixtureFit, asked: MixturePlanRequest, said: Sequence[Finding]
) -> list[Finding]:
    """Return how far the mixture that rises count from lies outside, beside what is said of the planned one."""
    if asked.reference_mixture is None:
        return []
    findings = fit.extrapolation_findings(
        asked.reference_mixture,
        model_params=asked.size(fit),
        train_tokens=asked.tokens,
        available=asked.unique_tokens,
    )
    return [
        replace(one, message=f"the reference mixture, from which rises are counted: {one.message}")
        for one in findings
        if one not in said
    ]


def few_resamples_findings(
    asked: MixturePlanRequest, num_draws: int, chance: float | None
) -> list[Finding]:
    """Return a finding where resamples that all hold would still let a limit break more often than was asked.

    Parameters
    ----------
    asked : MixturePlanRequest
    num_draws : int
    chance : float or None
        How often new resamples break a limit at the recommended mixture.
    """
    if chance is None or not is_past(chance, asked.confidence, num_draws):
        return []
    allowed = 1 - asked.confidence
    enough = math.ceil(chance / allowed * (num_draws + 1) / 100) * 100
    return [
        Finding(
            Code.FEW_RESAMPLES,
            f"{num_draws} resamples are too few to tell whether the limits hold with {100 * asked.confidence:g} %: the "
            f"search leans on those it knows, and about {100 * chance:.0f} % of new ones would break a limit; fit with "
            f"--bootstrap {enough}, or ask for less confidence",
        )
    ]


def is_past(chance: float, confidence: float, num_draws: int) -> bool:
    """Return whether new resamples break a limit more often than a confidence allows, by more than one of them."""
    return chance > 1 - confidence + 1 / (num_draws + 1)


def apart_findings(functions: LossFunctions, by_draws: Array | None) -> list[Finding]:
    """Return a finding for each limit that the resamples keep at a mixture and the estimate, far from them, breaks.

    Parameters
    ----------
    functions : LossFunctions
    by_draws : array (m,), optional
        The mixture that resamples alone would have recommended, where an estimate breaks its limit.
    """
    findings: list[Finding] = []
    if by_draws is None:
        return findings
    level = functions.asked.confidence
    for corpus in functions.breaking_estimates(by_draws):
        loss, draws = functions.loss(corpus, by_draws[None, :])
        band = Interval.of_draws(float(loss[0]), draws[:, 0], level)
        if band.high is not None and band.estimate > band.high:
            findings.append(
                Finding(
                    Code.ESTIMATE_APART,
                    f"the resamples alone would take a mixture whose best estimate of the loss on {corpus}, "
                    f"{band.estimate:.4f}, breaks the limit and lies above its own {100 * level:g} % interval (up to "
                    f"{band.high:.4f}): the fitted laws and their resamples contradict each other there, and the "
                    "recommended mixture keeps the limit by both; probe more mixtures near it",
                )
            )
    return findings


def misfit_findings(fit: MixtureFit, asked: MixturePlanRequest, shares: Array) -> list[Finding]:
    """Return a finding for each protected corpus whose measured loss beside the plan the fit misses too far.

    At the planned size, where it was probed, and the budget nearest to the planned one, the two probed mixtures next
    to the planned one are looked at. A miss counts beyond a quarter of the allowed rise, or the width of the fitted
    loss's own interval, whichever is larger.
    """
    rows = fit.fitted()
    rows = rows[np.abs(rows["model_params"] / asked.size(fit) - 1) <= SAME_SIZE]
    findings: list[Finding] = []
    for corpus in asked.protected:
        there = rows[rows["eval_corpus"] == corpus]
        if not len(there):
            continue
        away = np.abs(np.log(there["train_tokens"] / asked.tokens))
        there = there[away <= away.min() + SAME_SIZE]
        mixtures = there[[SHARE_PREFIX + name for name in fit.corpora]].to_numpy(dtype=float)
        near = np.argsort(np.abs(mixtures - shares).sum(axis=1), kind="stable")[:NUM_BESIDE]
        tokens = float(there["train_tokens"].iloc[0])
        losses = fit.predict(mixtures[near], model_params=asked.size(fit), train_tokens=tokens)
        fitted = losses[corpus]
        low, high = fitted.interval(asked.confidence)
        width = np.nan_to_num(high - low)
        miss = there["loss"].to_numpy(dtype=float)[near] - fitted.loss
        least = float(np.min(fitted.loss))
        allowed = asked.tolerance(corpus).limit(least) - least
        over = np.abs(miss) - np.maximum(MISFIT_SHARE * allowed, width)
        worst = int(np.argmax(over))
        if over[worst] <= 0 or not (allowed or width.any()):
            continue
        off = float(abs(miss[worst]))
        share = f", {100 * off / allowed:.0f} % of the allowed rise" if allowed else ""
        findings.append(
            Finding(
                Code.MISFIT,
                f"at {tokens:.4g} tokens, beside the planned mixture, the measured loss on {corpus} is {off:.3f} nats "
                f"{'above' if miss[worst] > 0 else 'below'} the fitted one{share}; probe more mixtures there, or leave "
                "out early evaluations (--min-train-tokens), and look at cmrplan mix compare",
            )
        )
    return findings
