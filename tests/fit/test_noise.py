"""Noise of runs and of evaluations: against the textbook's analysis of variance and known simulations."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated import simulated_log

import cmrplan as cp
from cmrplan.fit.noise import Residuals, run_noise, seed_noise, within_runs


def one_way(num_runs, num_evaluations, run, checkpoint, seed=0):
    """Residuals about one common mean, which was fitted."""
    rng = np.random.default_rng(seed)
    y = run * np.repeat(rng.standard_normal(num_runs), num_evaluations)
    y = y + checkpoint * rng.standard_normal(len(y))
    names = [f"run{k}" for k in range(num_runs) for _ in range(num_evaluations)]
    return Residuals(y - y.mean(), np.ones((len(y), 1)), names)


class TestRunNoise:
    def test_is_the_analysis_of_variance_for_one_mean(self):
        """Balanced one-way layout: mean squares from scipy, variances by the textbook's formulas."""
        part = one_way(6, 5, run=0.02, checkpoint=0.01)
        groups = part.residual.reshape(6, 5)
        within = np.mean(np.var(groups, axis=1, ddof=1))
        between = stats.f_oneway(*groups).statistic * within
        found = run_noise([part])
        assert found.checkpoint**2 == pytest.approx(within, rel=1e-9)
        assert found.run**2 == pytest.approx((between - within) / 5, rel=1e-9)
        # a balanced sum of squares between R runs is chi-square with R - 1 degrees of freedom
        assert found.degrees_of_freedom == pytest.approx(5, rel=1e-9)

    def test_two_losses_double_the_degrees_of_freedom(self):
        part = one_way(6, 5, run=0.02, checkpoint=0.01)
        assert run_noise([part, part]).degrees_of_freedom == pytest.approx(10)
        assert run_noise([part, part]).run == pytest.approx(run_noise([part]).run)

    def test_a_fit_that_takes_up_runs_is_allowed_for(self):
        """A line through the runs' means uses up two of their degrees of freedom; on average the noise is right."""
        found = []
        for seed in range(300):
            rng = np.random.default_rng(seed)
            x = np.repeat(np.linspace(0, 1, 5), 4)
            noise = 0.03 * np.repeat(rng.standard_normal(5), 4) + 0.01 * rng.standard_normal(20)
            design = np.stack([np.ones(20), x], axis=1)
            residual = noise - design @ np.linalg.lstsq(design, noise, rcond=None)[0]
            found.append(run_noise([Residuals(residual, design, [f"{v}" for v in x])]))
        # the mean of 300 estimates with 3 degrees of freedom: relative standard error sqrt(2 / 900) = 0.05
        assert np.mean([n.run**2 for n in found]) == pytest.approx(0.03**2, rel=0.15)
        assert np.mean([n.checkpoint**2 for n in found]) == pytest.approx(0.01**2, rel=0.15)
        assert np.median([n.degrees_of_freedom for n in found]) == pytest.approx(3, abs=0.1)

    def test_no_noise_between_runs_gives_zero_not_less(self):
        residual = np.tile([0.01, -0.01], 4)
        part = Residuals(residual, np.ones((8, 1)), [f"run{k // 2}" for k in range(8)])
        assert run_noise([part]).run == 0

    def test_one_evaluation_a_run(self):
        part = one_way(6, 1, run=0.02, checkpoint=0.0)
        found = run_noise([part])
        assert found.run == pytest.approx(np.std(part.residual, ddof=1))
        assert found.checkpoint == 0
        assert within_runs(part) == pytest.approx(np.zeros(6))


class TestSeedNoise:
    def rows(self, table):
        return pd.DataFrame(
            [
                {
                    "model_params": 1e6,
                    "domain_ratio": 0.5,
                    "run_id": f"s{k}",
                    "train_tokens": t,
                    "loss": loss,
                }
                for k, losses in enumerate(table)
                for t, loss in enumerate(losses, start=1)
            ]
        )

    def test_by_hand_for_two_seeds(self):
        # the difference of the log losses is 0.02 at one count and 0.04 at the other: mean 0.03, rest 0.01
        logs = np.array([[1.0, 0.9], [1.02, 0.94]])
        found = seed_noise(self.rows(np.exp(logs)))
        within = 2 * 2 * 0.005**2  # four deviations of 0.005, one degree of freedom
        between = 2 * 2 * 0.015**2
        assert found.checkpoint == pytest.approx(np.sqrt(within))
        assert found.run == pytest.approx(np.sqrt((between - within) / 2))
        assert found.degrees_of_freedom == 1

    def test_recovers_what_a_log_was_made_with(self):
        log = simulated_log(seeds=range(6), noise=0.01)
        rows = log[(log["eval_corpus"] == "domain") & (log["train_tokens"] > 0)]
        found = seed_noise(rows)
        # noise is added to losses near 2.4; 14 settings x 5 degrees of freedom give 8 % of standard error
        typical = rows["loss"].mean()
        assert found.run == pytest.approx(0.01 / typical, rel=0.25)
        assert found.checkpoint == pytest.approx(0.003 / typical, rel=0.25)

    def test_without_repeats_there_is_none(self):
        assert seed_noise(self.rows([[2.0, 1.9]])) is None


class TestPrediction:
    def test_a_new_run_scatters_more_than_the_law(self):
        log = simulated_log(sizes=(3e5,), seeds=(0,), noise=0.01)
        fit = cp.fit(log, "dcpt", bootstrap=400)
        where = {"model_params": 3e5, "train_tokens": 1e6, "domain_ratio": 0.4}
        law = fit.predict("general", **where)
        run = fit.predict("general", **where, new_run=True)
        assert (run.loss == law.loss).all()
        spread = np.var(np.log(run.draws)) - np.var(np.log(law.draws))
        expected = fit.noise.run**2 + fit.noise.checkpoint**2
        # Student's t has a larger variance than the normal: by freedom / (freedom - 2)
        assert spread > 0.8 * expected

    def test_the_cmr_laws_have_no_noise_of_a_run(self):
        log = simulated_log(sizes=(3e5,), noise=0.001)
        fit = cp.fit(log, "cmr", bootstrap=5)
        with pytest.raises(cp.CmrplanError, match="law = 'dcpt'"):
            fit.predict(
                "general", model_params=3e5, train_tokens=1e6, domain_ratio=0.4, new_run=True
            )


def test_thousands_of_runs_need_no_matrix_of_runs_by_runs():
    # Of 20,000 runs that would take 3.2 GB. The variances are those that were drawn.
    generator = np.random.default_rng(5)
    values = 0.3 * generator.normal(size=(20_000, 1)) + 0.1 * generator.normal(size=(20_000, 2))
    residual = values.ravel() - values.mean()
    noise = run_noise(
        [Residuals(residual, np.ones((40_000, 1)), np.repeat(np.arange(20_000), 2).astype(str))]
    )
    # Three standard errors: 3 / sqrt(2 * 20000).
    assert noise.run == pytest.approx(0.3, rel=0.015)
    assert noise.checkpoint == pytest.approx(0.1, rel=0.015)
    assert noise.degrees_of_freedom == pytest.approx(19_999, rel=1e-6)
