"""The parameters of a fit as a table, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

COLUMNS = ("corpus", "law", "parameter", "estimate", "stderr", "low", "high")


def parameter_table(figures: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a corpus and parameter: estimate, standard error and interval, NaN where not known.

    Parameters
    ----------
    figures : mapping of str to mapping
        By corpus, as the summary of its model. Of laws that were averaged, the top-weighted one is shown.
    """
    rows = []
    for corpus, values in figures.items():
        law = values.get("members", [values])[0]["law"]
        for name, estimate in values["params"].items():
            low, high = values["interval"].get(name) or (None, None)
            rows.append((corpus, law, name, estimate, values["stderr"].get(name), low, high))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(COLUMNS[3:], float))
