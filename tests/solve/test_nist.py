"""Certified nonlinear regression: NIST's StRD sets through the solver that fits the laws.

Every set that is a sum of linear coefficients times nonlinear factors is declared as a law here, with
factors of its own. Data, start values and certified values are read from NIST's files (see
``reference/nist/README.md``). The linear coefficients need no start: the solver works them out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cmrplan.laws.law import Exponent, Law, Term, to_theta
from cmrplan.solve.multistart import minimize_from_many
from cmrplan.solve.problem import FitProblem, box
from cmrplan.solve.varpro import minimize

FOLDER = Path(__file__).parents[1] / "reference" / "nist"
CERTIFIED_DIGITS = 6  # issue 3; the certified values carry 11
STEP = 1e-100  # of the complex step: the derivative is then exact to rounding


@dataclass(frozen=True)
class Column:
    """A factor given by any analytic function of an input and of exponents."""

    function: Callable
    exponents: tuple[str, ...] = ()
    variable: str = "x"

    @property
    def variables(self):
        return (self.variable,)

    def __call__(self, inputs, theta):
        x = inputs[self.variable][None, :]
        values = [theta[name] for name in self.exponents]
        slopes = []
        for k in range(len(values)):
            stepped = [v + 1j * STEP * (j == k) for j, v in enumerate(values)]
            slopes.append(self.function(x, *stepped).imag / STEP)
        return self.function(x, *values), slopes


@dataclass(frozen=True)
class Case:
    """How a NIST model is written as a law.

    ``terms`` are the factors of each linear coefficient; ``to_theta`` takes NIST's parameters to the
    exponents, ``to_nist`` takes exponents and coefficients back.
    """

    exponents: tuple[Exponent, ...]
    terms: tuple[tuple[Column, ...], ...]
    to_theta: Callable
    to_nist: Callable
    predictors: tuple[str, ...] = ("x",)
    response: Callable = field(default=lambda y: y)

    @property
    def law(self):
        terms = tuple(Term(f"c{j}", factors, sign=0) for j, factors in enumerate(self.terms))
        return Law(
            name="nist",
            formula="",
            latex="",
            reference="NIST StRD",
            needs="",
            exponents=self.exponents,
            terms=terms,
            link="identity",
            scaled=(),
        )


def one_column(function, exponents, to_nist=lambda t, c: (*c, *t), to_theta=lambda b: b[1:]):
    """Return the case of one linear coefficient, NIST's first parameter unless said otherwise."""
    names = tuple(e.name for e in exponents)
    return Case(exponents, ((Column(function, names),),), to_theta, to_nist)


def saturating(function):
    """Return the case ``y = b1 f(x, b2)`` of the adsorption sets."""
    return one_column(function, (Exponent("b2", 1e-6, 1e2),))


def exponentials(count, lower, upper, *, has_constant, to_theta, to_nist):
    """Return a sum of exponentials, with rates from ``lower`` to ``upper``."""
    rates = tuple(Exponent(f"k{j}", lower, upper) for j in range(count))
    terms = [(Column(lambda x, k: np.exp(-k * x), (rate.name,)),) for rate in rates]
    return Case(rates, ((), *terms) if has_constant else tuple(terms), to_theta, to_nist)


def rational(numerator, exponents, unit):
    """Return a ratio of polynomials in ``x / unit`` with 1 as the constant of the denominator."""
    names = tuple(e.name for e in exponents)
    powers = np.arange(numerator)

    def column(power):
        def value(x, *b):
            z = x / unit
            return z**power / (1 + sum(b[k] * z ** (k + 1) for k in range(len(b))))

        return (Column(value, names),)

    up = float(unit) ** np.arange(1, len(names) + 1)
    return Case(
        exponents,
        tuple(column(power) for power in powers),
        lambda b: b[numerator:] * up,
        lambda t, c: (*(c / float(unit) ** powers), *(t / up)),
    )


def gauss():
    """Return an exponential and two peaks."""

    def peak(x, center, width):
        return np.exp(-(((x - center) / width) ** 2))

    names = ("b2", "b4", "b5", "b7", "b8")
    bounds = ((1e-3, 1.0), (10.0, 250.0), (2.0, 100.0), (10.0, 250.0), (2.0, 100.0))
    return Case(
        tuple(Exponent(name, *edges) for name, edges in zip(names, bounds, strict=True)),
        (
            (Column(lambda x, b2: np.exp(-b2 * x), ("b2",)),),
            (Column(peak, ("b4", "b5")),),
            (Column(peak, ("b7", "b8")),),
        ),
        lambda b: b[[1, 3, 4, 6, 7]],
        lambda t, c: (
            c[0],
            t[0],
            *(
                v
                for peak in sorted([(t[1], t[2], c[1]), (t[3], t[4], c[2])])
                for v in peak_order(peak)
            ),
        ),
    )


def peak_order(peak):
    center, width, height = peak
    return height, center, width


def enso():
    """Return three cycles, one of known period."""

    def waves(name):
        names = () if name is None else (name,)
        return [
            (Column(lambda x, period=12.0, w=wave: w(2 * np.pi * x / period), names),)
            for wave in (np.cos, np.sin)
        ]

    def to_nist(t, c):
        first, second = sorted([(t[0], c[3], c[4]), (t[1], c[5], c[6])], reverse=True)
        return (*c[:3], *first, *second)

    return Case(
        (Exponent("b4", 15.0, 100.0), Exponent("b7", 15.0, 100.0)),
        ((), *waves(None), *waves("b4"), *waves("b7")),
        lambda b: b[[3, 6]],
        to_nist,
    )


def mgh10():
    """Return ``b1 exp(b2 / (x + b3))``, the coefficient taken at the first x to stay finite."""

    def value(x, b2, b3):
        return np.exp(b2 * (1 / (x + b3) - 1 / (x.min() + b3)))

    return one_column(
        value,
        (Exponent("b2", 1e2, 1e6), Exponent("b3", 1.0, 1e5)),
        to_nist=lambda t, c: (c[0] * np.exp(-t[0] / (50 + t[1])), *t),
    )


def chwirut():
    """Return ``exp(-b1 x) / (b2 + b3 x)`` with 1 / b2 as the linear coefficient."""
    return one_column(
        lambda x, b1, ratio: np.exp(-b1 * x) / (1 + ratio * x),
        (Exponent("b1", 1e-3, 10.0), Exponent("ratio", 1e-3, 1e3)),
        to_nist=lambda t, c: (t[0], 1 / c[0], t[1] / c[0]),
        to_theta=lambda b: (b[0], b[2] / b[1]),
    )


def mgh09():
    """Return ``b1 (x^2 + b2 x) / (x^2 + b3 x + b4)``."""
    names = ("b3", "b4")
    return Case(
        tuple(Exponent(name, 1e-3, 1e2) for name in names),
        tuple(
            (Column(lambda x, b3, b4, p=power: x**p / (x**2 + b3 * x + b4), names),)
            for power in (2, 1)
        ),
        lambda b: b[2:],
        lambda t, c: (c[0], c[1] / c[0], *t),
    )


def nelson():
    """Return ``log y = b1 - b2 x1 exp(-b3 x2)``."""
    return Case(
        (Exponent("b3", -0.2, 0.2, is_log=False),),
        ((), (Column(lambda x: -x, (), "x1"), Column(lambda x, b: np.exp(-b * x), ("b3",), "x2"))),
        lambda b: b[2:],
        lambda t, c: (*c, *t),
        predictors=("x1", "x2"),
        response=np.log,
    )


def by_rate(t, c):
    """Return coefficient and rate of each exponential, slowest first."""
    return tuple(v for rate, height in sorted(zip(t, c, strict=True)) for v in (height, rate))


def mgh17_order(t, c):
    (slow, first), (fast, second) = sorted(zip(t, c[1:], strict=True))
    return c[0], first, second, slow, fast


LANCZOS = exponentials(
    3, 0.05, 20.0, has_constant=False, to_theta=lambda b: b[1::2], to_nist=by_rate
)
CASES = {
    "Misra1a": saturating(lambda x, b: 1 - np.exp(-b * x)),
    "Misra1b": saturating(lambda x, b: 1 - (1 + b * x / 2) ** -2),
    "Misra1c": saturating(lambda x, b: 1 - (1 + 2 * b * x) ** -0.5),
    "Misra1d": saturating(lambda x, b: b * x / (1 + b * x)),
    "BoxBOD": saturating(lambda x, b: 1 - np.exp(-b * x)),
    "DanWood": one_column(lambda x, b: x**b, (Exponent("b2", 0.0, 10.0, is_log=False),)),
    "Chwirut1": chwirut(),
    "Chwirut2": chwirut(),
    "Bennett5": one_column(
        lambda x, offset, power: (offset + x) ** -power,
        (Exponent("offset", 1.0, 500.0), Exponent("power", 0.05, 20.0)),
        to_nist=lambda t, c: (c[0], t[0], 1 / t[1]),
        to_theta=lambda b: (b[1], 1 / b[2]),
    ),
    "Eckerle4": one_column(
        lambda x, width, center: np.exp(-0.5 * ((x - center) / width) ** 2),
        (Exponent("width", 1.0, 100.0), Exponent("center", 300.0, 600.0)),
        to_nist=lambda t, c: (c[0] * t[0], *t),
    ),
    "Rat42": one_column(
        lambda x, b2, b3: 1 / (1 + np.exp(b2 - b3 * x)),
        (Exponent("b2", 0.1, 20.0), Exponent("b3", 1e-3, 2.0)),
    ),
    "Rat43": one_column(
        lambda x, b2, b3, b4: (1 + np.exp(b2 - b3 * x)) ** (-1 / b4),
        (Exponent("b2", 0.1, 20.0), Exponent("b3", 1e-2, 10.0), Exponent("b4", 0.05, 20.0)),
    ),
    "MGH09": mgh09(),
    "MGH10": mgh10(),
    "MGH17": exponentials(
        2,
        1e-3,
        10.0,
        has_constant=True,
        to_theta=lambda b: b[3:],
        to_nist=mgh17_order,
    ),
    "Lanczos1": LANCZOS,
    "Lanczos2": LANCZOS,
    "Lanczos3": LANCZOS,
    "Gauss1": gauss(),
    "Gauss2": gauss(),
    "Gauss3": gauss(),
    "Nelson": nelson(),
    "ENSO": enso(),
    "Kirby2": rational(
        3, (Exponent("b4", -1.0, 5.0, is_log=False), Exponent("b5", 1e-3, 10.0)), 100
    ),
    "Hahn1": rational(
        4, tuple(Exponent(f"b{k}", -20.0, 20.0, is_log=False) for k in (5, 6, 7)), 100
    ),
    "Thurber": rational(4, tuple(Exponent(f"b{k}", -2.0, 2.0, is_log=False) for k in (5, 6, 7)), 1),
}


@dataclass(frozen=True)
class Certified:
    """What a NIST file says: starts (2, k), parameters (k,), residual sum of squares, data."""

    starts: np.ndarray
    parameters: np.ndarray
    sum_of_squares: float
    columns: np.ndarray


def read_certified(name):
    lines = (FOLDER / f"{name}.dat").read_text().splitlines()
    rows = [line.split("=")[1].split() for line in lines[40:] if line.split()[1:2] == ["="]]
    table = np.array(rows, dtype=float)
    (total,) = (line.split()[-1] for line in lines if line.startswith("Residual Sum of Squares"))
    data = np.array([line.split() for line in lines[60:] if line.strip()], dtype=float)
    return Certified(table[:, :2].T, table[:, 2], float(total), data.T)


def problem_of(case, certified):
    inputs = dict(zip(case.predictors, certified.columns[1:], strict=True))
    target = case.response(certified.columns[0])[None, :]
    return FitProblem(case.law, inputs, target, np.ones_like(target), np.inf)


def digits(found, certified):
    """Return the number of agreeing significant digits, NIST's log relative error."""
    miss = np.abs(np.asarray(found) - certified) / np.abs(certified)
    return float(-np.log10(np.maximum(miss.max(), 1e-16)))


def solve(case, problem, start):
    if start is None:
        optimum = minimize_from_many(problem)
    else:
        theta = np.asarray(case.to_theta(start), dtype=float)
        is_log = np.array([e.is_log for e in case.exponents])
        search = np.where(is_log, np.log(np.where(is_log, theta, 1.0)), theta)
        optimum = minimize(problem, search[None, :])
    best = optimum.best()
    theta = to_theta(case.law, optimum.search[best : best + 1])[0]
    parameters = case.to_nist(theta, optimum.coefficients[best])
    return np.array(parameters), optimum, best


# From these starts two rates meet, or one rate makes its column a single point, before the descent reaches the
# optimum; with the coefficients worked out there is no way back. The starts over the box find the optimum.
STUCK = {("MGH17", 0), ("Lanczos1", 0), ("Lanczos2", 0), ("Lanczos3", 0)}
RUNS = [
    pytest.param(name, start, id=f"{name}-{'own' if start is None else f'start{start + 1}'}")
    for name in CASES
    for start in (None, 0, 1)
    if (name, start) not in STUCK
]


@pytest.mark.parametrize(("name", "start"), RUNS)
def test_certified_values_are_reached(name, start):
    case, certified = CASES[name], read_certified(name)
    problem = problem_of(case, certified)
    # the outer parts of the boxes over- and underflow, which the solver has to bear
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        found, optimum, best = solve(
            case, problem, None if start is None else certified.starts[start]
        )
    assert digits(found, certified.parameters) >= CERTIFIED_DIGITS
    # float64 knows a residual to about the rounding of the response and of the model's terms;
    # this matters for Lanczos1 alone, whose residuals are of the order of 1e-13
    response = np.abs(problem.target).max()
    spread = np.sqrt(certified.sum_of_squares / problem.target.size)
    rounding = 8 * np.finfo(float).eps * response / spread
    assert 2 * optimum.objective[best] == pytest.approx(
        certified.sum_of_squares, rel=max(10.0**-CERTIFIED_DIGITS, rounding)
    )
    assert optimum.is_converged[best] or rounding > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_the_declared_law_is_the_model_of_the_file(name):
    """Certified parameters, put in by hand, give the certified sum: no start, no search."""
    case, certified = CASES[name], read_certified(name)
    problem = problem_of(case, certified)
    theta = np.asarray(case.to_theta(certified.parameters), dtype=float)[None, :]
    design, _ = case.law.design(problem.inputs, theta)
    coefficients = np.linalg.lstsq(design[0], problem.target[0])[0]
    assert digits(case.to_nist(theta[0], coefficients), certified.parameters) >= CERTIFIED_DIGITS
    if name != "Lanczos1":  # its 11 digits of parameters are worth less than its residuals
        miss = problem.target[0] - design[0] @ coefficients
        assert miss @ miss == pytest.approx(certified.sum_of_squares, rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_starts_lie_in_the_box(name):
    case, certified = CASES[name], read_certified(name)
    lower, upper = box(case.law)
    is_log = np.array([e.is_log for e in case.exponents])
    for start in certified.starts:
        theta = np.asarray(case.to_theta(start), dtype=float)
        search = np.where(is_log, np.log(np.where(is_log, theta, 1.0)), theta)
        assert (search >= lower).all()
        assert (search <= upper).all()
