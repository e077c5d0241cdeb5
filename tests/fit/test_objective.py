"""What is minimized: Huber or squares, log or plain residuals, weights from stated errors or from seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares
from simulated import simulated_log

import cmrplan as cp
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.law_model import row_inputs
from cmrplan.fit.row_weights import PRIOR_DEGREES_OF_FREEDOM, row_weights
from cmrplan.plan.questions.law_panel import refit

WHERE = {"model_params": 3e5, "train_tokens": 1e6, "domain_ratio": [0.1, 0.4, 0.8]}


@pytest.fixture
def noisy():
    """One size, with a column loss_stderr that differs by run."""
    log = simulated_log(sizes=(3e5,), noise=0.01)
    odd = log["seed"] == 1
    return log.assign(loss_stderr=np.where(odd, 0.02, 0.004))


def refined(fit, rows, residual):
    """The exponential law's parameters, taken on by scipy from our optimum."""
    inputs = row_inputs("domain", rows)
    law = fit.law
    start = np.concatenate([fit.coefficients, np.exp(fit.search)])

    def miss(point):
        scaled = {n: v / fit.scales.get(n, 1.0) for n, v in inputs.items()}
        count = len(law.terms)
        return residual(law.predict(scaled, point[None, count:], point[None, :count])[0])

    return 0.5 * np.sum(miss(start) ** 2), least_squares(miss, start, xtol=1e-15, ftol=1e-15).cost


class TestObjective:
    @pytest.mark.parametrize("link", ["log", "identity"])
    def test_least_squares_is_scipys_optimum(self, noisy, link):
        rows = fitted_rows(noisy, "domain", 0.0)
        loss = rows["loss"].to_numpy()
        fit = fit_law_model(rows, "domain", law_name="dcpt_exp", delta=np.inf, link=link).fit
        assert not fit.at_bound  # scipy is given no bounds

        def residual(predicted):
            return np.log(loss / predicted) if link == "log" else loss - predicted

        ours, scipys = refined(fit, rows, residual)
        assert ours == pytest.approx(scipys, rel=1e-9)
        assert fit.objective == pytest.approx(ours, rel=1e-9)

    def test_weighted_least_squares_is_scipys_optimum(self, noisy):
        rows = fitted_rows(noisy, "domain", 0.0)
        loss, stderr = rows["loss"].to_numpy(), rows["loss_stderr"].to_numpy()
        model = fit_law_model(rows, "domain", law_name="dcpt_exp", delta=np.inf, weights="stderr")
        weights = (loss / stderr) ** 2 / np.mean((loss / stderr) ** 2)
        ours, scipys = refined(
            model.fit, rows, lambda predicted: np.sqrt(weights) * np.log(loss / predicted)
        )
        assert ours == pytest.approx(scipys, rel=1e-9)

    def test_huber_keeps_an_odd_row_from_pulling(self):
        log = simulated_log(sizes=(3e5,), noise=0.001)
        broken = log.copy()
        at = broken.index[(broken["eval_corpus"] == "general") & (broken["train_tokens"] > 9e5)][3]
        broken.loc[at, "loss"] += 0.5
        moved = {}
        for objective in ("huber", "least_squares"):
            before, after = (
                cp.fit(frame, "dcpt", bootstrap=0, objective=objective).predict("general", **WHERE)
                for frame in (log, broken)
            )
            moved[objective] = np.max(np.abs(after.loss - before.loss))
        assert moved["huber"] < 0.1 * moved["least_squares"]

    @pytest.mark.parametrize(
        "options", [{"residuals": "raw"}, {"weights": "seeds"}, {"weights": "stderr"}]
    )
    def test_answers_stay_near_and_read_back(self, noisy, tmp_path, options):
        plain = cp.fit(noisy, "dcpt", bootstrap=20).predict("general", **WHERE)
        noisy.loc[noisy["train_tokens"] == 0, "loss_stderr"] = np.nan  # base rows need none
        fit = cp.fit(noisy, "dcpt", bootstrap=20, **options)
        cp.write_fit(fit, tmp_path / "fit.json")
        again = cp.read_fit(tmp_path / "fit.json")
        assert again.settings == fit.settings
        assert len(refit(again, bootstrap=2).predict("general", **WHERE).draws) == 2
        found, back = fit.predict("general", **WHERE), again.predict("general", **WHERE)
        assert (found.loss == back.loss).all()
        assert (found.draws == back.draws).all()
        # noise of 0.01 a run, averaged over 14 runs: both are estimates of the same truth
        assert found.loss == pytest.approx(plain.loss, abs=0.015)
        assert (found.loss != plain.loss).all()

    def test_on_the_command_line(self, noisy, call, tmp_path):
        noisy.to_csv(tmp_path / "log.csv", index=False)
        options = [
            "--law",
            "dcpt",
            "--bootstrap",
            "5",
            "--objective",
            "least-squares",
            "--weights",
            "stderr",
        ]
        answer = call(
            "fit", str(tmp_path / "log.csv"), *options, "--out", str(tmp_path / "fit.json")
        )
        assert answer.code == 0, answer.err
        settings = cp.read_fit(tmp_path / "fit.json").settings
        assert (settings.objective, settings.weights) == ("least_squares", "stderr")


class TestWeights:
    def rows(self, losses, **columns):
        """One size, one token count, ratio by the first key, seeds along the list."""
        table = [
            {
                "run_id": f"{r}-{k}",
                "model_params": 1e6,
                "train_tokens": 1e5,
                "domain_ratio": r,
                "loss": x,
            }
            for r, seeds in losses.items()
            for k, x in enumerate(seeds)
        ]
        return pd.DataFrame(table).assign(eval_corpus="general", **columns)

    def test_stated_errors_by_hand(self):
        rows = self.rows({0.2: [2.0, 4.0]}, loss_stderr=[0.1, 0.1])
        # relative errors 1/20 and 1/40: weights 400 and 1600, divided by their mean
        assert row_weights(rows, "stderr") == pytest.approx([0.4, 1.6])

    def test_seeds_by_hand(self):
        rows = self.rows({0.2: np.exp([1.0, 1.2])})
        later = rows.assign(train_tokens=2e5, loss=np.exp([0.9, 0.94]))
        both = pd.concat([rows, later], ignore_index=True)
        # squares 0.02 and 0.0008 with one degree of freedom each; 0.0104 for the size
        variance = (np.array([0.02, 0.0008]) + PRIOR_DEGREES_OF_FREEDOM * 0.0104) / (
            1 + PRIOR_DEGREES_OF_FREEDOM
        )
        expected = np.repeat(1 / variance, 2)
        assert row_weights(both, "seeds") == pytest.approx(expected / expected.mean())

    def test_equal_weights_are_none(self):
        assert row_weights(self.rows({0.2: [2.0]}), "equal") is None

    def test_a_missing_error_is_named(self):
        rows = self.rows({0.2: [2.0, 2.1]}, loss_stderr=[0.1, np.nan])
        with pytest.raises(cp.InputError, match=r"0\.2-1.*nan.*100000"):
            row_weights(rows, "stderr")
        with pytest.raises(cp.InputError, match="column loss_stderr"):
            row_weights(rows.drop(columns="loss_stderr"), "stderr")

    def test_without_repeated_seeds_it_is_said(self):
        with pytest.raises(cp.CmrplanError, match="two seeds"):
            row_weights(self.rows({0.2: [2.0], 0.4: [2.1]}), "seeds")

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"objective": "squares"}, "objective"),
            ({"residuals": "percent"}, "residuals"),
            ({"weights": "seed"}, "weights"),
            ({"objective": "least_squares", "delta": 0.1}, "delta"),
            ({"law": "cmr", "weights": "seeds"}, "CMR"),
        ],
    )
    def test_what_cannot_be_is_refused(self, noisy, options, word):
        with pytest.raises(cp.InputError, match=word):
            cp.fit(noisy, bootstrap=0, **options)
