"""Near-duplicates are training documents that are nearly the text of a validation document of the same corpus.

They let a run learn its own test. Two texts are near when the sets of their shingles, five words in a row, have a
Jaccard similarity of 0.8 or more. It is estimated by MinHash with 128 permutations (Broder, 1997), to about 0.035, and
candidates come from locality-sensitive hashing, so that the cost grows with the documents and not with their pairs. On
large corpora only so many documents are looked at, and the answer says so.
"""

from __future__ import annotations

import importlib.util
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHINGLE_WORDS = 5
"""Words of a shingle; a shorter text is one shingle."""

LEAST_SIMILARITY = 0.8
"""Estimated Jaccard similarity from which two documents count as near-duplicates."""

CANDIDATE_SIMILARITY = 0.6
"""Similarity that the hashing is set to, lower than what counts, so that few are missed."""

PERMUTATIONS = 128
"""Values of a signature."""

MOST_WORDS = 10_000
"""Words of a document that are looked at, from its beginning."""

MOST_VALIDATION_DOCUMENTS = 20_000
"""Validation documents of a corpus that are looked at; 10 KB of memory each, about."""

MOST_TRAINING_DOCUMENTS = {"report": 200_000, "drop": 2_000_000}
"""Training documents of a corpus that are looked at; a millisecond and 520 bytes of disk each, about."""


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates of a corpus.

    Parameters
    ----------
    keys : frozenset of int
        Keys of the training documents that are near to a validation document.
    checked : int
        Training documents that were looked at.
    is_whole : bool
        Whether these, and the validation documents, were all.
    """

    keys: frozenset[int]
    checked: int
    is_whole: bool

    def as_dict(self) -> dict[str, Any]:
        """Return counts and the rate as JSON-able values."""
        return {
            "documents": len(self.keys),
            "checked_documents": self.checked,
            "rate": len(self.keys) / self.checked if self.checked else 0.0,
            "is_whole": self.is_whole,
        }


def can_search() -> bool:
    """Tell whether the library for it is installed."""
    return importlib.util.find_spec("datasketch") is not None


def shingles(document: str) -> set[bytes]:
    """Return the distinct runs of five words of a text, in small letters.

    Examples
    --------
    >>> sorted(shingles("One two three four five six"))
    [b'one two three four five', b'two three four five six']
    """
    words = document.lower().split()[:MOST_WORDS]
    last = max(1, len(words) - SHINGLE_WORDS + 1)
    return {" ".join(words[start : start + SHINGLE_WORDS]).encode() for start in range(last)}


class NearDuplicateSearch:
    """Takes the documents of a corpus as they are read; signatures of training documents wait on disk.

    Parameters
    ----------
    path : Path
        File for them; removed by the caller.
    most_training, most_validation : int
        Documents that are looked at.
    """

    def __init__(
        self,
        path: Path,
        *,
        most_training: int,
        most_validation: int = MOST_VALIDATION_DOCUMENTS,
    ) -> None:
        from datasketch import MinHash, MinHashLSH

        self._path = path
        self._most = {False: most_training, True: most_validation}
        self._counts = {False: 0, True: 0}
        self._seen = {False: 0, True: 0}
        self._empty = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
        self._index = MinHashLSH(threshold=CANDIDATE_SIMILARITY, num_perm=PERMUTATIONS)
        self._signatures: dict[int, np.ndarray] = {}
        self._stream = open(path, "wb", buffering=2**20)

    def add(self, key: int, document: str, *, in_validation: bool) -> None:
        """Take in a document by its key."""
        self._seen[in_validation] += 1
        if self._counts[in_validation] >= self._most[in_validation]:
            return
        self._counts[in_validation] += 1
        signature = self._empty.copy()
        signature.update_batch(list(shingles(document)))
        values = np.asarray(signature.hashvalues, dtype=np.uint64)
        if in_validation:
            self._signatures[key] = values
            self._index.insert(key, signature)
        else:
            self._stream.write(np.array([(key, values)], dtype=_RECORD).tobytes())

    def near_duplicates(self) -> NearDuplicates:
        """Return the training documents that are near to a validation document; nothing can be added after that."""
        self._stream.close()
        keys = set()
        if self._counts[False]:
            for key, values in np.memmap(self._path, dtype=_RECORD, mode="r"):
                if self._is_near(values.astype(np.uint64)):
                    keys.add(int(key))
        return NearDuplicates(frozenset(keys), self._counts[False], self._seen == self._counts)

    def _is_near(self, values: np.ndarray) -> bool:
        signature = self._empty.copy()
        signature.hashvalues = values.astype(self._empty.hashvalues.dtype)
        return any(
            np.mean(values == self._signatures[candidate]) >= LEAST_SIMILARITY
            for candidate in self._index.query(signature)
        )

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


_RECORD = np.dtype([("key", np.uint64), ("values", np.uint32, (PERMUTATIONS,))])


def near_duplicates_text(corpus: str, counts: dict[str, Any], *, dropped: bool) -> str:
    """Return a sentence on the near-duplicates of a corpus."""
    whole = "" if counts["is_whole"] else "the first "
    fate = (
        "they were left out of training"
        if dropped
        else "validation losses may be too low; near_duplicates: drop leaves them out"
    )
    return (
        f"corpora.{corpus}: {counts['documents']} of {whole}{counts['checked_documents']} training documents "
        f"({counts['rate']:.2%}) are near-duplicates of validation documents; {fate}"
    )
