"""What the sliders of a page read: every answer at their stops, packed, with the texts that go with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import TWO_DIGITS
from cmrplan.numbers import compact
from cmrplan.plan.questions.every_setting import (
    ANSWER_FIELDS,
    BINDING_NAMES,
    EverySetting,
    every_setting,
)
from cmrplan.plan.questions.slider_stops import SliderStops, slider_stops, supply_matters
from cmrplan.plan.repeated_data import other_supply_text
from cmrplan.plan.request import PlanRequest
from cmrplan.report.page.content import plain_numbers, shown_text
from cmrplan.report.page.packing import packed

WORDS_OF_BINDING = {
    "tolerance": "the tolerance: more domain data would raise the general loss too far",
    "turning_point": "the turning point: beyond it the objective has not turned in time",
    "domain_tokens": "the domain tokens: a larger share would repeat them too often",
    "compute": "compute",
    "ratio_floor": "the floor: less domain data was not wanted",
    "ratio_ceiling": "the ceiling: more domain data was not wanted",
    "probed_high": "the probes: no larger ratio was probed",
    "probed_low": "the probes: no smaller ratio was probed",
    "confidence": "the confidence: a lower one would allow more",
    "untested": "the untested budget: beyond the probed ones one new run has to keep the limit",
    "none": "nothing: no limit holds the ratio back",
}


def explorer_of(
    fit: Fit, request: PlanRequest, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Return the stops, where the sliders begin, the packed arrays, and what was measured and extrapolated.

    Raises
    ------
    CmrplanError
        If the fit cannot choose a ratio at all.
    """
    stops = slider_stops(fit, request)
    table = every_setting(fit, request, stops, progress)
    return {
        "stops": _stops_as_dict(stops),
        "start": _start(stops, request, table),
        "fields": list(ANSWER_FIELDS),
        "binding": [WORDS_OF_BINDING[name] for name in BINDING_NAMES],
        "num_draws": fit.num_draws,
        "max_epochs": request.max_epochs,
        "rise_over": request.rise_over,
        "reasons": {",".join(map(str, at)): shown_text(text) for at, text in table.reasons.items()},
        "measured": _measured(fit, stops),
        "measured_supply": _measured_supply(fit, request, stops),
        "extrapolated": _extrapolated(fit, stops),
        "probed_tokens": fit.probed.token_range[1],
        "packed": packed(_arrays(table)),
    }


def _arrays(table: EverySetting) -> dict[str, Any]:
    arrays = {
        name: values for name, values in vars(table).items() if isinstance(values, np.ndarray)
    }
    # The fields stand first, so that neighboring numbers are alike.
    arrays["answers"] = np.moveaxis(table.answers, -1, 0)
    return arrays


def _stops_as_dict(stops: SliderStops) -> dict[str, Any]:
    return {
        "model_params": list(stops.model_params),
        "train_tokens": list(stops.train_tokens),
        "domain_ratio": stops.domain_ratio.tolist(),
        "tolerance": [None if one is None else one.value for one in stops.tolerances],
        "confidence": list(stops.confidences),
        "domain_tokens": list(stops.domain_tokens),
        "texts": {
            "model_params": [f"{compact(size)} parameters" for size in stops.model_params],
            "train_tokens": [f"{compact(tokens)} tokens" for tokens in stops.train_tokens],
            "tolerance": ["any" if one is None else str(one) for one in stops.tolerances],
            "confidence": [f"{100 * level:g}%" for level in stops.confidences],
            "domain_tokens": [
                "not given" if unique is None else f"{compact(unique)} tokens"
                for unique in stops.domain_tokens
            ],
        },
    }


def _start(stops: SliderStops, request: PlanRequest, table: EverySetting) -> dict[str, int]:
    """Return the stops of the question itself; the ratio begins at the one nearest to the recommended."""
    tolerance = request.tolerance
    start = {
        "model_params": stops.model_params.index(request.size),
        "train_tokens": stops.train_tokens.index(request.tokens),
        "tolerance": 0
        if tolerance is None
        else [one.value for one in stops.tolerances if one is not None].index(tolerance.value),
        "confidence": stops.confidences.index(request.confidence),
        "domain_tokens": stops.domain_tokens.index(request.unique_tokens),
    }
    recommended = table.answers[(*start.values(), 0)]
    aim = recommended if np.isfinite(recommended) else 0.5
    return start | {"domain_ratio": int(np.argmin(np.abs(stops.domain_ratio - aim)))}


def _measured(fit: Fit, stops: SliderStops) -> dict[str, list[list[list[list[float | None]]]]]:
    """Return by corpus, size and budget the probed ratios and the mean losses measured there; empty where none were."""
    by_corpus: dict[str, list[list[list[list[float | None]]]]] = {}
    for corpus in ("general", "domain"):
        means = fit.probed.losses[corpus].means
        by_corpus[corpus] = [
            [
                next(
                    (
                        [plain_numbers(ratio), plain_numbers(loss)]
                        for probed_size, budgets in means.items()
                        for budget, (ratio, loss) in budgets.items()
                        if abs(probed_size / size - 1) <= TWO_DIGITS
                        and abs(budget / tokens - 1) <= TWO_DIGITS
                    ),
                    [[], []],
                )
                for tokens in stops.train_tokens
            ]
            for size in stops.model_params
        ]
    return by_corpus


def _measured_supply(fit: Fit, request: PlanRequest, stops: SliderStops) -> list[list[str]]:
    """Return by budget and supply what the probes' domain data were where curves are of others; empty where not."""
    highest = float(stops.domain_ratio[-1])
    return [
        [
            ""
            if unique is None or not supply_matters(fit, request)
            else other_supply_text(fit, unique, tokens * highest / unique)
            for unique in stops.domain_tokens
        ]
        for tokens in stops.train_tokens
    ]


def _extrapolated(fit: Fit, stops: SliderStops) -> list[list[str]]:
    """Return for each size and budget how far it lies beyond what was probed; empty inside."""
    return [
        [
            "; ".join(
                finding.message
                for finding in fit.probed.extrapolation_findings(
                    model_params=size, train_tokens=tokens
                )
            )
            for tokens in stops.train_tokens
        ]
        for size in stops.model_params
    ]
