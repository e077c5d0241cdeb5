"""The domain loss of a run whose domain data repeat."""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import Fit
from cmrplan.laws.repetition import REPEAT_SCALE, effective_tokens
from cmrplan.plan.request import PlanRequest


def discounted_tokens(
    train_tokens: float | Array, domain_ratio: Array, domain_tokens: float
) -> Array:
    """Return the fresh tokens that a run is worth to the domain loss, ``(G,)``.

    Its general tokens count fully. Past one pass its domain tokens count by the published discount for repeated data
    (:func:`~cmrplan.laws.repetition.effective_tokens`), since most laws of a fit do not know which of their tokens
    were repeats. The discount comes from training from scratch on one source; inside mixtures scarce data stands more
    repetition, so it is on the careful side.

    References
    ----------
    Muennighoff et al., Scaling Data-Constrained Language Models, NeurIPS 2023, arXiv:2305.16264.

    Examples
    --------
    >>> discounted_tokens(1e9, np.array([0.25, 1.0]), 0.25e9).round(-5).tolist()  # one and four passes
    [1000000000.0, 931400000.0]
    """
    drawn = train_tokens * domain_ratio
    return np.asarray(
        train_tokens * (1 - domain_ratio) + effective_tokens(drawn, domain_tokens, REPEAT_SCALE)
    )


def domain_prediction(
    fit: Fit, request: PlanRequest, train_tokens: float | Array, ratio: Array
) -> tuple[Prediction, list[Finding]]:
    """Return the domain loss at each ratio ``(G,)``, repetition counted where more than one pass is allowed."""
    tokens, findings, unique = train_tokens, [], None
    if request.unique_tokens is not None and request.max_epochs > 1:
        model = fit.model_of("domain")
        if model.reads_repetition:
            unique = request.unique_tokens
        elif model.holds_per_budget:
            findings.append(
                Finding(
                    Code.REPETITION_NOT_COUNTED,
                    "the CMR laws hold per run, so passes over the domain data beyond the first count as fresh data; "
                    "fit with --law dcpt to discount them",
                )
            )
        else:
            tokens = discounted_tokens(train_tokens, ratio, request.unique_tokens)
    prediction = fit.predict(
        "domain",
        model_params=request.size,
        train_tokens=tokens,
        domain_ratio=ratio,
        unique_domain_tokens=unique,
    )
    return prediction, findings
