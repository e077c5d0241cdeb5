"""Counts of parameters and tokens as people write them, and the speed of a GPU."""

from __future__ import annotations

import math
import re

from cmrplan.errors import InputError

GPU_FLOPS = 4e14
"""FLOP/s of an H100 in bf16 at 40 % of its 989e12, as a well-filled GPU reaches them; small probes reach far less."""

_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
COUNT_SUFFIXES = {"": 1.0} | {letter.lower(): unit for unit, letter in _UNITS}
_COUNT = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)([kKmMbBtT]?)")


def compact(count: float) -> str:
    """Return a count of parameters or tokens in a short form.

    Examples
    --------
    >>> [compact(n) for n in (983_040, 1e6, 18.9e6, 10e9, 460e6, 900)]
    ['0.98M', '1.0M', '18.9M', '10B', '460M', '900']
    """
    for unit, letter in _UNITS:
        value = count / unit
        if value >= 0.95:
            shown = f"{value:.2f}" if value < 0.995 else f"{value:.1f}"
            return (shown if value < 9.95 else f"{value:.3g}") + letter
    return f"{count:.3g}"


def parse_count(value: float | str) -> float:
    """Return a number above zero from a number, or from text such as ``1.8e9``, ``1.8B`` or ``300M``.

    Raises
    ------
    InputError
        If it is neither, or not above zero.

    Examples
    --------
    >>> parse_count("1.8B"), parse_count(300e6)
    (1800000000.0, 300000000.0)
    """
    match = _COUNT.fullmatch(str(value).strip().replace("_", ""))
    number = float(match[1]) * COUNT_SUFFIXES[match[2].lower()] if match else math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{value!r} is not a number above 0 such as 1.8e9, 1.8B or 300M")
    return number
