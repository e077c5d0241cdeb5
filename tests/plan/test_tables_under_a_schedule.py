"""Tables that fit anew answer for the learning rate of the plan, or say that they cannot."""

import numpy as np
import pytest
from rated_logs import SIZE, TOKENS, largest_ratio, rated_log

import cmrplan as cp
from cmrplan.plan.questions.law_panel import law_panel, refit
from cmrplan.plan.questions.peak_rates import by_peak_rate
from cmrplan.report.tables import table_text

RISE = 0.05


@pytest.fixture(scope="module")
def fit():
    return cp.fit(rated_log(lengths=(2e9, 4e9)), bootstrap=20)


def asked(fit):
    return cp.plan(fit, model_params=SIZE, train_tokens=TOKENS, max_general_rise=RISE)


def test_what_is_fitted_anew_is_of_the_planned_schedule(fit):
    under = cp.under_schedule(fit, "constant")
    constant = largest_ratio(RISE, course="constant")
    assert largest_ratio(RISE) - constant > 0.1  # what the log's own schedule would answer
    again = refit(under, delta=1e-2)
    assert asked(again).ratio.estimate == pytest.approx(constant, abs=0.06)
    with pytest.raises(cp.CmrplanError, match="reads no learning rate"):
        refit(under, law="dcpt")


def test_laws_that_read_no_rate_do_not_disagree_with_a_planned_schedule(fit):
    under = cp.under_schedule(fit, "constant")
    panel = law_panel(under, asked(under), laws=["dcpt", "bilinear"])
    assert all("reads no learning rate" in one.reason for one in panel.answers)
    assert panel.warnings == ()
    own = law_panel(fit, asked(fit), laws=["bilinear"])
    assert np.isfinite(own.answers[0].domain_ratio)


def test_rates_in_a_table_can_be_told_apart(fit):
    shown = table_text(by_peak_rate(fit, asked(fit)))
    peaks = [line.split()[0] for line in shown.splitlines()[1:]]
    assert peaks == ["0.00013", "0.000184", "0.00026", "0.000368", "0.000521"]
