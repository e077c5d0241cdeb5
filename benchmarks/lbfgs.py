"""The papers' way of fitting: Huber loss on log losses by L-BFGS-B from many random starts.

Shared by the benchmarks. Scaled inputs, logarithms of the coefficients, an analytic gradient: the best
that this way can be given.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from cmrplan.laws.law import Law, to_theta
from cmrplan.solve.problem import box

LOG_COEFFICIENT = (-25.0, 12.0)  # for inputs divided by their geometric mean
TIGHT = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000, "maxfun": 100000}


def search_bounds(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """Return the box of (log coefficients, search coordinates of the exponents)."""
    lower, upper = box(law)
    count = len(law.terms)
    return (
        np.concatenate([np.full(count, LOG_COEFFICIENT[0]), lower]),
        np.concatenate([np.full(count, LOG_COEFFICIENT[1]), upper]),
    )


def random_starts(law: Law, count: int, seed: int) -> np.ndarray:
    """Return starts over the box; coefficients between e^-3 and e^2."""
    lower, upper = search_bounds(law)
    lower, upper = lower.copy(), upper.copy()
    lower[: len(law.terms)], upper[: len(law.terms)] = -3.0, 2.0
    return np.random.default_rng(seed).uniform(lower, upper, size=(count, len(lower)))


def huber_objective(law: Law, inputs, loss: np.ndarray, delta: float):
    """Return a function of the search point that gives the summed Huber loss and its gradient."""
    count = len(law.terms)
    is_log = np.array([e.is_log for e in law.exponents], dtype=bool)

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = np.exp(point[:count])
        theta = to_theta(law, point[None, count:])
        jacobian = law.jacobian(inputs, theta, coefficients[None])[0]
        predicted = jacobian[:, :count] @ coefficients
        miss = np.log(loss) - np.log(predicted)
        pull = np.clip(miss, -delta, delta)
        value = float(np.sum(np.abs(pull) * (np.abs(miss) - 0.5 * np.abs(pull))))
        chain = np.concatenate([coefficients, np.where(is_log, theta[0], 1.0)])
        return value, -(pull / predicted) @ jacobian * chain

    return objective


def multi_start(law: Law, inputs, loss, delta, *, starts: int, seed: int = 0) -> np.ndarray:
    """Return the objective that each start ends at, to tight tolerance, ``(starts,)``."""
    objective = huber_objective(law, inputs, loss, delta)
    ends = (descend(law, objective, start, TIGHT) for start in random_starts(law, starts, seed))
    return np.array([value for value, _ in ends])


def best_of_starts(law: Law, inputs, loss, delta, *, starts: int, carried: int) -> np.ndarray:
    """Return the objectives of the ``carried`` lowest ends of many starts, to tight tolerance.

    Every start first descends until a step gains less than 1e-7 of the objective; the lowest ends go on.
    """
    objective = huber_objective(law, inputs, loss, delta)
    unit = (
        len(loss) * delta**2
    )  # brings the objective, and so L-BFGS-B's test of its gain, to about one

    def in_units(point):
        value, slope = objective(point)
        return value / unit, slope / unit

    rough = TIGHT | {"ftol": 1e-7}
    ends = [descend(law, in_units, start, rough) for start in random_starts(law, starts, 0)]
    ends.sort(key=lambda end: end[0])
    return np.array([descend(law, in_units, end, TIGHT)[0] * unit for _, end in ends[:carried]])


def descend(law: Law, objective, start, options) -> tuple[float, np.ndarray]:
    """Return the objective and the point where one descent ends; infinite where it breaks."""
    bounds = list(zip(*search_bounds(law), strict=True))
    with np.errstate(all="ignore"):
        found = minimize(
            objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
    return (found.fun if np.isfinite(found.fun) else np.inf), found.x
