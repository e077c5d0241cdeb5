"""Results show themselves in a few lines, in a terminal and in a notebook: as a table, or as names and texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from html import escape

import pandas as pd

MOST_ROWS = 10
WIDTH = 26  # of a column of names


class Tabular(ABC):
    """A result with a table; a subclass that is a dataclass leaves its own repr out."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """Return the result as rows."""

    def __repr__(self) -> str:
        table = self.table()
        shown = table.to_string(max_rows=MOST_ROWS, max_cols=MOST_ROWS, line_width=None)
        return f"{type(self).__name__}, {len(table)} rows\n{shown}"

    def _repr_html_(self) -> str:
        return self.table().to_html(max_rows=MOST_ROWS, escape=True)


def rows_text(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return names and texts below a title, one a line, with a gap after a long name too."""
    gaps = ((name, "  " * (len(name) >= WIDTH), text) for name, text in rows)
    return "\n".join([title, *(f"  {name + gap:<{WIDTH}}{text}" for name, gap, text in gaps)])


def rows_html(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and texts as a table in HTML."""
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"
