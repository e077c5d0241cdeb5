"""The type of an array of floats, numbers that were given as such, and when two sizes are the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmrplan.errors import InputError

Array = NDArray[np.float64]

SAME_SIZE = 0.01  # relative difference below which two model sizes, or budgets, are the same


def given_numbers(name: str, given: object) -> Array:
    """Return a number, or numbers in a list, array or column, as an array; ``name`` is what a message calls it.

    Raises
    ------
    InputError
        If something in it is no number, or nothing is in it.

    Examples
    --------
    >>> given_numbers("domain_ratio", [0, 0.5])
    array([0. , 0.5])
    """
    try:
        numbers = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if not numbers.size:
        raise InputError(f"{name} must be a number or an array of numbers, got {shortened(given)}")
    return numbers


def shortened(given: object) -> str:
    """Return how something is written, on one line of at most 60 signs."""
    text = " ".join(repr(given).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def broadcast_named(**given: Array) -> list[Array]:
    """Return arrays broadcast against each other.

    Raises
    ------
    InputError
        If their shapes do not fit, with both names.
    """
    try:
        return list(np.broadcast_arrays(*given.values()))
    except ValueError:
        shapes = " and ".join(f"{name} of shape {array.shape}" for name, array in given.items())
        raise InputError(
            f"{shapes} do not fit together; give one number, or as many of each"
        ) from None
