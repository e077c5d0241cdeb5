"""The D-CPT law, its variants, and the reduced forms that small sweeps can support.

``L(N, D, r) = E + A / N^alpha + B r^eta / D^beta + C / (r + epsilon)^gamma``

``r`` is the share of the corpus whose loss is predicted: the domain loss uses the domain ratio, the
general loss uses one minus it. The two are fitted separately. The offset epsilon is called
``ratio_offset`` outside the formula.

The variants differ in two terms. The mixture term, in which the share changes the worth of tokens, is

- ``product``: ``B r^eta / D^beta``, as published;
- ``none``: ``B / D^beta``;
- ``sum``: ``B / D^beta + F r^eta`` with F at or above zero, so that the share acts alike at every budget;

and the ratio term is ``C / (r + epsilon)^gamma`` as published, or ``C exp(-k r)``.

Sizes and token counts with few levels reduce the terms as in :mod:`cmrplan.laws.chinchilla`. So do few shares: at ``m``
shares the terms that read the share alone, with the constant, may have ``m - 1`` parameters (3 of 3), so that the
optimum is a point and not a valley. What is too many is held, the offset first.

References
----------
Que et al., D-CPT Law, NeurIPS 2024, arXiv:2406.01375.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from cmrplan.laws.assembly import Piece, assemble
from cmrplan.laws.chinchilla import IRREDUCIBLE, free_or_held, size_pieces, token_pieces
from cmrplan.laws.law import Exponent, Exponential, Law, Power, ShiftedPower, Term

SMALLEST_OFFSET = 1e-4
LARGEST_OFFSET = 2.0
# With rows at share 0 the term jumps where eta reaches 0 (0^0 is 1), so eta stays above it.
SMALLEST_ETA = 1e-6
# Where the shares are too few to tell an exponent of a term that reads the share alone: within the range of fits to
# logs with many shares. In the order in which they are held.
HELD_SHAPES = {"ratio_offset": 0.1, "eta": 0.5, "gamma": 0.5, "k": 5.0}
ALL_SHAPES = 7  # shares from which on every form has all its parameters

Mixture = Literal["product", "none", "sum"]

_VARIANT_NAMES: dict[tuple[Mixture, bool], str] = {
    ("product", True): "dcpt",
    ("product", False): "dcpt_product_exp",
    ("none", True): "dcpt_no_mixture",
    ("none", False): "dcpt_exp",
    ("sum", True): "dcpt_sum",
    ("sum", False): "dcpt_sum_exp",
}


def dcpt_law(
    *,
    size_levels: int = 3,
    token_levels: int = 3,
    smallest_share: float = 0.0,
    mixture: Mixture = "product",
    is_power: bool = True,
    share_levels: int = ALL_SHAPES,
) -> Law:
    """Return the D-CPT law with the terms that the levels of a log support.

    Parameters
    ----------
    size_levels, token_levels : int
        Distinct values of ``model_params`` and of ``train_tokens`` in the log.
    smallest_share : float
        The smallest share observed. The offset is kept at or above it, so that the pole at minus the offset lies as
        far below zero as the nearest probe lies above: below that share the data say nothing of it.
    mixture : {"product", "none", "sum"}
        Where the share changes the worth of tokens; see the module.
    is_power : bool
        The ratio term is ``C / (r + epsilon)^gamma`` as published, or else ``C exp(-k r)``.
    share_levels : int
        Distinct shares in the log, 3 or more.
    """
    return assemble(
        dcpt_pieces(size_levels, token_levels, smallest_share, mixture, is_power, share_levels),
        name=_VARIANT_NAMES[mixture, is_power],
        reference="Que et al. 2024, arXiv:2406.01375",
        needs="Losses of one corpus at 3 or more shares (better 5, one of them at or below 0.01); "
        "3 or more sizes and token counts for the terms in them.",
        options=(
            ("size_levels", size_levels),
            ("token_levels", token_levels),
            ("smallest_share", smallest_share),
            ("share_levels", share_levels),
        ),
    )


def dcpt_pieces(
    size_levels: int,
    token_levels: int,
    smallest_share: float,
    mixture: Mixture,
    is_power: bool,
    share_levels: int = ALL_SHAPES,
) -> list[Piece]:
    """Return the terms of a D-CPT law; the arguments are those of :func:`dcpt_law`."""
    if mixture == "product":
        tokens = _product_pieces(token_levels, smallest_share)
    else:
        tokens = token_pieces(token_levels)
    if mixture == "sum":
        term = Term("F", (Power("share", "eta"),))
        # At eta = 0 the term would be a second irreducible loss.
        eta = Exponent("eta", 0.05, 5.0)
        tokens.append(Piece(term, "F*r^eta", r"F\,r^{\eta}", (eta,)))
    ratio = _power_piece(smallest_share) if is_power else _exponential_piece()
    pieces = [IRREDUCIBLE, *size_pieces(size_levels), *tokens, ratio]
    return _with_held_shapes(pieces, share_levels)


def _with_held_shapes(pieces: list[Piece], share_levels: int) -> list[Piece]:
    """Hold exponents of the terms that read the share alone until the shares can tell the others."""
    own = [piece for piece in pieces if _reads_share_alone(piece)]
    names = [exponent.name for piece in own for exponent in piece.exponents]
    num_parameters = 1 + len(own) + len(names)  # the constant, the coefficients, the exponents
    excess = num_parameters - max(share_levels - 1, 3)
    held = [name for name in HELD_SHAPES if name in names][: max(excess, 0)]
    return [_holding(piece, held) if _reads_share_alone(piece) else piece for piece in pieces]


def _reads_share_alone(piece: Piece) -> bool:
    variables = {name for factor in piece.term.factors for name in factor.variables}
    return variables == {"share"}


def _holding(piece: Piece, held: list[str]) -> Piece:
    free = tuple(e for e in piece.exponents if e.name not in held)
    fixed = tuple(
        (e.name, float(np.clip(HELD_SHAPES[e.name], e.lower, e.upper)))
        for e in piece.exponents
        if e.name in held
    )
    return replace(piece, exponents=free, fixed=(*piece.fixed, *fixed))


def _product_pieces(levels: int, smallest_share: float) -> list[Piece]:
    if levels < 2:
        return []
    beta, fixed = free_or_held("beta", levels)
    term = Term("B", (Power("share", "eta"), Power("train_tokens", "beta", -1)))
    lowest = 0.0 if smallest_share > 0 else SMALLEST_ETA
    exponents = (Exponent("eta", lowest, 5.0, is_log=False), *beta)
    return [Piece(term, "B*r^eta/D^beta", r"\frac{B\,r^{\eta}}{D^{\beta}}", exponents, fixed)]


def _power_piece(smallest_share: float) -> Piece:
    lowest = max(SMALLEST_OFFSET, smallest_share)
    return Piece(
        Term("C", (ShiftedPower("share", "ratio_offset", "gamma"),)),
        "C/(r+epsilon)^gamma",
        r"\frac{C}{(r+\epsilon)^{\gamma}}",
        (Exponent("gamma", 0.01, 10.0), Exponent("ratio_offset", lowest, LARGEST_OFFSET)),
    )


def _exponential_piece() -> Piece:
    term = Term("C", (Exponential("share", "k"),))
    return Piece(term, "C*exp(-k*r)", r"C\,e^{-k r}", (Exponent("k", 0.01, 1000.0),))
