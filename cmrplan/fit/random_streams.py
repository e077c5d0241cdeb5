"""The random streams of a fit, each with a number of its own.

Every draw that is made from a seed belongs to one stream, so that no two of the draws of a fit are the same numbers,
and so that one of them can be drawn again without the others.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class RandomStream(IntEnum):
    """What random numbers are drawn for.

    ``RESAMPLES``: which runs a resample holds, and the noise it adds. ``NEW_RUN``: the noise of a run that is not
    in the log. ``SIZE_EXPONENT``: how the level of a loss changes with size where the probes cannot tell.
    ``SIZE_WALK``: how the rise of the general loss changes with size. ``NEXT_PROBE``: the noise of a probe that the
    design of the next ones takes as run; its seeds count the probes and do not come from the fit. It and
    ``RESAMPLES`` take a seed alone, the others a seed and their number.
    """

    RESAMPLES = 0
    NEW_RUN = 1
    SIZE_EXPONENT = 2
    SIZE_WALK = 3
    NEXT_PROBE = 4

    def generator(self, seed: int) -> np.random.Generator:
        """Return a generator at the beginning of this stream."""
        has_bare_seed = self in (RandomStream.RESAMPLES, RandomStream.NEXT_PROBE)
        key = seed if has_bare_seed else [seed, int(self)]
        return np.random.Generator(np.random.Philox(key))
