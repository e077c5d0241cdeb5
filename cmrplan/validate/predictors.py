"""Laws and baselines behind one call: rows that may be seen in, losses of other rows out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.cmr_model import fit_cmr_model
from cmrplan.fit.hold_outs import require_levels
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.law_model import row_inputs
from cmrplan.laws.registry import plain_ratio_laws
from cmrplan.validate.baselines import BASELINES, Baseline

Predictor = Callable[[pd.DataFrame, pd.DataFrame, str], Array]


def predictors() -> dict[str, Predictor]:
    """Return every law and baseline by name.

    Each takes the rows to fit and the rows to predict, both of one corpus, and the corpus's name; it returns
    losses in nats per token, ``(n,)``, or raises :class:`CmrplanError` where it does not apply.
    """
    laws: dict[str, Predictor] = {name: _ratio_law(name) for name in plain_ratio_laws()}
    return laws | {"cmr": _cmr} | {name: _baseline(call) for name, call in BASELINES.items()}


def _ratio_law(name: str) -> Predictor:
    def predict(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
        model = fit_law_model(seen, corpus, law_name=name)
        require_levels(model.fit.law, row_inputs(corpus, seen))
        return model.fit.predict(row_inputs(corpus, wanted))

    return predict


def _cmr(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
    model = fit_cmr_model(seen, corpus, None)
    ratio = wanted["domain_ratio"].to_numpy(dtype=float)
    if not np.all((ratio > 0) & ((ratio < 1) | (corpus == "domain"))):
        raise CmrplanError("the CMR ratio law holds strictly between 0 and 1")
    names = ("model_params", "train_tokens", "domain_ratio")
    return model.predict({name: wanted[name].to_numpy(dtype=float) for name in names}).loss


def _baseline(call: Baseline) -> Predictor:
    return lambda seen, wanted, corpus: call(seen, wanted)
