"""A plan carries findings on what makes its answer suspect.

Each is judged where the decision is taken: the fit against what was measured there, the early evaluations by the answer
without them, the ratio by the ends of what was probed, and repeated data by what a repeated token is worth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.fit.supply import ONE_PASS, Supply
from cmrplan.laws.repetition import REPEAT_SCALE
from cmrplan.plan.optimum import SAME_RATIO, ConstraintName, Decision, decide
from cmrplan.plan.repeated_data import fitted_repetition_findings
from cmrplan.plan.request import PlanRequest

WORRYING_SHARE = 0.25  # of the allowed rise
SAME_ANSWER = 5e-4  # of the ratio, which is printed to three digits


def plan_findings(
    fit: Fit,
    request: PlanRequest,
    decision: Decision,
    *,
    binding: ConstraintName,
    allowed: float | None,
) -> list[Finding]:
    """Return every finding on a plan, those of its fit first.

    Parameters
    ----------
    fit : Fit
    request : PlanRequest
    decision : Decision
    binding : str
        The constraint that holds the ratio back.
    allowed : float or None
        Allowed rise of the general loss, nats per token; None without a tolerance.
    """
    size, tokens, ratio = request.size, request.tokens, decision.ratio
    findings = [*fit.warnings, *decision.curves.findings]
    far = fit.probed.extrapolation_findings(
        model_params=size, train_tokens=tokens, domain_ratio=ratio
    )
    findings += [_with_new_run(finding, decision) for finding in far]
    findings += early_findings(fit, request, decision.best_estimate)
    findings += probed_end_findings(decision)
    findings += turning_domain_loss(fit, request, decision, binding)
    if allowed is not None:
        findings += misfit_findings(
            fit,
            model_params=size,
            domain_ratio=ratio,
            allowed=allowed,
            confidence=request.confidence,
        )
    if fit.model_of("domain").reads_repetition:
        return findings + fitted_repetition_findings(request, ratio, fit.probed.supply)
    return findings + repetition_findings(request, ratio, fit.probed.supply)


def _with_new_run(finding: Finding, decision: Decision) -> Finding:
    """Return a finding on a budget beyond the probed ones with what decides there about the limit."""
    if finding.code != Code.EXTRAPOLATES_TOKENS or not decision.curves.run_noise.any():
        return finding
    return replace(
        finding,
        message=f"{finding.message}; the limit is kept by the interval of one new run, not of the mean of many",
    )


def early_findings(fit: Fit, request: PlanRequest, best_estimate: float) -> list[Finding]:
    """Return a finding with the ratio that would come out without early evaluations, where they matter.

    Only the best estimate is compared: the fit without them has no resamples.

    Parameters
    ----------
    fit : Fit
    request : PlanRequest
    best_estimate : float
        Of the ratio, with every evaluation.
    """
    early = fit.without_early
    if early is None:
        return []
    try:
        ratio = decide(early.fit, request).best_estimate
    except CmrplanError:
        ratio = np.nan
    if not np.isfinite(ratio):
        answer = f"would not exist: no ratio would keep the tolerance; it is {best_estimate:.3f} with them"
    elif abs(ratio - best_estimate) < SAME_ANSWER:
        answer = f"stays {best_estimate:.3f}"
    else:
        answer = f"would be {ratio:.3f} instead of {best_estimate:.3f}"
    return [
        Finding(
            Code.EARLY_EVALUATIONS_EFFECT,
            f"without the evaluations before {early.first_tokens:.4g} tokens the best estimate of the ratio {answer}; "
            "fit again with --min-train-tokens auto for its interval",
        )
    ]


def probed_end_findings(decision: Decision) -> list[Finding]:
    """Return a finding on a ratio at an end of what was probed."""
    lowest, highest = decision.feasible.probed
    findings = []
    if decision.ratio >= highest - SAME_RATIO and highest < 1:
        findings.append(
            Finding(
                Code.RATIO_AT_EDGE,
                f"the ratio is the largest that was probed ({highest:g}); probe larger ones to see whether more is "
                "feasible",
            )
        )
    if decision.ratio <= lowest + SAME_RATIO and lowest > 0:
        findings.append(
            Finding(
                Code.RATIO_AT_EDGE,
                f"the ratio is the smallest that was probed ({lowest:g}); probe smaller ones",
            )
        )
    return findings


def turning_domain_loss(
    fit: Fit, request: PlanRequest, decision: Decision, binding: ConstraintName
) -> list[Finding]:
    """Return a finding where the fitted domain loss itself keeps the ratio from the largest probed one."""
    curves = decision.curves
    is_weighted = bool(np.any(curves.objective != curves.domain.loss))
    is_largest = decision.ratio >= decision.feasible.probed[1] - SAME_RATIO
    if binding != "none" or is_largest or is_weighted:
        return []
    supply, why = (
        fit.probed.supply,
        "more domain data should not hurt the domain loss, so look at the fit",
    )
    if supply is not None:
        unique = request.unique_tokens or supply.unique_tokens
        passes = request.tokens * decision.ratio / unique
        why = f"the probes repeat their domain data, as this run does ({passes:.3g} passes there)"
    return [
        Finding(
            Code.DOMAIN_LOSS_TURNS,
            f"the fitted domain loss has its lowest value at {decision.ratio:.3g} and rises beyond; {why}",
        )
    ]


def misfit_findings(
    fit: Fit, *, model_params: float, domain_ratio: float, allowed: float, confidence: float
) -> list[Finding]:
    """Return a finding where the fit misses the measured general loss by more than the decision stands.

    A law that cannot follow the data (a general loss that keeps rising with tokens, say) can have narrow
    intervals and be wrong. So at the largest measured budget of the size nearest to the plan's, at the probed ratios
    on both sides of the planned one, the fitted general loss is compared with the measured one. A miss counts beyond a
    quarter of the allowed rise or the width of the fitted loss's own interval, whichever is larger; the width alone
    decides where no rise is allowed.

    Parameters
    ----------
    fit : Fit
    model_params : float
        Size of the plan; the nearest probed size is compared.
    domain_ratio : float
        The planned ratio; the probed ratios on both sides of it are compared.
    allowed : float
        Allowed rise of the general loss, nats per token. A fit without resamples has no interval: nothing is said where
        no rise is allowed.
    confidence : float
    """
    if "general" not in fit.models:
        return []
    means = fit.probed.losses["general"].means
    sizes = np.array(list(means))
    size = sizes[np.argmin(np.abs(np.log(sizes / model_params)))]
    tokens = max(means[size])
    ratio, measured = means[size][tokens]
    above = int(np.searchsorted(ratio, domain_ratio))
    near = slice(max(above - 1, 0), above + 1)
    ratio, measured = ratio[near], measured[near]
    try:
        fitted = fit.predict(
            "general", model_params=float(size), train_tokens=tokens, domain_ratio=ratio
        )
    except CmrplanError:
        return []
    low, high = fitted.interval(confidence)
    width = np.nan_to_num(high - low)
    miss = np.where(np.isfinite(fitted.loss), measured - fitted.loss, 0.0)
    largest = np.maximum(WORRYING_SHARE * max(allowed, 0.0), width)
    excess = np.abs(miss) - largest
    worst = int(np.argmax(excess))
    if excess[worst] <= 0 or not largest.any():
        return []
    off = float(abs(miss[worst]))
    if allowed > 0:
        share = f"{100 * off / allowed:.0f} % of the allowed rise"
    else:
        share = f"{off / width[worst]:.1f} times the width of its interval"
    return [
        Finding(
            Code.MISFIT,
            f"at {tokens:.4g} tokens and domain_ratio {ratio[worst]:g} the measured general loss is {off:.3f} nats "
            f"{'above' if miss[worst] > 0 else 'below'} the fitted one, {share}; leave out early evaluations "
            "(--min-train-tokens) or try another law, and look at the residuals",
        )
    ]


def repetition_findings(
    request: PlanRequest, domain_ratio: float, supply: Supply | None
) -> list[Finding]:
    """Return a finding where the recommended ratio repeats the domain data otherwise than the probes did."""
    if request.unique_tokens is None or (
        supply is not None and request.unique_tokens == supply.unique_tokens
    ):
        return []
    if supply is not None and supply.is_one:
        return [
            Finding(
                Code.REPETITION_ASSUMED,
                f"the run draws from {request.unique_tokens:.4g} unique domain tokens and the probes drew from "
                f"{supply.unique_tokens:.4g}; its length was carried to their supply by the published discount for "
                f"repeated tokens (R* = {REPEAT_SCALE:.2f}, from scratch on one source); probe as many passes",
            )
        ]
    epochs = request.tokens * domain_ratio / request.unique_tokens
    if epochs <= ONE_PASS:
        return []
    return [
        Finding(
            Code.REPETITION_ASSUMED,
            f"the domain data are passed over {epochs:.3g} times; a repeated token is counted by the published "
            f"discount (R* = {REPEAT_SCALE:.2f}, from scratch on one source), not by your probes; probe at that many "
            "passes",
        )
    ]
