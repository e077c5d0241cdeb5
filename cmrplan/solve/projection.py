"""The projection of variable projection: for given exponents, the best coefficients and what they leave.

With the exponents fixed a law is linear in its coefficients, so these are solved for exactly, with the sign that the
law gives them. The Huber loss enters by reweighting.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.laws.law import exponent_slopes, to_theta
from cmrplan.solve.problem import FitProblem
from cmrplan.solve.signed_lstsq import signed_least_squares


def solve_coefficients(
    problem: FitProblem, design: Array, start: Array | None, mix: Array, num_rounds: int
) -> tuple[Array, Array]:
    """Return the best coefficients for a given design, and their objective.

    Without a start the first round is aimed at the targets within reason, linearized there.
    Each round linearizes the residual at the last coefficients, weights the rows for the Huber loss and solves
    the signed least-squares problem; the best round is kept.
    """
    signs = [term.sign for term in problem.law.terms]
    num_problems, num_rows, num_columns = design.shape
    shape = (num_problems, num_rows)
    if start is None:
        best = np.zeros((num_problems, num_columns))
        lowest = np.full(num_problems, np.inf)
        predicted = np.broadcast_to(problem.anchor, shape)
        aim = replace(problem, target=problem.anchor)
    else:
        best = start
        predicted = np.einsum("snp,sp->sn", design, start)
        lowest = problem.objective(predicted)
        aim = problem
    for _ in range(num_rounds):
        pull, curvature, inverse = aim.linearize(predicted, mix)
        aim = problem
        root = np.sqrt(curvature)
        target = np.where(curvature > 0, pull / np.where(root > 0, root, 1.0), 0.0)
        target = target + root * predicted * inverse
        trial = signed_least_squares(design * (root * inverse)[:, :, None], target, signs)
        predicted = np.einsum("snp,sp->sn", design, trial)
        value = problem.objective(predicted)
        better = value < lowest
        best = np.where(better[:, None], trial, best)
        lowest = np.where(better, value, lowest)
        if not better.any():
            break
        predicted = np.where(better[:, None], predicted, np.einsum("snp,sp->sn", design, best))
    return best, lowest


def linearized_rows(
    problem: FitProblem, search: Array, coefficients: Array, mix: Array
) -> tuple[Array, Array]:
    """Return the rows of the linearized least-squares problem, and the size of the predictions in them.

    Returns
    -------
    rows : array (S, n, p + q + 1)
        Weighted slopes of the residual scale by the coefficients and by the search coordinates, then the weighted
        residual.
    size : array (S,)
        Length of the weighted predictions.
    """
    law = problem.law
    theta = to_theta(law, search)
    design, derivatives = law.design(problem.inputs, theta)
    slopes = exponent_slopes(derivatives, coefficients, design.shape[1], search.shape[1])
    is_log = np.array([e.is_log for e in law.exponents], dtype=bool)
    slopes *= np.where(is_log, theta, 1.0)[:, None, :]
    predicted = np.einsum("snp,sp->sn", design, coefficients)
    pull, curvature, inverse = problem.linearize(predicted, mix)
    root = np.sqrt(curvature)
    right = np.where(curvature > 0, pull / np.where(root > 0, root, 1.0), 0.0)
    rows = np.concatenate([design, slopes, right[:, :, None]], axis=2)
    # This is done in place, since these are the largest arrays.
    rows[:, :, :-1] *= (root * inverse)[:, :, None]
    scaled = root * inverse * predicted
    return rows, np.sqrt(np.einsum("sn,sn->s", scaled, scaled))
