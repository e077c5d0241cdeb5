"""Arrays as text that a page can hold and its script reads back.

Each number is rounded to a step, 4e-7 or so that the largest has 30 bits. The whole numbers are taken as differences
along the array, their four bytes stored apart, and everything is compressed (zlib) and written in base64. NaN and
infinity have a number of their own, the smallest.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cmrplan.arrays import Array

FINEST_STEP = 4e-7
LARGEST_WHOLE = 2**30
MISSING = -(2**31)


def packed(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return arrays as ``{"arrays": [{"name", "shape", "step"}, …], "data": base64}``.

    Examples
    --------
    >>> text = packed({"loss": np.array([[1.25, np.nan]])})
    >>> unpacked(text)["loss"]
    array([[1.25,  nan]])
    """
    described, planes = [], []
    for name, values in arrays.items():
        flat = np.asarray(values, dtype=float).reshape(-1)
        is_known = np.isfinite(flat)
        largest = float(np.max(np.abs(flat[is_known]), initial=0.0))
        step = max(FINEST_STEP, largest / LARGEST_WHOLE)
        whole = np.full(len(flat), MISSING, dtype=np.int64)
        whole[is_known] = np.round(flat[is_known] / step).astype(np.int64)
        change = np.diff(whole, prepend=0).astype(np.int32)  # wraps around, as the script does
        planes.append(change.astype("<i4").view(np.uint8).reshape(-1, 4).T.tobytes())
        described.append({"name": name, "shape": list(np.shape(values)), "step": step})
    return {"arrays": described, "data": packed_bytes(b"".join(planes))}


def packed_bytes(content: bytes) -> str:
    """Return bytes compressed, in base64."""
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def unpacked(text: Mapping[str, Any]) -> dict[str, Array]:
    """Return the arrays of :func:`packed`, as the script of the page reads them."""
    content = np.frombuffer(zlib.decompress(base64.b64decode(text["data"])), dtype=np.uint8)
    arrays, first = {}, 0
    for one in text["arrays"]:
        count = int(np.prod(one["shape"], dtype=int))
        planes = content[first : first + 4 * count].reshape(4, count)
        first += 4 * count
        change = np.ascontiguousarray(planes.T).view("<i4").reshape(-1)
        whole = np.cumsum(change, dtype=np.int32)
        values = np.where(whole == MISSING, np.nan, whole * one["step"])
        arrays[one["name"]] = values.reshape(one["shape"])
    return arrays
