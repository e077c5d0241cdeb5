"""The token laws of runs are fitted once, however many parts of a log a comparison hides."""

import numpy as np
import pandas as pd

from cmrplan.fit import cmr_model
from cmrplan.fit.cmr_model import fit_cmr_model


def made_rows(level):
    """Return the general losses of five runs, whose token laws have four parameters and a constant."""
    rows = []
    for ratio in (0.1, 0.3, 0.5, 0.7, 0.9):
        for tokens in np.geomspace(1e6, 1e8, 8):
            loss = level + 0.1 * ratio * (tokens / 1e6) ** 0.1 - 0.05 * (tokens / 1e6) ** 0.2
            rows.append((f"r{ratio}", 1e7, tokens, ratio, "general", loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names)


def test_only_runs_that_changed_are_fitted_again(monkeypatch):
    fitted, fit_law = [], cmr_model.fit_law

    def counted(law, inputs, loss, **options):
        fitted.append(len(loss))
        return fit_law(law, inputs, loss, **options)

    monkeypatch.setattr(cmr_model, "fit_law", counted)
    rows = made_rows(2.125)
    whole = fit_cmr_model(rows, "general", None)
    assert fitted == [8] * 5
    without = fit_cmr_model(rows[rows["domain_ratio"] != 0.5], "general", None)
    assert fitted == [8] * 5
    shorter = fit_cmr_model(rows[rows["train_tokens"] < 9e7], "general", None)
    assert fitted == [8] * 5 + [7] * 5
    first = [model.curves(1e7)[0].fit for model in (whole, without, shorter)]
    assert first[0] is first[1]
    assert first[2].params != first[0].params
    assert len(without.curves(1e7)) == 4
