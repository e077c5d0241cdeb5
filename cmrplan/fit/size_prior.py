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

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import RandomStream
from cmrplan.fit.probed import knows_base_tokens
from cmrplan.laws.chinchilla import HELD_EXPONENT

# Part of what a rise scatters at an unprobed size beyond the nearest probed one, once its base loss is known, and once
# it is known too what its base had seen: of nominal 90 % intervals ten transfers between the sizes of two sweeps hold
# 0.78 and 0.94 without, and 0.87 and 0.91 with it (benchmarks/across_sizes.py --scatter).
KNOWN_BASE_SCATTER = 0.5
KNOWN_MATURITY_SCATTER = 0.4
FACTOR = 3.0  # 90 % of the drawn exponents lie within this factor of the published one
# Where one size says nothing of it: the largest part of a loss that may shrink with size, and the share of resamples
# in which none does, so that the interval holds the estimate, which has no term of size.
LARGEST_PART = 0.5
UNCHANGED = 0.15
_NORMAL_95 = 1.6449  # quantile of the normal distribution that leaves 5 % above


def carried_scatter(log: pd.DataFrame, model_params: float) -> float:
    """Return the part of the scatter that a carried rise keeps at a size whose base loss is known."""
    is_known = knows_base_tokens(log, model_params)
    return KNOWN_MATURITY_SCATTER if is_known else KNOWN_BASE_SCATTER


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
