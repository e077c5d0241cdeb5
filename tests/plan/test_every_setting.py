"""A table of answers holds at each stop what a plan says there."""

import re
from dataclasses import replace

import numpy as np
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.errors import CmrplanError
from cmrplan.numbers import Tolerance
from cmrplan.plan.questions.every_setting import ANSWER_FIELDS, BINDING_NAMES, every_setting
from cmrplan.plan.questions.slider_stops import slider_stops
from cmrplan.plan.request import PlanRequest

PLANNED = PlanRequest(model_params=3e6, train_tokens=4e6, max_general_rise="3%", domain_tokens=1e6)


@pytest.fixture(scope="module")
def fit(log):
    return cp.fit(log, law="dcpt", bootstrap=40)


@pytest.fixture(scope="module")
def table(fit):
    stops = slider_stops(fit, PLANNED)
    return every_setting(fit, PLANNED, replace(stops, train_tokens=(1e5, 1e6, 4e6)))


def asked_at(stops, n, d, k, c, u):
    return PlanRequest(
        model_params=stops.model_params[n],
        train_tokens=stops.train_tokens[d],
        max_general_rise=stops.tolerances[k],
        confidence=stops.confidences[c],
        domain_tokens=stops.domain_tokens[u],
    )


def random_settings(table, count, seed):
    shape = table.binding.shape
    drawn = np.random.default_rng(seed).integers(0, shape, size=(count, len(shape)))
    return [tuple(one) for one in drawn.tolist()]


def test_each_answer_is_that_of_a_plan_for_the_setting(fit, table):
    answered = 0
    for setting in random_settings(table, 40, seed=5):
        n, d, k, c, u = setting
        answers = dict(zip(ANSWER_FIELDS, table.answers[setting], strict=True))
        request = asked_at(table.stops, *setting)
        if table.binding[setting] == -1:
            assert np.isnan(list(answers.values())).all()
            # Why the supply leaves no ratio, or else the tolerance that the message names.
            needed = Tolerance(float(table.needed[n, d, c, u]), "fraction")
            reason = table.reasons.get((n, d, u), f"smallest feasible tolerance is {needed} ")
            with pytest.raises(CmrplanError, match=re.escape(reason)):
                cp.plan(fit, request)
            continue
        plan = cp.plan(fit, request)
        answered += 1
        said = plan.as_dict()
        # Both evaluate the same curves; what differs is the order in which sums are taken.
        for name, value in answers.items():
            assert value == pytest.approx(said[name], abs=1e-9), (name, setting)
        assert BINDING_NAMES[table.binding[setting]] == plan.binding
        assert table.best_estimate[n, d, k, u] == pytest.approx(
            plan.ratio.estimate, abs=1e-9, nan_ok=True
        )
        assert table.base_loss[n, d] == pytest.approx(plan.base_loss, abs=1e-12)
        assert table.limit[n, d, k] == pytest.approx(plan.general_loss_limit, abs=1e-12)
        assert table.replay_loss[n, d] == pytest.approx(plan.replay_loss, abs=1e-12)
    assert answered > 10


def test_losses_at_probed_sizes_and_budgets_are_predictions(fit, table):
    stops = table.stops
    n = stops.model_params.index(1e6)
    d = stops.train_tokens.index(1e6)
    for corpus in ("general", "domain"):
        loss, low, high = (
            getattr(table, f"{corpus}_{name}")[n, d, 0] for name in ("loss", "low", "high")
        )
        predicted = fit.predict(
            corpus, model_params=1e6, train_tokens=1e6, domain_ratio=stops.domain_ratio
        )
        np.testing.assert_allclose(loss, predicted.loss, atol=1e-12)
        for c, level in enumerate(stops.confidences):
            expected = predicted.interval(level)
            np.testing.assert_allclose(low[c], expected[0], atol=1e-12)
            np.testing.assert_allclose(high[c], expected[1], atol=1e-12)


def test_beyond_the_probes_losses_at_a_ratio_are_those_of_a_plan_held_there(fit, table):
    n, d, c, r = 2, len(table.stops.train_tokens) - 1, 2, 30
    ratio = float(table.stops.domain_ratio[r])
    plan = cp.plan(
        fit,
        model_params=table.stops.model_params[n],
        train_tokens=table.stops.train_tokens[d],
        min_ratio=ratio,
        max_ratio=ratio,
        max_general_rise="9nats",
        confidence=table.stops.confidences[c],
    )
    assert plan.domain_ratio == pytest.approx(ratio, abs=1e-12)
    assert table.general_loss[n, d, 0, r] == pytest.approx(plan.general_loss.estimate, abs=1e-9)
    assert table.general_low[n, d, 0, c, r] == pytest.approx(plan.general_loss.low, abs=1e-9)
    assert table.general_high[n, d, 0, c, r] == pytest.approx(plan.general_loss.high, abs=1e-9)
    assert table.domain_high[n, d, 0, c, r] == pytest.approx(plan.domain_loss.high, abs=1e-9)


def test_repeats_of_the_domain_corpus_count_where_they_are_allowed(fit):
    request = PlanRequest(
        model_params=1e6, train_tokens=4e6, max_general_rise=0.2, domain_tokens=5e5, max_epochs=4
    )
    stops = replace(slider_stops(fit, request), model_params=(1e6,), train_tokens=(4e6,))
    table = every_setting(fit, request, stops)
    n, d = 0, 0
    u = stops.domain_tokens.index(5e5)
    k = [str(tolerance) for tolerance in stops.tolerances].index("0.2 nats")
    plan = cp.plan(fit, request)
    answer = table.answers[n, d, k, stops.confidences.index(0.9), u]
    assert answer[0] == pytest.approx(plan.domain_ratio, abs=1e-9)
    assert answer[4] == pytest.approx(plan.general_loss.estimate, abs=1e-9)
    assert answer[7] == pytest.approx(plan.domain_loss.estimate, abs=1e-9)
    # So many losses are worked out at fewer ratios.
    step = np.diff(slider_stops(fit, request).domain_ratio).max()
    assert step == pytest.approx(0.025)
    assert np.diff(slider_stops(fit, replace(request, max_epochs=1)).domain_ratio).max() < 0.0101
    # Repeated tokens are worth less than fresh ones and harm, so losses are higher than of fresh ones.
    assert table.domain_loss[n, d, u, -1] > table.domain_loss[n, d, -1, -1] + 1e-4
    assert table.general_loss[n, d, u, -1] > table.general_loss[n, d, -1, -1] + 1e-4


def test_a_fit_of_single_budgets_answers_at_these(log):
    fit = cp.fit(log[(log["model_params"] == 1e6) & (log["seed"] == 0)], law="cmr", bootstrap=0)
    request = PlanRequest(model_params=1e6, train_tokens=1e6, max_general_rise="5%")
    stops = slider_stops(fit, request)
    assert stops.model_params == (1e6,)
    assert set(stops.train_tokens) <= set(log["train_tokens"])
    table = every_setting(fit, request, stops)
    d, k = stops.train_tokens.index(1e6), 4
    assert str(stops.tolerances[k]) == "5%"
    answer = table.answers[0, d, k, 0, -1, 0]
    assert answer == pytest.approx(cp.plan(fit, request).domain_ratio, abs=1e-9)


def test_stops_hold_what_was_planned_and_probed():
    fit = cp.fit(simulated_log(seeds=(0,)), law="dcpt", bootstrap=0)
    stops = slider_stops(fit, PLANNED)
    assert stops.model_params == (3e5, 1e6, 3e6)
    assert {1e6, 4e6} <= set(stops.train_tokens)
    assert len(stops.train_tokens) <= 9
    assert stops.domain_tokens == (4e5, 1e6, 2e6, None)
    assert stops.confidences == (0.9,)
    assert [str(one) for one in stops.tolerances][3] == "3%"
    assert {0.01, 0.05, 1.0} <= set(stops.domain_ratio)
