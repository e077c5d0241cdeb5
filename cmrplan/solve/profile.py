"""Profile-likelihood intervals: of parameters, of a predicted loss, of the input at which a loss is reached.

The quantity is fixed at a value and everything else is fitted again, by the solver of the fit itself and many values at
once; the interval holds the values whose objective stays close to the lowest. Unlike an error from a
covariance it follows curved valleys, and a side on which the data never object is reported as open.

How a quantity is fixed:

- an exponent: its derivatives are dropped, so the search leaves it where it starts;
- a coefficient, a prediction or a crossing: one more, heavy row says what it is. All three are linear in the
  coefficients, so the row is one more equation of the projection. Whatever value the refit then has, it is
  the best refit with that value (the row's pull is the Lagrange multiplier).

The objective is read as a quasi-likelihood: twice its rise over the noise scale ``tau`` is compared with the square of
Student's t. For least squares ``tau`` is the residual variance and the interval of a linear law is the
textbook one; for a Huber loss it is ``mean psi^2 / mean psi'``. Rows that share a run's noise count for less: give the
number of runs. Where rows are not equally noisy, ``tau`` is multiplied by how much larger the quantity's variance is by
the residuals where they are (the sandwich) than by one noise for all.

References
----------
Bates & Watts 1988, ch. 6 (profile t). Heritier & Ronchetti 1994 (robust likelihood ratio). Cameron & Miller 2015
(degrees of freedom with few clusters). Chandler & Bate 2007 (likelihood ratios adjusted by the sandwich). White 1980.
"""

from __future__ import annotations

from collections.abc import Mapping

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.laws.law import Inputs
from cmrplan.solve.law_fit import LawFit
from cmrplan.solve.profile_paths import (
    Crossing,
    ProfiledFit,
    coefficient_path,
    crossing_path,
    exponent_path,
    prediction_path,
)
from cmrplan.solve.profile_walk import ProfileInterval, RowNoise, walk

__all__ = [
    "Crossing",
    "ProfileInterval",
    "profile_crossing",
    "profile_parameter",
    "profile_prediction",
]


def profile_parameter(
    fit: LawFit,
    inputs: Inputs,
    target: Array,
    name: str,
    *,
    confidence: float = 0.9,
    num_clusters: int | None = None,
    unequal_noise: bool = False,
) -> ProfileInterval:
    """Return the interval of a named parameter.

    Parameters
    ----------
    fit : LawFit
    inputs : mapping of str to array (n,)
        The rows that were fitted, in the caller's units.
    target : array (n,)
        Their losses, nats per token.
    name : str
        A coefficient or an exponent that the fit estimates.
    confidence : float
        In (0, 1).
    num_clusters : int, optional
        Number of runs, where the rows of a run share its noise: the rows then count as that many.
    unequal_noise : bool
        Whether rows that matter to the quantity may be noisier than others; the interval is never narrower for it.

    Raises
    ------
    InputError
        If the law has no such parameter or holds it.
    """
    data = ProfiledFit.of(fit, inputs, target)
    law = fit.law
    exponents = [e.name for e in law.exponents]
    coefficients = [term.coefficient for term in law.terms]
    if name in exponents:
        path = exponent_path(data, exponents.index(name))
    elif name in coefficients:
        path = coefficient_path(data, coefficients.index(name))
    else:
        free = ", ".join(coefficients + exponents)
        raise InputError(f"the law {law.name} has no free parameter {name!r}; it has {free}")
    return walk(data, path, name, RowNoise(confidence, num_clusters, unequal_noise))


def profile_prediction(
    fit: LawFit,
    inputs: Inputs,
    target: Array,
    at: Mapping[str, float],
    *,
    confidence: float = 0.9,
    num_clusters: int | None = None,
    unequal_noise: bool = False,
) -> ProfileInterval:
    """Return the interval of the law's value at one point, without the noise of a new run.

    Parameters
    ----------
    fit, inputs, target, confidence, num_clusters, unequal_noise
        As in :func:`profile_parameter`.
    at : mapping of str to float
        The law's inputs at the point, in the caller's units.
    """
    data = ProfiledFit.of(fit, inputs, target)
    path = prediction_path(data, {key: float(value) for key, value in at.items()})
    return walk(data, path, "prediction", RowNoise(confidence, num_clusters, unequal_noise))


def profile_crossing(
    fit: LawFit,
    inputs: Inputs,
    target: Array,
    at: Mapping[str, float],
    crossing: Crossing,
    *,
    confidence: float = 0.9,
    num_clusters: int | None = None,
    unequal_noise: bool = False,
) -> ProfileInterval:
    """Return the interval of the input at which the law reaches a level, such as a critical share.

    Parameters
    ----------
    fit, inputs, target, confidence, num_clusters, unequal_noise
        As in :func:`profile_parameter`.
    at : mapping of str to float
        The law's other inputs, in the caller's units.
    crossing : Crossing

    Raises
    ------
    CmrplanError
        If the fitted law does not cross the level in the range.
    """
    data = ProfiledFit.of(fit, inputs, target)
    point = {key: float(value) for key, value in at.items() if key != crossing.variable}
    path = crossing_path(data, point, crossing)
    return walk(data, path, crossing.variable, RowNoise(confidence, num_clusters, unequal_noise))
