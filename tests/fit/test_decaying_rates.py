"""Logs whose learning rate falls within runs: predictions are of finished runs.

The true losses fall with the sum of the rates and with how far a slow mean of the rate has come down, which is no law
of the library.
"""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.cli.app import run
from cmrplan.fit.residual.kriged_model import FORECAST_SPREAD
from cmrplan.fit.schedule_areas import RunSchedule, has_known_decay, run_schedules
from cmrplan.laws.learning_rate import schedule_areas

PEAK, STEP_TOKENS, STEPS = 1e-3, 2.0**16, 3000
RATIOS = (0.0, 0.05, 0.15, 0.3, 0.5, 0.75, 1.0)


def cosine(count):
    done = (np.arange(count) + 0.5) / count
    return PEAK * (0.1 + 0.45 * (1 + np.cos(np.pi * done)))


def true_losses(count, ratio, corpus, rate=None):
    """Return the loss after each step of a run of ``count`` steps."""
    rate = cosine(count) if rate is None else rate
    slow, mean = np.empty(count), rate[0]
    for k in range(count):
        mean = 0.99 * mean + 0.01 * rate[k]
        slow[k] = mean
    cooled, x = 1 - slow / rate.max(), np.cumsum(rate) / PEAK * STEP_TOKENS
    if corpus == "general":
        rise = 0.12 * (1 - np.exp(-x / 2e7)) * ratio**1.5
        return 3.0 + rise - 0.03 * np.log1p(x / 2e7) * (1 - ratio) - 0.05 * cooled
    gain = 0.25 * (1 - np.exp(-1.5 * (x / 1e8 * ratio) ** 0.5)) + 0.04 * np.log1p(x / 3e7) * ratio
    return 3.4 - gain - 0.06 * cooled


@pytest.fixture(scope="module")
def log():
    rng, rows = np.random.default_rng(0), []
    steps = np.linspace(STEPS / 10, STEPS, 10).astype(int)
    for ratio in RATIOS:
        for corpus, base in (("general", 3.0), ("domain", 3.4)):
            rows.append((f"r{ratio}", 1e8, 0.0, ratio, corpus, base, 0, PEAK))
            losses = true_losses(STEPS, ratio, corpus) + 0.001 * rng.standard_normal()
            rows += [
                (
                    f"r{ratio}",
                    1e8,
                    k * STEP_TOKENS,
                    ratio,
                    corpus,
                    losses[k - 1],
                    k,
                    cosine(STEPS)[k - 1],
                )
                for k in steps
            ]
    names = [
        "run_id",
        "model_params",
        "train_tokens",
        "domain_ratio",
        "eval_corpus",
        "loss",
        "step",
    ]
    table = pd.DataFrame(rows, columns=[*names, "learning_rate"])
    return table.assign(loss=table["loss"] + 0.0005 * rng.standard_normal(len(table)))


def misses(fit, count, corpus):
    """Return by how much finished runs of ``count`` steps are missed, and whether the 90 % interval holds them."""
    ratio = np.array([0.0, 0.1, 0.2, 0.4, 0.6, 0.9])
    truth = np.array([true_losses(count, r, corpus)[-1] for r in ratio])
    tokens = count * STEP_TOKENS
    loss = fit.predict(corpus, model_params=1e8, train_tokens=tokens, domain_ratio=ratio)
    low, high = loss.interval(0.9)
    return np.abs(loss.loss - truth), (low < truth) & (truth < high)


def test_a_finished_run_of_another_length_is_predicted(log, tmp_path):
    fit = cp.fit(log, bootstrap=50)
    blind = cp.fit(log.drop(columns="learning_rate"), bootstrap=50)
    for corpus in ("general", "domain"):
        missed, is_held = misses(fit, STEPS // 3, corpus)
        missed_blindly, _ = misses(blind, STEPS // 3, corpus)
        # The middle of a run lies 0.014 to 0.03 nats above a run that ended there.
        assert missed.mean() < missed_blindly.mean() / 3
        assert is_held.mean() >= 0.8
        assert misses(fit, STEPS, corpus)[0].max() < 0.004  # twice the noise of a run
    assert "decaying_schedule" not in {finding.code for finding in fit.warnings}
    cp.write_fit(fit, tmp_path / "fit.json")
    again = cp.read_fit(tmp_path / "fit.json")
    np.testing.assert_array_equal(
        misses(again, STEPS // 3, "general")[0], misses(fit, STEPS // 3, "general")[0]
    )


def test_each_size_has_its_own_rates(log):
    """A second size at a third of the rate, with the same losses: what it predicts does not depend on the unit."""
    large = log.assign(
        model_params=4e8,
        run_id="large-" + log["run_id"],
        learning_rate=log["learning_rate"] / 3,
    )
    fit = cp.fit(pd.concat([log, large], ignore_index=True), bootstrap=0)
    ratio = np.array([0.0, 0.1, 0.4, 0.9])
    for corpus in ("general", "domain"):
        truth = np.array([true_losses(STEPS // 3, r, corpus)[-1] for r in ratio])
        for size in (1e8, 4e8):
            loss = fit.predict(
                corpus,
                model_params=size,
                train_tokens=STEPS // 3 * STEP_TOKENS,
                domain_ratio=ratio,
            ).loss
            assert np.abs(loss - truth).mean() < 0.008  # a third of what the middle of a run is off


def test_the_middle_of_a_schedule_predicts_its_end(log):
    """The rates of the rest of the run are in the log; its losses are hidden."""
    rows = log[log["train_tokens"] <= 0.65 * log["train_tokens"].max()]
    fit, blind = cp.fit(rows, bootstrap=60), cp.fit(rows.drop(columns="learning_rate"), bootstrap=0)
    half = log[(log["run_id"] == "r0.5") & (log["eval_corpus"] == "domain")].iloc[1:]
    schedule = RunSchedule(
        *(half[name].to_numpy(float) for name in ("train_tokens", "step", "learning_rate"))
    )
    tokens = np.array([STEPS * STEP_TOKENS])
    errors, errors_blindly, held = [], [], []
    for corpus, ratio in itertools.product(("general", "domain"), RATIOS):
        truth = true_losses(STEPS, ratio, corpus)[-1]
        columns = {
            "model_params": np.array([1e8]),
            "train_tokens": tokens,
            "domain_ratio": np.array([ratio]),
        }
        end = fit.model_of(corpus).predict({**columns, **schedule.finished(tokens)})
        low, high = end.interval(0.9)
        errors.append(abs(end.loss[0] - truth))
        held.append(low[0] < truth < high[0])
        errors_blindly.append(abs(blind.model_of(corpus).predict(columns).loss[0] - truth))
    assert np.mean(held) >= 0.85
    assert np.mean(errors) < np.mean(errors_blindly)


def test_a_forecast_of_the_domain_loss_has_room_for_another_bend(log, monkeypatch):
    fit = cp.fit(log, bootstrap=50)
    at = {"model_params": 1e8, "train_tokens": 4 * STEPS * STEP_TOKENS, "domain_ratio": 0.5}
    widths = []
    for spread in (0.2, 0.0):
        monkeypatch.setitem(FORECAST_SPREAD, "domain", spread)
        low, high = fit.predict("domain", **at).interval(0.9)
        widths.append(float(high[0] - low[0]))
    assert widths[0] > 1.02 * widths[1]


def test_areas_of_a_stretched_schedule():
    """Its own length gives the areas that the recurrence gives; twice the length, those of the stretched rates."""
    steps = np.arange(1.0, 2001.0)
    schedule = RunSchedule(steps * STEP_TOKENS, steps, cosine(2000))
    for count in (2000, 4000):
        areas = schedule.finished(np.array([count * STEP_TOKENS]))
        s1, s2 = schedule_areas(cosine(count))
        assert areas["s1_cpt"][0] == pytest.approx(s1[-1], rel=1e-3)
        assert areas["s2_cpt"][0] == pytest.approx(s2[-1], rel=3e-3)
        assert areas["cooled"][0] == pytest.approx(
            1 - cosine(count)[-1] / cosine(count)[0], abs=1e-3
        )


def test_a_rate_that_ends_at_0_is_one_that_ends_near_0(log):
    is_last = log["train_tokens"] == log["train_tokens"].max()
    at = {"model_params": 4e8, "train_tokens": 1e9, "domain_ratio": 0.4}
    ends = [
        cp.fit(log.assign(learning_rate=log["learning_rate"].mask(is_last, end)), bootstrap=0)
        for end in (0.0, 1e-9 * PEAK)
    ]
    zero, near = (fit.predict("general", **at).loss[0] for fit in ends)
    assert zero == pytest.approx(near, abs=1e-6)


def test_when_rates_are_counted(log):
    assert has_known_decay(log)
    is_last = log["train_tokens"] == log["train_tokens"].max()
    assert has_known_decay(log.assign(learning_rate=log["learning_rate"].mask(is_last, 0.0)))
    assert not has_known_decay(log.assign(learning_rate=0.0))
    assert not has_known_decay(log.assign(learning_rate=log["learning_rate"].mask(is_last)))
    assert not has_known_decay(log.drop(columns="learning_rate"))
    assert not has_known_decay(log.assign(learning_rate=PEAK))
    assert not has_known_decay(log.assign(schedule="trunk_and_branch"))
    half = log["run_id"] == "r0.5"
    assert has_known_decay(log.assign(learning_rate=np.where(half, PEAK / 2, PEAK)))
    large = log.assign(model_params=4e8, run_id="large-" + log["run_id"])
    constant = [rows.assign(learning_rate=rate) for rows, rate in ((log, PEAK), (large, PEAK / 3))]
    assert not has_known_decay(pd.concat(constant))  # larger models have lower rates
    assert "cooled" not in cp.fit(log.assign(learning_rate=PEAK), "dcpt", bootstrap=0).log
    assert len(run_schedules(log, "auto")) == len(RATIOS)


@pytest.fixture(scope="module")
def fit(log):
    return cp.fit(log, bootstrap=40)


ASKED = np.array([0.0, 0.1, 0.4, 0.9])
LOGGED_PEAK = cosine(STEPS)[STEPS // 10 - 1]  # at the first evaluation


def ends_of(fit, corpus, steps=STEPS):
    return fit.predict(
        corpus, model_params=1e8, train_tokens=steps * STEP_TOKENS, domain_ratio=ASKED
    )


@pytest.mark.parametrize("corpus", ["general", "domain"])
def test_a_run_at_another_schedule_is_predicted(fit, corpus):
    """The middles of the runs say what a run that does not cool ends at, 0.05 and 0.06 nats above one that does."""
    steps = STEPS // 2
    truth = [true_losses(steps, r, corpus, np.full(steps, PEAK))[-1] for r in ASKED]
    under = cp.under_schedule(fit, "constant")
    end = ends_of(under, corpus, steps)
    assert (
        np.abs(end.loss - truth).mean()
        < np.abs(ends_of(fit, corpus, steps).loss - truth).mean() / 3
    )
    low, high = end.interval(0.9)
    assert ((low < truth) & (truth < high)).mean() >= 0.75
    assert "no run of the log had a constant schedule" in under.warnings[-1].message


@pytest.mark.parametrize("corpus", ["general", "domain"])
def test_a_run_at_half_the_peak_gets_less_far(fit, corpus):
    truth = [true_losses(STEPS, r, corpus, cosine(STEPS) / 2)[-1] for r in ASKED]
    halved = cp.under_schedule(fit, peak_rate=LOGGED_PEAK / 2)
    missed = np.abs(ends_of(halved, corpus).loss - truth).mean()
    assert missed < np.abs(ends_of(fit, corpus).loss - truth).mean() / 2
    assert "outside the peaks of the log (0.000978)" in halved.warnings[-1].message
    asked_cosine = cp.under_schedule(fit, "cosine", peak_rate=LOGGED_PEAK)
    assert ends_of(asked_cosine, corpus).loss == pytest.approx(ends_of(fit, corpus).loss, abs=0.002)
    assert asked_cosine.warnings == fit.warnings


def test_a_plan_says_what_other_peaks_would_do(fit, tmp_path, capsys):
    asked = {"model_params": 1e8, "train_tokens": STEPS * STEP_TOKENS, "max_general_rise": 0.05}
    table = cp.by_peak_rate(fit, cp.plan(fit, **asked))
    assert table["peak_rate"].to_numpy() / LOGGED_PEAK == pytest.approx(
        2 ** np.array([-1, -0.5, 0, 0.5, 1])
    )
    assert table["is_probed"].tolist() == [False, False, True, False, False]
    assert (np.diff(table["domain_loss"]) < 0).all()
    cp.write_fit(fit, tmp_path / "fit.json")
    asked = ["--model-params", "1e8", "--train-tokens", str(STEPS * STEP_TOKENS)]
    asked += ["--domain-ratio", "0.4", "--schedule", "constant", "--json"]
    assert run(["predict", str(tmp_path / "fit.json"), *asked]) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = ends_of(cp.under_schedule(fit, "constant"), "domain").loss[2]
    assert answer["domain_loss"] == pytest.approx(expected)
    assert answer["schedule"] == "constant"


def test_a_fit_that_knows_no_rates_refuses(log):
    fit = cp.fit(log.drop(columns="learning_rate"), bootstrap=0)
    with pytest.raises(cp.CmrplanError, match="log learning_rate"):
        cp.under_schedule(fit, "cosine")
    assert cp.under_schedule(fit) is fit
    with pytest.raises(cp.InputError, match="wsd"):
        cp.under_schedule(fit, "triangle")
