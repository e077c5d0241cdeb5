"""What a mixture that passes over a training corpus more than once has to say about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.mixture_repeats import RepeatedCorpus, counts_tokens
from cmrplan.fit.supply import MANY_MORE
from cmrplan.laws.repetition import REPEAT_SCALE, effective_tokens

if TYPE_CHECKING:
    from cmrplan.mixture.mixture_fit import MixtureFit

MOST_EPOCHS = 1.0 + 1e-6


def repetition_findings(
    fit: MixtureFit, shares: Array, train_tokens: float, available: Mapping[str, float]
) -> list[Finding]:
    """Return a finding for each corpus that a mixture ``(m,)`` passes over as no probe did.

    Parameters
    ----------
    fit : MixtureFit
    shares : array (m,)
    train_tokens : float
    available : mapping of str to float
        Unique tokens of the corpora for which they were given.
    """
    findings = []
    for name, share in sorted(zip(fit.corpora, shares.tolist(), strict=True)):
        repeats, drawn = fit.repeated.get(name), share * train_tokens
        if repeats is not None:
            unique = available.get(name, repeats.supply.unique_tokens)
            findings += _beyond_probes(name, repeats, drawn, unique)
        elif name in available and drawn > MOST_EPOCHS * available[name]:
            findings.append(_assumed(fit, name, drawn, available[name]))
    return findings


def _beyond_probes(
    name: str, repeats: RepeatedCorpus, drawn: float, unique: float
) -> list[Finding]:
    """Return a finding where the probes drew from another supply of a corpus, or passed over it far less often."""
    supply, passes = repeats.supply, drawn / unique
    if passes <= MOST_EPOCHS:
        return []
    if supply.is_one and abs(unique / supply.unique_tokens - 1) > SAME_SIZE:
        text = (
            f"{name} holds {unique:.4g} tokens and the probes drew from {supply.unique_tokens:.4g}; its own loss is "
            f"carried between them by R* = {repeats.repeat_scale:.3g}, other losses are those of the probes' supply"
        )
    elif passes > MANY_MORE * supply.most_passes:
        text = (
            f"{name} is passed over {passes:.3g} times and the probes did so at most {supply.most_passes:.3g} times; "
            "what further passes cost is carried on from there"
        )
    else:
        return []
    return [Finding(Code.REPETITION_ASSUMED, f"{text}; probe at as many passes to be sure")]


def _assumed(fit: MixtureFit, name: str, drawn: float, unique: float) -> Finding:
    """Return how passes over a corpus beyond the first count where no probe made any."""
    worth = float(effective_tokens(np.array([drawn]), unique, REPEAT_SCALE)[0]) / drawn
    text = f"{name} is passed over {drawn / unique:.3g} times"
    after = f"after Muennighoff et al. its tokens are worth {worth:.2f} of fresh ones"
    model = fit.models.get(name)
    if model is not None and counts_tokens(model):
        text += (
            f"; {after}, and its own loss counts them so, with what repeats harmed in one small sweep (data/sweep2); "
            "other losses count them as fresh: probe with as many passes"
        )
        return Finding(Code.REPETITION_ASSUMED, text)
    return Finding(
        Code.REPETITION_NOT_COUNTED,
        f"{text} and the laws count its repeats as fresh; {after}: probe with as many passes",
    )
