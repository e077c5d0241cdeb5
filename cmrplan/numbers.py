"""Numbers as people write them: counts, fractions, a budget of compute, and the allowed rise of a loss."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from cmrplan.errors import InputError

if TYPE_CHECKING:
    from cmrplan.arrays import Array
CountOrText = float | str
"""A number above zero, or its spelling on the command line: ``1.8e9``, ``1.8B`` or ``300M``."""

GPU_FLOPS = 4e14
"""FLOP/s of an H100 in bf16 at 40 % of its 989e12, as a well-filled GPU reaches them; small probes reach far less."""

COUNT_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
"""What a letter behind a number multiplies it by, whatever its case."""

PERCENT_HINT = "Percent? Divide by 100."

_COUNT = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)([kKmMbBtT]?)")
_LETTERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))

FLOPS_PER_PARAM_AND_TOKEN = 6  # forward and backward pass, Kaplan et al. 2020
SECONDS_PER_HOUR = 3600

CONFIDENCES = (
    0.5,
    0.8,
    0.9,
    0.95,
)  # that an answer without a ratio, or without a mixture, is told for
SHOWN_DIGITS = 3
LARGEST_RISE = 0.5  # nats per token that a bare number may mean; a loss of 2.5 rises to 3, its perplexity by 65 %
LEAST_STEP = 1e-5  # of a tolerance in its unit; less of a loss means nothing
ROUNDING = 1e-10  # a rise this far above a tolerance is not above it

Reference = Literal["base", "replay"]  # what a rise is counted from
Unit = Literal["nats", "fraction", "perplexity_fraction", "perplexity"]
_SPELLED_UNITS: dict[tuple[str, str], Unit] = {
    ("", ""): "nats",
    ("", "nats"): "nats",
    ("%", ""): "fraction",
    ("%", "ppl"): "perplexity_fraction",
    ("", "ppl"): "perplexity",
}


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
    try:
        number = float(given)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must be one number above 0 such as 1.8e9 or '1.8B', got {given!r}"
        ) from None
    require_positive(name, number)
    return number


def parse_named_number(name: str, given: float | str) -> float:
    """Return a finite number, or the one that a text spells; ``name`` is what a message calls it."""
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} must be a number, got {given!r}")
    return number


FIRST_TOKENS = "a number, 0 or more, or 'auto'"  # where evaluations may be left out by themselves


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
    import numpy as np  # which help texts do not wait for

    try:
        numbers = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if not numbers.size:
        raise InputError(f"{name} must be a number or an array of numbers, got {repr(given)[:60]}")
    return numbers


def given_places(domain_ratio: object, train_tokens: object) -> tuple[Array, Array]:
    """Return ratios in [0, 1] and tokens above 0, numbers or arrays of them, broadcast against each other.

    Raises
    ------
    InputError
        If one is none, or their shapes do not fit.
    """
    import numpy as np  # which help texts do not wait for

    ratio = np.atleast_1d(given_numbers("domain_ratio", domain_ratio))
    tokens = given_numbers("train_tokens", train_tokens)
    for extreme in (np.min(tokens), np.max(tokens)):
        require_positive("train_tokens", float(extreme))
    outside = ratio[~((ratio >= 0) & (ratio <= 1))]
    if len(outside):
        require_fraction("domain_ratio", float(outside[0]))
    try:
        ratio, tokens = np.broadcast_arrays(ratio, tokens)
    except ValueError:
        raise InputError(
            f"domain_ratio of shape {ratio.shape} and train_tokens of shape {tokens.shape} do not fit together; give "
            "one number, or as many of each"
        ) from None
    return ratio, tokens


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


def parse_compute(given: float | str, gpu_flops: float | None = None) -> float:
    """Return a budget in FLOPs from ``1e21``, or from ``"500gpu-hours"`` at a stated speed.

    Parameters
    ----------
    given : float or str
    gpu_flops : float, optional
        What one GPU really does, in FLOP/s, not what its data sheet says; needed for GPU-hours.

    Raises
    ------
    InputError
        If it is neither, not above zero, or the speed is missing.

    Examples
    --------
    >>> parse_compute("10 gpu-hours", gpu_flops=4e14)
    1.44e+19
    """
    match = re.fullmatch(r"(\S+?)\s*(gpu-?hours?|gpuh|)", str(given).strip().lower())
    try:
        amount = float(match[1]) if match else float("nan")
    except ValueError:
        amount = float("nan")
    if match is None or not 0 < amount < float("inf"):
        raise InputError(
            f"compute must be FLOPs such as 1e21, or GPU-hours such as 500gpu-hours, above 0; got {str(given)!r}"
        )
    if not match[2]:
        return amount
    if gpu_flops is None:
        raise InputError(
            "compute in GPU-hours needs gpu_flops, the FLOP/s that one GPU really does in your training, such as "
            "4e14; multiply a data sheet's figure by your utilization"
        )
    require_positive("gpu_flops", gpu_flops)
    return amount * SECONDS_PER_HOUR * gpu_flops


def training_flops(model_params: float, train_tokens: float) -> float:
    """Return the FLOPs of a run."""
    return FLOPS_PER_PARAM_AND_TOKEN * model_params * train_tokens


def affordable_tokens(model_params: float, compute: float) -> float:
    """Return the tokens that a budget in FLOPs pays for."""
    return compute / (FLOPS_PER_PARAM_AND_TOKEN * model_params)


@dataclass(frozen=True)
class Tolerance:
    """How far the general loss may rise above a reference: the base loss, or pure replay's.

    Parameters
    ----------
    value : float
        In the unit: nats per token, a fraction of the reference loss, a fraction of its perplexity, or perplexity.
    unit : {"nats", "fraction", "perplexity_fraction", "perplexity"}
    """

    value: float
    unit: Unit

    def limit(self, reference: float) -> float:
        """Return the largest general loss allowed over a reference loss, both in nats per token."""
        if self.unit == "fraction":
            return reference * (1 + self.value)
        if self.unit == "perplexity_fraction":
            return reference + math.log1p(self.value)
        if self.unit == "perplexity":
            return math.log(math.exp(reference) + self.value)
        return reference + self.value

    @property
    def largest_rise(self) -> float:
        """The value, with room for rounding."""
        return self.value + ROUNDING

    def rise(self, loss: Array, reference: Array | float) -> Array:
        """Return how far losses lie above a reference, in this tolerance's unit.

        A loss is allowed where its rise is at most :attr:`largest_rise`.
        """
        import numpy as np  # the help of a command reads numbers and no arrays

        if self.unit == "fraction":
            return np.asarray(loss / reference - 1)
        if self.unit == "perplexity_fraction":
            return np.asarray(np.expm1(loss - reference))
        if self.unit == "perplexity":
            return np.asarray(np.exp(loss) - np.exp(reference))
        return np.asarray(loss - reference)

    def least_above(self, rise: float) -> Tolerance:
        """Return the smallest tolerance of few digits that allows a rise in its unit."""
        if not (math.isfinite(rise) and rise > ROUNDING):
            return replace(self, value=0.0 if rise <= ROUNDING else rise)
        step = max(10.0 ** (math.floor(math.log10(rise)) - SHOWN_DIGITS + 1), LEAST_STEP)
        return replace(self, value=math.ceil((rise - ROUNDING) / step) * step)

    def __str__(self) -> str:
        if self.unit == "fraction":
            return f"{100 * self.value:g}%"
        if self.unit == "perplexity_fraction":
            return f"{100 * self.value:g}%ppl"
        return f"{self.value:g} {'ppl' if self.unit == 'perplexity' else 'nats'}"


def parse_tolerance(given: float | str | Tolerance, name: str = "max_general_rise") -> Tolerance:
    """Return a tolerance from its spelling.

    ``0.05``: nats per token. ``"3%"``: of the reference loss. ``"5%ppl"``: of its perplexity. ``"0.5ppl"``: perplexity.
    ``name`` is what a message calls it. A number above :data:`LARGEST_RISE` is seldom meant in nats and needs the word:
    ``"0.8nats"``.

    Raises
    ------
    InputError
        If it is none of these, negative, or a large number without its unit.

    Examples
    --------
    >>> parse_tolerance("3%").limit(2.8602)
    2.946006
    >>> round(parse_tolerance("5%ppl").limit(2.0) - 2.0, 6)  # ln 1.05
    0.04879
    """
    if isinstance(given, Tolerance):
        return given
    text = str(given).strip()
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(%?)\s*(nats|ppl|)", text)
    unit = _SPELLED_UNITS.get((match[2], match[3])) if match else None
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    if unit is None or not 0 <= value < math.inf:
        raise InputError(
            f"{name} must be nats per token such as 0.05, a percentage of the loss such as 3%, or of the "
            f"perplexity such as 5%ppl, zero or more; got {text!r}"
        )
    if match and not match[2] and not match[3] and value > LARGEST_RISE:
        raise InputError(
            f"{name}: {text} would be {value:g} nats per token, which allows nearly any loss. percent? write {text}%, "
            f"or {text}nats"
        )
    return Tolerance(value / 100 if match and match[2] else value, unit)
