"""What readers of trainers' logs share: cells from rows of values, settings, names that tell runs apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmrplan.log.cells import LogFinding
from cmrplan.log.importers.changes import ends_open

_DEEPEST = 10  # levels of nested settings


def cells_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows of values by name as cells, None where a row has no number or text of that name."""
    columns = dict.fromkeys(name for row in rows for name in row)
    cells = {
        name: pd.Series([_scalar_of(row.get(name)) for row in rows], dtype=object)
        for name in columns
    }
    return pd.DataFrame(cells).dropna(axis=1, how="all") if cells else pd.DataFrame()


def _scalar_of(value: Any) -> Any:
    if isinstance(value, float):
        return str(value)  # so that NaN is a value, and None none
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def is_filled(cells: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Tell which cells hold something; NaN does, since a diverged run logs it."""
    values = cells.astype(object)
    return np.array(
        [not (cell is None or (isinstance(cell, str) and not cell.strip())) for cell in values],
        dtype=bool,
    )


def last_before(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return the cells with empty ones filled by the last one above them."""
    has_value = is_filled(cells) & cells.notna().to_numpy()
    last = np.maximum.accumulate(np.where(has_value, np.arange(len(cells)), 0))
    filled = cells.astype(object).where(has_value, None)
    return filled.iloc[last].set_axis(cells.index)


def flat_settings(settings: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, str]:
    """Return numbers and texts of nested settings by their names, joined with dots.

    Examples
    --------
    >>> flat_settings({"seed": 1, "model": {"value": {"params": 7e7}}})
    {'seed': '1', 'model.params': '70000000.0'}
    """
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = prefix if key == "value" and prefix else f"{prefix}.{key}".lstrip(".")
        if isinstance(value, Mapping):
            if depth < _DEEPEST:
                flat |= flat_settings(value, name, depth + 1)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            flat[name] = str(value)
    return flat


def unique_names(
    names: Sequence[Sequence[str]], pattern: re.Pattern[str] | None = None
) -> list[str]:
    """Return a name for each sequence of folders, outermost first: the last, or as many as tell all apart.

    Where a pattern is to read the names, they are as long as it needs to fit every one, if any length does.

    Examples
    --------
    >>> unique_names([["a", "x"], ["b", "x"]]), unique_names([["a", "x"], ["b", "y"]])
    (['a/x', 'b/x'], ['x', 'y'])
    >>> unique_names([["r0.1", "x"], ["r0.2", "y"]], re.compile("r"))
    ['r0.1/x', 'r0.2/y']
    """
    deepest = max((len(parts) for parts in names), default=1)
    by_depth = [["/".join(parts[-depth:]) for parts in names] for depth in range(1, deepest + 1)]
    apart = [called for called in by_depth if len(set(called)) == len(called)] or by_depth[-1:]
    fitting = (called for called in apart if pattern and all(map(pattern.search, called)))
    return next(fitting, apart[0])


def folders_of(paths: Sequence[Path]) -> list[tuple[str, ...]]:
    """Return the folders of each file, outermost first, and its name without the suffix behind them."""
    return [(*path.resolve().parent.parts, path.stem) for path in paths]


def whole_lines(text: str, source: str) -> tuple[list[str], tuple[LogFinding, ...]]:
    """Return the lines of a text that have a line end, and a remark where the last one has none."""
    lines = text.split("\n")
    is_open = bool(lines[-1].strip())
    return lines[:-1], (ends_open(source, "its last line was left out"),) if is_open else ()
