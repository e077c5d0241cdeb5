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
    ``SIZE_WALK``: how the rise of the general loss changes with size.
    """

    RESAMPLES = 0
    NEW_RUN = 1
    SIZE_EXPONENT = 2
    SIZE_WALK = 3

    def generator(self, seed: int) -> np.random.Generator:
        """Return a generator at the beginning of this stream."""
        key = seed if self is RandomStream.RESAMPLES else [seed, int(self)]
        return np.random.Generator(np.random.Philox(key))
