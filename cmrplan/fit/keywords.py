"""Public functions whose keywords are the fields of one frozen dataclass: a request, or settings.

The dataclass holds defaults and checks, a :class:`~typing.TypedDict` the types that a caller may write. Together they
give the signature that ``help`` shows, so that no list of keywords is written a third time.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from cmrplan.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def shows_keywords(
    dataclass: type[Any], typed_dict: type[Any]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator for a function that takes ``**keywords: Unpack[typed_dict]``.

    The decorated function shows every keyword in its signature, and refuses a word that it does not know.

    Parameters
    ----------
    dataclass : type
        The dataclass whose fields have the keywords' defaults.
    typed_dict : type
        The keywords in the order in which they are shown, with their types.
    """
    defaults = {field.name: _default(field) for field in fields(dataclass)}
    shown = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults[name],
            annotation=getattr(hint, "__forward_arg__", hint),
        )
        for name, hint in typed_dict.__annotations__.items()
    ]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = [parameter.name for parameter in (*own, *shown)]

        @wraps(function)
        def checked(*args: P.args, **keywords: P.kwargs) -> R:
            require_known(function.__name__, keywords, known)
            return function(*args, **keywords)

        checked.__signature__ = signature.replace(parameters=[*own, *shown])  # type: ignore[attr-defined]
        return checked

    return decorate


def require_known(function: str, words: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a keyword that a function does not take.

    Raises
    ------
    InputError
        Naming the nearest keyword, or all of them where none is near.

    Examples
    --------
    >>> require_known("plan_mixture", ["floor"], ["floors", "ceilings"])
    Traceback (most recent call last):
    cmrplan.errors.InputError: plan_mixture takes no floor; did you mean floors?
    """
    names = list(known)
    for word in words:
        if word in names:
            continue
        near = get_close_matches(word, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(names)}"
        raise InputError(f"{function} takes no {word}; {hint}")


def request_from(dataclass: type[R], request: R | None, keywords: Mapping[str, Any]) -> R:
    """Return the request that was given whole, or one made of keywords.

    Raises
    ------
    InputError
        If there are both, or a keyword without a default is missing.
    """
    if request is not None:
        if keywords:
            raise InputError(
                f"{', '.join(keywords)} given beside a whole {dataclass.__name__}; put everything into one of them"
            )
        return request
    missing = [
        field.name
        for field in fields(dataclass)  # type: ignore[arg-type]
        if _default(field) is inspect.Parameter.empty and keywords.get(field.name) is None
    ]
    if missing:
        raise InputError(f"{' and '.join(missing)} must be given")
    return dataclass(**keywords)


def count_from(name: str, given: float | str) -> float:
    """Return a count of parameters or tokens above 0, given as a number or as people write it.

    Raises
    ------
    InputError
        If it is none, with the name of the argument.

    Examples
    --------
    >>> [count_from("train_tokens", given) for given in ("20B", "1.5e9", 300)]
    [20000000000.0, 1500000000.0, 300.0]
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)([kmbt]?)", str(given).strip().lower())
    number = float(match[1]) * _UNITS[match[2]] if match else float("nan")
    if not 0 < number < float("inf"):
        raise InputError(
            f"{name} must be a number above 0 such as 1.8e9, 1.8B or 300M, got {given}"
        )
    return number


def _default(field: Field[Any]) -> Any:
    """Return the default of a field as a signature has it."""
    if field.default is not MISSING:
        return field.default
    return inspect.Parameter.empty if field.default_factory is MISSING else field.default_factory()
