"""What a planned mixture has to say about itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.laws.repetition import REPEAT_SCALE, effective_tokens
from cmrplan.log.cells import listed
from cmrplan.mixture.extrapolation import beyond_levels, far_from_probed
from cmrplan.mixture.fit import MixtureFit
from cmrplan.mixture.request import MixturePlanRequest

if TYPE_CHECKING:
    from cmrplan.mixture.mixture_plan import BindingConstraint

MOST_EPOCHS = 1.0 + 1e-6


def plan_findings(
    fit: MixtureFit,
    asked: MixturePlanRequest,
    shares: Array,
    binding: Sequence[BindingConstraint],
) -> list[Finding]:
    """Return remarks on how far a mixture lies from what was probed, and on repeated data."""
    findings = [
        *beyond_levels(fit.fitted(), asked.size(fit), asked.tokens),
        *far_from_probed(fit.mixtures(), shares),
    ]
    edges = sorted(b.corpus for b in binding if b.kind.startswith("probed"))
    if edges:
        findings.append(
            Finding(
                Code.SHARE_AT_EDGE,
                f"the share of {listed(edges)} ends where probing did; probe beyond to see whether more, or less, is "
                f"better",
            )
        )
    for name, share in sorted(zip(fit.corpora, shares, strict=True)):
        if name not in asked.unique_tokens:
            continue
        drawn, unique = share * asked.tokens, asked.unique_tokens[name]
        if drawn > MOST_EPOCHS * unique:
            findings.append(_repeats(fit, name, drawn, unique))
    return findings


def _repeats(fit: MixtureFit, name: str, drawn: float, unique: float) -> Finding:
    """Return how passes over a corpus beyond the first count."""
    worth = float(effective_tokens(np.array([drawn]), unique, REPEAT_SCALE)[0]) / drawn
    text = f"{name} is passed over {drawn / unique:.3g} times"
    after = f"after Muennighoff et al. its tokens are worth {worth:.2f} of fresh ones"
    model = fit.models.get(name)
    if model is not None and all("train_tokens" in law.fit.law.inputs for law in model.components):
        text += (
            f"; {after}, and its own loss counts them so, with what repeats harmed in one small sweep (data/sweep2); "
            "other losses count them as fresh: probe with as many passes"
        )
        return Finding(Code.REPETITION_ASSUMED, text)
    return Finding(
        Code.REPETITION_NOT_COUNTED,
        f"{text} and the laws count its repeats as fresh; {after}: probe with as many passes",
    )
