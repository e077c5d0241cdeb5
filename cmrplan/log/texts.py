"""Texts that come from files and from the system, as a page may publish them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PATH = re.compile(r"(?<![\w.~/:])(?:~[\w.-]*)?/(?:[^\s'\"(),;:]+/)*([^\s'\"(),;:/]*)")
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")


def anonymous(text: str, names: Iterable[str] = ()) -> str:
    """Return text without the folders of paths, network addresses, and names of machines and users.

    Parameters
    ----------
    text : str
    names : iterable of str
        Names of machines and users.

    Examples
    --------
    >>> anonymous("/home/ann/runs/metrics.jsonl is gone on gpu7 (10.0.0.7)", ["gpu7"])
    'metrics.jsonl is gone on NAME (ADDRESS)'
    """
    text = _ADDRESS.sub("ADDRESS", _PATH.sub(r"\1", text))
    for name in sorted({name for name in names if name}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "NAME", text)
    return text
