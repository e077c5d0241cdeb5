"""Columns that depend on each other: the solution stays as small as it can be, whatever is left of the target."""

import numpy as np
import pytest

from cmrplan.solve.signed_lstsq import signed_least_squares


@pytest.mark.parametrize("seed", range(8))
def test_dependent_columns_of_free_sign_have_the_shortest_solution(seed):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(40, 3))
    columns /= np.linalg.norm(columns, axis=0)
    # the fourth column is made of the first two; the target is not reached
    fourth = columns[:, :2] @ [0.6, -0.8]
    design = np.column_stack([columns, fourth / np.linalg.norm(fourth)])
    target = rng.normal(size=40)
    coefficients = signed_least_squares(design[None], target[None], [0] * 4)[0]
    # by singular values, those of rounding left out; columns of unit length, so no scaling stands between
    shortest = np.linalg.pinv(design, rcond=1e-10) @ target
    # a ridge of 1e-7 moves the shortest solution by its square over that of the smallest singular value, and leaves
    # 1e-16 / 1e-14 of the residual along the null direction
    np.testing.assert_allclose(coefficients, shortest, atol=0.05)
    np.testing.assert_allclose(design @ coefficients, design @ shortest, atol=1e-11)


def test_columns_that_only_nearly_depend_are_told_apart():
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(2, 30))
    design = np.column_stack([first, first + 1e-8 * other])
    coefficients = signed_least_squares(design[None], (design @ [2.0, -1.0])[None], [0, 0])[0]
    # rounding of 1e-16 over a gap of 1e-8, and NULL_RIDGE: (1e-11 / 1e-8)^2 of the coefficients
    assert coefficients == pytest.approx([2.0, -1.0], abs=1e-5)
