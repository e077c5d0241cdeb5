"""A law fit as a result of lmfit, for its reports, its intervals and its many other minimizers.

lmfit starts at our optimum and is stopped there: it evaluates the residual and its Jacobian, works out errors and
correlations, and takes no step. Calling ``fit()`` on the result lets it search by itself.

The residual handed over is ``sign(u) sqrt(2 w rho(u))`` with ``u`` the residual of the fit (a difference of log
losses or of losses), ``rho`` its Huber loss and ``w`` the row's weight, so that lmfit's chi-square is twice our
objective. Its slopes come from the law's Jacobian. Parameters are in the units of the caller's inputs.

lmfit counts rows as independent. The checkpoints of one run are not, so its errors and intervals are
too narrow on such a log; the bootstrap over runs is the one to plan with.

References
----------
Newville et al., LMFIT, doi:10.5281/zenodo.598352.
"""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from inspect import Parameter as Argument
from inspect import Signature

import numpy as np
from lmfit import Model, Parameters  # type: ignore[import-untyped]
from lmfit.model import ModelResult  # type: ignore[import-untyped]

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.laws.law import Inputs, Law
from cmrplan.solve.law_fit import LawFit

# For what lmfit refits later, in intervals; its own 1.5e-8 is coarse for a sum of squares near 1e-4.
REFIT_TOLERANCE = 1e-12
STOP_AT_ONCE = 1.0  # a cosine is never above it


def to_lmfit(
    fit: LawFit, inputs: Inputs, target: Array, weights: Array | None = None
) -> ModelResult:
    """Return an lmfit result at the optimum of a fit.

    Parameters
    ----------
    fit : LawFit
    inputs : mapping of str to array (n,)
        The rows that were fitted, in the caller's units.
    target : array (n,)
        Their losses, nats per token.
    weights : array (n,), optional
        Other row weights than those of the fit.

    Returns
    -------
    lmfit.model.ModelResult
        ``params`` have the law's bounds and signs as ``min`` and ``max``. They vary, except for
        exponents that the law holds, parameters at a bound (lmfit would see no slope there and give no errors at
        all) and exponents of a term whose coefficient is zero; set ``vary`` to free them. ``best_fit`` is in the
        unit of the target. Names that Python does not allow gain an underscore.

    Raises
    ------
    CmrplanError
        If a parameter is not finite in the caller's units.

    Examples
    --------
    >>> import numpy as np
    >>> from cmrplan.solve.law_fit import fit_law
    >>> from cmrplan.laws.cmr import ratio_law
    >>> ratio = np.array([0.1, 0.2, 0.4, 0.6, 0.8])
    >>> loss = 2.0 + 0.7 * ratio**0.4 + np.array([1, -2, 2, -2, 1]) * 1e-3
    >>> rows = {"domain_ratio": ratio}
    >>> result = to_lmfit(fit_law(ratio_law(), rows, loss), rows, loss)
    >>> list(result.params), result.nvarys, result.errorbars
    (['alpha', 'beta', 's'], 3, True)
    """
    law = fit.law
    target = np.asarray(target, dtype=float)
    row_weights = fit.row_weights if weights is None else np.asarray(weights, dtype=float)
    rows = {name: np.asarray(inputs[name], dtype=float) for name in law.inputs}

    return _stopped_at_optimum(fit, rows, target, _Misfit(law, target, row_weights, fit.delta))


def _stopped_at_optimum(
    fit: LawFit, rows: dict[str, Array], target: Array, misfit: _Misfit
) -> ModelResult:
    """Return lmfit's result after no step."""
    result = ModelResult(
        _model(fit.law),
        _parameters(fit),
        data=target,
        fcn_kws=rows,
        nan_policy="propagate",
        ftol=REFIT_TOLERANCE,
        xtol=REFIT_TOLERANCE,
        gtol=STOP_AT_ONCE,
        Dfun=misfit.slopes,
    )
    result.userfcn = misfit.residual
    result.fit()
    result.message = "At the optimum found by cmrplan; no step taken."
    result.kws["gtol"] = 0.0
    return result


def safe_name(name: str) -> str:
    """Return a parameter's name as lmfit can take it."""
    cleaned = "".join(letter if letter.isalnum() else "_" for letter in name)
    is_allowed = cleaned.isidentifier() and not keyword.iskeyword(cleaned)
    return cleaned if is_allowed else f"{cleaned}_"


def _model(law: Law) -> Model:
    """Return the law as an lmfit model: inputs and parameters in the caller's units."""
    names = [safe_name(name) for name in law.parameter_names]

    def loss(**values: Array) -> Array:
        rows = {name: np.asarray(values[name], dtype=float) for name in law.inputs}
        theta, coefficients = _split(law, [float(values[name]) for name in names])
        return np.asarray(law.predict(rows, theta, coefficients)[0])

    # lmfit reads the names of inputs and parameters off the signature
    arguments = [Argument(name, Argument.KEYWORD_ONLY) for name in (*law.inputs, *names)]
    loss.__signature__ = Signature(arguments)  # type: ignore[attr-defined]
    return Model(loss, independent_vars=list(law.inputs), param_names=names, name=law.name)


def _split(law: Law, values: list[float]) -> tuple[Array, Array]:
    """Return exponents ``(1, q)`` and coefficients ``(1, p)`` from values in the law's order."""
    point = np.array([values])
    num_terms = len(law.terms)
    return point[:, num_terms : law.num_free], point[:, :num_terms]


def _parameters(fit: LawFit) -> Parameters:
    law = fit.law
    bounds = {term.coefficient: _sign_bounds(term.sign) for term in law.terms}
    bounds |= {e.name: (e.lower, e.upper) for e in law.exponents}
    still = {*fit.at_bound, *(name for name, _ in law.fixed), *_unused(fit)}
    parameters = Parameters()
    for name, value in fit.params.items():
        if not np.isfinite(value):
            raise CmrplanError(
                f"{name} = {value} in the units of the inputs; give the inputs in larger or smaller units"
            )
        low, high = bounds.get(name, (-np.inf, np.inf))
        # A bound that the search runs over as a logarithm comes back with rounding.
        parameters.add(
            safe_name(name), min(max(value, low), high), min=low, max=high, vary=name not in still
        )
    return parameters


def _sign_bounds(sign: int) -> tuple[float, float]:
    return (0.0 if sign > 0 else -np.inf, 0.0 if sign < 0 else np.inf)


def _unused(fit: LawFit) -> set[str]:
    """Return exponents that only terms with a coefficient of zero read."""
    used = {
        name
        for term, coefficient in zip(fit.law.terms, fit.coefficients, strict=True)
        if coefficient != 0
        for factor in term.factors
        for name in factor.exponents
    }
    return {e.name for e in fit.law.exponents} - used


@dataclass(frozen=True)
class _Misfit:
    """What lmfit squares and sums, and its slopes; every method takes lmfit's parameters."""

    law: Law
    target: Array
    weights: Array
    delta: float

    def residual(self, params: Parameters, *_: object, **rows: Array) -> Array:
        """Return the signed root of twice the weighted loss, infinite where a log law is not positive."""
        with np.errstate(all="ignore"):  # lmfit tries points far outside
            miss = self._miss(self.law.predict(rows, *self._point(params))[0])
            size = np.abs(miss)
            tail = np.sqrt(np.maximum(2 * self.delta * size - self.delta**2, 0.0))
            root = np.sign(miss) * np.where(size <= self.delta, size, tail)
            return np.asarray(np.where(self.weights > 0, np.sqrt(self.weights) * root, 0.0))

    def slopes(self, params: Parameters, *_: object, **rows: Array) -> Array:
        """Return the derivative of the residual by the parameters that vary, ``(n, nvarys)``."""
        with np.errstate(all="ignore"):
            theta, coefficients = self._point(params)
            predicted = self.law.predict(rows, theta, coefficients)[0]
            size = np.abs(self._miss(predicted))
            tail = self.delta / np.sqrt(np.maximum(2 * self.delta * size - self.delta**2, 0.0))
            slope = -np.sqrt(self.weights) * np.where(size <= self.delta, 1.0, tail)
            if self.law.link == "log":
                slope = slope / predicted
            free = [params[safe_name(n)].vary for n in self.law.parameter_names]
            jacobian = self.law.jacobian(rows, theta, coefficients)[0]
            return np.asarray(slope[:, None] * jacobian[:, free[: self.law.num_free]])

    def _miss(self, predicted: Array) -> Array:
        if self.law.link == "identity":
            return self.target - predicted
        ratio = np.log(self.target) - np.log(np.where(predicted > 0, predicted, 1.0))
        return np.where(predicted > 0, ratio, np.inf)

    def _point(self, params: Parameters) -> tuple[Array, Array]:
        names = [safe_name(name) for name in self.law.parameter_names]
        return _split(self.law, [params[name].value for name in names])
