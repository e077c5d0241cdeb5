"""The bilinear laws: a curve of the tokens, a curve of the share, and their product, with coefficients of each size.

``L = a_N + b_N d(D) + c_N h(r) + e_N d(D) h(r)``

r is the share of the corpus whose loss is predicted. ``d(D) = ((D/D1)^-beta - 1) / -beta`` is the Box-Cox transform of
the tokens over D1, the geometric mean of those in the log; at ``beta = 0`` it is ``ln(D/D1)``, and beta may be
negative. ``h(r)`` is ``(r + epsilon)^-gamma``, or ``exp(-k r)``, moved and scaled to 0 at ``r = 1`` and 1 at
``r = 1/2``. So a is the loss after D1 tokens of the corpus alone, b its slope there in nats per factor e of tokens, c
the rise over it at a share of one half, and e what a factor e of tokens adds to that rise. All four may have either
sign. beta, epsilon, gamma and k are shared by the sizes, a to e belong to the size (:mod:`cmrplan.laws.by_size`).

The dipping form adds ``f_N (r - 1) + g_N (r - 1) d(D)``, so that the loss may be lowest at an inner share.

The size law lets the rise over the corpus alone shrink with size, the faster the larger the share:

``L = e_N + b_N d(D) + (N/N0)^-(a0 + a1 r) (C + F d(D)) h(r)``

with N0 the geometric mean of the probed sizes.

Few token counts and shares reduce the laws: at two token counts beta is held at 0, at one the terms in d(D) are left
out; at ``m`` shares the terms that read the share alone, with the level, may have ``m - 1`` parameters (3 of 3), and
what is too many is held as in :mod:`cmrplan.laws.dcpt`.

The source is this project: these forms were not published elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmrplan.laws.by_size import (
    CURVE_SHARES,
    CURVE_TOKENS,
    SizeLevels,
    checked_levels,
    own_terms,
    sizes_in_words,
)
from cmrplan.laws.dcpt import ALL_SHAPES, HELD_SHAPES, LARGEST_OFFSET, SMALLEST_OFFSET
from cmrplan.laws.law import Exponent, Factor, Law, Term
from cmrplan.laws.scaled import BoxCox, Linear, ScaledExponential, ScaledPower, SizePower

OWN_REFERENCE = "this project"
DIP_SHARES = 5  # of a size that has its own dip
FREE_TOKEN_LEVELS = 3  # token counts from which on beta is free
TOKEN_EXPONENT = Exponent("beta", -3.0, 3.0, is_log=False)
Held = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Curves:
    """The curves of the tokens and of the share that a log supports; ``tokens`` is empty where it supports none."""

    tokens: tuple[Factor, ...]
    share: Factor
    exponents: tuple[Exponent, ...]
    fixed: Held
    text: str
    latex: str


def bilinear_law(
    *,
    levels_by_size: Sequence[Sequence[float]] = (),
    token_scale: float = 1.0,
    smallest_share: float = 0.0,
    share_levels: int = ALL_SHAPES,
    is_power: bool = True,
    has_dip: bool = False,
) -> Law:
    """Return the bilinear law with the terms that the levels of a log support.

    Parameters
    ----------
    levels_by_size : sequence of (size, shares, token counts)
        The probed sizes, and at how many shares and token counts each was measured; one size by default.
    token_scale : float
        D1, the geometric mean of ``train_tokens`` in the log.
    smallest_share : float
        The smallest share observed; epsilon is kept at or above it.
    share_levels : int
        Distinct shares in the log, 3 or more.
    is_power : bool
        The curve of the share is a power, or else an exponential.
    has_dip : bool
        Whether the loss may be lowest at an inner share.
    """
    levels = checked_levels(levels_by_size)
    own = 2 if has_dip else 1
    curves = _curves(levels, token_scale, smallest_share, share_levels, own, is_power)
    terms = [*own_terms("a", (), levels), *_token_terms("b", (), levels, curves)]
    terms += _share_terms("c", "e", curves.share, levels, curves, CURVE_SHARES)
    text = "a" + _text(curves, "b*d") + " + c*h" + _text(curves, "e*d*h")
    latex = "a" + _text(curves, r"b\,d(D)") + r" + c\,h(r)" + _text(curves, r"e\,d(D)\,h(r)")
    if has_dip:
        terms += _share_terms("f", "g", Linear("share", 1.0), levels, curves, DIP_SHARES)
        text += " + f*(r-1)" + _text(curves, "g*(r-1)*d")
        latex += " + f\\,(r-1)" + _text(curves, r"g\,(r-1)\,d(D)")
    form = "_dip" if has_dip else "" if is_power else "_exp"
    return Law(
        name=f"bilinear{form}",
        formula=f"L = {text}, {curves.text}{sizes_in_words(levels)}",
        latex=rf"L = {latex},\quad {curves.latex}",
        reference=OWN_REFERENCE,
        needs="Losses of one corpus at 4 or more shares, better 6, and 3 or more token counts, at each size.",
        exponents=curves.exponents,
        terms=tuple(terms),
        scaled=(),
        fixed=curves.fixed,
        options=_options(levels, token_scale, smallest_share, share_levels),
    )


def size_law(
    *,
    levels_by_size: Sequence[Sequence[float]] = (),
    token_scale: float = 1.0,
    smallest_share: float = 0.0,
    share_levels: int = ALL_SHAPES,
) -> Law:
    """Return the law of a rise over the corpus alone that shrinks with size; with one size it is the bilinear law.

    The arguments are those of :func:`bilinear_law`.
    """
    levels = checked_levels(levels_by_size)
    curves = _curves(levels, token_scale, smallest_share, share_levels, 1, True)
    shrinks: tuple[Factor, ...] = ()
    exponents, fixed, shrink = curves.exponents, curves.fixed, ("", "")
    if len(levels) > 1:
        shrinks = (
            SizePower("model_params", "a0", "N0"),
            SizePower("model_params", "a1", "N0", times="share"),
        )
        exponents = (
            *exponents,
            Exponent("a0", -2.0, 2.0, is_log=False),
            Exponent("a1", -4.0, 4.0, is_log=False),
        )
        fixed = (*fixed, ("N0", float(np.exp(np.mean(np.log([size for size, _, _ in levels]))))))
        shrink = ("(N/N0)^-(a0+a1*r)*", r"(N/N_0)^{-(a_0+a_1 r)}")
    rise = (*shrinks, curves.share)
    terms = [*own_terms("e", (), levels), *_token_terms("b", (), levels, curves)]
    terms += [Term("C", rise, sign=0), *(Term("F", (d, *rise), sign=0) for d in curves.tokens)]
    text = f"e{_text(curves, 'b*d')} + {shrink[0]}(C{_text(curves, 'F*d')})*h"
    slope, change = _text(curves, r"b\,d(D)"), _text(curves, r"F\,d(D)")
    latex = rf"e{slope} + {shrink[1]}(C{change})\,h(r)"
    return Law(
        name="size_law",
        formula=f"L = {text}, {curves.text}{sizes_in_words(levels)}",
        latex=rf"L = {latex},\quad {curves.latex}",
        reference=OWN_REFERENCE,
        needs="General losses at 4 or more shares, better 6, and 3 or more token counts, at 2 or more sizes.",
        exponents=exponents,
        terms=tuple(terms),
        scaled=(),
        fixed=fixed,
        options=_options(levels, token_scale, smallest_share, share_levels),
    )


def token_levels_of(levels: Sequence[SizeLevels]) -> int:
    """Return how many token counts the best measured size has; with nothing known, enough of them."""
    return max((tokens for _, _, tokens in levels), default=FREE_TOKEN_LEVELS)


def free_and_held(
    exponents: Sequence[Exponent], num_terms: int, share_levels: int
) -> tuple[tuple[Exponent, ...], Held]:
    """Return the exponents of curves of the share that the shares can tell, and those that are held.

    ``num_terms`` is the number of coefficients of terms that read the share alone, without the level.
    """
    excess = 1 + num_terms + len(exponents) - max(share_levels - 1, 3)
    names = [name for name in HELD_SHAPES if name in {e.name for e in exponents}]
    held = names[: max(excess, 0)]
    fixed = {
        e.name: float(np.clip(HELD_SHAPES[e.name], e.lower, e.upper))
        for e in exponents
        if e.name in held
    }
    return tuple(e for e in exponents if e.name not in held), tuple(fixed.items())


def _curves(
    levels: Sequence[SizeLevels],
    token_scale: float,
    smallest_share: float,
    share_levels: int,
    num_terms: int,
    is_power: bool,
) -> _Curves:
    if is_power:
        share: Factor = ScaledPower("share", "ratio_offset", "gamma")
        lowest = max(SMALLEST_OFFSET, smallest_share)
        shapes: tuple[Exponent, ...] = (
            Exponent("gamma", 0.01, 10.0),
            Exponent("ratio_offset", lowest, LARGEST_OFFSET),
        )
        curve = ("(r+epsilon)^-gamma", r"(r+\epsilon)^{-\gamma}")
    else:
        share, shapes = ScaledExponential("share", "k"), (Exponent("k", 0.01, 1000.0),)
        curve = ("exp(-k*r)", "e^{-k r}")
    free, fixed = free_and_held(shapes, num_terms, share_levels)
    text = f"h = {curve[0]} scaled to 0 at r = 1 and 1 at r = 1/2"
    latex = rf"h(r) \propto {curve[1]}+\mathrm{{const}},\ h(1)=0,\ h(1/2)=1"
    tokens = BoxCox("train_tokens", "beta", "D1")
    number = token_levels_of(levels)
    if number < 2:
        return _Curves((), share, free, fixed, text, latex)
    if number < FREE_TOKEN_LEVELS:
        fixed = (("beta", 0.0), *fixed)
    else:
        free = (TOKEN_EXPONENT, *free)
    fixed = (*fixed, ("D1", float(token_scale)))
    text = f"d = ((D/D1)^-beta-1)/-beta, {text}"
    latex = rf"d(D)=\frac{{(D/D_1)^{{-\beta}}-1}}{{-\beta}},\ {latex}"
    return _Curves((tokens,), share, free, fixed, text, latex)


def _token_terms(
    coefficient: str,
    factors: tuple[Factor, ...],
    levels: Sequence[SizeLevels],
    curves: _Curves,
    shares: int = 1,
) -> list[Term]:
    """Return the terms of a coefficient of the tokens; none where the log has one token count."""
    if not curves.tokens:
        return []
    both = (*curves.tokens, *factors)
    return own_terms(coefficient, both, levels, shares=shares, tokens=CURVE_TOKENS)


def _share_terms(
    alone: str,
    with_tokens: str,
    share: Factor,
    levels: Sequence[SizeLevels],
    curves: _Curves,
    fewest: int,
) -> list[Term]:
    """Return the terms of a curve of the share, by itself and times that of the tokens."""
    return [
        *own_terms(alone, (share,), levels, shares=fewest),
        *_token_terms(with_tokens, (share,), levels, curves, fewest),
    ]


def _text(curves: _Curves, text: str) -> str:
    return f" + {text}" if curves.tokens else ""


def _options(
    levels: tuple[SizeLevels, ...], token_scale: float, smallest_share: float, share_levels: int
) -> tuple[tuple[str, object], ...]:
    return (
        ("levels_by_size", levels),
        ("token_scale", token_scale),
        ("smallest_share", smallest_share),
        ("share_levels", share_levels),
    )
