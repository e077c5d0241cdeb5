"""Resampling whole runs: counts and signs by run, shared by corpora, always the same."""

import numpy as np
import pytest

import cmrplan as cp
from cmrplan.fit.bootstrap import FEWEST_RUNS_TO_DRAW, resample_runs
from cmrplan.fit.corpus_model import student_scale
from cmrplan.fit.noise import Noise, Residuals

MANY = [f"run{k}" for k in range(FEWEST_RUNS_TO_DRAW)]


class TestResamples:
    def test_counts_sum_to_the_number_of_runs(self):
        found = resample_runs(MANY, count=30, seed=0)
        assert found.method == "runs"
        assert (found.multiplier.sum(axis=1) == len(MANY)).all()

    def test_all_rows_of_a_run_move_together(self):
        rows = [run for run in MANY for _ in range(3)]
        weights = resample_runs(MANY, count=5, seed=0).weights(rows)
        assert weights.shape == (5, len(rows))
        blocks = weights.reshape(5, len(MANY), 3)
        assert (blocks == blocks[:, :, :1]).all()

    def test_few_runs_keep_every_run_and_flip_signs(self):
        found = resample_runs(MANY[:-1], count=400, seed=0)
        assert found.method == "wild"
        assert set(np.unique(found.multiplier)) == {-1, 1}
        assert (found.weights(MANY[:4]) == 1).all()
        # a fair coin over 400 throws: five standard errors are 0.25
        assert abs(found.multiplier[:, 0].mean()) < 0.25

    def test_what_a_run_shares_is_drawn_and_the_rest_flipped(self):
        runs = [MANY[0], MANY[0], MANY[1], MANY[1]]
        left = Residuals(np.array([0.3, 0.1, -0.1, -0.3]), np.ones((4, 1)), runs)
        found = resample_runs(runs, count=2000, seed=0)
        # with endless freedom the factor is one, and the spread is that of the noise
        shifts = found.shifts("general", left, Noise(0.2, 0.0, 1e9))
        mean = (shifts[:, 0] + shifts[:, 1]) / 2
        # the standard error of a standard deviation over 2000 draws is 1.6 %
        assert np.std(mean) == pytest.approx(0.2, rel=0.08)
        # 0.1 off the run's mean, widened for one parameter of four rows
        assert np.abs(shifts[:, 0] - mean) == pytest.approx(
            np.full(2000, 0.1 * np.sqrt(4 / 3)), rel=1e-3
        )
        other = found.shifts("domain", left, Noise(0.2, 0.0, 1e9))
        assert abs(np.corrcoef(mean, other[:, :2].mean(axis=1))[0, 1]) < 0.12

    def test_few_degrees_of_freedom_widen_the_draws(self):
        level = np.random.default_rng(0).random((20000, 1))
        draws = student_scale(level, 3.0) * np.random.default_rng(1).standard_normal((20000, 1))
        # 0.95 quantile of Student's t with 3 degrees of freedom, from tables; 20,000 draws know it to 0.03
        assert np.quantile(draws, 0.95) == pytest.approx(2.353, abs=0.1)

    def test_names_and_their_repeats_do_not_matter(self):
        first = resample_runs(MANY, count=5, seed=3)
        second = resample_runs([name[::-1] for name in [*MANY, *reversed(MANY)]], count=5, seed=3)
        assert second.runs == tuple(name[::-1] for name in first.runs)
        assert (first.multiplier == second.multiplier).all()

    def test_seeds_differ(self):
        first, second = (resample_runs(MANY, count=5, seed=s).multiplier for s in (0, 1))
        assert (first != second).any()


class TestDraws:
    def test_general_and_domain_share_their_resamples(self, log):
        """A run that is drawn twice is drawn twice for both losses."""
        fit = cp.fit(log, bootstrap=5, seed=1)
        again = cp.fit(log[log["eval_corpus"] == "general"], bootstrap=5, seed=1)
        where = {"model_params": 1e6, "train_tokens": 1e6, "domain_ratio": 0.5}
        alone = again.predict("general", **where).draws
        assert fit.predict("general", **where).draws == pytest.approx(alone, rel=1e-12)

    def test_more_noise_between_runs_widens_the_interval(self):
        from simulated import simulated_log

        widths = []
        for noise in (0.001, 0.01):
            fit = cp.fit(simulated_log(noise=noise), bootstrap=60)
            low, high = fit.predict(
                "general", model_params=1e6, train_tokens=1e6, domain_ratio=0.5
            ).interval(0.9)
            widths.append(float(high[0] - low[0]))
        assert widths[1] > 3 * widths[0]

    def test_run_level_is_wider_than_row_level_where_runs_share_noise(self, log):
        """Noise is shared by a run, so treating rows as independent would be too sure."""
        where = {"model_params": 1e6, "train_tokens": 1e6, "domain_ratio": 0.5}
        rows = log.copy()
        training = rows["train_tokens"] > 0
        rows.loc[training, "run_id"] = [f"row{k}" for k in range(int(training.sum()))]
        widths = []
        for frame in (log, rows):
            fit = cp.fit(frame, "dcpt", bootstrap=200, method="runs")
            low, high = fit.predict("general", **where).interval(0.9)
            widths.append(float(high[0] - low[0]))
        assert widths[0] > 1.5 * widths[1]
