"""The scarce corpus that the probes drew from: how much it holds, and how often they passed over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.fit.corpus_model import CorpusModel, Prediction
from cmrplan.laws.repetition import REPEAT_SCALE, REPEAT_SCALE_SD, effective_tokens

COLUMN = "unique_domain_tokens"
ONE_PASS = 1 + 1e-9  # with room for rounding
# What data that no probe repeated may do. Each is one of five values, the middles of fifths of a normal distribution,
# in an order of its own, so that they hardly go together.
FIFTHS = np.array([-1.282, -0.524, 0.0, 0.524, 1.282])
SPREAD_OF_SCALES = REPEAT_SCALE * np.exp(REPEAT_SCALE_SD * FIFTHS)  # around the published R*
# Of the logarithm of a corpus's own loss per squared logarithm of the passes over it: between none, as is reported from
# scratch up to 40 passes, and what the arms of data/sweep2 show, whose corpora are narrow ones too.
HARM = np.maximum(0.005 + 0.01 * FIFTHS[[1, 4, 2, 0, 3]], 0.0)
# R* and harm: the estimate, and behind it the five that the draws are dealt out over.
ASSUMED_REPEATS = ((REPEAT_SCALE, float(np.mean(HARM))), *zip(SPREAD_OF_SCALES, HARM, strict=True))
MANY_MORE = 1.25  # times the passes of the probes, from where on a plan says that it makes more
_LONGEST = 1e3  # times the tokens of a run, within which a run of the same worth is sought
_HALVINGS = 60


@dataclass(frozen=True)
class Supply:
    """What the log says of the domain corpus, or of one of several training corpora.

    Parameters
    ----------
    unique_tokens : float
        Tokens that it holds before it repeats; the most where the probes had several corpora.
    is_one : bool
        Whether all probes that say so drew from as many.
    most_passes : float
        Of any probe at its largest budget.
    """

    unique_tokens: float
    is_one: bool
    most_passes: float


def supply_of(log: pd.DataFrame) -> Supply | None:
    """Return the supply of a log of which probes repeat their domain data; None where none does, or it is not known."""
    return supply_from(log, "domain_ratio", COLUMN)


def supply_from(log: pd.DataFrame, share: str, unique_tokens: str) -> Supply | None:
    """Return :func:`supply_of` for a corpus by its columns: that of its share, and that of the tokens it holds."""
    if unique_tokens not in log or share not in log:
        return None
    rows = log[(log["train_tokens"] > 0) & log[unique_tokens].notna()]
    unique = rows[unique_tokens].to_numpy(dtype=float)
    passes = rows["train_tokens"].to_numpy(dtype=float) * rows[share].to_numpy(dtype=float)
    most = float(np.max(passes / unique, initial=0.0))
    if most <= ONE_PASS:
        return None
    is_one = len(rows) == int((log["train_tokens"] > 0).sum()) and len(np.unique(unique)) == 1
    return Supply(float(np.max(unique)), is_one, most)


def most_unique_tokens(log: pd.DataFrame) -> float | None:
    """Return the tokens of the domain corpus that probes drew from, the most of several; None where it is not said."""
    if COLUMN not in log or not log[COLUMN].notna().any():
        return None
    return float(log[COLUMN].max())


def discounted_tokens(
    train_tokens: float | Array,
    domain_ratio: Array,
    domain_tokens: float | Array,
    repeat_scale: float = REPEAT_SCALE,
) -> Array:
    """Return the fresh tokens that a run is worth to the domain loss, ``(G,)``.

    Its general tokens count fully. Past one pass its domain tokens count by the discount for repeated data
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
        train_tokens * (1 - domain_ratio) + effective_tokens(drawn, domain_tokens, repeat_scale)
    )


def tokens_of_same_worth(
    train_tokens: float | Array, domain_ratio: Array, domain_tokens: float, probed_tokens: float
) -> Array:
    """Return the tokens from ``probed_tokens`` unique ones that are worth what a run is from ``domain_tokens``.

    Losses that were measured on repeated data contain what repetition costs. So a run with another supply is asked for
    at the length that is worth as many fresh tokens under the supply of the probes: the same where both are equal.
    Where no length is, since repeats are worth nothing in the end, the longest that is looked at stands.

    Parameters
    ----------
    train_tokens : float or array (G,)
    domain_ratio : array (G,)
    domain_tokens, probed_tokens : float
        Unique tokens of the run's corpus and of the probes'.

    Examples
    --------
    >>> tokens_of_same_worth(4e9, np.array([0.0, 0.5, 1.0]), 1e9, 1e9).round(3).tolist()
    [4000000000.0, 4000000000.0, 4000000000.0]
    """
    ratio = np.asarray(domain_ratio, dtype=float)
    tokens = np.broadcast_to(np.asarray(train_tokens, dtype=float), ratio.shape)
    if domain_tokens == probed_tokens:
        return tokens.copy()
    worth = discounted_tokens(tokens, ratio, domain_tokens)
    low, high = np.log(tokens / _LONGEST), np.log(tokens * _LONGEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_short = discounted_tokens(np.exp(middle), ratio, probed_tokens) < worth
        low, high = np.where(is_short, middle, low), np.where(is_short, high, middle)
    return np.exp((low + high) / 2)


def spread_over(predictions: Sequence[Prediction]) -> Prediction:
    """Return the first prediction with draws that are dealt out over the others."""
    first, *others = predictions
    draws = first.draws.copy()
    for k, other in enumerate(others):
        draws[k :: len(others)] = other.draws[k :: len(others)]
    return replace(first, draws=draws)


def require_repeats_read(models: Mapping[str, CorpusModel]) -> None:
    """Refuse unique domain tokens where no model of a fit reads them, so that they would change nothing.

    Raises
    ------
    InputError
        With what counts repeats for such a fit.
    """
    if any(m.reads_repetition or COLUMN in m.more_columns for m in models.values()):
        return
    raise InputError(
        f"{COLUMN}: no loss of this fit reads it, so it would change nothing; "
        "cp.plan with domain_tokens and max_epochs counts repeats by a published discount; cmrplan predict does too"
    )
