"""A plan carries findings on what makes its answer suspect, the ones that measured runs speak against it first.

Each is judged where the decision is taken: the fit against what was measured there, the ratio by the ends of what was
probed, and repeated data by what a repeated token is worth.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.fit.other_sizes import OTHER_SIZE
from cmrplan.fit.supply import MANY_MORE, ONE_PASS, most_unique_tokens
from cmrplan.laws.repetition import REPEAT_SCALE
from cmrplan.plan.early_evaluations import early_findings
from cmrplan.plan.loss_curves import survey_at
from cmrplan.plan.measured_runs import chance_to_break, fitted_alike, measured_findings
from cmrplan.plan.optimum import SAME_RATIO, ConstraintName, Decision
from cmrplan.plan.repeated_data import fitted_repetition_findings
from cmrplan.plan.request import PlanRequest

WORRYING_SHARE = 0.25  # of the allowed rise


def plan_findings(
    fit: Fit,
    request: PlanRequest,
    decision: Decision,
    *,
    binding: ConstraintName,
    allowed: float | None,
) -> list[Finding]:
    """Return every finding on a plan: what measured runs say against it, then those of its fit, then its own.

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
    size, tokens, ratio = request.size, request.tokens, decision.evaluated
    measured = measured_findings(fit, request, decision) if allowed is not None else []
    findings = [*measured, *fit.warnings, *decision.curves.findings]
    far = fit.probed.extrapolation_findings(
        model_params=size, train_tokens=tokens, domain_ratio=ratio
    )
    findings += [_with_new_run(finding, decision) for finding in far]
    if fit.without_early is not None:
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
    return findings + repetition_findings(fit, request, ratio)


def _with_new_run(finding: Finding, decision: Decision) -> Finding:
    """Return a finding on a budget beyond the probed ones with what decides there about the limit."""
    if finding.code != Code.EXTRAPOLATES_TOKENS or not decision.curves.run_noise.any():
        return finding
    return replace(
        finding,
        message=f"{finding.message}; the limit is kept by the interval of one new run, not of the mean of many",
    )


def breaks_with(chance: float | None) -> str:
    """Return in words how often a ratio breaks the limit.

    Examples
    --------
    >>> breaks_with(0.693)
    'breaks the limit with 69 %'
    """
    if chance is None:
        return "keeps the limit without a margin"
    return f"breaks the limit with {100 * chance:.0f} %"


def infeasible_text(fit: Fit, request: PlanRequest, decision: Decision) -> str:
    """Return that no ratio keeps the tolerance with confidence, which one would do, and how far the question lies."""
    curves, feasible, best_estimate = decision.curves, decision.feasible, decision.best_estimate
    over = (
        f"the base loss {curves.base_loss:.4f}"
        if request.rise_over == "base"
        else "pure replay's loss"
    )
    text = (
        f"no domain ratio keeps the general loss within {curves.tolerance} of {over} with confidence "
        f"{request.confidence:g} at model_params = {curves.model_params:.4g}, train_tokens = "
        f"{float(curves.train_tokens[0]):.4g}; smallest feasible tolerance is "
        f"{decision.least_tolerance} (at domain_ratio {decision.least_rise[0]:.3g})"
    )
    if np.isfinite(best_estimate):
        chance = chance_to_break(fit, request, survey_at(fit, request, best_estimate))
        text += f"; the best estimate {best_estimate:.3g} {breaks_with(chance)}"
    if feasible.floor is not None:
        lower = feasible.without("ratio_floor")
        reachable = curves.chance_constrained_ratio(lower.low, lower.high)
        if np.isfinite(reachable):
            text += f"; or lower min_ratio to {np.floor(reachable * 1e4) / 1e4:g}"
    far = fit.probed.extrapolation_findings(model_params=request.size, train_tokens=request.tokens)
    carried = [finding for finding in curves.findings if finding.code in OTHER_SIZE]
    apart = [finding for finding in fit.warnings if finding.code == Code.BASE_APART]
    return "; ".join([text, *(finding.message for finding in (*apart, *far, *carried))])


def probed_end_findings(decision: Decision) -> list[Finding]:
    """Return a finding on a ratio at an end of what was probed."""
    lowest, highest = decision.feasible.probed
    findings: list[Finding] = []
    if not decision.is_feasible:
        return findings
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
    size = min(means, key=lambda there: abs(math.log(there / model_params)))
    tokens = max(means[size])
    ratio, measured = means[size][tokens]
    above = int(np.searchsorted(ratio, domain_ratio))
    near = slice(max(above - 1, 0), above + 1)
    ratio, measured = ratio[near], measured[near]
    try:
        fitted = fit.predict("general", model_params=size, train_tokens=tokens, domain_ratio=ratio)
    except CmrplanError:
        return []
    low, high = fitted.interval(confidence)
    width = np.nan_to_num(high - low)
    alike = fitted_alike(fit, "general", size, tokens, ratio, fitted.loss)
    miss = np.where(np.isfinite(alike), measured - alike, 0.0)
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


def repetition_findings(fit: Fit, request: PlanRequest, domain_ratio: float) -> list[Finding]:
    """Return a finding where the recommended ratio repeats the domain data otherwise than the probes did."""
    supply = fit.probed.supply
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
    if epochs > ONE_PASS:
        text = (
            f"the domain data are passed over {epochs:.3g} times, as no probe did; a repeat counts by the published "
            f"discount (R* = {REPEAT_SCALE:.2f}, from scratch on one source), and harms both losses "
            "as it did in one small sweep (data/sweep2); probe at that many passes"
        )
    elif (most := most_unique_tokens(fit.log) or 0.0) > MANY_MORE * request.unique_tokens:
        text = (
            f"the run draws from {request.unique_tokens:.4g} unique domain tokens and the probes drew from {most:.4g}; "
            "in one small sweep (data/sweep2) narrower corpora raised the general loss 1.0 to 1.4 times as far; probe "
            "on the corpus of the run"
        )
    else:
        return []
    return [Finding(Code.REPETITION_ASSUMED, text)]
