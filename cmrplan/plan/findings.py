"""A plan carries findings on what makes its answer suspect, the ones that measured runs speak against it first.

Each is judged where the decision is taken: the fit against what was measured there, the ratio by the ends of what was
probed, and repeated data by what a repeated token is worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.fit.other_sizes import OTHER_SIZE
from cmrplan.fit.probed import TWO_DIGITS, is_among
from cmrplan.fit.supply import MANY_MORE, ONE_PASS, most_unique_tokens
from cmrplan.laws.repetition import REPEAT_SCALE
from cmrplan.log import CORPORA
from cmrplan.plan.early_evaluations import early_findings
from cmrplan.plan.loss_curves import LossCurves
from cmrplan.plan.optimum import SAME_RATIO, ConstraintName, Decision
from cmrplan.plan.repeated_data import fitted_repetition_findings
from cmrplan.plan.request import PlanRequest

WORRYING_SHARE = 0.25  # of the allowed rise
NEIGHBOURHOOD = 1.5  # times the planned tokens, within which a measured budget speaks of the plan
NUM_NOISE = 200  # draws
BEYOND_NOISE = 0.975  # a quantile of a run's noise


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
        text += f"; the best estimate {best_estimate:.3g} would break it about every other time"
    if feasible.floor is not None:
        lower = feasible.without("ratio_floor")
        reachable = curves.chance_constrained_ratio(lower.low, lower.high)
        if np.isfinite(reachable):
            text += f"; or lower min_ratio to {np.floor(reachable * 1e4) / 1e4:g}"
    far = fit.probed.extrapolation_findings(model_params=request.size, train_tokens=request.tokens)
    carried = [finding for finding in curves.findings if finding.code in OTHER_SIZE]
    apart = [finding for finding in fit.warnings if finding.code == Code.BASE_APART]
    return "; ".join([text, *(finding.message for finding in (*apart, *far, *carried))])


@dataclass(frozen=True)
class MeasuredBeside:
    """Mean losses measured beside a plan, at a probed size and budget: at ``k`` ratios, ascending, nats per token.

    Parameters
    ----------
    model_params, train_tokens : float
    ratio, general : array (k,)
    domain : array (k,)
        NaN where it was not measured.
    limit : float
        What the plan's tolerance allows over the reference of that size.
    """

    model_params: float
    train_tokens: float
    ratio: Array
    general: Array
    domain: Array
    limit: float

    @property
    def where(self) -> str:
        """The size and budget in words."""
        return f"{self.model_params:.4g} parameters and {self.train_tokens:.4g} tokens"


def measured_beside(fit: Fit, request: PlanRequest) -> list[MeasuredBeside]:
    """Return what was measured at the planned size and above, at the budget nearest to the planned one.

    Budgets farther than a factor of 1.5 are another question, and sizes whose reference was not measured have no limit.
    """
    beside: list[MeasuredBeside] = []
    general, domain = (fit.probed.losses[corpus].means for corpus in CORPORA)
    for size, budgets in general.items():
        tokens = min(budgets, key=lambda there: abs(math.log(there / request.tokens)))
        is_far = abs(math.log(tokens / request.tokens)) > math.log(NEIGHBOURHOOD)
        if size < request.size * (1 - TWO_DIGITS) or is_far:
            continue
        ratio, mean = budgets[tokens]
        base = fit.base_loss.get("general", {}).get(size)
        if base is None and is_among(np.array([size]), request.size):
            base = request.base_loss
        if request.rise_over == "replay":
            base = float(mean[0]) if ratio[0] == 0 else None
        if base is None or request.tolerance is None:
            continue
        known, losses = domain.get(size, {}).get(tokens, (np.zeros(0), np.zeros(0)))
        by_ratio = dict(zip(known.tolist(), losses.tolist(), strict=True))
        there = np.array([by_ratio.get(value, np.nan) for value in ratio.tolist()])
        limit = request.tolerance.limit(base)
        beside.append(MeasuredBeside(size, tokens, ratio, mean, there, limit))
    return beside


def measured_findings(fit: Fit, request: PlanRequest, decision: Decision) -> list[Finding]:
    """Return a finding where a measured run broke the limit at or below the ratio, or does better within the limit.

    A run does better within the limit if the measured domain loss is lower there than at the recommended ratio, between
    measured ones by a straight line, and the general loss leaves room for a run's noise with the asked confidence.
    """
    findings = []
    for there in measured_beside(fit, request):
        over = there.general - there.limit
        breaks = (over > 0) & (there.ratio <= decision.ratio + SAME_RATIO)
        if breaks.any():
            k = int(np.argmax(np.where(breaks, over, -np.inf)))
            text = (
                f"a run at domain_ratio {there.ratio[k]:g}, {there.where}, measured a general loss of "
                f"{there.general[k]:.4f}, above the limit {there.limit:.4f}, and {decision.ratio:.3f} is recommended; "
                f"repeat it with another seed, or plan with --max-ratio below {there.ratio[k]:g}"
            )
            findings.append(Finding(Code.MEASURED_BREAK, text))
            continue
        keeps = over + _noise_quantile(fit, there.general, request.confidence) <= 0
        here = np.interp(decision.ratio, there.ratio, there.domain)
        gain = np.where(keeps, here - there.domain, -np.inf)
        if decision.is_feasible and np.nanmax(gain, initial=0.0) > _noise_quantile(
            fit, np.array([here]), request.confidence, "domain"
        ):
            k = int(np.nanargmax(gain))
            text = (
                f"a run at domain_ratio {there.ratio[k]:g}, {there.where}, measured a domain loss of "
                f"{there.domain[k]:.4f} within the limit, {gain[k]:.4f} lower than the runs beside the recommended "
                f"{decision.ratio:.3f}; look at the fit there (cmrplan plot FIT ratio), or take that ratio"
            )
            findings.append(Finding(Code.MEASURED_BETTER, text))
    return findings


def _noise_quantile(fit: Fit, loss: Array, level: float, corpus: str = "general") -> Array:
    """Return what the noise of a run adds to losses with a probability of ``level`` at most, ``(k,)``; 0 if unknown."""
    shifts = fit.new_run_shifts(corpus, NUM_NOISE)
    if shifts is None:
        return np.zeros_like(loss)
    moved = fit.model_of(corpus).with_shifts(loss[None, :], shifts)
    return np.asarray(np.quantile(moved - loss, level, axis=0))


def chance_to_break(fit: Fit, request: PlanRequest, at: LossCurves) -> float | None:
    """Return how probably a run at a single ratio breaks its limit; None without resamples or a tolerance.

    That is the share of resamples that do. Where the general loss measured beside it, at the nearest probed size and
    budget, lies above the fitted one by more than the noise of a run explains, each resample is moved by that.
    """
    violation = at.violation()
    if violation is None or request.tolerance is None:
        return None
    means = fit.probed.losses["general"].means
    size = min(means, key=lambda there: abs(math.log(there / request.size)))
    tokens = min(means[size], key=lambda there: abs(math.log(there / request.tokens)))
    ratio, measured = means[size][tokens]
    try:
        fitted = fit.predict("general", model_params=size, train_tokens=tokens, domain_ratio=ratio)
    except CmrplanError:
        return float(violation[0])
    miss = measured - fitted.loss
    miss = np.where(miss > _noise_quantile(fit, fitted.loss, BEYOND_NOISE), miss, 0.0)
    unexplained = float(np.interp(at.domain_ratio[0], ratio, miss))
    if not unexplained > 0:
        return float(violation[0])
    general = at.general
    moved = replace(general, loss=general.loss + unexplained, draws=general.draws + unexplained)
    share = at.with_losses(request, moved, at.domain, at.replay).violation()
    assert share is not None
    return float(share[0])


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
