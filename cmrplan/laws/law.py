"""What a law is: a sum of terms, each a linear coefficient times a product of factors.

A law is declared once, as data. Every law here has the shape ::

    L(x) = sum_j  c_j * prod_k f_jk(x; theta)

with coefficients ``c`` that enter linearly (with the sign the law gives them) and exponents ``theta``
that do not. From that declaration follow the value, the analytic Jacobian, the change of units and
the split that variable projection needs. Adding a law means one declaration from the factors below, or
one new factor with its derivative: see ``docs/add-a-law.md``.

Shapes: ``S`` parameter sets are evaluated at once on ``n`` rows; a law has ``q`` exponents and ``p``
coefficients. Inputs are arrays of shape ``(n,)`` by name: ``model_params``, ``train_tokens``,
``share`` (the share of training tokens from the corpus whose loss is predicted), and what else a law
declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import InputError

Inputs = Mapping[str, Array]
Link = Literal["log", "identity"]


class Factor(Protocol):
    """One factor of a term: a function of the inputs and of some exponents."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the inputs this factor reads."""

    @property
    def exponents(self) -> tuple[str, ...]:
        """Names of the exponents this factor depends on."""

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivative by each exponent, each of a shape that broadcasts to ``(S, n)``.

        ``theta`` holds columns of shape ``(S, 1)``.
        """


def _log(x: Array) -> Array:
    """Logarithm with 0 in place of minus infinity: the factor beside it is 0 there."""
    return np.log(np.where(x > 0, x, 1.0))


@dataclass(frozen=True)
class Power:
    """``x ** (sign * exponent)``; at ``x = 0`` the limit from above for a positive power."""

    variable: str
    exponent: str
    sign: Literal[1, -1] = 1

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The one exponent."""
        return (self.exponent,)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the power and its derivative."""
        x = inputs[self.variable]
        value = x ** (self.sign * theta[self.exponent])
        return value, [self.sign * _log(x) * value]


@dataclass(frozen=True)
class ShiftedPower:
    """``(x + offset) ** (-exponent)``."""

    variable: str
    offset: str
    exponent: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The offset and the exponent."""
        return (self.offset, self.exponent)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivatives by the offset and the exponent."""
        shifted = inputs[self.variable] + theta[self.offset]
        power = theta[self.exponent]
        value = shifted**-power
        return value, [-power * value / shifted, -np.log(shifted) * value]


@dataclass(frozen=True)
class Exponential:
    """``exp(sign * rate * x)``."""

    variable: str
    rate: str
    sign: Literal[1, -1] = -1

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The one rate."""
        return (self.rate,)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivative by the rate."""
        x = inputs[self.variable]
        value = np.exp(self.sign * theta[self.rate] * x)
        return value, [self.sign * x * value]


@dataclass(frozen=True)
class OnePlusPower:
    """``(1 + rate * x) ** (-exponent)``: 1 at ``x = 0``, then a decay."""

    variable: str
    rate: str
    exponent: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The rate and the exponent."""
        return (self.rate, self.exponent)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivatives by the rate and the exponent."""
        x = inputs[self.variable]
        rate, power = theta[self.rate], theta[self.exponent]
        grown = 1 + rate * x
        value = grown**-power
        return value, [-power * x * value / grown, -np.log(grown) * value]


@dataclass(frozen=True)
class OneMinus:
    """``1 - factor``."""

    factor: Factor

    @property
    def variables(self) -> tuple[str, ...]:
        """Those of the factor."""
        return self.factor.variables

    @property
    def exponents(self) -> tuple[str, ...]:
        """Those of the factor."""
        return self.factor.exponents

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the complement and its derivatives."""
        value, slopes = self.factor(inputs, theta)
        return 1 - value, [-slope for slope in slopes]


@dataclass(frozen=True)
class Exponent:
    """A parameter that enters nonlinearly, with the box that the search stays in.

    ``is_log`` says that the search runs over its logarithm (the box is then positive).
    """

    name: str
    lower: float
    upper: float
    is_log: bool = True


@dataclass(frozen=True)
class Term:
    """A linear coefficient times factors.

    Parameters
    ----------
    coefficient : str
        Its name in reports.
    factors : tuple of Factor
        Empty for a constant.
    sign : {1, -1, 0}
        1 keeps the coefficient at or above zero, -1 at or below, 0 leaves it free.
    """

    coefficient: str
    factors: tuple[Factor, ...] = ()
    sign: Literal[1, -1, 0] = 1

    def scale(self, scales: Mapping[str, float], theta: Mapping[str, Array]) -> Array:
        """Return what the coefficient gains when the inputs are divided by ``scales``."""
        gain = np.ones_like(next(iter(theta.values()))) if theta else np.ones(1)
        for factor in self.factors:
            if isinstance(factor, Power):
                gain = gain * scales.get(factor.variable, 1.0) ** (
                    -factor.sign * theta[factor.exponent]
                )
        return gain


@dataclass(frozen=True)
class Law:
    """The declaration of a loss law.

    Parameters
    ----------
    name : str
        Short name for the command line and files.
    formula : str
        The formula in the symbols of its paper.
    latex : str
        The same for the report.
    reference : str
        Where it comes from.
    needs : str
        What data it needs, in one sentence.
    exponents : tuple of Exponent
        The ``q`` nonlinear parameters.
    terms : tuple of Term
        The ``p`` linear coefficients with their factors.
    link : {"log", "identity"}
        Residuals are differences of log losses, or of losses (for laws of differences, which may
        be negative).
    scaled : tuple of str
        Inputs that are divided by their geometric mean inside a fit; only factors of type
        :class:`Power` may read them.
    fixed : tuple of (str, float)
        Exponents that the data cannot tell and that are held, with their values.
    options : tuple of (str, value)
        Arguments that :func:`cmrplan.laws.build_law` needs beside the name to make the law again.
    """

    name: str
    formula: str
    latex: str
    reference: str
    needs: str
    exponents: tuple[Exponent, ...]
    terms: tuple[Term, ...]
    link: Link = "log"
    scaled: tuple[str, ...] = ("model_params", "train_tokens")
    fixed: tuple[tuple[str, float], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that the law reads."""
        names = [
            name for term in self.terms for factor in term.factors for name in factor.variables
        ]
        return tuple(dict.fromkeys(names))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Coefficients, then exponents, then held exponents."""
        return (
            *(term.coefficient for term in self.terms),
            *(exponent.name for exponent in self.exponents),
            *(name for name, _ in self.fixed),
        )

    @property
    def num_free(self) -> int:
        """Number of parameters that a fit estimates."""
        return len(self.terms) + len(self.exponents)

    def columns(self, theta: Array) -> dict[str, Array]:
        """Return exponents by name as columns ``(S, 1)``, the held ones included."""
        named = {e.name: theta[:, k : k + 1] for k, e in enumerate(self.exponents)}
        return named | {name: np.full((len(theta), 1), value) for name, value in self.fixed}

    def design(self, inputs: Inputs, theta: Array) -> tuple[Array, list[tuple[int, int, Array]]]:
        """Return the design and its nonzero derivatives.

        Parameters
        ----------
        inputs : mapping
            Arrays ``(n,)`` by input name.
        theta : array (S, q)
            Exponents in their own units.

        Returns
        -------
        design : array (S, n, p)
            Value of each term without its coefficient.
        derivatives : list of (j, k, array (S, n))
            Derivative of column ``j`` by exponent ``k``; pairs that are absent are zero.

        Raises
        ------
        InputError
            If there is no input at all, not even one that the law does not read.
        """
        if not inputs:
            raise InputError(f"law {self.name} ({self.formula}) got no inputs, so no rows")
        num_rows = len(next(iter(inputs.values())))
        named = self.columns(theta)
        position = {exponent.name: k for k, exponent in enumerate(self.exponents)}
        design = np.ones((len(theta), num_rows, len(self.terms)))
        derivatives: list[tuple[int, int, Array]] = []
        for j, term in enumerate(self.terms):
            parts = [(factor.exponents, *factor(inputs, named)) for factor in term.factors]
            for _, value, _ in parts:
                design[:, :, j] *= value
            for which, (names, _, slopes) in enumerate(parts):
                others = [value for k, (_, value, _) in enumerate(parts) if k != which]
                for name, slope in zip(names, slopes, strict=True):
                    if name in position:
                        whole = slope
                        for other in others:
                            whole = whole * other
                        derivatives.append((j, position[name], whole))
        return design, derivatives

    def predict(self, inputs: Inputs, theta: Array, coefficients: Array) -> Array:
        """Return the law's value, ``(S, n)``, for ``theta`` (S, q) and ``coefficients`` (S, p)."""
        design, _ = self.design(inputs, theta)
        return np.asarray(np.einsum("snp,sp->sn", design, coefficients))

    def jacobian(self, inputs: Inputs, theta: Array, coefficients: Array) -> Array:
        """Return the derivative by coefficients, then exponents, ``(S, n, p + q)``."""
        design, derivatives = self.design(inputs, theta)
        slopes = exponent_slopes(derivatives, coefficients, design.shape[1], theta.shape[1])
        return np.concatenate([design, slopes], axis=2)


def exponent_slopes(
    derivatives: list[tuple[int, int, Array]],
    coefficients: Array,
    num_rows: int,
    num_exponents: int,
) -> Array:
    """Return the derivative of the law by its exponents, ``(S, n, q)``."""
    slopes = np.zeros((len(coefficients), num_rows, num_exponents))
    for j, k, derivative in derivatives:
        slopes[:, :, k] += coefficients[:, j : j + 1] * derivative
    return slopes


# The outer parts of a box over- and underflow; the search takes what is not finite as no use.
quiet = np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")


def to_theta(law: Law, search: Array) -> Array:
    """Return exponents in their own units from search coordinates, ``(S, q)``."""
    is_log = np.array([e.is_log for e in law.exponents], dtype=bool)
    return np.where(is_log, np.exp(np.where(is_log, search, 0.0)), search)


def scaled_inputs(inputs: Inputs, scales: Mapping[str, float]) -> dict[str, Array]:
    """Return the inputs divided by their scales."""
    return {
        name: np.asarray(values, dtype=float) / scales.get(name, 1.0)
        for name, values in inputs.items()
    }


@quiet
def predict_draws(
    law: Law, scales: Mapping[str, float], inputs: Inputs, search: Array, coefficients: Array
) -> Array:
    """Return predictions of ``S`` parameter sets for inputs in the caller's units, ``(S, n)``."""
    return law.predict(scaled_inputs(inputs, scales), to_theta(law, search), coefficients)


def link_jacobian(
    law: Law, scales: Mapping[str, float], inputs: Inputs, search: Array, coefficients: Array
) -> Array:
    """Return the derivative of what is fitted, the law or its logarithm, by all parameters, ``(n, p + q)``."""
    scaled, theta = scaled_inputs(inputs, scales), to_theta(law, search[None, :])
    jacobian = law.jacobian(scaled, theta, coefficients[None, :])[0]
    if law.link == "log":
        jacobian = jacobian / law.predict(scaled, theta, coefficients[None, :])[0][:, None]
    return np.asarray(jacobian)
