"""The published laws and those of this project, one family a file; each is a :class:`~cmrplan.laws.law.Law`.

:mod:`cmrplan.laws.registry` lists them with what takes them.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from cmrplan.errors import InputError
from cmrplan.laws.law import Law
from cmrplan.laws.registry import REGISTRY


def build_law(name: str, options: dict[str, Any]) -> Law:
    """Return the law of a name with the options it was declared with.

    Raises
    ------
    InputError
        If there is no such law, or an option that it needs is missing or unknown.
    """
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, n=1)
        meant = f". Did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown law {name!r}; the laws are {', '.join(REGISTRY)}{meant}")
    builder = REGISTRY[name].builder
    try:
        inspect.signature(builder).bind(**options)
    except TypeError as error:
        raise InputError(f"law {name} cannot be built from {sorted(options)}: {error}") from None
    return builder(**options)


def required_options(name: str) -> tuple[str, ...]:
    """Return the options that :func:`build_law` cannot do without, such as the corpora of a mixture."""
    parameters = inspect.signature(REGISTRY[name].builder).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY)
