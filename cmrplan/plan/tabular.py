"""Results that are curves or lists show themselves as a short table, in a terminal and in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pandas as pd

MOST_ROWS = 10


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
