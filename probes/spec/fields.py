"""Each kind of value in a sweep spec has its check and its message here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""Names that may become part of a file name."""

LARGEST_COUNT = 2**31 - 1
"""Bound of whole numbers, so that a slip of the pen is refused and not tried."""

LARGEST_WIDTH = 2**20
"""Bound of the numbers that shape a model, a batch or a sequence."""

MOST_EVALUATIONS = 10_000

LARGEST_TOKENS = 1e18
"""Bound of tokens; the longest training runs there are have seen less than 1e14."""


def _number(value: Any) -> float:
    """Accept numbers and numeric text (YAML reads ``1e-3`` as text), but no booleans."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number") from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError("must be greater than 0")
    return number


def _not_negative(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError("must be 0 or more")
    return number


def _natural(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError("must be a whole number")
    if not 0 <= number <= LARGEST_COUNT:
        raise ValueError("must be 0 or more" if number < 0 else f"must be at most {LARGEST_COUNT}")
    return int(number)


def _count(value: Any) -> int:
    number = _natural(value)
    if number < 1:
        raise ValueError("must be 1 or more")
    return number


def _at_most(largest: float, check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        number = check(value)
        if number > largest:
            raise ValueError(f"must be at most {largest:.15g}")
        return number

    return checked


def _fraction(value: Any) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        hint = ". Percent? Divide by 100." if 1 < number <= 100 else ""
        raise ValueError(f"must be a fraction in [0, 1], got {value}{hint}")
    return number + 0.0  # -0.0 becomes 0.0


def _open_fraction(value: Any) -> float:
    number = _fraction(value)
    if not 0 < number < 1:
        raise ValueError("must be between 0 and 1, both excluded")
    return number


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
        raise ValueError("must be a name of up to 64 letters, digits, '_', '-' and '.'")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


Positive = Annotated[float, BeforeValidator(_positive)]
NotNegative = Annotated[float, BeforeValidator(_not_negative)]
Count = Annotated[int, BeforeValidator(_count)]
Width = Annotated[int, BeforeValidator(_at_most(LARGEST_WIDTH, _count))]
Evaluations = Annotated[int, BeforeValidator(_at_most(MOST_EVALUATIONS, _count))]
Tokens = Annotated[float, BeforeValidator(_at_most(LARGEST_TOKENS, _positive))]
Natural = Annotated[int, BeforeValidator(_natural)]
Fraction = Annotated[float, BeforeValidator(_fraction)]
OpenFraction = Annotated[float, BeforeValidator(_open_fraction)]
Name = Annotated[str, BeforeValidator(_name)]
Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, BeforeValidator(_flag)]


class Spec(BaseModel):
    """A part of a sweep spec: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
