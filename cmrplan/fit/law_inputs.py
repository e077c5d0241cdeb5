"""From the columns of a log to what a law reads.

Laws of two corpora read ``share``, the target share: the share of training tokens from the corpus whose loss is
predicted, which is the domain ratio for the domain loss and one minus it for the general loss. The conversion stands
here and nowhere else. Laws of several corpora read the ``share_<corpus>`` columns as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.log.columns import share_columns

LawInputs = dict[str, Array]


def law_inputs(corpus: str, columns: Mapping[str, Array]) -> LawInputs:
    """Return a law's inputs by name, each ``(n,)``.

    Parameters
    ----------
    corpus : str
        The validation corpus whose loss is predicted.
    columns : mapping of str to array (n,)
        ``model_params``, ``train_tokens``, and ``domain_ratio`` or ``share_<corpus>`` columns.
    """
    inputs = {
        name: np.asarray(values, dtype=float)
        for name, values in columns.items()
        if name != "domain_ratio"
    }
    if "domain_ratio" in columns:
        ratio = np.asarray(columns["domain_ratio"], dtype=float)
        inputs["share"] = ratio if corpus == "domain" else 1.0 - ratio
    return inputs


def row_inputs(corpus: str, rows: pd.DataFrame) -> LawInputs:
    """Return a law's inputs for the rows of a log of one validation corpus."""
    mixture = ["domain_ratio"] if "domain_ratio" in rows else share_columns(rows)
    names = ["model_params", "train_tokens", *mixture]
    return law_inputs(corpus, {name: rows[name].to_numpy(dtype=float) for name in names})
