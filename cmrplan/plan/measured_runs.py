"""What was measured beside a plan: whether it contradicts the plan, and what it adds to the chance to break the limit.

A fit that counts the learning rate predicts runs that end at their tokens. An evaluation within a decay is none, so it
is compared with what the fit says of that evaluation, and is never held against the limit of a finished run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import TWO_DIGITS, MeanLosses, is_among, mean_losses, shared_budgets
from cmrplan.fit.schedule_areas import COOLED
from cmrplan.fit.supply import ONE_PASS
from cmrplan.log import CORPORA
from cmrplan.plan.loss_curves import LossCurves
from cmrplan.plan.optimum import SAME_RATIO, Decision
from cmrplan.plan.request import PlanRequest

NEIGHBOURHOOD = 1.5  # times the planned tokens, within which a measured budget speaks of the plan
NUM_NOISE = 200  # draws
BEYOND_NOISE = 0.975  # a quantile of a run's noise
SAME_FALL = 0.01  # of the peak rate: rates are logged with a few digits


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

    def contradicts(self, fit: Fit, request: PlanRequest) -> NDArray[np.bool_]:
        """Return which ratios were measured above the limit by runs that say so of the planned one, ``(k,)``.

        A longer run, or one with other learning rates, does so where it is above the fit by more than its noise and
        the planned one would break the limit by as much.
        """
        breaks = self.general > self.limit
        is_longer = self.train_tokens > request.tokens * (1 + SAME_SIZE)
        if is_longer or fit.model_of("general").is_of_finished_runs:
            breaks &= self.carried > self.limit
        if is_longer:
            noise = noise_quantile(fit, self.fitted, BEYOND_NOISE)
            breaks &= self.general - self.fitted > noise
        return np.asarray(breaks)


def ended_runs(fit: Fit, corpus: str) -> MeanLosses:
    """Return the mean losses that a prediction is of: for finished runs, those of evaluations that end one."""
    if not fit.model_of(corpus).is_of_finished_runs:
        return fit.probed.losses[corpus].means
    rows = fit.rows(corpus)
    sizes = rows["model_params"].to_numpy(dtype=float)
    fallen = np.empty(len(rows))
    for size in np.unique(sizes):
        one = {"model_params": size, "train_tokens": 1.0, "domain_ratio": 0.0}
        columns = {name: np.array([value]) for name, value in one.items()}
        supply = None if fit.probed.supply is None else fit.probed.supply.unique_tokens
        fallen[sizes == size] = fit.completed(corpus, columns, supply)[COOLED]
    return mean_losses(rows[rows[COOLED].to_numpy(dtype=float) >= fallen - SAME_FALL])


def fitted_alike(
    fit: Fit, corpus: str, size: float, tokens: float, ratio: Array, finished: Array
) -> Array:
    """Return the loss by the fit of the very evaluations at a probed size and budget, ``(k,)``.

    ``finished`` is what it predicts at these ratios, which is the same but where it is of finished runs.
    """
    model = fit.model_of(corpus)
    if not model.is_of_finished_runs:
        return finished
    rows = fit.rows(corpus)
    is_there = (rows["model_params"] == size) & (shared_budgets(rows) == tokens)
    rows = pd.DataFrame(rows[is_there]).reset_index(drop=True)
    mean = rows.assign(loss=model.fitted_loss(rows)).groupby("domain_ratio")["loss"].mean()
    return mean.reindex(ratio).to_numpy(dtype=float)


def measured_beside(fit: Fit, request: PlanRequest) -> list[MeasuredBeside]:
    """Return what was measured at the planned size and above, at the budget nearest to the planned one.

    Budgets farther than a factor of 1.5 are another question, and sizes whose reference was not measured have no limit.
    """
    beside: list[MeasuredBeside] = []
    general, domain = (ended_runs(fit, corpus) for corpus in CORPORA)
    for size, budgets in general.items():
        tokens = _nearest(budgets, request.tokens)
        is_far = abs(math.log(tokens / request.tokens)) > math.log(NEIGHBOURHOOD)
        if size < request.size * (1 - TWO_DIGITS) or is_far:
            continue
        ratio, mean = budgets[tokens]
        base = fit.base_loss.get("general", {}).get(size)
        if request.base_loss is not None and is_among(np.array([size]), request.size):
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
    """Return a finding where a measured run broke the limit at or below the ratio, or does better within the limit.

    A run does better within the limit at a ratio that every constraint allows, if the measured objective is lower there
    than at the recommended ratio, between measured ones by a straight line, and the general loss leaves room for a
    run's noise with the asked confidence.
    """
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
        elif decision.is_feasible:
            findings += _better_findings(fit, request, decision, there)
    return findings


def _better_findings(
    fit: Fit, request: PlanRequest, decision: Decision, there: MeasuredBeside
) -> list[Finding]:
    weight, feasible = request.weight, decision.feasible
    noise = noise_quantile(fit, there.general, request.confidence)
    keeps = np.maximum(there.general, there.carried) + noise <= there.limit
    keeps &= there.ratio >= feasible.low - SAME_RATIO
    keeps &= there.ratio <= feasible.high + SAME_RATIO
    keeps &= ~_repeats_otherwise(fit, request, there.ratio)
    objective = there.domain + weight * there.general if weight else there.domain
    here = float(np.interp(decision.ratio, there.ratio, objective))
    gain = np.where(keeps, here - objective, -np.inf)
    level = (
        np.interp(decision.ratio, there.ratio, there.domain),
        np.interp(decision.ratio, there.ratio, there.general),
    )
    least = noise_quantile(fit, np.array([level[0]]), request.confidence, "domain")
    if weight:
        of_general = noise_quantile(fit, np.array([level[1]]), request.confidence)
        least = np.hypot(least, weight * of_general)
    if not np.nanmax(gain, initial=0.0) > least:
        return []
    k = int(np.nanargmax(gain))
    what = f"an objective (domain loss + {weight:g} general loss)" if weight else "a domain loss"
    return [
        Finding(
            Code.MEASURED_BETTER,
            f"a run at domain_ratio {there.ratio[k]:g}, {there.where}, measured {what} of "
            f"{objective[k]:.4f} within the limit, {gain[k]:.4f} lower than the runs beside the recommended "
            f"{decision.ratio:.3f}; look at the fit there (cmrplan plot FIT ratio), or take that ratio",
        )
    ]


def _repeats_otherwise(fit: Fit, request: PlanRequest, ratio: Array) -> NDArray[np.bool_]:
    """Return at which ratios the planned run repeats domain data as no probe did, which no probe can speak of."""
    unique, supply = request.unique_tokens, fit.probed.supply
    if unique is None or (supply is not None and unique == supply.unique_tokens):
        return np.zeros(len(ratio), dtype=bool)
    return np.asarray(request.tokens * ratio / unique > ONE_PASS)


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
