"""A plan carries findings on what makes its answer suspect, the ones that measured runs speak against it first.

Each is judged where the decision is taken: the fit against what was measured there, the ratio by the ends of what was
probed, and repeated data by what a repeated token is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.fit.other_sizes import OTHER_SIZE
from cmrplan.fit.probed import TWO_DIGITS, MeanLosses, is_among
from cmrplan.log import CORPORA
from cmrplan.plan.early_evaluations import early_findings
from cmrplan.plan.loss_curves import LossCurves, survey_at
from cmrplan.plan.optimum import SAME_RATIO, ConstraintName, Decision
from cmrplan.plan.repeated_data import (
    repetition_findings,
    turning_domain_loss,
)
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
    is_weighted = bool(np.any(decision.curves.objective != decision.curves.domain.loss))
    is_largest = decision.ratio >= decision.feasible.probed[1] - SAME_RATIO
    if binding == "none" and not (is_largest or is_weighted):
        findings.append(turning_domain_loss(fit, request, decision.ratio))
    if allowed is not None:
        findings += misfit_findings(
            fit,
            model_params=size,
            domain_ratio=ratio,
            allowed=allowed,
            confidence=request.confidence,
        )
    if request.unique_tokens is None and fit.probed.supply is None:
        return findings
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
    """Return in words how often a ratio breaks the limit."""
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
    beyond = fit.probed.extrapolation_findings(
        model_params=request.size, train_tokens=request.tokens
    )
    far = [_with_new_run(finding, decision) for finding in beyond]
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
    fitted : array (k,)
        The general loss of the same evaluations by the fit.
    carried : array (k,)
        The measured general loss with what the fit says lies between its run and one of the planned tokens.
    limit : float
        What the plan's tolerance allows over the reference of that size.
    """

    model_params: float
    train_tokens: float
    ratio: Array
    general: Array
    domain: Array
    fitted: Array
    carried: Array
    limit: float

    @property
    def where(self) -> str:
        """The size and budget in words."""
        return f"{self.model_params:.4g} parameters and {self.train_tokens:.4g} tokens"

    def objective(self, request: PlanRequest) -> Array:
        """Return what is sought to be low, ``(k,)``."""
        return self.domain + request.weight * self.general if request.weight else self.domain

    def is_larger_than(self, request: PlanRequest) -> bool:
        """Tell whether the model is larger than the planned one, so that a ratio does otherwise to it."""
        return self.model_params > request.size * (1 + TWO_DIGITS)

    def may_do_better(self, request: PlanRequest, ratio: float) -> bool:
        """Tell whether a run of the planned size within the limit has a lower objective than those beside a ratio."""
        if self.is_larger_than(request):
            return False
        objective = self.objective(request)
        is_lower = objective < np.interp(ratio, self.ratio, objective)
        return bool(np.any(is_lower & (self.general <= self.limit)))

    def contradicts(self, fit: Fit, request: PlanRequest) -> NDArray[np.bool_]:
        """Return which ratios were measured above the limit by runs that say so of the planned one, ``(k,)``.

        A longer run, a larger model, or one with other learning rates, does so where it is above the fit by more than
        its noise and the planned tokens would break the limit by as much: else fit and run agree.
        """
        breaks = self.general > self.limit
        is_longer = self.train_tokens > request.tokens * (1 + SAME_SIZE)
        is_larger = self.is_larger_than(request)
        if is_longer or is_larger or fit.model_of("general").is_of_finished_runs:
            breaks &= self.carried > self.limit
        if is_longer or is_larger:
            noise = noise_quantile(fit, self.fitted, BEYOND_NOISE)
            breaks &= self.general - self.fitted > noise
        return np.asarray(breaks)


def fitted_alike(
    fit: Fit, corpus: str, size: float, tokens: float, ratio: Array, finished: Array
) -> Array:
    """Return the loss by the fit of the very evaluations at a probed size and budget, ``(k,)``.

    ``finished`` is what it predicts at these ratios, which is the same but where it is of finished runs.
    """
    if not fit.model_of(corpus).is_of_finished_runs:
        return finished
    from cmrplan.plan.finished_runs import fitted_evaluations

    return fitted_evaluations(fit, corpus, size, tokens).reindex(ratio).to_numpy(dtype=float)


def _ended_runs(fit: Fit, corpus: str) -> MeanLosses:
    """Return the mean losses that a prediction is of."""
    if not fit.model_of(corpus).is_of_finished_runs:
        return fit.probed.losses[corpus].means
    from cmrplan.plan.finished_runs import ended_runs

    return ended_runs(fit, corpus)


def measured_beside(fit: Fit, request: PlanRequest) -> list[MeasuredBeside]:
    """Return what was measured at the planned size and above, at the budget nearest to the planned one.

    Budgets farther than a factor of 1.5 are another question, and sizes whose reference was not measured have no limit.
    """
    beside: list[MeasuredBeside] = []
    general, domain = (_ended_runs(fit, corpus) for corpus in CORPORA)
    for size, budgets in general.items():
        tokens = _nearest(budgets, request.tokens)
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
        fitted, planned = _fitted_there_and_planned(fit, request, size, tokens, ratio)
        carried = mean + planned - fitted
        beside.append(MeasuredBeside(size, tokens, ratio, mean, there, fitted, carried, limit))
    return beside


def _nearest(budgets: Mapping[float, object], value: float) -> float:
    return min(budgets, key=lambda there: abs(math.log(there / value)))


def _fitted_there_and_planned(
    fit: Fit, request: PlanRequest, size: float, tokens: float, ratio: Array
) -> tuple[Array, Array]:
    """Return the general loss by the fit of measured evaluations, and of runs of that size with the planned tokens.

    Both are 0 where the fit cannot say: then nothing is carried.
    """
    try:
        there, planned = (
            fit.predict("general", model_params=size, train_tokens=budget, domain_ratio=ratio).loss
            for budget in (tokens, request.tokens)
        )
    except CmrplanError:
        return np.zeros(len(ratio)), np.zeros(len(ratio))
    return fitted_alike(fit, "general", size, tokens, ratio, there), planned


def measured_findings(fit: Fit, request: PlanRequest, decision: Decision) -> list[Finding]:
    """Return a finding where a measured run broke the limit at or below the ratio, or does better within the limit."""
    findings = []
    for there in measured_beside(fit, request):
        over = there.general - there.limit
        breaks = there.contradicts(fit, request) & (there.ratio <= decision.ratio + SAME_RATIO)
        if breaks.any():
            k = int(np.argmax(np.where(breaks, over, -np.inf)))
            text = (
                f"a run at domain_ratio {there.ratio[k]:g}, {there.where}, measured a general loss of "
                f"{there.general[k]:.4f}, above the limit {there.limit:.4f}, and {decision.ratio:.3f} is recommended; "
                f"repeat it with another seed, or plan with --max-ratio below {there.ratio[k]:g}"
            )
            findings.append(Finding(Code.MEASURED_BREAK, text))
        elif decision.is_feasible and there.may_do_better(request, decision.ratio):
            from cmrplan.plan.better_runs import better_findings  # asks more closely

            findings += better_findings(fit, request, decision, there)
    return findings


def noise_quantile(fit: Fit, loss: Array, level: float, corpus: str = "general") -> Array:
    """Return what the noise of a run adds to losses with a probability of ``level`` at most, ``(k,)``; 0 if unknown."""
    shifts = fit.new_run_shifts(corpus, NUM_NOISE)
    if shifts is None:
        return np.zeros_like(loss)
    moved = fit.model_of(corpus).with_shifts(loss[None, :], shifts)
    return np.asarray(np.quantile(moved - loss, level, axis=0))


def chance_to_break(fit: Fit, request: PlanRequest, at: LossCurves) -> float | None:
    """Return how probably a run at a single ratio breaks its limit; None without resamples or a tolerance.

    That is the share of resamples that do, of :func:`with_unexplained`.
    """
    if request.tolerance is None:
        return None
    share = with_unexplained(fit, request, at).violation()
    return None if share is None else float(share[0])


def with_unexplained(fit: Fit, request: PlanRequest, curves: LossCurves) -> LossCurves:
    """Return the curves with what was measured and the fit does not explain.

    Where the general loss measured beside a ratio, at the nearest probed size and budget, lies above the fitted one by
    more than the noise of a run explains, the general loss and each resample of it are moved by that.
    """
    if "general" not in fit.models or not len(curves.rise_draws):
        return curves
    means = fit.probed.losses["general"].means
    size = _nearest(means, request.size)
    tokens = _nearest(means[size], request.tokens)
    ratio, measured = means[size][tokens]
    try:
        fitted = fit.predict(
            "general", model_params=size, train_tokens=tokens, domain_ratio=ratio
        ).loss
    except CmrplanError:
        return curves
    fitted = fitted_alike(fit, "general", size, tokens, ratio, fitted)
    miss = measured - fitted
    miss = np.where(miss > noise_quantile(fit, fitted, BEYOND_NOISE), miss, 0.0)
    unexplained = np.interp(curves.domain_ratio, ratio, miss)
    if not (unexplained > 0).any():
        return curves
    general = curves.general
    moved = replace(general, loss=general.loss + unexplained, draws=general.draws + unexplained)
    return curves.with_losses(request, moved, curves.domain, curves.replay)


def probed_end_findings(decision: Decision) -> list[Finding]:
    """Return a finding on a ratio at an end of what was probed."""
    (lowest, highest), ratio = decision.feasible.probed, decision.ratio
    texts = []
    if ratio >= highest - SAME_RATIO and highest < 1:
        more = "probe larger ones to see whether more is feasible"
        texts.append(f"the ratio is the largest that was probed ({highest:g}); {more}")
    if ratio <= lowest + SAME_RATIO and lowest > 0:
        texts.append(f"the ratio is the smallest that was probed ({lowest:g}); probe smaller ones")
    return [Finding(Code.RATIO_AT_EDGE, text) for text in texts]


def misfit_findings(
    fit: Fit, *, model_params: float, domain_ratio: float, allowed: float, confidence: float
) -> list[Finding]:
    """Return a finding where the fit misses the measured general loss by more than the decision stands.

    A law that cannot follow the data (a general loss that keeps rising with tokens, say) can have narrow
    intervals and be wrong. So at the largest measured budget of the size nearest to the plan's, at the probed ratios
    on both sides of the planned one, the fitted general loss is compared with the measured one. A miss counts beyond a
    quarter of the allowed rise or the width of the fitted loss's own interval, whichever is larger; the width alone
    decides where no rise is allowed.

    ``allowed`` is in nats per token. A fit without resamples has no interval: nothing is said where no rise is allowed.
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
