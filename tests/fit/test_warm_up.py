"""Evaluations in the warm-up of the learning rate, which is no decay and anneals nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.fit.schedule_areas import AREA_COLUMNS, RunSchedule, has_known_decay, with_cooled
from cmrplan.laws.learning_rate import ANNEALING_DECAY
from cmrplan.laws.registry import AUTO

PROBES = Path(__file__).parents[2] / "data" / "probes" / "log.csv"
PEAK = 1e-3


@pytest.fixture(scope="module")
def log():
    return pd.read_csv(PROBES)


@pytest.fixture(scope="module")
def warming(log):
    """The log as if its first evaluations had been made in the warm-up."""
    first = log["train_tokens"].where(log["train_tokens"] > 0).min()
    in_warm_up = log["train_tokens"] == first
    assert in_warm_up.sum() > 10
    return log.assign(learning_rate=log["learning_rate"].where(~in_warm_up, 0.7 * PEAK))


def test_a_warm_up_is_no_decay(log, warming):
    assert not has_known_decay(warming)
    falling = log["train_tokens"] == log["train_tokens"].max()
    assert has_known_decay(log.assign(learning_rate=log["learning_rate"].where(~falling, 1e-4)))


def test_an_answer_between_sizes_does_not_depend_on_it(log, warming):
    asked = {"model_params": 6e5, "train_tokens": 8e5}
    limit = {"max_general_rise": "5%"}
    plain, warm = (cp.fit(each, bootstrap=50) for each in (log, warming))
    for corpus in ("general", "domain"):
        one, two = (f.predict(corpus, **asked, domain_ratio=[0.2, 0.8]) for f in (plain, warm))
        np.testing.assert_array_equal(one.draws, two.draws)
    assert cp.plan(plain, **asked, **limit).ratio == cp.plan(warm, **asked, **limit).ratio


def test_an_interval_between_sizes_stays_sane_where_peaks_differ(warming):
    """With two peaks the rates are read, and one of a hundred evaluations in a warm-up must not spread the rest."""
    ratio = warming["domain_ratio"].isin([0.25, 0.75])
    slower = warming.assign(learning_rate=warming["learning_rate"].where(~ratio, lambda r: r / 2))
    assert has_known_decay(slower)
    fit = cp.fit(slower, bootstrap=50)
    general = fit.predict("general", model_params=6e5, train_tokens=8e5, domain_ratio=0.5)
    base = warming.loc[(warming["train_tokens"] == 0) & (warming["eval_corpus"] == "general")]
    low, high = (bound[0] for bound in general.interval(0.9))
    assert base["loss"].min() - 0.2 < low < high < base["loss"].max() + 0.2


class TestAreas:
    tokens, steps = np.array([10.0, 20, 40, 60]), np.array([1.0, 2, 4, 6])

    def schedule(self, *rates):
        return RunSchedule(self.tokens, self.steps, np.array(rates) * PEAK)

    def test_a_warm_up_adds_to_the_sum_of_rates_alone(self):
        s1, s2 = self.schedule(0.5, 1, 1, 1).areas(self.tokens)
        np.testing.assert_allclose(s1, np.array([0.5, 1.5, 3.5, 5.5]) * PEAK)
        np.testing.assert_array_equal(s2, np.zeros(4))

    def test_what_falls_after_it_counts_as_without_it(self):
        # Falls of 0.25 a step after step 2: the k-th counts 1 + lambda + ... up to the step that is asked
        warm = self.schedule(0.5, 1, 0.5, 0.5).areas(self.tokens)[1]
        plain = self.schedule(1, 1, 0.5, 0.5).areas(self.tokens)[1]
        np.testing.assert_array_equal(warm, plain)
        after_4 = 0.25 * PEAK * ((1 + ANNEALING_DECAY) + 1)
        assert warm[2] == pytest.approx(after_4, rel=1e-12)

    def test_a_finished_run_too(self):
        warm, plain = (
            self.schedule(first, 1, 0.5, 0.5).finished(np.array([60.0])) for first in (0.5, 1)
        )
        assert warm[AREA_COLUMNS[1]] == pytest.approx(plain[AREA_COLUMNS[1]], rel=1e-12)
        assert warm[AREA_COLUMNS[0]] < plain[AREA_COLUMNS[0]]

    def test_a_rate_has_fallen_from_what_it_was_so_far(self):
        rates = [0.5, 1.0, 1.0, 0.25]
        rows = pd.DataFrame(
            {
                "run_id": "a",
                "model_params": 1e6,
                "train_tokens": [0, *self.tokens],
                "learning_rate": [0.0, *rates],
            }
        )
        shuffled = rows.sample(frac=1, random_state=1)
        cooled = with_cooled(shuffled).sort_index()["cooled"]
        np.testing.assert_allclose(cooled, [0, 0, 0, 0, 0.75])


def test_the_default_reads_no_rates_of_such_a_log(warming):
    assert "s2_cpt" not in cp.fit(warming, AUTO, bootstrap=0).log
