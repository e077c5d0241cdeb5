"""The hyperparameters of a residual and of its noise, and what is thought of them before any data.

They are logarithms with normal priors, so that few runs are not read for more than they say.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from cmrplan.fit.residual.mean_functions import Prior


class Hyper(IntEnum):
    """Position of each hyperparameter; the shape parameters of the mean function follow."""

    AMPLITUDE = 0
    SHARE_LENGTH = 1
    SIZE_LENGTH = 2
    TOKEN_LENGTH = 3
    SHIFT = 4
    SLOPE = 5
    EVALUATION = 6
    RUN = 7
    STEP = 8
    LEVEL_WALK = 9
    COEFFICIENT_WALK = 10


# Median and standard deviation of the logarithm. Amplitudes and noise are in units of log loss.
_PRIORS: dict[Hyper, tuple[float, float]] = {
    Hyper.AMPLITUDE: (0.01, 1.5),
    Hyper.SHARE_LENGTH: (1.5, 0.7),
    Hyper.SIZE_LENGTH: (2.0, 1.0),
    Hyper.TOKEN_LENGTH: (1.5, 0.6),
    Hyper.SHIFT: (0.5, 1.0),
    Hyper.SLOPE: (0.5, 1.0),
    Hyper.EVALUATION: (0.003, 1.0),
    Hyper.RUN: (0.003, 1.0),
    Hyper.STEP: (0.002, 1.0),
    Hyper.LEVEL_WALK: (0.02, 1.0),
    Hyper.COEFFICIENT_WALK: (0.02, 0.5),
}
# The loss over the base loss of the size hardly has a level of its own.
_ANCHORED = {Hyper.LEVEL_WALK: (0.004, 0.5)}
# At one budget few rows tell how far the laws miss. The residuals of the sweeps of data/ have 0.004 to 0.036 of the
# usual effect, where rows have many budgets.
_ONE_BUDGET = {Hyper.AMPLITUDE: (0.0125, 0.8)}
# A law alone: no residual, and coefficients that are the same at all sizes.
_ALONE = dict.fromkeys((Hyper.AMPLITUDE, Hyper.LEVEL_WALK, Hyper.COEFFICIENT_WALK), (1e-6, 0.01))


def hyper_prior(effect: float | None, *, has_residual: bool, is_one_budget: bool = False) -> Prior:
    """Return what is thought of the hyperparameters before any data.

    Parameters
    ----------
    effect : float or None
        How far losses move from the base loss of their size, over what is usual; None where they are not counted from
        it. What a size does to them is a part of that.
    has_residual : bool
        Without one a law holds as it is at all sizes.
    is_one_budget : bool
        Whether the rows leave open what tokens do.
    """
    known = _PRIORS | ({} if effect is None else _anchored(effect, is_one_budget))
    known |= {} if has_residual else _ALONE
    median, sd = np.array([known[hyper] for hyper in Hyper]).T
    return Prior(np.log(median), sd)


def _anchored(effect: float, is_one_budget: bool) -> dict[Hyper, tuple[float, float]]:
    walks = {h: (_PRIORS | _ANCHORED)[h] for h in (Hyper.LEVEL_WALK, Hyper.COEFFICIENT_WALK)}
    scaled = walks | (_ONE_BUDGET if is_one_budget else {})
    return {h: (median * effect, sd) for h, (median, sd) in scaled.items()}
