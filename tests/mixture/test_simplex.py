"""The search over mixtures on objectives whose optima are known, valleys of equally good mixtures among them."""

import numpy as np
import pytest

from cmrplan.mixture.bounds import dearness
from cmrplan.mixture.mixture_plan import BindingConstraint
from cmrplan.mixture.simplex import SimplexOptimum, SimplexProblem, _solve_from, prices, solve

CENTER = np.array([0.2, 0.3, 0.5])
STARTS = [np.eye(3)[0], np.eye(3)[1], np.eye(3)[2], np.full(3, 1 / 3)]


def valley(shares):
    """Lowest wherever the first share is 0.6, whatever the others are."""
    return (shares[:, 0] - 0.6) ** 2


def below(limit):
    """Return how far the third share lies above a limit, as the excess of one draw of one limit."""
    return lambda shares: (shares[:, 2] - limit)[None, None, :]


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # by hand: both other shares fall by half of what the first one gains
        ({}, [0.6, 0.1, 0.3]),
        ({"high": np.array([1, 1, 0.25])}, [0.6, 0.15, 0.25]),
        ({"low": np.array([0, 0.2, 0])}, [0.6, 0.2, 0.2]),
        ({"excess": below(0.25), "needed": 1}, [0.6, 0.15, 0.25]),
    ],
)
def test_in_a_valley_the_mixture_nearest_to_the_center_is_taken(first, changes, expected):
    given = {"low": np.zeros(3), "high": np.ones(3), "center": CENTER} | changes
    problem = SimplexProblem(valley, **given)
    starts = STARTS[first:] + STARTS[:first]
    # a limit is kept from by 1e-9, and the search along the first share ends where it gains less than 1e-10
    np.testing.assert_allclose(solve(problem, starts).shares, expected, atol=2e-5)


def test_a_flat_objective_leaves_the_center():
    problem = SimplexProblem(
        lambda x: np.zeros(len(x)), np.zeros(3), np.ones(3), center=np.array([0.2, 0.3, 0.5])
    )
    np.testing.assert_allclose(solve(problem, STARTS).shares, CENTER, atol=1e-9)


def test_a_center_moves_no_optimum_that_is_told():
    target = np.array([0.5, 0.4, 0.1])
    ends = [
        solve(
            SimplexProblem(
                lambda x: ((x - target) ** 2).sum(axis=1), np.zeros(3), np.ones(3), center=center
            ),
            STARTS,
        ).shares
        for center in (CENTER, np.eye(3)[2])
    ]
    assert ends[0].tolist() == ends[1].tolist()


@pytest.mark.parametrize("rounding", [-1e-12, 1e-12])
def test_of_equally_good_optima_apart_the_first_one_is_taken(rounding):
    """Two corners are as good as each other, and rounding makes one or the other better."""

    def twofold(shares):
        return -((shares[:, 0] - shares[:, 1]) ** 2) + rounding * shares[:, 0]

    problem = SimplexProblem(twofold, np.zeros(3), np.ones(3), center=CENTER)
    starts = [np.array([0.1, 0.8, 0.1]), np.array([0.8, 0.1, 0.1])]
    np.testing.assert_allclose(solve(problem, starts).shares, [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(solve(problem, starts[::-1]).shares, [1, 0, 0], atol=1e-9)


def test_a_descent_that_ends_a_hair_beyond_a_limit_is_not_thrown_away(monkeypatch):
    """By hand: the first share is to be as large as its limit of 0.6 lets it."""

    def excess(shares):
        return (shares[:, 0] - 0.6)[None, None, :]

    problem = SimplexProblem(lambda x: -x[:, 0], np.zeros(3), np.ones(3), excess, 1)
    beyond = np.array([0.6 + 1e-9, 0.2, 0.2 - 1e-9])
    monkeypatch.setattr("cmrplan.mixture.simplex._descend", lambda *args, **kwargs: beyond)
    end = _solve_from(problem, np.array([0.1, 0.2, 0.7]))
    assert isinstance(end, SimplexOptimum)
    assert end.is_feasible
    # twelve halvings of the way of 0.5
    assert end.shares[0] == pytest.approx(0.6, abs=0.5 / 2**12)


def test_an_inner_optimum_has_an_optimality_near_0():
    target = np.array([0.5, 0.4, 0.1])
    problem = SimplexProblem(
        lambda x: ((x - target) ** 2).sum(axis=1), np.zeros(3), np.ones(3), center=CENTER
    )
    # the gradient is 0 there, and was compared with itself before
    assert prices(problem, solve(problem, STARTS).shares).residual < 1e-4


def test_a_narrow_box_hides_no_direction():
    """Where shares can hardly move, slopes all over the box are those of few points and do not tell all directions."""
    target = np.array([0.5, 0.485, 0.005, 0.01])
    unit = np.array([1.0, 1.0, 0.05, 0.05])
    problem = SimplexProblem(
        lambda x: (((x - target) / unit) ** 2).sum(axis=1),
        np.zeros(4),
        np.array([1.0, 1.0, 0.03, 0.03]),
    )
    assert solve(problem, [np.full(4, 0.25)]).shares == pytest.approx(target, abs=1e-6)


def test_prices_that_differ_by_rounding_leave_the_order():
    pair = [BindingConstraint("ceiling", name, 0.1, 0.5) for name in ("b", "a")]
    pair[1] = BindingConstraint("ceiling", "a", 0.1, 0.5 + 1e-13)
    assert [b.corpus for b in sorted(pair, key=dearness)] == ["b", "a"]


def test_prices_where_nothing_is_feasible_say_what_holds_the_smallest_excess():
    """By hand: ``0.8 - x_0 + x_1`` is smallest at (0.5, 0.1, 0.4); more x_0 comes from x_2, less x_1 goes there."""
    problem = SimplexProblem(
        lambda x: x[:, 2],
        np.array([0.0, 0.1, 0.0]),
        np.array([0.5, 1.0, 1.0]),
        lambda x: (0.8 - x[:, 0] + x[:, 1])[None, None, :],
        1,
    )
    end = solve(problem, STARTS)
    assert end.worst == pytest.approx(0.4, abs=1e-6)
    held = prices(problem, end.shares, is_relaxed=True)
    np.testing.assert_allclose(held.high, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(held.low, [0, 1, 0], atol=1e-6)


def test_rounding_does_not_choose_which_draws_are_kept():
    """Five draws lie at their limits, as they do at an optimum, and two of them have to hold."""
    rng = np.random.default_rng(0)
    level = np.array([0.1, 0.0, 0.0, -0.2, 0.0, 0.0, 0.0])
    kept = set()
    for _ in range(20):
        excess = level + 1e-12 * rng.standard_normal(7)
        problem = SimplexProblem(
            lambda x: x[:, 0],
            np.zeros(2),
            np.ones(2),
            lambda x, excess=excess: excess[None, :, None],
            3,
        )
        kept.add(tuple(problem.kept(np.array([0.5, 0.5]))))
    assert kept == {(1, 2, 3)}
