"""A domain corpus that is too small: how often it repeats, and what a repeated token is worth.

Past one pass, the domain share of the tokens counts by the published discount for repeated data, since the laws of
a fit do not know which of their tokens were repeats. The discount comes from training from scratch on one source;
inside mixtures scarce data stands more repetition, so it is on the careful side.

References
----------
Muennighoff et al., Scaling Data-Constrained Language Models, NeurIPS 2023, arXiv:2305.16264.
"""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.fit.prediction import Prediction
from cmrplan.laws.repetition import REPEAT_SCALE, effective_tokens
from cmrplan.plan.request import Limits


def discounted_tokens(
    train_tokens: float | Array, domain_ratio: Array, domain_tokens: float
) -> Array:
    """Return the fresh tokens that a run is worth to the domain loss, ``(G,)``.

    Its general tokens count fully, its domain tokens as :func:`~cmrplan.laws.repetition.effective_tokens`.

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
    fit: Fit, limits: Limits, *, model_params: float, train_tokens: float | Array, ratio: Array
) -> tuple[Prediction, list[Finding]]:
    """Return the domain loss at each ratio, repetition counted where more than one pass is allowed.

    Parameters
    ----------
    fit : Fit
    limits : Limits
    model_params : float
    train_tokens : float or array (G,)
    ratio : array (G,)
    """
    tokens: float | Array = train_tokens
    findings = []
    if limits.domain_tokens is not None and limits.max_epochs > 1:
        if fit.model_of("domain").holds_per_budget:
            findings.append(
                Finding(
                    Code.REPETITION_NOT_COUNTED,
                    "the CMR laws hold per run, so passes over the domain data beyond the first count as fresh data; "
                    "fit with --law dcpt to discount them",
                )
            )
        else:
            tokens = discounted_tokens(train_tokens, ratio, limits.domain_tokens)
    found = fit.predict(
        "domain", model_params=model_params, train_tokens=tokens, domain_ratio=ratio
    )
    return found, findings


def repetition_findings(limits: Limits, train_tokens: float, domain_ratio: float) -> list[Finding]:
    """Return a finding where the recommended ratio repeats the domain data."""
    if limits.domain_tokens is None:
        return []
    epochs = train_tokens * domain_ratio / limits.domain_tokens
    if epochs <= 1 + 1e-9:
        return []
    return [
        Finding(
            Code.REPETITION_ASSUMED,
            f"the domain data are passed over {epochs:.3g} times; a repeated token is counted by the published "
            f"discount (R* = {REPEAT_SCALE:.2f}, from scratch on one source), not by your probes; probe at that many "
            "passes",
        )
    ]
