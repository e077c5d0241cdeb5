"""The domain loss of a run whose domain data repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import Fit
from cmrplan.fit.supply import Supply, discounted_tokens, tokens_of_same_worth
from cmrplan.laws.repetition import REPEAT_SCALE, REPEAT_SCALE_SD
from cmrplan.plan.request import PlanRequest

# What R* of domain data that the probes did not repeat may be: middles of fifths of a normal distribution of its
# logarithm around the published value.
SPREAD_OF_SCALES = REPEAT_SCALE * np.exp(
    REPEAT_SCALE_SD * np.array([-1.282, -0.524, 0.0, 0.524, 1.282])
)
MANY_MORE = 1.25  # times the passes of the probes


def domain_of_repeats(
    fit: Fit, request: PlanRequest, train_tokens: float | Array, ratio: Array
) -> tuple[Prediction, list[Finding]]:
    """Return the domain loss at each ratio ``(G,)`` where data may repeat, with what repetition costs counted once.

    Losses of probes that repeat their data contain it for their own supply, which a run has too unless another is
    given.
    """
    model, supply, asked = fit.model_of("domain"), fit.probed.supply, request.unique_tokens
    repeats = asked is not None and request.max_epochs > 1

    def predicted(tokens: float | Array, unique: float | None = None) -> Prediction:
        return fit.predict(
            "domain",
            model_params=request.size,
            train_tokens=tokens,
            domain_ratio=ratio,
            unique_domain_tokens=unique,
        )

    if model.reads_repetition:
        return predicted(train_tokens, asked), []
    if model.holds_per_budget:
        return predicted(train_tokens), _uncounted() if repeats else []
    if asked is not None and supply is not None and supply.is_one:
        same = tokens_of_same_worth(train_tokens, ratio, asked, supply.unique_tokens)
        return predicted(same), []
    if asked is None or not repeats or supply is not None:
        return predicted(train_tokens), []
    at_scale = [
        predicted(discounted_tokens(train_tokens, ratio, asked, scale))
        for scale in (REPEAT_SCALE, *SPREAD_OF_SCALES)
    ]
    return _spread_over(at_scale), []


def fitted_repetition_findings(
    request: PlanRequest, domain_ratio: float, supply: Supply | None
) -> list[Finding]:
    """Return a finding where a law that was fitted to repeats is asked for another supply, or for many more passes."""
    if supply is None:
        return []
    unique = request.unique_tokens or supply.unique_tokens
    passes = request.tokens * domain_ratio / unique
    text = ""
    if supply.is_one and unique != supply.unique_tokens:
        text = (
            f"the run draws from {unique:.4g} unique domain tokens and the probes drew from "
            f"{supply.unique_tokens:.4g}; its loss is carried between them by what the probes say of repeats"
        )
    elif passes > MANY_MORE * supply.most_passes:
        text = (
            f"the domain data are passed over {passes:.3g} times and the probes did so at most "
            f"{supply.most_passes:.3g} times; what further passes cost is carried on from there"
        )
    if not text:
        return []
    return [Finding(Code.REPETITION_ASSUMED, f"{text}; probe at as many passes to be sure")]


def _spread_over(predictions: list[Prediction]) -> Prediction:
    """Return the first prediction with draws that are dealt out over the others."""
    first, *others = predictions
    draws = first.draws.copy()
    for k, other in enumerate(others):
        draws[k :: len(others)] = other.draws[k :: len(others)]
    return replace(first, draws=draws)


def _uncounted() -> list[Finding]:
    return [
        Finding(
            Code.REPETITION_NOT_COUNTED,
            "the CMR laws hold per run, so passes over the domain data beyond the first count as fresh data; fit with "
            "--law dcpt to discount them",
        )
    ]
