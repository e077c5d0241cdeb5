"""Where the data leave a valley of equal fits, its point nearest to the middle of the box is chosen."""

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

from cmrplan.laws.dcpt import dcpt_law
from cmrplan.solve.law_fit import fit_law, refit
from cmrplan.solve.problem import FitProblem, box
from cmrplan.solve.valley import choose_in_valleys, distance_from_middle
from cmrplan.solve.varpro import Stopping, minimize

LAW = dcpt_law(size_levels=1, token_levels=1, smallest_share=0.1)  # E + C / (r + epsilon)^gamma
THREE = {"share": np.array([0.1, 0.4, 0.8])}
LOSS = 1.5 + 0.1 / (THREE["share"] + 0.3) ** 0.8
LOWER, UPPER = box(LAW)


def measured(search):
    return np.linalg.norm((search - (LOWER + UPPER) / 2) / (UPPER - LOWER))


@pytest.fixture(scope="module")
def nearest():
    """The point nearest to the middle that goes through all three losses, by scipy's SLSQP.

    With gamma and epsilon given, three losses of which two give E and C leave one equation.
    """

    def basis(search, share):
        return (share + np.exp(search[1])) ** -np.exp(search[0])

    def equation(search):
        one, two, three = (basis(search, share) for share in THREE["share"])
        return (one - two) / (two - three) - (LOSS[0] - LOSS[1]) / (LOSS[1] - LOSS[2])

    start = np.array([np.log(0.8), np.log(0.3)])
    return scipy_minimize(
        lambda x: measured(x) ** 2,
        start,
        method="SLSQP",
        bounds=list(zip(LOWER, UPPER, strict=True)),
        constraints={"type": "eq", "fun": equation},
        options={"ftol": 1e-15, "maxiter": 200},
    ).x


def test_a_fit_through_three_shares_is_the_point_nearest_to_the_middle(nearest):
    rows = {"share": np.repeat(THREE["share"], 2)}
    fit = fit_law(LAW, rows, np.repeat(LOSS, 2))
    assert fit.search == pytest.approx(nearest, abs=1e-5)
    assert fit.predict(THREE) == pytest.approx(LOSS, abs=1e-9)


def test_every_start_ends_at_the_same_point(nearest):
    rows = {"share": np.repeat(THREE["share"], 2)}
    problem = FitProblem(LAW, rows, np.repeat(LOSS, 2)[None], np.ones((1, 6)), np.inf)
    starts = np.array([[0.1, -1.0], [-1.0, -0.5], [1.2, 0.2], [-0.2, -1.2]])
    reached = minimize(problem, starts)
    assert np.ptp(reached.search, axis=0).max() > 0.1
    chosen = choose_in_valleys(problem, reached)
    assert np.allclose(chosen.search, nearest, atol=1e-5)
    assert distance_from_middle(problem, chosen.search) == pytest.approx(measured(nearest))


def test_a_refit_of_the_same_losses_stays(nearest):
    rows = {"share": np.repeat(THREE["share"], 2)}
    fit = fit_law(LAW, rows, np.repeat(LOSS, 2))
    search, _ = refit(fit, rows, np.repeat(LOSS, 2)[None], np.ones((1, 6)), stopping=Stopping())
    assert search[0] == pytest.approx(nearest, abs=1e-5)


def test_an_exponent_that_has_died_away_comes_back_to_where_it_is_felt():
    law = dcpt_law(size_levels=1, token_levels=1, is_power=False)  # E + C exp(-k r)
    share = np.array([0.0, 0.2, 0.4, 0.8])
    loss = np.array([3.0, 2.0, 2.0, 2.0])  # k without end
    fit = fit_law(law, {"share": share}, loss)
    k = fit.params["k"]
    assert 50 < k < 200
    # along the whole box, ln(1000 / 0.01), the losses change by about a hundred millionth
    felt = np.log(1e5) * 0.2 * k * np.exp(-0.2 * k) / 2.0
    assert 1e-9 < felt < 1e-7
    assert fit.predict({"share": share}) == pytest.approx(loss, abs=1e-7)


def test_a_determined_fit_is_left_alone():
    share = np.linspace(0.1, 1, 9)
    loss = 1.5 + 0.1 / (share + 0.3) ** 0.8 + 1e-3 * np.cos(7 * np.arange(9))
    problem = FitProblem(LAW, {"share": share}, loss[None], np.ones((1, 9)), np.inf)
    reached = minimize(problem, np.array([[0.0, -1.0]]))
    assert choose_in_valleys(problem, reached) is reached
