"""Which parameters of a fit the data do not tell: those at a bound, and those without a standard error to speak of."""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.laws.law import Law, to_theta
from cmrplan.solve.problem import FitProblem, box
from cmrplan.solve.signed_lstsq import upper_triangle

MAD_TO_SIGMA = 1.4826
# A parameter is not identified when its relative standard error exceeds this.
UNIDENTIFIED = 0.5
NUMERICAL_NOISE = 1e-9  # relative noise that float64 optimization leaves on noise-free data


def at_bound_names(law: Law, search: Array, coefficients: Array) -> tuple[str, ...]:
    """Return the coefficients at zero and the exponents at an end of their box."""
    lower, upper = box(law)
    slack = 1e-9 * np.maximum(upper - lower, 1.0)
    exponents = [
        e.name
        for k, e in enumerate(law.exponents)
        if search[k] <= lower[k] + slack[k] or search[k] >= upper[k] - slack[k]
    ]
    zeros = [t.coefficient for j, t in enumerate(law.terms) if t.sign and coefficients[j] == 0]
    return (*zeros, *exponents)


def unidentified_names(
    problem: FitProblem, search: Array, coefficients: Array, residual: Array
) -> tuple[str, ...]:
    """Return parameters whose relative standard error, to first order, is above one half.

    The Jacobian is taken by the logarithm of each coefficient and of each exponent searched so, and by the plain
    value of the other exponents. A coefficient at zero leaves the exponents of its term alone
    without meaning.
    """
    law = problem.law
    theta = to_theta(law, search[None, :])
    jacobian = law.jacobian(problem.inputs, theta, coefficients[None, :])[0]
    predicted = law.predict(problem.inputs, theta, coefficients[None, :])[0]
    if law.link == "log":
        jacobian = jacobian / predicted[:, None]
    is_log = np.array([e.is_log for e in law.exponents], dtype=bool)
    unit = np.concatenate([coefficients, np.where(is_log, theta[0], 1.0)])
    jacobian = jacobian * unit * np.sqrt(problem.weights[0])[:, None]
    spare = max(len(residual) - law.num_free, 1)
    noise = MAD_TO_SIGMA * float(np.median(np.abs(residual))) * np.sqrt(len(residual) / spare)
    noise = max(noise, NUMERICAL_NOISE)
    used = np.flatnonzero(np.any(jacobian != 0, axis=0))
    triangle = upper_triangle(jacobian[None, :, used])[0]
    _, singular, right = np.linalg.svd(triangle, full_matrices=False)
    floor = np.finfo(float).eps * len(residual) * singular[0]
    spread = noise * np.sqrt(np.sum((right / np.maximum(singular, floor)[:, None]) ** 2, axis=0))
    relative = np.full(len(unit), np.inf)
    relative[used] = spread
    return tuple(
        name
        for name, value in zip(law.parameter_names, relative, strict=False)
        if value > UNIDENTIFIED
    )
