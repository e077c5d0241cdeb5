"""Every answer that a page shows: losses and recommended ratios at each stop of its sliders.

The rule is that of :mod:`cmrplan.plan.optimum`, applied to the same curves, so each answer is that of a plan for the
setting. Curves are computed once for a size, a budget and what the domain corpus allows, and decided on at every
tolerance and confidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import Prediction, central_interval
from cmrplan.fit.fit import Fit
from cmrplan.numbers import Tolerance
from cmrplan.plan.findings import with_unexplained
from cmrplan.plan.loss_curves import FINE_GRID, NATS, LossCurves, survey, survey_at
from cmrplan.plan.optimum import (
    ConstraintName,
    FeasibleInterval,
    binding_constraint,
    decision_on,
    feasible_interval,
    fresh_curves,
    require_explaining,
)
from cmrplan.plan.plan import require_mixture_laws
from cmrplan.plan.questions.slider_stops import SliderStops, supply_matters
from cmrplan.plan.refusals import empty_text
from cmrplan.plan.request import PlanRequest

BINDING_NAMES: tuple[ConstraintName, ...] = get_args(ConstraintName)
ANSWER_FIELDS = (
    *("domain_ratio", "domain_ratio_low", "domain_ratio_high", "violation_probability"),
    *("general_loss", "general_loss_low", "general_loss_high"),
    *("domain_loss", "domain_loss_low", "domain_loss_high"),
)


@dataclass(frozen=True)
class EverySetting:
    """Losses in nats per token and ratios at every stop; NaN where there is none.

    Axes: ``N`` sizes, ``D`` token counts, ``L`` tolerances, ``C`` confidences, ``U`` supplies of domain tokens, ``R``
    ratios. ``V`` is ``U`` where losses depend on the supply, else 1.

    Parameters
    ----------
    stops : SliderStops
    general_loss : array (N, D, V, R)
    general_low, general_high : array (N, D, V, C, R)
        Beyond the probed budgets of one new run, as in a plan.
    domain_loss : array (N, D, V, R)
    domain_low, domain_high : array (N, D, V, C, R)
    violation_probability : array (N, D, V, L, R)
    base_loss, replay_loss : array (N, D)
    limit : array (N, D, L)
        The largest general loss allowed.
    answers : array (N, D, L, C, U, 10)
        :data:`ANSWER_FIELDS` of the recommended ratio.
    best_estimate : array (N, D, L, U)
    needed : array (N, D, C, U)
        The smallest tolerance of few digits that any ratio keeps, in the unit of the tolerances.
    binding : array (N, D, L, C, U) of int
        Position in :data:`BINDING_NAMES`; -1 without an answer.
    reasons : dict of (int, int, int) to str
        Why a size, a budget and a supply (its position; -1 for all) have no answer.
    """

    stops: SliderStops
    general_loss: Array
    general_low: Array
    general_high: Array
    domain_loss: Array
    domain_low: Array
    domain_high: Array
    violation_probability: Array
    base_loss: Array
    replay_loss: Array
    limit: Array
    answers: Array
    best_estimate: Array
    needed: Array
    binding: NDArray[np.int8]
    reasons: dict[tuple[int, int, int], str]


def every_setting(
    fit: Fit,
    request: PlanRequest,
    stops: SliderStops,
    progress: Callable[[str], None] | None = None,
) -> EverySetting:
    """Return the losses and the recommended ratio at every stop.

    Raises
    ------
    CmrplanError
        If the fit cannot choose a ratio at all.
    """
    require_mixture_laws(fit)
    require_explaining(fit)
    say = progress or (lambda line: None)
    table = _empty_table(fit, request, stops)
    for n, size in enumerate(stops.model_params):
        for d, tokens in enumerate(stops.train_tokens):
            say(f"answers at {size:.4g} parameters, {tokens:.4g} tokens")
            here = request.at(size, tokens)
            if size != request.size:
                here = here.for_any_size()
            try:
                _Cell(fit, here, table, (n, d)).fill()
            except CmrplanError as error:
                table.reasons[n, d, -1] = str(error)
    return table


def _empty_table(fit: Fit, request: PlanRequest, stops: SliderStops) -> EverySetting:
    counts = {
        "N": len(stops.model_params),
        "D": len(stops.train_tokens),
        "L": len(stops.tolerances),
        "C": len(stops.confidences),
        "U": len(stops.domain_tokens),
        "V": len(stops.domain_tokens) if supply_matters(fit, request) else 1,
        "R": len(stops.domain_ratio),
        "F": len(ANSWER_FIELDS),
    }

    def missing(axes: str) -> Array:
        return np.full([counts[axis] for axis in axes], np.nan)

    return EverySetting(
        stops=stops,
        general_loss=missing("NDVR"),
        general_low=missing("NDVCR"),
        general_high=missing("NDVCR"),
        domain_loss=missing("NDVR"),
        domain_low=missing("NDVCR"),
        domain_high=missing("NDVCR"),
        violation_probability=missing("NDVLR"),
        base_loss=missing("ND"),
        replay_loss=missing("ND"),
        limit=missing("NDL"),
        answers=missing("NDLCUF"),
        best_estimate=missing("NDLU"),
        needed=missing("NDCU"),
        binding=np.full([counts[axis] for axis in "NDLCU"], -1, dtype=np.int8),
        reasons={},
    )


@dataclass(frozen=True)
class _Cell:
    """One size and budget of a table, which is filled in place."""

    fit: Fit
    request: PlanRequest
    table: EverySetting
    at: tuple[int, int]

    def fill(self) -> None:
        """Fill the losses at the stops of the ratio, and then every answer."""
        stops = self.table.stops
        num_supplies = self.table.domain_loss.shape[2]
        for v in range(num_supplies):
            same = range(len(stops.domain_tokens)) if num_supplies == 1 else (v,)
            try:
                self._fill_curves(v, stops.domain_tokens[v] if num_supplies > 1 else None)
                self._fill_supplies({u: self._with_supply(stops.domain_tokens[u]) for u in same})
            except CmrplanError as error:  # such as a law that must be told the supply
                self.table.reasons.update({(*self.at, u): str(error) for u in same})

    def _fill_curves(self, v: int, unique: float | None) -> None:
        """Fill the losses at the stops of the ratio."""
        curves = survey_at(self.fit, self._with_supply(unique), self.table.stops.domain_ratio)
        self._fill_general(curves, v)
        self._fill_domain(curves, v)

    def _fill_supplies(self, requests: dict[int, PlanRequest]) -> None:
        """Fill the answers for supplies of one and the same domain loss, by their position."""
        feasible: dict[int, FeasibleInterval] = {}
        for u, request in requests.items():
            interval = feasible_interval(self.fit, request)
            if interval.is_empty:
                self.table.reasons[(*self.at, u)] = empty_text(self.fit, request, interval)
            else:
                feasible[u] = interval
        if not feasible:
            return
        request = requests[next(iter(feasible))]
        marks = [mark for interval in feasible.values() for mark in interval.marks]
        curves = survey(self.fit, request, marks=marks)
        for u, interval in feasible.items():
            own = np.union1d(np.linspace(*interval.probed, FINE_GRID), interval.marks)
            self._fill_answers(request, interval, _at_ratios(curves, request, own), u)
        self._fill_losses(request, list(feasible))

    @cached_property
    def _fresh(self) -> LossCurves | None:
        return fresh_curves(self.fit, self._with_supply(1.0))  # the same for every supply

    def _with_supply(self, unique: float | None) -> PlanRequest:
        return replace(self.request, domain_tokens=unique)

    def _fill_general(self, curves: LossCurves, v: int) -> None:
        table, at = self.table, self.at
        of_run = curves.general_of_run
        table.general_loss[(*at, v)] = of_run.loss
        bounds = self._bounds(of_run.draws)
        table.general_low[(*at, v)], table.general_high[(*at, v)] = bounds
        table.base_loss[at] = curves.base_loss
        moved = with_unexplained(self.fit, self.request, curves)
        reference = curves.base_loss
        if curves.replay is not None:
            table.replay_loss[at] = curves.replay.loss[0]
            if self.request.rise_over == "replay":
                reference = float(curves.replay.loss[0])
        for k, tolerance in enumerate(table.stops.tolerances):
            if tolerance is None:
                continue
            table.limit[(*at, k)] = tolerance.limit(reference)
            chance = replace(moved, tolerance=tolerance).violation()
            if chance is not None:
                table.violation_probability[(*at, v, k)] = chance

    def _fill_domain(self, curves: LossCurves, v: int) -> None:
        table, at = self.table, (*self.at, v)
        table.domain_loss[at] = curves.domain.loss
        table.domain_low[at], table.domain_high[at] = self._bounds(curves.domain.draws)

    def _bounds(self, draws: Array) -> tuple[Array, Array]:
        """Return the bounds of draws ``(B, R)`` at each confidence, ``(C, R)``."""
        levels = self.table.stops.confidences
        if not len(draws):
            missing = np.full((len(levels), draws.shape[1]), np.nan)
            return missing, missing
        with np.errstate(all="ignore"):  # far outside the probes a draw may be infinite
            low, high = zip(*(central_interval(draws, level) for level in levels), strict=True)
        return np.stack(low), np.stack(high)

    def _fill_answers(
        self, request: PlanRequest, feasible: FeasibleInterval, curves: LossCurves, u: int
    ) -> None:
        stops, losses = self.table.stops, (curves.general, curves.domain, curves.replay)
        by_level = [
            curves.with_losses(replace(request, confidence=level), *losses)
            for level in stops.confidences
        ]
        inside = curves.between(feasible.low, feasible.high)
        for c, curve in enumerate(by_level):
            least = curves.tolerance.least_above(float(np.min(curve.rise_upper[inside])))
            self.table.needed[(*self.at, c, u)] = least.value
        for k, tolerance in enumerate(stops.tolerances):
            self._decide(by_level, feasible, tolerance or NATS, (k, u))

    def _decide(
        self,
        by_level: list[LossCurves],
        feasible: FeasibleInterval,
        tolerance: Tolerance,
        where: tuple[int, int],
    ) -> None:
        """Fill in the ratio, its interval and what binds at one tolerance and every confidence."""
        table, (k, u) = self.table, where
        fresh = None if table.stops.domain_tokens[u] is None else self._fresh
        decision = decision_on(replace(by_level[0], tolerance=tolerance), feasible, fresh)
        table.best_estimate[(*self.at, k, u)] = decision.best_estimate
        for c, level in enumerate(table.stops.confidences):
            curves = replace(by_level[c], tolerance=tolerance)
            ratio = curves.chance_constrained_ratio(feasible.low, feasible.high)
            own = replace(decision, curves=curves, ratio=ratio)
            interval = own.interval(level)
            cell = (*self.at, k, c, u)
            table.answers[(*cell, slice(3))] = [
                np.nan if value is None else value for value in (ratio, interval.low, interval.high)
            ]
            if np.isfinite(ratio):
                table.binding[cell] = BINDING_NAMES.index(binding_constraint(own, is_cut=False))

    def _fill_losses(self, request: PlanRequest, supplies: list[int]) -> None:
        """Fill in the losses at the recommended ratios, and the chance to break the limit there."""
        answers = self.table.answers[self.at]
        has_answer = np.isfinite(answers[..., 0]) & np.isin(np.arange(answers.shape[2]), supplies)
        ratios = np.unique(answers[has_answer, 0])
        if not len(ratios):
            return
        there = survey_at(self.fit, request, ratios)
        rises = with_unexplained(self.fit, request, there).rise_draws
        general, domain = there.general_of_run, there.domain
        bounds = (*self._bounds(general.draws), *self._bounds(domain.draws))
        for k, c, u in zip(*np.nonzero(has_answer), strict=True):
            g = int(np.searchsorted(ratios, answers[k, c, u, 0]))
            low, high, domain_low, domain_high = (bound[c, g] for bound in bounds)
            chance, tolerance = np.nan, self.table.stops.tolerances[k]
            if tolerance is not None and len(there.rise_draws):
                chance = np.mean(~(rises[:, g] <= tolerance.largest_rise))
            answers[k, c, u, 3:] = [
                *(chance, general.loss[g], low, high),
                *(domain.loss[g], domain_low, domain_high),
            ]


def _at_ratios(curves: LossCurves, request: PlanRequest, ratios: Array) -> LossCurves:
    """Return curves at those of their ratios that are among the given ones."""
    keep = np.isin(curves.domain_ratio, ratios)
    if keep.all():
        return curves

    def kept(prediction: Prediction) -> Prediction:
        inputs = {name: values[keep] for name, values in prediction.inputs.items()}
        return Prediction(inputs, prediction.loss[keep], prediction.draws[:, keep])

    noise = curves.run_noise if curves.run_noise.shape[1] == 1 else curves.run_noise[:, keep]
    fewer = replace(curves, train_tokens=curves.train_tokens[keep], run_noise=noise)
    return fewer.with_losses(request, kept(curves.general), kept(curves.domain), curves.replay)
