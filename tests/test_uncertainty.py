"""Resampling whole runs: counts and signs by run, shared by corpora, always the same."""

import numpy as np
import pytest

import cmrplan as cp
from cmrplan.uncertainty import FEWEST_RUNS_TO_DRAW, leave_run_out, resample_runs

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
        size = np.abs(found.multiplier)
        assert size == pytest.approx(np.repeat(size[:, :1], size.shape[1], axis=1))
        # the squared factor is freedom / chi-square, whose mean is freedom / (freedom - 2)
        assert np.mean(size[:, 0] ** 2) == pytest.approx(18 / 16, abs=0.1)
        assert (found.weights(MANY[:4]) == 1).all()
        noise = np.array([0.1, 0.2, 0.3])
        shifts = found.shifts([MANY[0], MANY[0], MANY[1]], 0 * noise, noise)
        assert shifts[:, 1] == pytest.approx(2 * shifts[:, 0])
        # a fair coin over 400 throws: five standard errors are 0.25
        assert abs(np.sign(found.multiplier[:, 0]).mean()) < 0.25

    def test_order_and_repeats_of_the_names_do_not_matter(self):
        first = resample_runs(MANY, count=5, seed=3)
        second = resample_runs([*reversed(MANY), *MANY], count=5, seed=3)
        assert first.runs == second.runs
        assert (first.multiplier == second.multiplier).all()

    def test_seeds_differ(self):
        first, second = (resample_runs(MANY, count=5, seed=s).multiplier for s in (0, 1))
        assert (first != second).any()


def test_leave_run_out_is_exact_for_a_linear_fit():
    """Residuals of a run under a least-squares fit to the other runs, computed by leaving it out."""
    rng = np.random.default_rng(0)
    design, target = rng.standard_normal((12, 3)), rng.standard_normal(12)
    runs = [f"run{k}" for k in range(6) for _ in range(2)]
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    found = leave_run_out(design, runs, target - design @ solution)
    for k in range(6):
        inside = np.array(runs) == f"run{k}"
        without, *_ = np.linalg.lstsq(design[~inside], target[~inside], rcond=None)
        expected = target[inside] - design[inside] @ without
        assert found[inside] == pytest.approx(expected, rel=1e-9)


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
            fit = cp.fit(frame, bootstrap=200, method="runs")
            low, high = fit.predict("general", **where).interval(0.9)
            widths.append(float(high[0] - low[0]))
        assert widths[0] > 1.5 * widths[1]
