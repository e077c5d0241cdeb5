"""Whether a text file ends inside its last number: it has no final line end, and its last cell is too short."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import Code, Finding
from cmrplan.log.cells import LogFinding, RawLog, read_raw

_MOST_CELLS, _NEARLY_ALL = 1000, 0.8  # cells above the last one, and the share that must be longer
_LINE_ENDS = (b"\n", b"\r")


def cut_off_findings(raw: RawLog) -> list[LogFinding]:
    """Return the remark that the last number of a log may lack digits, if it may."""
    if not raw.ends_open or not _is_cut(raw.table.iloc[:, -1]):
        return []
    return [
        raw.finding(
            Code.CUT_OFF,
            f"{raw.source} ends without a line end, in a cell that is shorter than those above it",
            "Was it still being written, or cut in the copy? Its last number may lack digits.",
            rows=np.array([len(raw.table) - 1]),
            column=str(raw.table.columns[-1]),
        )
    ]


def cut_off_findings_of(log: pd.DataFrame | str | os.PathLike[str]) -> list[Finding]:
    """Return :func:`cut_off_findings` of a log that was read already; a frame has no end of a file.

    Only a file without a final line end is read again.
    """
    if isinstance(log, pd.DataFrame) or Path(log).suffix.lower() != ".csv":
        return []
    with open(log, "rb") as file:
        file.seek(-1, os.SEEK_END)
        ends_open = file.read(1) not in _LINE_ENDS
    remarks = cut_off_findings(read_raw(log)) if ends_open else []
    return [Finding(one.code, one.message) for one in remarks]


def _is_cut(cells: pd.Series[Any]) -> bool:
    """Return whether the last cell of a column has fewer characters than nearly all different ones above it.

    One value that stands in many rows, as the base loss does in those of every run, counts once: it may be rounded. A
    last cell that is such a value is whole.
    """
    texts = cells.tail(_MOST_CELLS).astype(str).str.strip()
    last, above = texts.iloc[-1], texts.iloc[:-1].drop_duplicates()
    is_shorter = len(last) < above.str.len().to_numpy()
    return bool(is_shorter.any() and is_shorter.mean() > _NEARLY_ALL and not (above == last).any())
