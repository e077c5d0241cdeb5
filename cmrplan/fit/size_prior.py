"""How the level of a loss may change with model size where the probes cannot tell.

With one probed size a law has no term of size; with two its exponent is held at a published value. Either way the
resamples agree on the level at another size without any ground for it. Here each resample gets an exponent of its own,
drawn around the published ones, so that intervals away from the probed sizes show what is not known. Estimates stay as
they are, and so do resamples at probed sizes.

References
----------
Exponent of size: 0.35 (Hoffmann et al. 2022; Muennighoff et al. 2023, arXiv:2305.16264), 0.076 where the law has no
irreducible loss (Kaplan et al. 2020, arXiv:2001.08361), 0.6 to 0.7 in the fits to three sizes in data/probes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.fit.base_tokens import base_tokens_at, knows_base_tokens
from cmrplan.fit.corpus_model import Prediction, RandomStream
from cmrplan.fit.probed import nearest_size
from cmrplan.laws.chinchilla import HELD_EXPONENT

# Part of what a rise scatters at an unprobed size beyond the nearest probed one, once its base loss is known, and once
# it is known too what its base had seen: of nominal 90 % intervals ten transfers between the sizes of two sweeps hold
# 0.70 and 0.94 without, and 0.84 and 0.91 with it (benchmarks/across_sizes.py --scatter).
KNOWN_BASE_SCATTER = 0.5
KNOWN_MATURITY_SCATTER = 0.4
# By what part the rule of what a base had seen misses the change that it makes to replay. It is off by about a half
# between a base and one that saw three times the tokens, of one size (data/sweep2/lessons.py maturity), and the ten
# transfers are held as well with this error as without.
MATURITY_ERROR = 0.5
FACTOR = 3.0  # 90 % of the drawn exponents lie within this factor of the published one
# Where one size says nothing of it: the largest part of a loss that may shrink with size, and the share of resamples
# in which none does, so that the interval holds the estimate, which has no term of size.
LARGEST_PART = 0.5
UNCHANGED = 0.15
_NORMAL_95 = 1.6449  # quantile of the normal distribution that leaves 5 % above


def scattered_from(
    sizes: Array,
    there: Callable[[float, Array, Array], Prediction],
    rise: Prediction,
    log: pd.DataFrame,
    seed: int,
) -> Prediction:
    """Return a carried general loss with the scatter that is left of it once the base loss of its size is known.

    Parameters
    ----------
    sizes : array (S,)
        The probed ones, ``model_params``.
    there : callable
        Takes a size, tokens and ratios, ``(G,)`` each, and returns the general loss.
    rise : Prediction
        At ``G`` points of the other size.
    log : DataFrame
        Says in ``base_tokens`` what bases had seen, or does not.
    seed : int
    """
    size, tokens = float(rise.inputs["model_params"][0]), rise.inputs["train_tokens"]
    nearest = nearest_size(sizes, size)
    near = partial(there, nearest)
    beside = near(tokens, rise.domain_ratio)
    if not knows_base_tokens(log, size):
        return rise.scattered_like(beside, KNOWN_BASE_SCATTER)
    rise = rise.scattered_like(beside, KNOWN_MATURITY_SCATTER)
    least = float(log.loc[log["train_tokens"] > 0, "train_tokens"].min())
    counted = tokens * base_tokens_at(log, nearest) / base_tokens_at(log, size)
    counted = np.maximum(counted, np.minimum(least, tokens))
    if np.array_equal(counted, tokens):
        return rise
    replay = np.zeros_like(rise.loss)
    change = np.log(near(counted, replay).loss / near(tokens, replay).loss)
    normal = RandomStream.SIZE_WALK.generator(seed, 1).standard_normal((len(rise.draws), 1))
    return replace(rise, draws=rise.draws * np.exp(MATURITY_ERROR * normal * change))


def drawn_at(size: float, probed: Array, draws_at: Callable[[float], Array], seed: int) -> Array:
    """Return resamples of a loss at a size that was not probed.

    Parameters
    ----------
    size : float
        ``model_params``.
    probed : array (1,) or (2,)
        The fitted sizes, ascending.
    draws_at : callable
        Takes a size and returns the law's resamples there, ``(B, G)``, nats per token.
    seed : int

    Returns
    -------
    array (B, G)
        At or above 0.
    """
    draws = draws_at(size)
    generator = RandomStream.SIZE_EXPONENT.generator(seed)
    normal = generator.standard_normal((len(draws), 1))
    exponent = HELD_EXPONENT * np.exp(np.log(FACTOR) / _NORMAL_95 * normal)
    if len(probed) == 1:
        uniform = (generator.random((len(draws), 1)) - UNCHANGED) / (1 - UNCHANGED)
        part = LARGEST_PART * np.maximum(uniform, 0.0)
        moved = draws * (1 + part * ((size / probed[0]) ** -exponent - 1))
    else:
        step = draws_at(float(probed[1])) - draws_at(float(probed[0]))
        moved = draws + step * (
            _steps(size, probed, exponent) - _steps(size, probed, HELD_EXPONENT)
        )
    return np.asarray(np.maximum(moved, 0.0))


def _steps(size: float, probed: Array, exponent: Array | float) -> Array:
    """Return the change from the second probed size to a size, in steps from the first to the second."""
    start, size = probed[0] / probed[1], size / probed[1]
    return np.asarray((size**-exponent - 1) / (1 - start**-exponent))
