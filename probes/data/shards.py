"""Tokens go to disk first in the order of reading, then in shards of packed sequences.

The tokens of one part of one corpus become one stream, cut into sequences of ``sequence_length +
1`` tokens that overlap by one: ``sequence_length`` predictions each, and every token but the first
is predicted once. All sequences have the same length, so a share of sequences is a share of
tokens. A shard is an ``.npy`` file with the stream of a run of sequences, mapped and never loaded.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

SHARD_TOKENS = 2**26
"""Tokens of a shard, about; 128 MiB of 16-bit ids."""


class TokenSpool:
    """The tokens of documents in the order of reading, to be read again in the order of their keys.

    Takes 16 bytes of memory a document; the tokens are on disk.

    Parameters
    ----------
    path : Path
        File to write; removed by the caller.
    dtype : dtype
        Type of the tokens.
    """

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._stream = open(path, "wb", buffering=2**20)
        self._keys = array("Q")
        self._lengths = array("Q")
        self._left_out: frozenset[int] = frozenset()
        self.num_tokens = 0

    def __len__(self) -> int:
        return len(self._keys) - len(self._left_out)

    def leave_out(self, keys: frozenset[int]) -> None:
        """Leave out documents that were added, by their keys; nothing can be added after that."""
        self._left_out = keys
        self.num_tokens -= sum(
            length for key, length in zip(self._keys, self._lengths, strict=True) if key in keys
        )

    def add(self, key: int, tokens: np.ndarray) -> None:
        """Append the tokens of a document."""
        self._stream.write(tokens.astype(self._dtype, copy=False).tobytes())
        self._keys.append(key)
        self._lengths.append(len(tokens))
        self.num_tokens += len(tokens)

    def in_order(self) -> Iterator[np.ndarray]:
        """Yield the tokens of every document, by key; nothing can be added after that."""
        self._stream.close()
        if not self.num_tokens:
            return
        tokens = np.memmap(self._path, dtype=self._dtype, mode="r")
        lengths = np.frombuffer(self._lengths, dtype=np.uint64).astype(np.int64)
        ends = np.cumsum(lengths)
        for document in np.argsort(np.frombuffer(self._keys, dtype=np.uint64), kind="stable"):
            if self._keys[document] in self._left_out:
                continue
            yield tokens[ends[document] - lengths[document] : ends[document]]

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Sequences:
    """Packed sequences in shards; rows are chosen by an array of numbers, as of one array.

    Parameters
    ----------
    shards : sequence of ndarray, shape (S_i, T + 1)
        Sequences of each shard, in their order.
    """

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        self._shards = list(shards)
        self._starts = np.cumsum([0, *map(len, shards)])
        self.dtype = shards[0].dtype
        self.shape = (int(self._starts[-1]), shards[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(
                f"sequences are 0 to {len(self) - 1}, got {rows.min()} to {rows.max()}"
            )
        chosen = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        homes = np.searchsorted(self._starts, rows, side="right") - 1
        for home in np.unique(homes):
            here = homes == home
            chosen[here] = self._shards[home][rows[here] - self._starts[home]]
        return chosen


def num_sequences(num_tokens: int, sequence_length: int) -> int:
    """Return how many sequences a stream of tokens holds.

    Examples
    --------
    >>> num_sequences(8, 3)
    2
    """
    return max(0, (num_tokens - 1) // sequence_length)


def pack(stream_L: np.ndarray, *, sequence_length: int) -> np.ndarray:
    """Cut a stream into sequences that overlap by one token; the rest is dropped.

    Parameters
    ----------
    stream_L : ndarray, shape (L,)
        Token ids.
    sequence_length : int
        Predictions T in a sequence.

    Returns
    -------
    ndarray, shape (S, T + 1)
        ``S = (L - 1) // T``; a read-only view of the stream.

    Examples
    --------
    >>> pack(np.arange(8), sequence_length=3).tolist()
    [[0, 1, 2, 3], [3, 4, 5, 6]]
    """
    windows = np.lib.stride_tricks.sliding_window_view(stream_L, sequence_length + 1)
    return windows[::sequence_length]


def write_shards(
    folder: Path,
    name: str,
    documents: Iterable[np.ndarray],
    *,
    sequences: int,
    sequence_length: int,
    dtype: np.dtype,
    shard_tokens: int = SHARD_TOKENS,
) -> list[str]:
    """Write the first sequences of a stream to ``<name>-00000.npy`` and so on.

    Parameters
    ----------
    folder : Path
        Where to write.
    name : str
        What file names begin with.
    documents : iterable of ndarray
        The stream, piece by piece; at least ``sequences * sequence_length + 1`` tokens.
    sequences, sequence_length : int
        How many sequences to write, and the predictions T of each.
    dtype : dtype
        Type of the tokens.
    shard_tokens : int
        Tokens of a shard; a shard has one sequence at least.

    Returns
    -------
    list of str
        The file names, in order. A shard begins with the last token of the one before.
    """
    per_shard = max(1, shard_tokens // sequence_length)
    pieces = _Pieces(documents)
    names: list[str] = []
    last = np.empty(0, dtype=dtype)
    for first in range(0, sequences, per_shard):
        num_tokens = min(per_shard, sequences - first) * sequence_length + 1
        names.append(f"{name}-{len(names):05d}.npy")
        with open(folder / names[-1], "wb") as stream:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype))}
            np.lib.format.write_array_header_1_0(
                stream, header | {"fortran_order": False, "shape": (num_tokens,)}
            )
            stream.write(last.tobytes())
            for piece in pieces.take(num_tokens - len(last)):
                stream.write(piece.astype(dtype, copy=False).tobytes())
                last = piece[-1:].astype(dtype)
            stream.flush()
            os.fsync(stream.fileno())
    return names


def read_shards(folder: Path, names: Sequence[str], *, sequence_length: int) -> Sequences:
    """Map shards that :func:`write_shards` wrote.

    Raises
    ------
    OSError, ValueError
        If a shard is missing or is not what it was.
    """
    streams = [np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in names]
    return Sequences([pack(stream, sequence_length=sequence_length) for stream in streams])


class _Pieces:
    """Takes exact numbers of tokens from an iterable of arrays."""

    def __init__(self, documents: Iterable[np.ndarray]) -> None:
        self._documents = iter(documents)
        self._rest = np.empty(0, dtype=np.uint16)

    def take(self, count: int) -> Iterator[np.ndarray]:
        while count:
            if not len(self._rest):
                self._rest = next(self._documents)
            piece, self._rest = self._rest[:count], self._rest[count:]
            count -= len(piece)
            if len(piece):
                yield piece
