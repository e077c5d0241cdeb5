"""Where no ratio holds the tolerance: the cheapest thing to measure that would change it.

Evaluating the base checkpoint of the planned size costs no training. A probe is judged by the resamples: what it would
measure at the ratio in question takes from the rise of each what the two have in common, by least squares over the
resamples, with the noise of a run. Estimates are taken to stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import is_among
from cmrplan.numbers import compact, training_flops
from cmrplan.plan.findings import NUM_NOISE
from cmrplan.plan.loss_curves import LossCurves, best_ratio, survey, survey_at
from cmrplan.plan.optimum import decide, feasible_interval
from cmrplan.plan.plan import Plan
from cmrplan.plan.request import FitOrPath, fit_of, named_arguments

PROBE_LENGTHS = (1.0, 2.0, 4.0, 8.0)  # times the largest probed tokens
DEAREST = 0.5  # of the planned run's compute
LEAST_PROGRESS = (
    0.05  # of the way from the smallest tolerance that holds to the asked one; less changes nothing
)

UNKNOWN_BASE = (
    Code.BASE_LOSS_CARRIED,
    Code.BASE_LOSS_OF_OTHER_SIZE,
    Code.BASE_LOSS_EXTRAPOLATED,
)


@dataclass(frozen=True)
class Remedy:
    """Something to measure, and what the plan is expected to be then.

    Parameters
    ----------
    model_params, train_tokens : float
        Of the run to measure; 0 tokens for an evaluation of the base checkpoint.
    domain_ratio : float
        Of that run.
    compute : float
        FLOPs of its training.
    domain_ratio_after : float
        The ratio that would be recommended; NaN where none would hold the tolerance still.
    least_tolerance : str
        The smallest tolerance that a ratio would hold, as it is typed.
    """

    model_params: float
    train_tokens: float
    domain_ratio: float
    compute: float
    domain_ratio_after: float
    least_tolerance: str

    @property
    def text(self) -> str:
        """The remedy in a sentence."""
        size = compact(self.model_params)
        what = f"evaluate the base checkpoint of {size} parameters (give it as --base-loss)"
        if self.train_tokens:
            what = (
                f"probe {size} parameters for {compact(self.train_tokens)} tokens at a domain ratio of "
                f"{self.domain_ratio:.2f} ({self.compute:.2g} FLOPs)"
            )
        if np.isnan(self.domain_ratio_after):
            return f"{what}: no ratio would hold it still, and {self.least_tolerance} would be the smallest tolerance"
        return (
            f"{what}: should the estimates stay, {self.domain_ratio_after:.3f} would be recommended"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name as plain values."""
        values = asdict(self)
        return {key: None if value != value else value for key, value in values.items()}


@named_arguments
def remedies(fit: FitOrPath, plan: Plan) -> tuple[Remedy, ...]:
    """Return what to measure where no ratio holds: the base where it is not known, and a probe.

    The probe is the cheapest after which a ratio would hold, else the one after which the smallest tolerance would.

    Parameters
    ----------
    fit : Fit or path
        With resamples.
    plan : Plan
        Of the fit.

    Returns
    -------
    tuple of Remedy
        Cheapest first; empty where the plan has a ratio, or nothing is known to help.
    """
    fit, advice = fit_of(fit), []
    least, asked = plan.least_tolerance, plan.asked.tolerance
    if plan.is_feasible or not plan.num_resamples or least is None or asked is None:
        return ()
    if {finding.code for finding in plan.warnings} & {*UNKNOWN_BASE}:
        after = decide(fit, replace(plan.asked, base_loss=plan.base_loss))
        tolerance = str(after.least_tolerance)
        advice.append(Remedy(plan.model_params, 0.0, 0.0, 0.0, after.ratio, tolerance))
    probes = sorted(_probes(fit, plan), key=lambda one: one[0].compute)
    needed = least.value - LEAST_PROGRESS * (least.value - asked.value)
    better = [(one, rise) for one, rise in probes if rise <= needed]
    holding = [one for one, _ in better if np.isfinite(one.domain_ratio_after)]
    if better:
        advice.append(holding[0] if holding else min(better, key=lambda pair: pair[1])[0])
    return tuple(advice)


def _probes(fit: Fit, plan: Plan) -> Iterator[tuple[Remedy, float]]:
    """Yield probes, with the least rise that a ratio would hold after each, in the tolerance's unit."""
    asked = plan.asked
    feasible = feasible_interval(fit, asked)
    curves = survey(fit, asked, marks=feasible.marks)
    k = curves.between(feasible.low, feasible.high)
    for run_size, tokens in _runs(fit, plan):
        seen = _seen(fit, plan, run_size, tokens)
        if seen is None:
            continue
        upper = _upper_after(curves, asked.confidence, *seen)[k]
        ratio, objective = curves.domain_ratio[k], curves.objective[k]
        allowed = curves.tolerance.largest_rise
        chosen = float(best_ratio(ratio, upper[None, :], objective[None, :], allowed)[0])
        least = float(np.min(upper))
        text = str(curves.tolerance.least_above(least))
        cost = training_flops(run_size, tokens)
        yield Remedy(run_size, tokens, plan.evaluated_ratio, cost, chosen, text), least


def _runs(fit: Fit, plan: Plan) -> Iterator[tuple[float, float]]:
    """Yield size and tokens of probes: a probed size or the planned one, as long as the probes or some times that."""
    sizes, longest = fit.probed.losses["general"].sizes, fit.probed.token_range[1]
    listed = sizes.tolist() if is_among(sizes, plan.model_params) else [*sizes, plan.model_params]
    for size in listed:
        for tokens in sorted({min(times * longest, plan.train_tokens) for times in PROBE_LENGTHS}):
            if training_flops(size, tokens) <= DEAREST * plan.compute:
                yield float(size), float(tokens)


def _seen(fit: Fit, plan: Plan, size: float, tokens: float) -> tuple[Array, float] | None:
    """Return the relative general loss of a run in each resample, ``(B,)``, and the variance of its noise."""
    request = replace(plan.asked.for_any_size().at(size, tokens), rise_over="base")
    if is_among(np.array([size]), plan.model_params):
        request = replace(request, base_loss=plan.asked.base_loss)
    try:
        at = survey_at(fit, request, plan.evaluated_ratio)
    except CmrplanError:
        return None
    loss, shifts = at.general.loss, fit.new_run_shifts("general", NUM_NOISE)
    noise = 0.0
    if shifts is not None:
        moved = fit.model_of("general").with_shifts(loss[None, :], shifts) / loss
        low, high = np.quantile(moved, [0.16, 0.84])
        noise = float((high - low) / 2) ** 2
    return at.general.draws[:, 0] / loss[0], noise


def _upper_after(curves: LossCurves, confidence: float, seen: Array, noise: float) -> Array:
    """Return the upper quantile of the rise after a run was measured, ``(G,)``.

    The run leaves ``noise / (variance + noise)`` of the part of the rise that goes with it.
    """
    rises, centred = curves.rise_draws, seen - seen.mean()
    variance = float(centred.var())
    if not variance > 0:
        return curves.rise_upper
    slope = centred @ (rises - rises.mean(axis=0)) / len(seen) / variance
    told = 1 - np.sqrt(noise / (variance + noise))
    left = rises - told * centred[:, None] * slope[None, :]
    return np.asarray(np.maximum(np.quantile(left, confidence, axis=0), curves.rise))
