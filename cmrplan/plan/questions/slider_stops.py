"""The settings of a run that a page of answers goes through: a few stops of each slider, and those of the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.fit.fit import Fit
from cmrplan.numbers import CONFIDENCES, Tolerance, Unit
from cmrplan.plan.refusals import unfitted_general_loss
from cmrplan.plan.request import PlanRequest

STOP_STEP = 0.01
STOP_STEP_OF_SUPPLIES = 0.025  # where each supply has losses of its own, which fill the page
STEPS_OF_TEN = (1.0, 2.0, 5.0)
MOST_TOKEN_STOPS = 9
MOST_PROBED_BUDGETS = 5
LEAST_LOG_STEP = 0.1  # between two budgets
MOST_SIZE_STOPS = 5
STOPS_BEYOND = 4.0  # times the largest probed tokens, where the plan asks for no more
SHARES_OF_BUDGET = (0.4, 0.1)  # that the domain corpus holds, of the planned tokens
SHOWN_RISES: dict[Unit, tuple[float, ...]] = {
    "nats": (0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    "fraction": (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2),
    "perplexity_fraction": (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "perplexity": (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0),
}


@dataclass(frozen=True)
class SliderStops:
    """The stops of each slider, ascending.

    Parameters
    ----------
    model_params, train_tokens : tuple of float
    domain_ratio : array (R,)
    tolerances : tuple of Tolerance or None
        In one unit; a single None where the plan has no tolerance.
    confidences : tuple of float
    domain_tokens : tuple of float or None
        Unique tokens of the domain corpus; None, the last, for as many as are asked for.
    """

    model_params: tuple[float, ...]
    train_tokens: tuple[float, ...]
    domain_ratio: Array
    tolerances: tuple[Tolerance | None, ...]
    confidences: tuple[float, ...]
    domain_tokens: tuple[float | None, ...]


def slider_stops(fit: Fit, request: PlanRequest) -> SliderStops:
    """Return the stops around a question: probed and planned values, and round ones between and a little beyond."""
    if "general" not in fit.models:
        raise unfitted_general_loss()
    probed = fit.probed.losses["general"]
    budgets = np.array(sorted({tokens for means in probed.means.values() for tokens in means}))
    sizes = probed.sizes[-(MOST_SIZE_STOPS - 1) :].tolist()
    if fit.holds_per_size:
        sizes = sizes or [request.size]
    return SliderStops(
        model_params=_with_planned(sizes, request.size),
        train_tokens=_token_stops(fit, budgets, request.tokens),
        domain_ratio=_ratio_stops(
            fit, STOP_STEP_OF_SUPPLIES if supply_matters(fit, request) else STOP_STEP
        ),
        tolerances=_tolerance_stops(request.tolerance),
        confidences=_with_planned(
            CONFIDENCES if fit.num_draws else (request.confidence,), request.confidence
        ),
        domain_tokens=_domain_stops(request),
    )


def supply_matters(fit: Fit, request: PlanRequest) -> bool:
    """Tell whether losses depend on the unique tokens of the domain corpus."""
    reads_repetition = fit.model_of("domain").reads_repetition
    return request.max_epochs > 1 or fit.probed.supply is not None or reads_repetition


def _with_planned(values: list[float] | tuple[float, ...], planned: float) -> tuple[float, ...]:
    """Return values with the planned one in the place of any that is the same."""
    others = [value for value in values if abs(value / planned - 1) > SAME_SIZE]
    return tuple(sorted([*others, planned]))


def _token_stops(fit: Fit, budgets: Array, planned: float) -> tuple[float, ...]:
    """Return a few probed budgets, the planned one, and round ones beyond unless laws hold for one budget each."""
    thinned = np.unique(np.round(np.linspace(0, len(budgets) - 1, MOST_PROBED_BUDGETS)).astype(int))
    if any(model.holds_per_budget for model in fit.models.values()):
        return _with_planned(budgets[thinned].tolist(), planned)
    largest = float(budgets[-1])
    kept = _with_planned(budgets[thinned].tolist(), planned)
    beyond = _round_between(largest, max(STOPS_BEYOND * largest, 2 * planned))
    apart = [
        value
        for value in beyond
        if all(abs(math.log(value / other)) > LEAST_LOG_STEP for other in kept)
    ]
    return tuple(sorted([*kept, *apart[-(MOST_TOKEN_STOPS - len(kept)) :]]))


def _round_between(low: float, high: float) -> list[float]:
    """Return the numbers 1, 2, 5, 10, … from ``low`` to ``high``."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [step * 10.0**power for power in powers for step in STEPS_OF_TEN]
    return [value for value in values if low <= value <= high]


def _ratio_stops(fit: Fit, step: float) -> Array:
    """Return each multiple of a step between the outermost fitted ratios, and the fitted ratios."""
    low, high = fit.probed.ratio_range
    percent = np.round(np.arange(0, 1 + step / 2, step), 3)
    fitted = np.concatenate([losses.ratios for losses in fit.probed.losses.values()])
    every = np.unique(np.round(np.concatenate([percent, fitted, [low, high]]), 12))
    return every[(every >= low) & (every <= high)]


def _tolerance_stops(planned: Tolerance | None) -> tuple[Tolerance | None, ...]:
    if planned is None:
        return (None,)
    values = SHOWN_RISES[planned.unit]
    if planned.value > 0:
        values = _with_planned(values, planned.value)
    else:
        values = (planned.value, *values)
    return tuple(Tolerance(value, planned.unit) for value in values)


def _domain_stops(request: PlanRequest) -> tuple[float | None, ...]:
    budget = request.tokens / request.max_epochs
    values = tuple(float(f"{share * budget:.1g}") for share in SHARES_OF_BUDGET)
    planned = request.unique_tokens
    if planned is not None:
        values = _with_planned(values, planned)
    return (*sorted(values), None)
