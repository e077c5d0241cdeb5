"""The hash of a document's text says whether it counts, and in which part, in a few bytes each.

Two documents are the same when their texts are equal up to white space; the first that is read
counts. Which part a document belongs to depends on its own text alone, so adding documents never
moves one, and a text that is in both corpora falls on the same side of both.

Documents are known by the first 64 bits of their hash. Two that differ and share them would count
as one: with 100 million documents that happens once in 3,700 corpora.
"""

from __future__ import annotations

import hashlib

import numpy as np

_RECENT = 2**16
"""Keys that wait in a set before they are sorted into an array."""


def document_key(document: str) -> int:
    """Return the first 64 bits of the SHA-256 of a document's text with white space normalized."""
    return int.from_bytes(hashlib.sha256(" ".join(document.split()).encode()).digest()[:8])


def is_validation(key: int, validation_share: float) -> bool:
    """Tell from a document's key alone whether it belongs to the validation part."""
    return key >> 12 < validation_share * 2**52


class DocumentSet:
    """The keys seen so far, 8 bytes each.

    Examples
    --------
    >>> seen = DocumentSet()
    >>> seen.add(5), seen.add(5), 5 in seen
    (True, False, True)
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted: list[np.ndarray] = []  # each less than half as long as the one before

    def __contains__(self, key: int) -> bool:
        return key in self._recent or any(_has(keys, key) for keys in self._sorted)

    def __len__(self) -> int:
        return len(self._recent) + sum(map(len, self._sorted))

    def add(self, key: int) -> bool:
        """Take a key in and tell whether it is new."""
        if key in self:
            return False
        self._recent.add(key)
        if len(self._recent) == _RECENT:
            merged = np.sort(np.fromiter(self._recent, dtype=np.uint64, count=_RECENT))
            self._recent.clear()
            while self._sorted and len(self._sorted[-1]) <= 2 * len(merged):
                merged = np.concatenate([self._sorted.pop(), merged])
                merged.sort()
            self._sorted.append(merged)
        return True


class TextDigest:
    """A digest of a bag of texts: the sum of their SHA-256 modulo 2^256, whatever their order.

    Examples
    --------
    >>> one, other = TextDigest(), TextDigest()
    >>> for text in ("a", "b"):
    ...     one.add(text)
    >>> for text in ("b", "a"):
    ...     other.add(text)
    >>> str(one) == str(other)
    True
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, text: str) -> None:
        """Take a text in."""
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(text.encode()).digest())) % 2**256

    def __str__(self) -> str:
        return f"{self._sum:064x}"


def _has(keys: np.ndarray, key: int) -> bool:
    row = int(np.searchsorted(keys, np.uint64(key)))
    return row < len(keys) and int(keys[row]) == key
