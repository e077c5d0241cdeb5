"""The parameters that commands share: numbers with suffixes, assignments, ``--json``."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import click

from cmrplan.errors import InputError
from cmrplan.numbers import LARGEST_RISE, parse_count

NATS_MEANT = "nats"  # the key under which a command remembers --nats


class Count(click.ParamType[float]):
    """A number above zero such as ``1.8e9``, ``1.8B`` or ``300M``."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        try:
            return parse_count(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


class CountOrAuto(Count):
    """A number above zero, or the word ``auto``."""

    name = "number|auto"

    def convert(  # type: ignore[override]
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | Literal["auto"]:
        """Return the number or the word."""
        return "auto" if str(value).strip() == "auto" else super().convert(value, param, ctx)


class Sizes(click.ParamType[list[float] | tuple[float, float]]):
    """Sizes such as ``100M,300M,1B``, or any between two, ``100M..1B``."""

    name = "sizes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float] | tuple[float, float]:
        """Return the list, or the two ends."""
        ends = str(value).split("..")
        if len(ends) == 2:
            low, high = (COUNT.convert(end, param, ctx) for end in ends)
            return low, high
        return [COUNT.convert(size, param, ctx) for size in str(value).split(",")]


class Fraction(click.ParamType[float]):
    """A fraction in [0, 1], or a percentage with its sign: 57.6% is 0.576."""

    name = "fraction"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the fraction."""
        text = str(value).strip()
        try:
            number = float(Decimal(text[:-1]) / 100) if text.endswith("%") else float(value)
        except (ValueError, InvalidOperation):
            number = math.nan
        if not 0 <= number <= 1:
            hint = (
                f". Percent? Divide by 100, or write {text}%."
                if 1 < number <= 100 and "%" not in text
                else ""
            )
            self.fail(f"must be a fraction in [0, 1], got {value}{hint}", param, ctx)
        return number


class Level(Fraction):
    """A fraction or a percentage between 0 and 1, without both ends."""

    name = "level"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the fraction."""
        level = super().convert(value, param, ctx)
        if not 0 < level < 1:
            self.fail(f"must be between 0 and 1, got {value}", param, ctx)
        return level


class Assignment(click.ParamType[tuple[str, str]]):
    """Two texts with an equals sign between them; of several signs the last one counts, or the first."""

    name = "left=right"

    def __init__(self, *, first: bool = False) -> None:
        self.first = first

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return what stands left and right of the sign."""
        text = str(value)
        left, sign, right = text.partition("=") if self.first else text.rpartition("=")
        if not (sign and left.strip() and right.strip()):
            sides = getattr(param, "metavar", None) or "LEFT=RIGHT"
            self.fail(f"must be {sides}, got {value!r}", param, ctx)
        return left.strip(), right.strip()


class Shares(click.ParamType[list[float]]):
    """Ratios with commas between them."""

    name = "r,r,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        """Return the numbers."""
        return [FRACTION.convert(part, param, ctx) for part in str(value).split(",")]


class Levels(click.ParamType[list[float]]):
    """One confidence, or several with commas between them; the first is the one that the answer holds with."""

    name = "p[,p,…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        """Return the numbers."""
        return [LEVEL.convert(part.strip(), param, ctx) for part in str(value).split(",")]


class Rise(click.ParamType[str]):
    """A tolerance as the library parses it; a number so large that it seems to be percent needs ``--nats``."""

    name = "nats|percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        text = str(value).strip()
        try:
            rise = float(text)
        except ValueError:
            return text  # the library says what is wrong
        if not LARGEST_RISE < rise < math.inf:
            return text
        if ctx is not None and ctx.meta.get(NATS_MEANT, False):
            return f"{text}nats"
        self.fail(
            f"{text} would be {rise:g} nats per token, which allows nearly any loss. percent? write {text}%, or add "
            "--nats",
            param,
            ctx,
        )


COUNT = Count()
COUNT_OR_AUTO = CountOrAuto()
RISE = Rise()
ASSIGNMENT = Assignment()
PATH_ASSIGNMENT = Assignment(first=True)  # a path may have an equals sign in it
FRACTION = Fraction()
LEVEL = Level()
SIZE_LIST = Sizes()
SHARE_LIST = Shares()
LEVEL_LIST = Levels()

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, numbers unrounded."
)
model_params = click.option(
    "--model-params", type=COUNT, required=True, help="Parameters N, counted as in the log: 1.8B."
)
resamples = click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Resamples of whole runs; 0 for no intervals.",
)
nats = click.option(
    "--nats",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, is_given: ctx.meta.update({NATS_MEANT: is_given}),
    help=f"A rise above {LARGEST_RISE} without a unit is meant in nats, not in percent.",
)
seed = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
confidence = click.option(
    "--confidence",
    type=LEVEL,
    default=0.9,
    show_default=True,
    help="Level of the intervals, and how surely a tolerance is to hold.",
)


def per_corpus(
    name: str, metavar: str, help_text: str, destination: str, kind: Assignment = ASSIGNMENT
) -> Callable[[Any], Any]:
    """Return an option that may be given once for each corpus."""
    return click.option(
        name, destination, type=kind, metavar=metavar, multiple=True, help=help_text
    )


def numbers_of(
    option: str, pairs: tuple[tuple[str, str], ...], kind: click.ParamType[float]
) -> dict[str, float]:
    """Return pairs of a corpus and a number, read as an option of that kind."""
    numbers = {}
    for corpus, text in pairs_once(option, pairs).items():
        try:
            numbers[corpus] = float(kind.convert(text, None, None))
        except click.BadParameter as error:
            raise InputError(f"{option} {corpus}: {error.message}") from None
    return numbers


confidences = click.option(
    "--confidence",
    type=LEVEL_LIST,
    default="0.9",
    show_default=True,
    help="Level of the intervals, and how surely a tolerance is to hold; of several (0.9,0.5,0.8) the answer holds "
    "with the first, and what each allows is printed.",
)


def pairs_once(option: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return pairs as a dict; refuse two for one name.

    Raises
    ------
    InputError
        Naming the option, the name and both values.
    """
    values: dict[str, str] = {}
    for left, right in pairs:
        if left in values:
            raise InputError(f"{option} {left} was given twice: {values[left]!r} and {right!r}")
        values[left] = right
    return values


min_train_tokens = click.option(
    "--min-train-tokens",
    type=COUNT,
    default=None,
    help="Leave out evaluations before this many tokens.",
)
first_tokens = click.option(
    "--min-train-tokens",
    type=COUNT_OR_AUTO,
    help="Leave out evaluations before this many tokens; auto: those that lie outside the law.",
)
with_parts = click.option(
    "--parts",
    "with_parts",
    is_flag=True,
    help="Show beside each loss what the laws alone say and what the residual adds.",
)
