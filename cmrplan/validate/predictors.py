"""Laws and baselines behind one call: rows that may be seen in, losses of other rows out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.cmr_model import fit_curves
from cmrplan.fit.law_model import SURFACE_LAWS, fit_surface, row_inputs
from cmrplan.validate.baselines import BASELINES, Baseline

Predictor = Callable[[pd.DataFrame, pd.DataFrame, str], Array]


def predictors() -> dict[str, Predictor]:
    """Return every law and baseline by name.

    Each takes the rows to fit and the rows to predict, both of one corpus, and the corpus's name; it returns
    losses in nats per token, ``(n,)``, or raises :class:`CmrplanError` where it does not apply.
    """
    laws: dict[str, Predictor] = {name: _surface(name) for name in SURFACE_LAWS}
    return laws | {"cmr": _cmr} | {name: _baseline(call) for name, call in BASELINES.items()}


def _surface(name: str) -> Predictor:
    def predict(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
        surface = fit_surface(seen, corpus, None, law_name=name)
        return surface.fit.predict(row_inputs(corpus, wanted))

    return predict


def _cmr(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
    curves = fit_curves(seen, corpus, None)
    predicted = np.empty(len(wanted))
    places = wanted[["model_params", "train_tokens"]].to_numpy(dtype=float)
    ratio = wanted["domain_ratio"].to_numpy(dtype=float)
    if not np.all((ratio > 0) & ((ratio < 1) | (corpus == "domain"))):
        raise CmrplanError("the CMR ratio law holds strictly between 0 and 1")
    for size, tokens in np.unique(places, axis=0):
        rows = (places[:, 0] == size) & (places[:, 1] == tokens)
        predicted[rows], _ = curves.predict(float(size), float(tokens), ratio[rows])
    return predicted


def _baseline(call: Baseline) -> Predictor:
    return lambda seen, wanted, corpus: call(seen, wanted)
