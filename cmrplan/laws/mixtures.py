"""Laws of several corpora, trained from scratch or on from a base.

- data mixing law: ``L_i(r) = c + k exp(sum_j t_j r_j)``; over sizes and budgets plus ``A / N^alpha + B / D^beta``
- BiMix: ``L_i(r_i, D) = (A / r_i^alpha) (B / D^beta + C)``
- additive optimal mixture: ``L = E + (sum_i C_i h_i^gamma_i)^-1 + A / N^alpha + B / D^beta``
- AutoScale: ``L = L_inf + k sum_i (N0_i + D p_i)^-gamma_i``

The share of a corpus (r, h or p in the papers) is the input ``share_<corpus>``, a fraction of training
tokens; shares add to one. Each law predicts the loss on one validation corpus. Losses in nats per token.

References
----------
Ye et al., Data Mixing Laws, ICLR 2025, arXiv:2403.16952. Ge et al., BiMix, arXiv:2405.14908. Shukor et
al., Scaling Laws for Optimal Data Mixtures, arXiv:2507.09404. Kang et al., AutoScale, arXiv:2407.20177.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.laws.assembly import Piece, assemble
from cmrplan.laws.chinchilla import IRREDUCIBLE, size_pieces, token_pieces
from cmrplan.laws.law import Exponent, Inputs, Law, Power, Term


@dataclass(frozen=True)
class ExponentialOfSum:
    """``exp(sum_j rate_j x_j)``.

    Parameters
    ----------
    variables, rates : tuple of str
        The ``m`` inputs ``x`` and their rates.
    """

    variables: tuple[str, ...]
    rates: tuple[str, ...]

    @property
    def exponents(self) -> tuple[str, ...]:
        """The rates."""
        return self.rates

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivatives by the rates."""
        columns = [inputs[variable] for variable in self.variables]
        rates = np.concatenate([theta[rate] for rate in self.rates], axis=1)
        value = np.exp(rates @ np.stack(columns))
        return value, [column * value for column in columns]


@dataclass(frozen=True)
class InverseSum:
    """``1 / (x_1^g_1 + sum over the others of w_i x_i^g_i)``.

    Parameters
    ----------
    variables : tuple of str
        The ``m`` inputs ``x``.
    powers : tuple of str
        Their ``m`` exponents ``g``, positive.
    weights : tuple of str
        The ``m - 1`` weights ``w`` of all but the first.
    """

    variables: tuple[str, ...]
    powers: tuple[str, ...]
    weights: tuple[str, ...]

    @property
    def exponents(self) -> tuple[str, ...]:
        """The powers, then the weights."""
        return (*self.powers, *self.weights)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and its derivatives by the powers and the weights."""
        parts = [
            Power(variable, power)(inputs, theta)
            for variable, power in zip(self.variables, self.powers, strict=True)
        ]
        weights: list[Array | float] = [1.0, *(theta[name] for name in self.weights)]
        total = sum(
            (weight * value for weight, (value, _) in zip(weights, parts, strict=True)),
            start=np.zeros(1),
        )
        by_total = -1 / total**2
        by_power = [
            by_total * weight * slopes[0]
            for weight, (_, slopes) in zip(weights, parts, strict=True)
        ]
        return 1 / total, [*by_power, *(by_total * value for value, _ in parts[1:])]


@dataclass(frozen=True)
class SumOfPriorPowers:
    """``sum_i (prior_i + amount * x_i) ** (-g_i)``.

    Parameters
    ----------
    amount : str
        The input that the shares split.
    shares, priors, powers : tuple of str
        The ``m`` inputs ``x``, their priors (in the unit of ``amount``) and exponents ``g``.
    """

    amount: str
    shares: tuple[str, ...]
    priors: tuple[str, ...]
    powers: tuple[str, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """The amount and the shares."""
        return (self.amount, *self.shares)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The priors, then the powers."""
        return (*self.priors, *self.powers)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the sum and its derivatives by the priors and the powers."""
        values, by_prior, by_power = [], [], []
        for share, prior, power in zip(self.shares, self.priors, self.powers, strict=True):
            known = theta[prior] + inputs[self.amount] * inputs[share]
            value = known ** -theta[power]
            values.append(value)
            by_prior.append(-theta[power] * value / known)
            by_power.append(-np.log(known) * value)
        return np.sum(values, axis=0), [*by_prior, *by_power]


def data_mixing_law(*, corpora: Sequence[str], size_levels: int = 1, token_levels: int = 1) -> Law:
    """Return ``c + k exp(sum_j t_j r_j)``, c and k at or above zero.

    The published law is that of one size and one budget. Where the log has more, ``A / N^alpha + B / D^beta`` is
    added, as the additive optimal mixture law does.

    Shares add to one, so a constant added to every t only rescales k: the t of the last corpus is held
    at zero and the others are differences from it.

    Parameters
    ----------
    corpora : sequence of str
        Names of the training corpora, at least two.
    size_levels, token_levels : int
        As in :func:`cmrplan.laws.chinchilla.chinchilla_law`.
    """
    names = checked_corpora(corpora)
    mixed, exponents, held = mixture_exponential(names)
    latex = r"k\,e^{\sum_j t_j r_j}"
    return assemble(
        [
            Piece(Term("c"), "c", "c"),
            Piece(Term("k", (mixed,)), "k*exp(sum_j t_j*r_j)", latex, exponents, held),
            *size_pieces(size_levels),
            *token_pieces(token_levels),
        ],
        name="data_mixing",
        reference="Ye et al. 2025, arXiv:2403.16952",
        needs="Losses of one corpus on more mixtures than corpora (two more at least); 3 or more sizes and "
        "token counts for the terms in them.",
        options=(
            ("corpora", names),
            ("size_levels", size_levels),
            ("token_levels", token_levels),
        ),
    )


def bimix_law(*, corpus: str) -> Law:
    """Return ``(A / r_i^alpha) (B / D^beta + C)`` at one size.

    Only the products ``AB`` and ``AC`` can be told from losses, so these are the coefficients.

    Parameters
    ----------
    corpus : str
        Name of the corpus whose loss is predicted; only its own share enters.
    """
    share = Power(f"share_{corpus}", "alpha", -1)
    tokens = Power("train_tokens", "beta", -1)
    box = (Exponent("alpha", 1e-3, 5.0), Exponent("beta", 0.01, 5.0))
    latex = r"\frac{AB}{r_i^{\alpha} D^{\beta}}"
    return assemble(
        [
            Piece(Term("AB", (share, tokens)), "AB/(r_i^alpha*D^beta)", latex, box),
            Piece(Term("AC", (share,)), "AC/r_i^alpha", r"\frac{AC}{r_i^{\alpha}}"),
        ],
        name="bimix",
        reference="Ge et al. 2024, arXiv:2405.14908",
        needs="Losses of one corpus at one size, at 3 or more token counts and 2 or more shares above 0.",
        options=(("corpus", corpus),),
    )


def optimal_mixture_law(
    *, corpora: Sequence[str], size_levels: int = 3, token_levels: int = 3
) -> Law:
    """Return ``E + (sum_i C_i h_i^gamma_i)^-1 + A / N^alpha + B / D^beta``.

    Fitted as ``C / (h_1^gamma_1 + sum_i w_i h_i^gamma_i)``: C is ``1 / C_1`` and the weights ``w_i`` are
    ``C_i / C_1``.

    Parameters
    ----------
    corpora : sequence of str
        Names of the training corpora, at least two; first one that matters for the loss, such as the
        corpus that is predicted.
    size_levels, token_levels : int
        As in :func:`cmrplan.laws.chinchilla.chinchilla_law`.
    """
    names = checked_corpora(corpora)
    powers = tuple(f"gamma_{name}" for name in names)
    weights = tuple(f"w_{name}" for name in names[1:])
    shares = tuple(f"share_{name}" for name in names)
    mixture = Piece(
        Term("C", (InverseSum(shares, powers, weights),)),
        "C/(h_1^gamma_1+sum_i w_i*h_i^gamma_i)",
        r"\frac{C}{h_1^{\gamma_1}+\sum_{i>1} w_i h_i^{\gamma_i}}",
        (
            *(Exponent(name, 0.01, 5.0) for name in powers),
            *(Exponent(name, 1e-4, 1e4) for name in weights),
        ),
    )
    return assemble(
        [IRREDUCIBLE, mixture, *size_pieces(size_levels), *token_pieces(token_levels)],
        name="optimal_mixture",
        reference="Shukor et al. 2025, arXiv:2507.09404",
        needs="Losses of one corpus on more mixtures than twice the corpora; 3 or more sizes and token "
        "counts for the terms in them.",
        options=(
            ("corpora", names),
            ("size_levels", size_levels),
            ("token_levels", token_levels),
        ),
    )


def autoscale_law(*, corpora: Sequence[str]) -> Law:
    """Return ``L_inf + k sum_i (N0_i + D p_i)^-gamma_i`` at one size.

    ``N0_i`` (``prior_<corpus>``) is what the base already knows of a corpus, in tokens. The source has no
    coefficient k (k = 1), which ties the law to its unit of D; k frees it.

    Parameters
    ----------
    corpora : sequence of str
        Names of the training corpora, at least two.
    """
    names = checked_corpora(corpora)
    priors = tuple(f"prior_{name}" for name in names)
    powers = tuple(f"gamma_{name}" for name in names)
    shares = tuple(f"share_{name}" for name in names)
    amounts = Piece(
        Term("k", (SumOfPriorPowers("train_tokens", shares, priors, powers),)),
        "k*sum_i (N0_i+D*p_i)^-gamma_i",
        r"k\sum_i (N_{0,i}+D\,p_i)^{-\gamma_i}",
        (
            *(Exponent(name, 1e4, 1e14) for name in priors),
            *(Exponent(name, 0.01, 3.0) for name in powers),
        ),
    )
    return assemble(
        [Piece(Term("L_inf"), "L_inf", r"L_\infty"), amounts],
        name="autoscale",
        reference="Kang et al. 2024, arXiv:2407.20177",
        needs="Losses of one corpus at one size, with each corpus's tokens varied over 3 or more levels.",
        scaled=(),
        options=(("corpora", names),),
    )


def mixture_exponential(
    names: Sequence[str],
) -> tuple[ExponentialOfSum, tuple[Exponent, ...], tuple[tuple[str, float], ...]]:
    """Return ``exp(sum_j t_j r_j)``, the t that a fit searches, and that of the last corpus, which is held at zero."""
    mixed = ExponentialOfSum(
        tuple(f"share_{name}" for name in names), tuple(f"t_{name}" for name in names)
    )
    exponents = tuple(Exponent(f"t_{name}", -20.0, 20.0, is_log=False) for name in names[:-1])
    return mixed, exponents, ((f"t_{names[-1]}", 0.0),)


def checked_corpora(corpora: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the training corpora.

    Raises
    ------
    InputError
        If they are not two different names or more.
    """
    names = tuple(corpora)
    if isinstance(corpora, str) or len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"corpora must be two different names or more, got {corpora!r}")
    return names
