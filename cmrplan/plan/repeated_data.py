"""The domain loss of a run whose domain data repeat."""

from __future__ import annotations

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import Fit
from cmrplan.fit.supply import discounted_tokens, tokens_of_same_worth
from cmrplan.plan.request import PlanRequest


def domain_of_repeats(
    fit: Fit, request: PlanRequest, train_tokens: float | Array, ratio: Array
) -> tuple[Prediction, list[Finding]]:
    """Return the domain loss at each ratio ``(G,)`` where data may repeat, with what repetition costs counted once.

    Losses of probes that repeat their data contain it for their own supply, which a run has too unless another is
    given.
    """
    model, supply, asked = fit.model_of("domain"), fit.probed.supply, request.unique_tokens
    tokens: float | Array = train_tokens
    findings: list[Finding] = []
    repeats = asked is not None and request.max_epochs > 1
    unique = asked if repeats else None
    if model.reads_repetition:
        if asked is None and supply is not None:
            unique = supply.unique_tokens
    elif model.holds_per_budget:
        findings += _uncounted() if repeats else []
    elif asked is not None and supply is not None and supply.unique_tokens is not None:
        tokens = tokens_of_same_worth(train_tokens, ratio, asked, supply.unique_tokens)
    elif unique is not None and supply is None:
        tokens = discounted_tokens(train_tokens, ratio, unique)
    if not model.reads_repetition:
        unique = None
    prediction = fit.predict(
        "domain",
        model_params=request.size,
        train_tokens=tokens,
        domain_ratio=ratio,
        unique_domain_tokens=unique,
    )
    return prediction, findings


def _uncounted() -> list[Finding]:
    return [
        Finding(
            Code.REPETITION_NOT_COUNTED,
            "the CMR laws hold per run, so passes over the domain data beyond the first count as fresh data; fit with "
            "--law dcpt to discount them",
        )
    ]
