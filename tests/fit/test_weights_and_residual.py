"""Weights and raw residuals leave no residual above the laws: the fit says so, and equal weights are no reason to."""

import numpy as np
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.fit.row_weights import states_no_weights


@pytest.fixture(scope="module")
def log():
    table = simulated_log(sizes=(3e5,), noise=0.001)
    return table.assign(loss_stderr=0.002)


def has_residual(fit):
    """Tell whether the laws were weighed with a residual, which this log may not need."""
    return all(model.follows_rows for model in fit.models.values())


def said(fit):
    return [one.message for one in fit.warnings if one.code == "residual_left_out"]


@pytest.mark.parametrize(
    ("options", "name"),
    [({"weights": "seeds"}, "--weights seeds"), ({"residuals": "raw"}, "--residuals raw")],
)
def test_what_drops_the_residual_is_said(log, options, name):
    fit = cp.fit(log, bootstrap=0, **options)
    assert not has_residual(fit)
    (message,) = said(fit)
    assert message.startswith(f"with {name} the fit is the laws alone")


def test_a_constant_standard_error_keeps_it(log):
    fit = cp.fit(log, bootstrap=0, weights="stderr")
    assert has_residual(fit)
    assert said(fit) == []
    asked = {"model_params": 3e5, "train_tokens": 1e6, "domain_ratio": 0.4}
    equal = cp.fit(log, bootstrap=0)
    for corpus in ("general", "domain"):
        np.testing.assert_array_equal(
            fit.predict(corpus, **asked).loss, equal.predict(corpus, **asked).loss
        )


def test_one_that_differs_does_not(log):
    rising = log.assign(loss_stderr=np.where(log["domain_ratio"] > 0.5, 0.004, 0.002))
    fit = cp.fit(rising, bootstrap=0, weights="stderr")
    assert not has_residual(fit)
    assert len(said(fit)) == 1


def test_laws_that_were_asked_for_alone_need_no_remark(log):
    assert said(cp.fit(log, bootstrap=0, residual="none", weights="seeds")) == []


def test_equal_weights_are_told_by_every_row(log):
    assert states_no_weights(log)
    assert not states_no_weights(log.drop(columns="loss_stderr"))
    assert not states_no_weights(log.assign(loss_stderr=[np.nan, *[0.002] * (len(log) - 1)]))
    assert not states_no_weights(log.assign(loss_stderr=0.0))
