"""The random streams of a fit, each with a number of its own.

Every draw that is made from a seed belongs to one stream, so that no two of them are the same numbers, and so that
one of them can be drawn again without the others.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class RandomStream(IntEnum):
    """What random numbers are drawn for.

    ``RESAMPLES``: which runs a resample holds, and the noise it adds. ``NEW_RUN``: the noise of a run that is not
    in the log. ``SIZE_EXPONENT``: how the level of a loss changes with size where the probes cannot tell.
    ``SIZE_WALK``: how the rise of the general loss changes with size. ``HYPERPARAMETERS``: what few
    runs leave open about a Gaussian process. ``POSTERIOR``: its curves.
    """

    RESAMPLES = 0
    NEW_RUN = 1
    SIZE_EXPONENT = 2
    SIZE_WALK = 3
    HYPERPARAMETERS = 4
    POSTERIOR = 5

    def generator(self, seed: int, *parts: int) -> np.random.Generator:
        """Return a generator at the beginning of this stream, or of one of its numbered parts."""
        if self is RandomStream.RESAMPLES:
            return np.random.Generator(np.random.Philox(seed))
        if not parts:
            return np.random.Generator(np.random.Philox([seed, int(self)]))
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(self), *parts])))
