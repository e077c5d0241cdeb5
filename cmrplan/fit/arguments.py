"""Public functions name the keywords they take, and say which one a wrong name was meant to be."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args, get_type_hints

from cmrplan.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Accepted = ParamSpec("Accepted")
Returned = TypeVar("Returned")
Request = TypeVar("Request", bound="DataclassInstance")


def asked_of(kind: type[Request], request: Request | None, options: Mapping[str, Any]) -> Request:
    """Return a request with the options in the place of its own, or one of the options alone.

    Raises
    ------
    InputError
        If it is no request of that kind.
    """
    if request is None:
        return kind(**options)
    if not isinstance(request, kind):
        raise InputError(f"request must be a {kind.__name__}, got {type(request).__name__}")
    return replace(request, **options)


def named_arguments(
    function: Callable[Accepted, Returned], settings: type | None = None
) -> Callable[Accepted, Returned]:
    """Let a public function name its keywords: in its signature, and in the message on a wrong or missing one.

    The keywords that ``**options`` stands for are listed with their types, and with the defaults of ``settings``, or
    of the request that the function takes as ``request``.
    """
    signature = _listed_signature(function, settings)

    @functools.wraps(function)
    def checked(*args: Accepted.args, **kwargs: Accepted.kwargs) -> Returned:
        for name in kwargs:
            if name not in signature.parameters:
                raise InputError(_unknown_text(function.__name__, name, list(signature.parameters)))
        given = [*list(signature.parameters)[: len(args)], *kwargs]
        for name, parameter in signature.parameters.items():
            if parameter.default is inspect.Parameter.empty and name not in given:
                raise InputError(f"{function.__name__} needs {name}")
        return function(*args, **kwargs)

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked


def _listed_signature(function: Callable[..., Any], settings: type | None) -> inspect.Signature:
    """Return the signature with the fields of the options in the place of ``**options``."""
    signature = inspect.signature(function)
    hints = get_type_hints(function)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        (options,) = get_args(hints[parameter.name])
        defaults = _defaults(settings or _request_kind(hints["request"]))
        parameters += [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind
            )
            for name, kind in get_type_hints(options).items()
        ]
    return signature.replace(parameters=parameters, return_annotation=hints["return"])


def _request_kind(request_or_none: Any) -> type:
    """Return the request in ``Request | None``."""
    (kind,) = (one for one in get_args(request_or_none) if is_dataclass(one))
    return kind  # type: ignore[return-value]


def _defaults(kind: Any) -> dict[str, Any]:
    """Return the defaults of a dataclass; those that are built anew are shown empty."""
    return {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in fields(kind)
    }


def _unknown_text(function: str, name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}" if near else f"it takes {', '.join(known)}"
    return f"{function} has no argument {name}; {hint}"
