"""The process above mixture laws, against closed forms of the posterior and worlds whose losses are known."""

import json

import numpy as np
import pandas as pd
import pytest
from known_mixtures import D, world
from scipy.optimize import check_grad
from scipy.spatial.distance import cdist

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import sealed
from cmrplan.fit.residual import mixture_process
from cmrplan.fit.residual.mixture_model import MOST_PROCESS_ROWS, KrigedMixture, process_rows
from cmrplan.fit.residual.mixture_process import MixtureProcess, fit_process
from cmrplan.mixture import loss_functions
from cmrplan.mixture.request import MixturePlanRequest
from cmrplan.mixture.simplex import gradient

AT = {"model_params": 1e8, "train_tokens": D}


def bump(shares):
    """What no law of mixtures holds: a valley of the log loss where two shares are near 0.3 each."""
    return -0.1 * np.exp(-np.sum((shares[..., :2] - 0.3) ** 2, axis=-1) / (2 * 0.12**2))


def bumped(runs, noise=0.002):
    """Return a log of three corpora whose losses have the valley above data mixing laws."""
    log = world(3, runs, noise=noise)
    trained = (log["train_tokens"] > 0).to_numpy()
    shares = log[["share_c0", "share_c1", "share_c2"]].to_numpy()
    log.loc[trained, "loss"] *= np.exp(bump(shares[trained]))
    return log


def without_noise(shares):
    """Return the true losses of the corpora at some mixtures, ``(3, n)``."""
    from known_mixtures import true_losses

    return true_losses(3, shares).T * np.exp(bump(shares))


def until_enough(shares):
    """Return losses that fall with the own share and hardly further beyond 0.45 of it, ``(n, 3)``."""
    return 1.8 + 0.1 * np.logaddexp(0, (0.45 - shares) / 0.1)


def mixture_log(shares, losses):
    """Return the log of a run at each mixture."""
    runs, corpora = np.indices(losses.shape)
    rows = pd.DataFrame(shares[runs.ravel()], columns=["share_c0", "share_c1", "share_c2"])
    names = {"run_id": runs.ravel().astype(str), "eval_corpus": [f"c{j}" for j in corpora.ravel()]}
    return rows.assign(model_params=1e8, train_tokens=D, loss=losses.ravel(), **names)


@pytest.fixture(scope="module")
def log():
    return bumped(60)


@pytest.fixture(scope="module")
def kriged(log):
    return cp.fit_mixture(log, bootstrap=100)


@pytest.fixture(scope="module")
def laws(log):
    return cp.fit_mixture(log, bootstrap=100, residual="none")


@pytest.fixture(scope="module")
def process():
    rng = np.random.default_rng(1)
    coordinates = rng.uniform(0, 2, (24, 2))
    runs = np.repeat(np.arange(12), 2)
    residual = 0.01 * (np.sin(2 * coordinates[:, 0]) + 0.2 * rng.standard_normal(24))
    return MixtureProcess(
        coordinates, runs, 0.01, np.log([0.5, 0.2, 1.5, 0.05, 0.02]), rng.uniform(1, 2, 24)
    ), residual


def covariance(process, one, other):
    """Return the prior covariance of the curve itself, in squared nats, by the formula of the docstring."""
    rate, amplitude = np.exp(process.log_hyper[:2]), np.exp(process.log_hyper[2])
    d = np.sqrt(5) * cdist(one * np.sqrt(rate), other * np.sqrt(rate))
    return process.unit**2 * (amplitude * (1 + d + d**2 / 3) * np.exp(-d) + 1)


def noise(process):
    run, own = np.exp(process.log_hyper[3:])
    same = process.runs[:, None] == process.runs[None, :]
    return process.unit**2 * (run * same + np.diag(own * process.raised))


class TestProcess:
    def test_the_estimate_is_the_posterior_mean(self, process):
        process, residual = process
        points = np.random.default_rng(2).uniform(0, 2, (7, 2))
        known = covariance(process, process.coordinates, process.coordinates) + noise(process)
        expected = covariance(process, points, process.coordinates) @ np.linalg.solve(
            known, residual
        )
        curves = process.curves(residual, np.empty((0, 24)), np.random.default_rng(3))
        np.testing.assert_allclose(curves(points)[0], expected, rtol=1e-8, atol=1e-12)

    def test_draws_scatter_as_the_posterior_does(self, process):
        process, residual = process
        points = np.array([[0.3, 0.4], [1.0, 1.5], [3.5, -1.0]])
        known = covariance(process, process.coordinates, process.coordinates) + noise(process)
        cross = covariance(process, points, process.coordinates)
        expected = covariance(process, points, points) - cross @ np.linalg.solve(known, cross.T)
        drawn = np.tile(residual, (4000, 1))
        curves = process.curves(residual, drawn, np.random.default_rng(4))
        values = curves(points)
        # 512 waves know a covariance of the prior to 1 / sqrt(1024), and 4,000 draws a deviation to 1.1 %
        spread = np.sqrt(covariance(process, points[:1], points[:1])[0, 0])
        np.testing.assert_allclose(
            values[1:].std(axis=0), np.sqrt(np.diag(expected)), atol=spread / np.sqrt(1024)
        )
        error = np.sqrt(np.diag(expected) / 4000)
        assert (np.abs(values[1:].mean(axis=0) - values[0]) < 5 * error).all()

    def test_a_draw_follows_what_its_own_laws_leave(self, process):
        process, residual = process
        quiet = MixtureProcess(
            process.coordinates, process.runs, process.unit,
            np.append(process.log_hyper[:3], [-14, -14]), process.raised,
        )  # fmt: skip
        drawn = np.stack([residual, -residual])
        values = quiet.curves(residual, drawn, np.random.default_rng(5))(quiet.coordinates)
        np.testing.assert_allclose(values[1:], drawn, atol=1e-4)

    def test_left_out_runs_are_predicted_by_the_others(self, process):
        process, residual = process
        left = process.left_out(residual)
        own = process.runs == 4
        rest = process.coordinates[~own]
        known = covariance(process, rest, rest) + noise(process)[np.ix_(~own, ~own)]
        told = covariance(process, process.coordinates[own], rest) @ np.linalg.solve(
            known, residual[~own]
        )
        np.testing.assert_allclose(left[own], residual[own] - told, rtol=1e-8, atol=1e-12)

    def test_the_gradient_of_the_posterior(self, process):
        process, residual = process
        first, second = np.triu_indices(24, 1)
        apart = (process.coordinates[first] - process.coordinates[second]).T ** 2
        same = (process.runs[:, None] == process.runs[None, :]).astype(float)
        about = apart, residual / process.unit, process.raised, np.zeros(5), same

        def value(hyper):
            return mixture_process._energy(hyper, *about)[0]

        def slope(hyper):
            return mixture_process._energy(hyper, *about)[1]

        assert check_grad(value, slope, process.log_hyper) < 1e-4 * np.linalg.norm(
            slope(process.log_hyper)
        )

    def test_a_coordinate_that_does_nothing_gets_a_small_rate(self):
        rng = np.random.default_rng(6)
        coordinates = rng.uniform(-1.5, 1.5, (60, 2))
        residual = np.sin(2 * coordinates[:, 0]) + 0.05 * rng.standard_normal(60)
        hyper = fit_process(coordinates, np.arange(60), residual).hyper
        assert hyper.rate[0] > 20 * hyper.rate[1]
        assert hyper.noise + hyper.run_noise < 0.05

    @pytest.mark.parametrize("number", [1, 4, 16])
    def test_where_rows_tell_nothing_the_distance_of_two_is_the_same_in_any_dimension(self, number):
        """Rows of variance 1 in each coordinate lie 2 sum(rate) apart on average, squared: 6 by the prior."""
        coordinates = np.random.default_rng(12).standard_normal((3, number))
        hyper = fit_process(coordinates, np.arange(3), np.array([0.5, 1.0, 1.4])).hyper
        assert 2 * hyper.rate.sum() == pytest.approx(6, rel=0.5)

    def test_a_row_far_outside_pulls_little(self):
        rng = np.random.default_rng(7)
        coordinates = rng.uniform(-1.5, 1.5, (60, 1))
        truth = np.sin(2 * coordinates[:, 0])
        measured = truth + 0.02 * rng.standard_normal(60)
        measured[10] += 3.0
        process = fit_process(coordinates, np.arange(60), measured)
        curve = process.curves(measured, np.empty((0, 60)), rng)(coordinates)[0]
        assert np.abs(np.delete(curve - truth, 10)).max() < 0.2


class TestFit:
    def test_it_halves_the_error_where_no_law_holds(self, kriged, laws):
        shares = np.random.default_rng(8).dirichlet(np.ones(3), 200)
        truth = without_noise(shares)
        errors = []
        for fit in (kriged, laws):
            order = [fit.corpora.index(f"c{j}") for j in range(3)]
            mixed = np.empty_like(shares)
            mixed[:, order] = shares
            said = fit.predict(mixed, **AT)
            errors.append(np.mean([np.abs(said[f"c{j}"].loss - truth[j]).mean() for j in range(3)]))
        assert errors[0] < 0.5 * errors[1]

    def test_intervals_hold_new_mixtures(self, kriged):
        shares = np.random.default_rng(9).dirichlet(np.ones(3), 200)
        truth = without_noise(shares)
        order = [kriged.corpora.index(f"c{j}") for j in range(3)]
        mixed = np.empty_like(shares)
        mixed[:, order] = shares
        held = []
        for j in range(3):
            low, high = kriged.predict(mixed, **AT)[f"c{j}"].interval(0.9)
            held.append(np.mean((low <= truth[j]) & (truth[j] <= high)))
        assert 0.8 < np.mean(held) <= 0.99

    def test_intervals_hold_losses_that_fall_until_there_is_enough(self):
        """Four worlds where laws of mixtures miss a bend by about the noise of a run: 0.85 to 0.95 is asked for."""
        held = []
        for seed in range(4):
            rng = np.random.default_rng(seed)
            probed, asked = rng.dirichlet(np.ones(3), 40), rng.dirichlet(np.ones(3), 200)
            noise = np.exp(0.001 * rng.standard_normal((40, 3)))
            fit = cp.fit_mixture(mixture_log(probed, until_enough(probed) * noise), bootstrap=100)
            said = fit.predict(pd.DataFrame(asked, columns=["c0", "c1", "c2"]), **AT)
            for j, truth in enumerate(until_enough(asked).T):
                low, high = said[f"c{j}"].interval(0.9)
                held.append(np.mean((low <= truth) & (truth <= high)))
        assert 0.85 <= np.mean(held) <= 0.95

    def test_where_a_law_holds_it_adds_little_error(self):
        """Four worlds of data mixing laws: what a process adds to the error of the laws alone, in sum."""
        total = np.zeros(2)
        for seed in range(4):
            log = world(3, 30, noise=0.003)
            rng = np.random.default_rng(seed)
            trained = (log["train_tokens"] > 0).to_numpy()
            log.loc[trained, "loss"] *= np.exp(0.003 * rng.standard_normal(trained.sum()))
            shares = rng.dirichlet(np.ones(3), 100)
            from known_mixtures import true_losses

            truth = true_losses(3, shares).T
            for k, residual in enumerate(("auto", "none")):
                fit = cp.fit_mixture(log, bootstrap=0, residual=residual)
                mixed = np.empty_like(shares)
                mixed[:, [fit.corpora.index(f"c{j}") for j in range(3)]] = shares
                said = fit.predict(mixed, **AT)
                total[k] += sum(np.abs(said[f"c{j}"].loss - truth[j]).mean() for j in range(3))
        assert total[0] <= 1.1 * total[1]

    def test_few_runs_and_named_laws_have_none(self, log):
        assert not any(
            isinstance(m, KrigedMixture)
            for m in cp.fit_mixture(bumped(15), bootstrap=0).models.values()
        )
        with pytest.raises(CmrplanError, match=r"has 15 runs, too few for a residual"):
            cp.fit_mixture(bumped(15), "data_mixing", bootstrap=0, residual="gp")
        named = cp.fit_mixture(log, "data_mixing", bootstrap=0)
        assert not any(isinstance(model, KrigedMixture) for model in named.models.values())
        asked = cp.fit_mixture(log, "data_mixing", bootstrap=0, residual="gp")
        assert all(isinstance(model, KrigedMixture) for model in asked.models.values())

    def test_the_parts_add_up(self, kriged):
        model = next(iter(kriged.models.values()))
        columns = model.rows.columns
        of_laws, added = model.parts(columns)
        np.testing.assert_allclose(of_laws + added, model.predict(columns).loss, rtol=1e-12)
        assert np.abs(added).max() > 0.01

    def test_draws_of_different_corpora_are_not_the_same_numbers(self, kriged):
        """What the processes add is unknown for each corpus by itself, while resamples of the laws are paired."""
        waves = [model.curves.directions for model in kriged.models.values()]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not np.isclose(waves[one], waves[other]).all()

    def test_other_names_and_another_order_give_the_same_numbers(self, log, kriged):
        names = {run: f"x{k}" for k, run in enumerate(reversed(sorted(log["run_id"].unique())))}
        other = log.assign(run_id=log["run_id"].map(names)).sample(frac=1, random_state=0)
        again = cp.fit_mixture(other.reset_index(drop=True), bootstrap=100)
        mixture = {"c0": 0.3, "c1": 0.3, "c2": 0.4}
        before, after = kriged.predict(mixture, **AT), again.predict(mixture, **AT)
        for corpus in before:
            np.testing.assert_allclose(after[corpus].loss, before[corpus].loss, rtol=1e-9)

    def test_a_long_log_is_thinned_evenly(self):
        rows = pd.DataFrame(
            {
                "run_id": np.repeat([f"r{k}" for k in range(40)], 50),
                "model_params": 1e8,
                "train_tokens": np.tile(np.arange(1, 51) * 1e6, 40),
                "share_a": np.repeat(np.linspace(0, 1, 40), 50),
                "loss": np.linspace(2, 3, 2000),
            }
        ).assign(share_b=lambda table: 1 - table["share_a"])
        known = process_rows(rows)
        assert len(known.loss) == MOST_PROCESS_ROWS
        assert np.bincount(known.runs).tolist() == [MOST_PROCESS_ROWS // 40] * 40
        last = pd.Series(known.columns["train_tokens"]).groupby(known.runs).max()
        assert (last == 50e6).all()


class TestPlan:
    def test_the_plan_sees_the_losses_that_the_fit_predicts(self, kriged):
        asked = MixturePlanRequest(train_tokens=D, protected={"c0": "3%"})
        functions = loss_functions.loss_functions_of(kriged, asked, {"c0": 2.0})
        shares = np.random.default_rng(10).dirichlet(np.ones(3), 5)
        said = kriged.predict(shares, **AT)
        for corpus in kriged.models:
            loss, draws = functions.loss(corpus, shares)
            np.testing.assert_allclose(loss, said[corpus].loss, rtol=1e-9)
            np.testing.assert_allclose(draws, said[corpus].draws, rtol=1e-9)
        weighed, excess = functions.of_draw(7)
        others = sum(said[corpus].draws[7] for corpus in ("c1", "c2"))
        np.testing.assert_allclose(weighed(shares), others, rtol=1e-9)
        np.testing.assert_allclose(excess(shares)[0, 0], said["c0"].draws[7] - 2.06, atol=1e-8)

    def test_derivatives_are_those_of_the_losses(self, kriged):
        asked = MixturePlanRequest(train_tokens=D, protected={"c0": "3%", "c1": "5%"})
        functions = loss_functions.loss_functions_of(kriged, asked, {"c0": 2.0, "c1": 2.0})
        shares = np.array([0.25, 0.35, 0.4])
        for function in (functions.objective, functions.excess, *functions.of_draw(3)):
            steps = 1e-4 * np.eye(3)
            up, down = function(shares + steps), function(shares - steps)
            np.testing.assert_allclose(
                gradient(function, shares), (up - down) / 2e-4, rtol=1e-4, atol=1e-6
            )

    def test_the_plan_finds_the_valley(self, kriged, laws):
        """The sum of the losses is lowest near equal parts of the two corpora; laws alone do not see the valley."""
        truth = {}
        for name, fit in (("kriged", kriged), ("laws", laws)):
            plan = cp.plan_mixture(fit, train_tokens=D)
            shares = np.array([[plan.shares[f"c{j}"] for j in range(3)]])
            truth[name] = without_noise(shares).sum()
        grid = np.random.default_rng(11).dirichlet(np.ones(3), 20000)
        best = without_noise(grid).sum(axis=0).min()
        assert truth["kriged"] - best < 0.01
        assert truth["kriged"] <= truth["laws"] + 1e-6


class TestFile:
    def test_it_reads_back_to_the_last_digit(self, kriged, tmp_path):
        cp.write_mixture_fit(kriged, tmp_path / "fit.json")
        again = cp.read_mixture_fit(tmp_path / "fit.json")
        mixture = {"c0": 0.2, "c1": 0.5, "c2": 0.3}
        before, after = kriged.predict(mixture, **AT), again.predict(mixture, **AT)
        for corpus in before:
            assert after[corpus].loss.tolist() == before[corpus].loss.tolist()
            assert after[corpus].draws.tolist() == before[corpus].draws.tolist()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda record: record["raised"].pop(), "rows"),
            (lambda record: record["log_hyper"].pop(), "hyperparameters"),
            (lambda record: record.update(unit=-1.0), "unit"),
            (lambda record: record.update(number=-1), "number"),
        ],
    )
    def test_a_process_of_another_log_is_refused(self, kriged, tmp_path, change, said):
        path = tmp_path / "fit.json"
        cp.write_mixture_fit(kriged, path)
        content = json.loads(path.read_text())
        change(content["state"]["models"]["c0"])
        del content["checksum"]
        path.write_text(json.dumps(sealed(content)))
        with pytest.raises(InputError, match=said):
            cp.read_mixture_fit(path)


def test_the_command_line_says_where_a_residual_stands(log, call, tmp_path):
    cp.write_log(log, tmp_path / "log.csv")
    told = call("mix", "fit", tmp_path / "log.csv", "--bootstrap", 0)
    assert told.code == 0, told.err
    assert "; with a residual" in told.out
    fitted = tmp_path / "fit.json"
    asked = (
        "mix",
        "predict",
        fitted,
        "--share",
        "c0=0.3",
        "--share",
        "c1=0.3",
        "--share",
        "c2=0.4",
    )
    call("mix", "fit", tmp_path / "log.csv", "--bootstrap", 0, "--out", fitted)
    for loss in call(*asked, "--parts", "--json").json()["losses"].values():
        assert loss["law"] + loss["residual"] == pytest.approx(loss["loss"], rel=1e-12)
        assert abs(loss["residual"]) > 0.01
    assert ", residual -0.0" in call(*asked, "--parts").out
    alone = call("mix", "fit", tmp_path / "log.csv", "--bootstrap", 0, "--residual", "none")
    assert alone.code == 0, alone.err
    assert "residual" not in alone.out
