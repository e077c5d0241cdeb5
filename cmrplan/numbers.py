"""Counts and fractions as people write them, what is refused of them, and the speed of a GPU."""

from __future__ import annotations

import math
import re

from cmrplan.errors import InputError

CountOrText = float | str
"""A number above zero, or its spelling on the command line: ``1.8e9``, ``1.8B`` or ``300M``."""

GPU_FLOPS = 4e14
"""FLOP/s of an H100 in bf16 at 40 % of its 989e12, as a well-filled GPU reaches them; small probes reach far less."""

COUNT_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
"""What a letter behind a number multiplies it by, whatever its case."""

PERCENT_HINT = "Percent? Divide by 100."

_COUNT = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)([kKmMbBtT]?)")
_LETTERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def compact(count: float) -> str:
    """Return a count of parameters or tokens in a short form.

    Examples
    --------
    >>> [compact(n) for n in (983_040, 1e6, 18.9e6, 10e9, 460e6, 900)]
    ['0.98M', '1.0M', '18.9M', '10B', '460M', '900']
    """
    for unit, letter in _LETTERS:
        value = count / unit
        if value >= 0.95:
            shown = f"{value:.2f}" if value < 0.995 else f"{value:.1f}"
            return (shown if value < 9.95 else f"{value:.3g}") + letter
    return f"{count:.3g}"


def compact_exact(count: float) -> str:
    """Return a count to at most three digits with the letter of the thousand it reaches.

    Examples
    --------
    >>> [compact_exact(n) for n in (983_040, 1e6, 18.9e6, 900)]
    ['983k', '1M', '18.9M', '900']
    """
    for unit, letter in _LETTERS:
        if count >= unit:
            return f"{count / unit:.3g}{letter}"
    return f"{count:.4g}"


def parse_count(given: float | str) -> float:
    """Return a number above zero from its spelling: ``1.8e9``, ``1.8B``, ``300M`` or ``1_000``.

    Raises
    ------
    InputError
        If it is none; the message does not say what it was given for.

    Examples
    --------
    >>> parse_count("1.8B"), parse_count("300M"), parse_count(2_000)
    (1800000000.0, 300000000.0, 2000.0)
    """
    match = _COUNT.fullmatch(str(given).strip().replace("_", ""))
    number = float(match[1]) * COUNT_SUFFIXES[match[2].lower()] if match else math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{given!r} is not a number above 0 such as 1.8e9, 1.8B or 300M")
    return number


def parse_named_count(name: str, given: CountOrText) -> float:
    """Return a number above zero from its spelling; ``name`` is what a message calls it."""
    if isinstance(given, str):
        try:
            return parse_count(given)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    require_positive(name, given)
    return float(given)


def parse_named_number(name: str, given: float | str) -> float:
    """Return a finite number, or the one that a text spells; ``name`` is what a message calls it."""
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} must be a number, got {given!r}")
    return number


def parse_first_tokens(given: CountOrText, allowed: str = "a number, 0 or more") -> float:
    """Return from how many tokens on rows are taken: 0 or more, or its spelling; ``allowed`` ends a refusal.

    Examples
    --------
    >>> parse_first_tokens("160k"), parse_first_tokens("0")
    (160000.0, 0.0)
    """
    is_zero = isinstance(given, str) and given.strip() == "0"
    try:
        first = parse_count(given) if isinstance(given, str) and not is_zero else float(given)
    except (InputError, TypeError):
        first = math.nan
    if not 0 <= first < math.inf:
        raise InputError(f"min_train_tokens must be {allowed}, got {given!r}")
    return first


def require_positive(name: str, value: float) -> None:
    """Refuse a number that is not finite and above zero."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} must be a number above 0, got {value:g}")


def require_fraction(name: str, value: float, kind: str = "fraction") -> None:
    """Refuse a number outside [0, 1]; one that looks like a percentage is told so."""
    if not 0 <= value <= 1:
        hint = f". {PERCENT_HINT}" if 1 < value <= 100 else ""
        raise InputError(f"{name} must be a {kind} in [0, 1], got {value:g}{hint}")


def require_confidence(confidence: float) -> None:
    """Refuse a level that is not between 0 and 1, both excluded."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1, got {confidence:g}")
