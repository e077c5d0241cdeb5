"""Counts of parameters and tokens as people write them, and the speed of a GPU."""

from __future__ import annotations

GPU_FLOPS = 4e14
"""FLOP/s of an H100 in bf16 at 40 % of its 989e12, as a well-filled GPU reaches them; small probes reach far less."""

_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


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
