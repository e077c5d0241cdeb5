"""Rows left out in closed form against krigings that never saw them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.fit.residual.kriging import Kriging, KrigingProblem
from cmrplan.fit.residual.left_out import LEFT_OUT_COLUMNS, left_out_log_losses
from cmrplan.fit.residual.observations import Observations

PROBES = Path(__file__).parents[3] / "data" / "probes" / "log.csv"


@pytest.fixture(scope="module")
def fit() -> cp.Fit:
    """A fit with steps shared by its runs, and two sizes."""
    log = cp.read_log(PROBES)
    few = log["domain_ratio"].isin((0.0, 0.1, 0.3, 0.6, 1.0))
    return cp.fit(log[(log["model_params"] > 2e5) & (log["seed"] == 0) & few], bootstrap=0)


def without(observed: Observations, rows: np.ndarray) -> Observations:
    """Return the observations without some rows, at the same references."""
    kept = np.flatnonzero(~rows)
    names = ("log_loss", "counts", "seeds", "run", "step")
    return dataclasses.replace(
        observed,
        rows=observed.rows.iloc[kept],
        points=observed.points.select(kept),
        **{name: getattr(observed, name)[kept] for name in names},
    )


@pytest.mark.parametrize("corpus", ["general", "domain"])
@pytest.mark.parametrize("by", ["run", "ratio"])
def test_it_is_what_a_fit_without_the_rows_predicts(fit: cp.Fit, corpus: str, by: str) -> None:
    model = fit.models[corpus]
    label = pd.factorize(model.left_out(by)[LEFT_OUT_COLUMNS[by]])[0]
    for kriging in model.modes:
        problem = kriging.problem
        found = left_out_log_losses(kriging, label)
        for one in np.unique(label):
            here = label == one
            rest = without(problem.observed, here)
            again = Kriging(KrigingProblem(rest, problem.mean, problem.has_residual), kriging.hyper)
            expected = again.log_loss(problem.observed.points.select(np.flatnonzero(here)))
            np.testing.assert_allclose(found[here], expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("corpus", ["general", "domain"])
def test_the_summary_has_the_mean_miss_and_the_worst(fit: cp.Fit, corpus: str) -> None:
    model, figures = fit.models[corpus], fit.summary()[corpus]
    for by, name in (("run", "run_id"), ("ratio", "domain_ratio")):
        table = model.left_out(by)
        assert set(table[name]) == set(fit.rows(corpus)[name])
        missed = (table["loss"] - table["predicted"]).abs()
        assert figures["left_out"][by]["mae"] == pytest.approx(missed.mean())
        mean = (table["loss"] - table["predicted"]).groupby(table[name]).mean()
        worst = mean.abs().idxmax()
        assert figures["left_out"][by]["worst"] == worst
        assert figures["left_out"][by]["worst_error"] == pytest.approx(mean[worst])
    # rows that were seen are missed less than rows that were not
    assert figures["mae"] < figures["left_out"]["run"]["mae"]


def test_the_text_of_a_fit_says_it(fit: cp.Fit) -> None:
    from cmrplan.report.text import fit_text

    worst = fit.summary()["general"]["left_out"]["run"]
    assert f"a run is missed by {worst['mae']:.4f} nats" in fit_text(fit)
