"""What was changed in settings is told by key and both values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flat_values(values: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """Return all values of nested mappings by dotted key.

    Examples
    --------
    >>> flat_values({"base": {"learning_rate": 0.001}, "batch_size": 8})
    {'base.learning_rate': 0.001, 'batch_size': 8}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = f"{key}.{name}" if key else name
        flat |= flat_values(value, inner) if isinstance(value, Mapping) else {inner: value}
    return flat


def change_text(key: str, before: Any, now: Any) -> str:
    """Return which value a key had and has.

    Examples
    --------
    >>> change_text("numerics.micro_batch_size", None, 8)
    'numerics.micro_batch_size was not set, now it is 8'
    """
    return f"{key} was {_told(before)}, now it is {_told(now)}"


def _told(value: Any) -> str:
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)
