"""The covariance, its likelihood and its draws against plain linear algebra and finite differences."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

import cmrplan as cp
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.residual import hyper_posterior
from cmrplan.fit.residual.covariance import (
    matern,
    mean_cross,
    residual_covariance,
    walk,
)
from cmrplan.fit.residual.hyper import Hyper
from cmrplan.fit.residual.hyper_posterior import (
    Mode,
    fisher_information,
    hyper_samples,
    mode_of,
    near_mode,
    surveyed,
)
from cmrplan.fit.residual.kriging import (
    SMALLEST_VARIANCE,
    Kriging,
    KrigingProblem,
    posterior_paths,
)
from cmrplan.fit.residual.likelihood import minus_log_posterior
from cmrplan.fit.residual.mean_functions import OWN_LAWS, linearized_law, own_law
from cmrplan.fit.residual.observations import observations, thinned

PROBES = Path(__file__).parents[3] / "data" / "probes" / "log.csv"
SIZES, TOKENS, RATIOS = (3e6, 1e7), (1e7, 2e7, 4e7, 8e7), (0.0, 0.2, 0.5, 0.8, 1.0)
BASE = {3e6: 2.9, 1e7: 2.4}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Losses of no law, two sizes, five ratios, two seeds at one of them."""
    generator = np.random.default_rng(5)
    records = []
    for size in SIZES:
        for ratio in RATIOS:
            for seed in range(2 if ratio == 0.5 else 1):
                run = 0.002 * generator.standard_normal()
                for tokens in TOKENS:
                    rise = 0.05 * ratio**2 * np.log1p(tokens / 1e7) - 0.01 * np.sin(3 * ratio)
                    noise = run + 0.001 * generator.standard_normal()
                    loss = BASE[size] * np.exp(rise + noise)
                    records.append((f"{size:g}-{ratio}-{seed}", size, tokens, ratio, seed, loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "seed", "loss"]
    return pd.DataFrame(records, columns=names)


@pytest.fixture(scope="module")
def problems(rows: pd.DataFrame) -> dict[str, KrigingProblem]:
    """A problem for each mean function: four of this project, and a published law with and without a residual."""
    observed = observations("general", rows, BASE)
    own = {
        n: KrigingProblem(observed, own_law(n, observed.frame, is_anchored=True)) for n in OWN_LAWS
    }
    law = fit_law_model(rows.assign(eval_corpus="general"), "general", law_name="dcpt")
    mean = linearized_law("dcpt", law.fit, observed.points, is_anchored=True)
    return own | {
        "dcpt": KrigingProblem(observed, mean),
        "alone": KrigingProblem(observed, mean, False),
    }


NAMES = (*OWN_LAWS, "dcpt", "alone")


def found_mode(problem: KrigingProblem) -> Mode:
    """Return the most probable hyperparameters from the middle of their prior."""
    return mode_of(surveyed(near_mode(problem, None), np.random.default_rng(0)))


@pytest.fixture(scope="module")
def mode(problems: dict[str, KrigingProblem]) -> Kriging:
    """The exponential form at its most probable hyperparameters."""
    return found_mode(problems["bilinear_exp"]).kriging


@pytest.mark.parametrize("name", NAMES)
def test_gradient_of_the_likelihood_is_that_of_finite_differences(
    problems: dict[str, KrigingProblem], name: str
) -> None:
    problem = problems[name]
    here = problem.prior.mean + 0.1 * np.linspace(-1, 1, len(problem.prior.mean))
    _, gradient = minus_log_posterior(problem, here)
    step = 1e-5
    for k in range(len(here)):
        move = step * np.eye(len(here))[k]
        up, down = (minus_log_posterior(problem, here + s * move)[0] for s in (1, -1))
        assert gradient[k] == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_likelihood_is_that_of_a_normal_distribution(
    problems: dict[str, KrigingProblem], name: str
) -> None:
    """Differences between two points, so that constants drop out; scipy has the density."""
    problem = problems[name]
    prior = problem.prior

    def expected(hyper: np.ndarray) -> float:
        covariance = problem.covariance(hyper)
        density = multivariate_normal(np.zeros(len(covariance)), covariance).logpdf(problem.target)
        return float(-density + 0.5 * np.sum(((hyper - prior.mean) / prior.sd) ** 2))

    one, other = prior.mean, prior.mean + 0.2 * prior.sd
    change = minus_log_posterior(problem, other)[0] - minus_log_posterior(problem, one)[0]
    assert change == pytest.approx(expected(other) - expected(one), rel=1e-8, abs=1e-6)


def test_most_probable_is_a_minimum(mode: Kriging) -> None:
    value, gradient = minus_log_posterior(mode.problem, mode.hyper)
    free = np.abs(mode.hyper - mode.problem.prior.mean) < 3.99 * mode.problem.prior.sd
    information = fisher_information(mode, signs_of(mode, 64, 0))
    sd = np.diag(information + np.diag(mode.problem.prior.sd**-2)) ** -0.5
    assert np.max(np.abs(gradient * sd)[free]) < 1e-4
    generator = np.random.default_rng(0)
    for _ in range(20):
        near = mode.hyper + 0.05 * generator.standard_normal(len(mode.hyper))
        assert minus_log_posterior(mode.problem, near)[0] >= value - 1e-4


def test_parts_add_up_and_follow_the_rows(mode: Kriging) -> None:
    observed = mode.problem.observed
    law, residual = mode.parts(observed.points)
    assert law + residual == pytest.approx(mode.log_loss(observed.points))
    # runs scatter by 0.002 and evaluations by 0.001: the largest of 48 is within four of their root sum
    missed = mode.log_loss(observed.points) - observed.log_loss
    assert np.max(np.abs(missed)) < 4 * np.hypot(0.002, 0.001)
    assert np.std(residual) < np.std(law)


def test_draws_have_the_mean_and_covariance_of_the_posterior(mode: Kriging) -> None:
    """The exact posterior comes from conditioning a normal distribution."""
    columns = {
        "model_params": np.array([1e7, 1e7, 1e7, 3e7]),
        "train_tokens": np.array([8e7, 1.6e8, 8e7, 8e7]),
        "domain_ratio": np.array([0.35, 0.9, 0.0, 0.5]),
    }
    observed, hyper = mode.problem.observed, mode.hyper
    points = observed.frame.points(columns)

    def smooth(one, other):
        law = mean_cross(mode.problem.mean, one, other, hyper)
        return law + residual_covariance(one, other, hyper)

    cross = smooth(points, observed.points)
    noisy = mode.problem.covariance(hyper)
    covariance = smooth(points, points) - cross @ np.linalg.solve(noisy, cross.T)
    draws = np.concatenate(
        [posterior_paths(mode, 500, np.random.default_rng(k)).log_loss(points) for k in range(12)]
    )
    sd = np.sqrt(np.diag(covariance))
    assert np.abs(draws.mean(axis=0) - mode.log_loss(points)) == pytest.approx(
        0, abs=0.15 * sd.max()
    )
    # random features are shared by 500 draws, so twelve of them stand behind these 6,000
    assert draws.std(axis=0) == pytest.approx(sd, rel=0.1)
    correlation = covariance / np.outer(sd, sd)
    assert np.corrcoef(draws.T) == pytest.approx(correlation, abs=0.12)


def signs_of(mode: Kriging, count: int, seed: int) -> np.ndarray:
    """Return random signs for each row, ``(n, count)``."""
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=(len(mode.problem.target), count))


def test_information_is_that_of_the_trace_formula(mode: Kriging) -> None:
    """``tr(K^-1 dK K^-1 dK) / 2`` with the covariance differentiated numerically."""
    inverse = np.linalg.inv(mode.problem.covariance(mode.hyper))
    step = 1e-5
    slopes = []
    for k in range(len(mode.hyper)):
        move = step * np.eye(len(mode.hyper))[k]
        up, down = (mode.problem.covariance(mode.hyper + s * move) for s in (1, -1))
        slopes.append(inverse @ (up - down) / (2 * step))
    expected = np.array([[0.5 * np.sum(a * b.T) for b in slopes] for a in slopes])
    # as many probes as there are rows, orthogonal, so that nothing is left to chance
    rows = len(mode.problem.target)
    information = fisher_information(mode, np.sqrt(rows) * np.eye(rows))
    assert information == pytest.approx(expected, rel=1e-3, abs=1e-3 * np.max(np.abs(expected)))


def test_samples_scatter_as_their_information_says(mode: Kriging) -> None:
    signs = signs_of(mode, 64, 1)
    information = fisher_information(mode, signs)
    samples = hyper_samples(Mode(mode, signs, information, 0.0), 4000, np.random.default_rng(2))
    expected = np.linalg.inv(information + np.diag(mode.problem.prior.sd**-2))
    assert samples.mean(axis=0) == pytest.approx(mode.hyper, abs=0.05)
    assert samples.std(axis=0) == pytest.approx(np.sqrt(np.diag(expected)), rel=0.08)


def test_evidence_prefers_the_law_that_is_true() -> None:
    """Losses of the D-CPT form: it alone has more evidence than any form with a residual."""
    ratio, tokens = (
        v.ravel() for v in np.meshgrid(np.linspace(0, 1, 8), np.geomspace(1e7, 1e8, 7))
    )
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(ratio))
    loss = (1.8 + 0.3 * ratio**0.3 / (tokens / 1e7) ** 0.4 + 0.1 / (ratio + 0.1) ** 0.6) * np.exp(
        noise
    )
    rows = pd.DataFrame(
        {
            "run_id": [f"r{r:g}" for r in ratio],
            "model_params": 1e7,
            "train_tokens": tokens,
            "domain_ratio": ratio,
            "loss": loss,
        }
    )
    observed = observations("domain", rows, {})
    law = fit_law_model(rows, "domain", law_name="dcpt")
    means = {n: (own_law(n, observed.frame, is_anchored=False), True) for n in OWN_LAWS}
    means["dcpt"] = (linearized_law("dcpt", law.fit, observed.points, is_anchored=False), False)
    evidence = {}
    for name, (mean, has_residual) in means.items():
        problem = KrigingProblem(observed, mean, has_residual)
        evidence[name] = found_mode(problem).log_evidence
    assert max(evidence, key=evidence.__getitem__) == "dcpt"


def test_many_evaluations_of_a_run_become_means() -> None:
    tokens = np.geomspace(1e6, 1e9, 400)
    rows = pd.concat(
        pd.DataFrame(
            {
                "run_id": f"r{ratio}",
                "model_params": 1e7,
                "train_tokens": tokens,
                "domain_ratio": ratio,
                "loss": 2.0 + tokens**-0.1,
            }
        )
        for ratio in (0.0, 0.5, 1.0)
    )
    thin = thinned(rows)
    assert len(thin) == 360
    assert thin["count"].sum() == 1200
    assert thin.groupby("run_id")["count"].sum().tolist() == [400, 400, 400]
    # a mean of logs over a bin lies on the smooth curve
    curve = 2.0 + thin["train_tokens"].to_numpy() ** -0.1
    assert thin["loss"].to_numpy() == pytest.approx(curve, rel=1e-4)
    few = rows[rows["train_tokens"] > 5e8]
    assert thinned(few)["loss"].tolist() == few["loss"].tolist()


def test_many_runs_are_pooled_with_their_neighbors() -> None:
    ratios = np.linspace(0, 1, 201).round(3)
    rows = pd.DataFrame(
        [
            (f"r{ratio}-{seed}", 1e7, tokens, ratio, seed, np.exp(1 - ratio + 0.001 * seed))
            for ratio in ratios
            for seed in (0, 1)
            for tokens in (1e6, 2e6, 4e6, 8e6)
        ],
        columns=["run_id", "model_params", "train_tokens", "domain_ratio", "seed", "loss"],
    )
    observed = observations("general", rows, BASE)
    assert 300 < len(observed.log_loss) <= 360
    thin = observed.rows
    first = thin[thin["run_id"] == thin["run_id"].iloc[0]]
    assert first["pooled_runs"].tolist() == [4.0, 4.0, 4.0]  # both seeds of 0 and of 0.005
    assert first["domain_ratio"].tolist() == pytest.approx([0.0025] * 3)
    expected = 1 - 0.0025 + 0.0005
    assert np.log(first["loss"]).tolist() == pytest.approx([expected] * 3)
    assert thin["pooled_runs"].sum() == 3 * 402
    assert observed.seeds.tolist() == thin["pooled_runs"].tolist()
    mixed = observations("general", rows.sample(frac=1, random_state=1), BASE)
    assert np.sort(mixed.log_loss) == pytest.approx(np.sort(observed.log_loss), rel=1e-12)


def test_order_of_rows_changes_nothing(rows: pd.DataFrame) -> None:
    observed = observations("general", rows, BASE)
    mixed = observations("general", rows.sample(frac=1, random_state=1), BASE)
    mean = own_law("bilinear", observed.frame, is_anchored=True)
    here = KrigingProblem(observed, mean).prior.mean
    values = [minus_log_posterior(KrigingProblem(o, mean), here)[0] for o in (observed, mixed)]
    assert values[0] == pytest.approx(values[1], rel=1e-10)


def test_matern_is_the_published_function() -> None:
    """Rasmussen & Williams 2006, equation 4.17: (1 + sqrt(5) d + 5 d^2 / 3) exp(-sqrt(5) d)."""
    d = np.array([0.0, 0.3, 1.0, 4.0])
    value, by_log_length = matern(d)
    assert value == pytest.approx((1 + 5**0.5 * d + 5 * d**2 / 3) * np.exp(-(5**0.5) * d))
    step = 1e-6
    shorter, longer = matern(d / np.exp(-step))[0], matern(d / np.exp(step))[0]
    assert by_log_length == pytest.approx((longer - shorter) / (2 * step), abs=1e-8)


def test_walk_has_independent_sides_and_linear_variance() -> None:
    size = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
    covariance = walk(size, size)
    assert np.diag(covariance).tolist() == [2.0, 0.5, 0.0, 1.0, 3.0]
    assert covariance[0, 1] == 0.5
    assert covariance[3, 4] == 1.0
    assert np.all(covariance[:2, 2:] == 0)


def test_without_a_residual_nothing_is_left_to_it(problems: dict[str, KrigingProblem]) -> None:
    problem = problems["alone"]
    mode = Kriging(problem, near_mode(problem, None).hyper)
    _, residual = mode.parts(problem.observed.points)
    assert np.max(np.abs(residual)) < 1e-6
    assert np.exp(mode.hyper[Hyper.AMPLITUDE]) < 2e-6


@pytest.mark.parametrize("name", OWN_LAWS)
def test_features_have_their_analytic_slopes(
    problems: dict[str, KrigingProblem], name: str
) -> None:
    problem = problems[name]
    points, shape = problem.observed.points, problem.mean.shape_prior.mean + 0.05
    _, slopes = problem.mean.features(points, shape)
    step = 1e-6
    for k in range(len(shape)):
        move = step * np.eye(len(shape))[k]
        up, down = (problem.mean.features(points, shape + s * move)[0] for s in (1, -1))
        assert slopes[k] == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_a_direction_of_a_law_has_bounds_between_the_shares_that_were_probed() -> None:
    """Shares of 0, 0.9 and 1 do not say how fast the loss falls between: a draw there must be wide, not wild."""
    rows = fitted_rows(cp.read_log(PROBES), "domain", 0.0)
    rows = rows[rows["domain_ratio"].isin([0.0, 0.9, 1.0])].reset_index(drop=True)
    observed = observations("domain", rows, {})
    law = fit_law_model(rows, "domain", law_name="dcpt_product_exp")
    mean = linearized_law("dcpt_product_exp", law.fit, observed.points, is_anchored=False)
    ratio = np.linspace(0, 1, 41)
    tokens = np.full(41, observed.frame.train_tokens)
    for size in np.unique(rows["model_params"]):
        columns = {"model_params": np.full(41, size), "train_tokens": tokens, "domain_ratio": ratio}
        features, _ = mean.features(observed.frame.points(columns), np.zeros(0))
        # of n numbers whose mean square is one, none is above the root of n
        assert np.max(np.abs(features[:, 2:])) < np.sqrt(len(observed.log_loss) + 3 * 41)


def test_published_law_gives_its_fit_back_where_it_is_alone(rows: pd.DataFrame) -> None:
    """Without a base loss the law alone is a generalised least-squares fit: within twice the noise
    of a run, 0.002, of the law's own optimum, which weighs rows by Huber's loss."""
    one = rows[rows["model_params"] == SIZES[1]]
    law = fit_law_model(one.assign(eval_corpus="general"), "general", law_name="dcpt")
    observed = observations("general", one, {})
    problem = KrigingProblem(
        observed, linearized_law("dcpt", law.fit, observed.points, is_anchored=False), False
    )
    mode = Kriging(problem, near_mode(problem, None).hyper)
    fitted = law.fit.predict(observed.points.inputs)
    assert np.exp(mode.log_loss(observed.points)) == pytest.approx(fitted, rel=4e-3)


def test_real_rows_are_followed_within_their_noise() -> None:
    """On data/probes the curve passes through the mean of the seeds within the noise that it names."""
    probe_log = cp.read_log(PROBES)
    rows = fitted_rows(probe_log, "general", 0.0)
    rows = rows[rows["model_params"] == rows["model_params"].max()]
    base = probe_log[(probe_log["train_tokens"] == 0) & (probe_log["eval_corpus"] == "general")]
    observed = observations("general", rows, base.groupby("model_params")["loss"].first().to_dict())
    problem = KrigingProblem(observed, own_law("relearning", observed.frame, is_anchored=True))
    mode = Kriging(problem, near_mode(problem, None).hyper)
    noise = np.sqrt(np.sum(np.exp(2 * mode.hyper[[Hyper.EVALUATION, Hyper.RUN, Hyper.STEP]])))
    missed = mode.log_loss(observed.points) - observed.log_loss
    assert np.mean(np.abs(missed) < 1.645 * noise) > 0.85


def test_means_and_differences_of_seeds_have_the_likelihood_of_all_rows() -> None:
    """Three seeds at every point of one size, one at another: the split changes likelihoods by a constant alone."""
    generator = np.random.default_rng(3)
    records = [
        (
            f"{size:g}-{ratio}-{seed}",
            size,
            tokens,
            ratio,
            seed,
            2 + ratio + 0.01 * generator.random(),
        )
        for size in SIZES
        for ratio in RATIOS
        for seed in range(3 if size == SIZES[0] else 1)
        for tokens in TOKENS
    ]
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "seed", "loss"]
    rows = pd.DataFrame(records, columns=names)
    split = observations("domain", rows, {})
    # without the seed column nothing can be averaged; steps of one seed must then be told by hand
    whole = dataclasses.replace(
        observations("domain", rows.drop(columns="seed"), {}),
        step=rows.groupby(["model_params", "train_tokens", "seed"]).ngroup().to_numpy(),
    )
    assert len(split.log_loss) == 2 * len(RATIOS) * len(TOKENS)
    assert len(whole.log_loss) == len(rows)
    mean = own_law("bilinear_exp", split.frame, is_anchored=False)
    problems = [KrigingProblem(o, mean) for o in (split, whole)]
    generator = np.random.default_rng(4)
    center = problems[1].center - problems[0].center
    assert abs(center) < 0.2  # both count from a mean, over different rows
    values = []
    for _ in range(4):
        hyper = problems[0].prior.mean + 0.3 * generator.standard_normal(
            len(problems[0].prior.mean)
        )
        pair = [minus_log_likelihood(problem, hyper, problems[0].center) for problem in problems]
        values.append(pair[1] - pair[0])
    assert np.ptp(values) < 1e-5
    modes = [found_mode(problem) for problem in problems]
    at = split.points
    assert modes[0].kriging.log_loss(at) == pytest.approx(modes[1].kriging.log_loss(at), abs=1e-4)


def minus_log_likelihood(problem: KrigingProblem, hyper: np.ndarray, center: float) -> float:
    """Return minus the log likelihood of log losses counted from ``center``, by scipy, differences included."""
    covariance = problem.covariance(hyper)
    target = problem.target + problem.center - center
    value = -multivariate_normal(np.zeros(len(covariance)), covariance).logpdf(target)
    value -= 0.5 * len(covariance) * np.log(2 * np.pi)
    noise = [Hyper.EVALUATION, Hyper.RUN, Hyper.STEP]
    for part in problem.observed.differences:
        value += part.minus_log_likelihood(np.exp(2 * hyper[noise]), SMALLEST_VARIANCE)[0]
    return float(value)


def test_the_mode_of_many_rows_is_reached_and_not_given_up(monkeypatch) -> None:
    """Rounding moves the value of 459 rows by more than the last steps gain: they are judged by the gradient too."""
    generator, records = np.random.default_rng(0), []
    for size, ratio in itertools.product((1e8, 3e8, 1e9), np.linspace(0, 1, 17)):
        run = 0.002 * generator.standard_normal()
        for tokens in np.geomspace(1e9, 2e10, 9):
            rise = 0.1 * ratio**1.5 * np.log1p(tokens / 1e9)
            noise = run + 0.0005 * generator.standard_normal()
            loss = (2.9 + rise) * (size / 1e8) ** -0.05 + noise
            records.append((f"{size:g}-{ratio}", size, tokens, ratio, 0, loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "seed", "loss"]
    observed = observations("general", pd.DataFrame(records, columns=names), {})
    problem = KrigingProblem(observed, own_law("bilinear", observed.frame, is_anchored=False))
    near = surveyed(near_mode(problem, None), np.random.default_rng(0))
    asked = []

    def counted(*arguments):
        asked.append(arguments)
        return minus_log_posterior(*arguments)

    monkeypatch.setattr(hyper_posterior, "minus_log_posterior", counted)
    mode = mode_of(near)
    descents = len(asked) - 1 - len(problem.prior.mean)  # the curvature takes one for each
    assert descents < 0.75 * hyper_posterior.MOST_DESCENTS
    _, gradient = minus_log_posterior(problem, mode.kriging.hyper)
    sd = np.diag(mode.information + np.diag(problem.prior.sd**-2)) ** -0.5
    reach = hyper_posterior.FARTHEST * problem.prior.sd
    inside = np.abs(mode.kriging.hyper - problem.prior.mean) < reach - 1e-9
    assert np.max(np.abs(gradient * sd)[inside]) < 1e-3


@pytest.mark.parametrize("name", OWN_LAWS)
def test_hyperparameters_at_the_ends_of_their_ranges_have_a_covariance(problems, name):
    """A residual of 4 nats over noise of 1e-5 is smooth to the last digit, and rounding makes it indefinite."""
    problem, generator = problems[name], np.random.default_rng(0)
    for _ in range(100):
        ends = generator.choice([-4.0, 0.0, 4.0], len(problem.prior.mean))
        kriging = Kriging(problem, problem.prior.mean + ends * problem.prior.sd)
        assert np.isfinite(kriging.log_loss(problem.observed.points)).all()


def test_the_descent_does_not_step_where_there_is_no_likelihood(problems, monkeypatch):
    """Its gradient is 0 there, which looks like the end of the way."""
    problem = problems["bilinear"]
    near = near_mode(problem, None)
    sound, count = hyper_posterior.minus_log_posterior, itertools.count()
    first = 1 + len(near.hyper)  # calls, at the start and for the differences; then steps begin

    def lost(problem, hyper):
        if first <= next(count) < first + 3:
            return hyper_posterior.SUSPECT, np.zeros_like(hyper)
        return sound(problem, hyper)

    mode = surveyed(near, np.random.default_rng(0))
    expected = mode_of(mode).kriging.hyper
    monkeypatch.setattr(hyper_posterior, "minus_log_posterior", lost)
    np.testing.assert_allclose(mode_of(mode).kriging.hyper, expected, atol=1e-5)
