"""Repetition of scarce data: repeated tokens are worth less than fresh ones.

``D' = U + U R* (1 - exp(-(D / U - 1) / R*))`` for D above U, else D: the effective tokens of D tokens
drawn from U unique ones. R* is ``repeat_scale``, the number of repeats after which a further repeat is
worth 1/e of a fresh token; 15.387756 from scratch on one source. Inside mixtures, scarce data stands
more repetition, so :func:`with_repetition` fits it unless it is given, which takes probes that repeat.

References
----------
Muennighoff et al., Scaling Data-Constrained Language Models, NeurIPS 2023, arXiv:2305.16264.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.laws.law import Exponent, Factor, Inputs, Law, Power, Term

REPEAT_SCALE = 15.387756  # R_D*
REPEAT_SCALE_SD = (
    0.7  # of its logarithm, of what it may be inside mixtures, which are reported to stand more
)
EXCESS_SCALE = 5.309743  # R_N*
# These are the constants of the from-scratch law E + A / N'^alpha + B / D'^alpha, with one exponent for both.
_A, _B, _E = math.exp(6.255414), math.exp(7.3049974), math.exp(0.6254804)
_ALPHA = 0.3526596


def effective_tokens(
    train_tokens: ArrayLike, unique_tokens: ArrayLike, repeat_scale: float = REPEAT_SCALE
) -> Array:
    """Return the fresh tokens that ``train_tokens`` from ``unique_tokens`` are worth.

    Parameters
    ----------
    train_tokens, unique_tokens : array (n,)
        Tokens; infinite unique tokens never repeat.
    repeat_scale : float
        R*, in repeats.

    Raises
    ------
    InputError
        If unique tokens or the scale are not positive.

    Examples
    --------
    >>> float(effective_tokens(4e9, 1e9).round(-6))
    3726000000.0
    """
    unique = np.asarray(unique_tokens, dtype=float)
    if not (unique > 0).all() or not repeat_scale > 0:
        raise InputError(
            "unique_tokens and repeat_scale must be positive, got a smallest unique_tokens of "
            f"{unique.min():g} and repeat_scale {repeat_scale:g}"
        )
    tokens = np.asarray(train_tokens, dtype=float)
    worth, _ = _worth(tokens / unique, np.asarray(repeat_scale, dtype=float))
    return tokens * worth


def repetition_loss(
    model_params: ArrayLike, train_tokens: ArrayLike, unique_tokens: ArrayLike
) -> Array:
    """Return the loss of training from scratch on repeated data, nats per token.

    Excess parameters decay like repeated tokens: ``N' = U_N + U_N R_N* (1 - exp(-(N / U_N - 1) / R_N*))``
    with U_N the compute-optimal size for the unique tokens, at most N. All constants are published.

    Parameters
    ----------
    model_params, train_tokens, unique_tokens : array (n,)
        Parameters and tokens.

    Examples
    --------
    >>> float(repetition_loss(6.34e9, 242e9, 25e9).round(6))
    2.225644
    """
    # With equal exponents the optimal N is proportional to the tokens.
    optimal = (_A / _B) ** (1 / _ALPHA) * np.asarray(unique_tokens, dtype=float)
    params = effective_tokens(model_params, optimal, EXCESS_SCALE)
    tokens = effective_tokens(train_tokens, unique_tokens)
    return np.asarray(_E + _A / params**_ALPHA + _B / tokens**_ALPHA)


def _worth(epochs: Array, scale: Array) -> tuple[Array, Array]:
    """Return the mean worth of a token after ``epochs`` passes, and its derivative by the scale."""
    passes = np.maximum(epochs, 1.0)
    decays = (passes - 1) / scale
    gone = -np.expm1(-decays)
    return (1 + scale * gone) / passes, (gone - decays * np.exp(-decays)) / passes


@dataclass(frozen=True)
class RepeatedPower:
    """``(effective tokens) ** (sign * exponent)``.

    Parameters
    ----------
    exponent : str
    sign : {1, -1}
    share : str, optional
        Input with the share of the training tokens that is drawn from the unique ones; the rest
        never repeats. All of them by default.
    """

    exponent: str
    sign: Literal[1, -1]
    share: str | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """The tokens, the unique ones, and the share where there is one."""
        names = ("train_tokens", "unique_tokens")
        return names if self.share is None else (*names, self.share)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The exponent and the repeat scale."""
        return (self.exponent, "repeat_scale")

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the power and its derivatives by the exponent and the repeat scale."""
        tokens = inputs["train_tokens"]
        share = np.ones_like(tokens) if self.share is None else inputs[self.share]
        epochs = tokens * share / inputs["unique_tokens"]
        worth, by_scale = _worth(epochs, theta["repeat_scale"])
        mean_worth = 1 - share + share * worth
        effective = {"effective_tokens": tokens * mean_worth}
        value, slopes = Power("effective_tokens", self.exponent, self.sign)(effective, theta)
        power = self.sign * theta[self.exponent]
        return value, [*slopes, power * value * share * by_scale / mean_worth]


def with_repetition(
    law: Law, *, repeat_scale: float | None = None, repeated_share: str | None = None
) -> Law:
    """Return ``law`` with effective tokens in place of ``train_tokens``.

    The composed law reads ``unique_tokens`` too. Its tokens are not scaled inside a fit, since the unique
    ones would have to be scaled alike.

    Parameters
    ----------
    law : Law
        Any law whose factors in ``train_tokens`` are powers.
    repeat_scale : float, optional
        R*, held; fitted by default.
    repeated_share : str, optional
        Input with the share of the training tokens drawn from the unique ones, such as ``share`` for
        a domain loss; ``unique_tokens`` are then those of that corpus. All tokens by default.

    Raises
    ------
    InputError
        If the law does not read ``train_tokens``, or reads them other than as a power.
    """
    terms = _repeated_terms(law, repeated_share)
    exponents, fixed = law.exponents, law.fixed
    if repeat_scale is None:
        exponents = (*exponents, Exponent("repeat_scale", 0.5, 500.0))
    else:
        fixed = (*fixed, ("repeat_scale", repeat_scale))
    chosen = {"repeat_scale": repeat_scale, "repeated_share": repeated_share}
    formula, latex = _effective_formula(repeated_share is not None)
    return replace(
        law,
        name=f"{law.name}_repetition",
        formula=f"{law.formula}, {formula}",
        latex=rf"{law.latex},\quad {latex}",
        reference=f"{law.reference}; Muennighoff et al. 2023, arXiv:2305.16264",
        needs=f"{law.needs} The unique tokens, and probes that repeat them as often as the target run.",
        exponents=exponents,
        terms=terms,
        scaled=tuple(name for name in law.scaled if name != "train_tokens"),
        fixed=fixed,
        options=(
            *law.options,
            *((key, value) for key, value in chosen.items() if value is not None),
        ),
    )


def _repeated_terms(law: Law, repeated_share: str | None) -> tuple[Term, ...]:
    if "train_tokens" not in law.inputs:
        raise InputError(
            f"law {law.name} does not read train_tokens, so repetition changes nothing"
        )

    def repeated(factor: Factor) -> Factor:
        if "train_tokens" not in factor.variables:
            return factor
        if not isinstance(factor, Power):
            raise InputError(f"law {law.name} reads train_tokens other than as a power of them")
        return RepeatedPower(factor.exponent, factor.sign, repeated_share)

    return tuple(
        replace(term, factors=tuple(repeated(factor) for factor in term.factors))
        for term in law.terms
    )


def repeated_builder(builder: Callable[..., Law]) -> Callable[..., Law]:
    """Return a builder of laws with repetition: it takes the options of both."""

    def build(
        *, repeat_scale: float | None = None, repeated_share: str | None = None, **options: Any
    ) -> Law:
        return with_repetition(
            builder(**options), repeat_scale=repeat_scale, repeated_share=repeated_share
        )

    own = [p for p in inspect.signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = inspect.Signature([*own, *inspect.signature(builder).parameters.values()])
    build.__signature__ = known  # type: ignore[attr-defined]  # what options there are
    return build


def _effective_formula(has_share: bool) -> tuple[str, str]:
    """Return what stands for the tokens, as text and as LaTeX."""
    rest, part = ("D*(1-s)+", "D*s") if has_share else ("", "D")
    text = f"D -> {rest}U+U*R*(1-exp(-({part}/U-1)/R)) where {part} > U"
    rest, part = (r"D(1-s)+", r"D s") if has_share else ("", "D")
    latex = (
        rf"D \to {rest}U+U R^{{*}}\left(1-e^{{-({part}/U-1)/R^{{*}}}}\right)"
        rf"\ \text{{where}}\ {part}>U"
    )
    return text, latex
