"""From the columns of a log to what a law reads.

Laws of two corpora read ``share``, the target share: the share of training tokens from the corpus whose loss is
predicted, which is the domain ratio for the domain loss and one minus it for the general loss. The conversion stands
here and nowhere else. Laws of several corpora read the ``share_<corpus>`` columns as they are.

Some laws read more: the columns of :data:`MORE_COLUMNS`. Of these, ``s1_cpt`` and ``s2_cpt`` (see
:mod:`cmrplan.fit.schedule_areas`) and ``base_loss`` follow from other columns of the whole log, and a fit adds them to
its rows before any are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.log.columns import share_columns

LawInputs = dict[str, Array]

MORE_COLUMNS = ("unique_domain_tokens", "s1_cpt", "s2_cpt", "base_loss")
# The base's own schedule is not in a log. One constant stands for its area; 8 is that of 20,000 steps at 4e-4.
BASE_S1 = 8.0


def law_inputs(corpus: str, columns: Mapping[str, Array]) -> LawInputs:
    """Return a law's inputs by name, each ``(n,)``.

    Parameters
    ----------
    corpus : str
        The validation corpus whose loss is predicted.
    columns : mapping of str to array (n,)
        ``model_params``, ``train_tokens``, and ``domain_ratio`` or ``share_<corpus>`` columns; what else a law reads.
    """
    inputs = {
        name: np.asarray(values, dtype=float)
        for name, values in columns.items()
        if name != "domain_ratio"
    }
    if "domain_ratio" in columns:
        ratio = np.asarray(columns["domain_ratio"], dtype=float)
        inputs["share"] = ratio if corpus == "domain" else 1.0 - ratio
        inputs["replay_ratio"] = 1.0 - ratio
    tokens = inputs["train_tokens"]
    unique = inputs.get("unique_domain_tokens", np.full_like(tokens, np.nan))
    # a row that does not say how many tokens its corpus holds never repeats them
    inputs["unique_tokens"] = np.where(np.isnan(unique), np.inf, unique)
    if "s1_cpt" in inputs:
        inputs["s1_pt"] = np.full_like(tokens, BASE_S1)
    return inputs


def row_columns(rows: pd.DataFrame) -> LawInputs:
    """Return the columns of a log that laws read, as arrays."""
    mixture = ["domain_ratio"] if "domain_ratio" in rows else share_columns(rows)
    more = [name for name in MORE_COLUMNS if name in rows]
    names = ["model_params", "train_tokens", *mixture, *more]
    return {name: rows[name].to_numpy(dtype=float) for name in names}


def row_inputs(corpus: str, rows: pd.DataFrame) -> LawInputs:
    """Return a law's inputs for the rows of a log of one validation corpus."""
    return law_inputs(corpus, row_columns(rows))


def require_inputs(law: str, needed: Iterable[str], inputs: Mapping[str, Array]) -> None:
    """Refuse inputs that lack one that a law reads.

    Raises
    ------
    CmrplanError
        Naming what is missing.
    """
    missing = [name for name in needed if name not in inputs]
    if missing:
        raise CmrplanError(
            f"the law {law} reads {', '.join(missing)}, which a size, a budget and a ratio do not tell; ask the fit, "
            "which knows its log, or give it"
        )
