"""The hyperparameters of a residual and of its noise, and what is thought of them before any data.

They are logarithms with normal priors, so that few runs are not read for more than they say.
"""

from __future__ import annotations

from collections.abc import Mapping
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
_PRIORS: Mapping[Hyper, tuple[float, float]] = {
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
    Hyper.COEFFICIENT_WALK: (0.1, 1.0),
}
HYPER_PRIOR = Prior(
    np.array([np.log(_PRIORS[h][0]) for h in Hyper]), np.array([_PRIORS[h][1] for h in Hyper])
)


# A law alone: no residual, and coefficients that are the same at all sizes.
_ABSENT = {Hyper.AMPLITUDE: 1e-6, Hyper.LEVEL_WALK: 1e-6, Hyper.COEFFICIENT_WALK: 1e-6}
_ABSENT_SD = 0.01
LAW_ALONE_PRIOR = Prior(
    np.array([np.log(_ABSENT.get(h, _PRIORS[h][0])) for h in Hyper]),
    np.array([_ABSENT_SD if h in _ABSENT else _PRIORS[h][1] for h in Hyper]),
)
