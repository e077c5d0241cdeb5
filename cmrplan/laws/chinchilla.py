"""The Chinchilla law, and the terms of size and tokens that other laws share.

``L(N, D) = E + A / N^alpha + B / D^beta``

N is ``model_params``, D is ``train_tokens``; losses in nats per token.

A term needs three levels of its variable before its exponent means anything. With two, the exponent
is held at the value published for it elsewhere; with one, the term goes, since it is a constant there.

References
----------
Hoffmann et al., Training Compute-Optimal Large Language Models, NeurIPS 2022, arXiv:2203.15556. Held
exponents: Muennighoff et al., NeurIPS 2023, arXiv:2305.16264, alpha = beta = 0.3526596.
"""

from __future__ import annotations

from cmrplan.laws.assembly import Piece, assemble
from cmrplan.laws.law import Exponent, Factor, Law, Power, Term

HELD_EXPONENT = 0.3526596

IRREDUCIBLE = Piece(Term("E"), "E", "E")


def chinchilla_law(*, size_levels: int = 3, token_levels: int = 3) -> Law:
    """Return ``E + A / N^alpha + B / D^beta`` with the terms that the levels of a log support.

    Parameters
    ----------
    size_levels, token_levels : int
        Distinct values of ``model_params`` and of ``train_tokens`` in the log.
    """
    return assemble(
        [IRREDUCIBLE, *size_pieces(size_levels), *token_pieces(token_levels)],
        name="chinchilla",
        reference="Hoffmann et al. 2022, arXiv:2203.15556",
        needs="Losses of one mixture at 3 or more token counts; 3 or more sizes for the size term.",
        options=(("size_levels", size_levels), ("token_levels", token_levels)),
    )


def size_pieces(levels: int) -> list[Piece]:
    """Return ``A / N^alpha``, or nothing where a log has one size."""
    if levels < 2:
        return []
    exponents, fixed = free_or_held("alpha", levels)
    term = Term("A", (Power("model_params", "alpha", -1),))
    return [Piece(term, "A/N^alpha", r"\frac{A}{N^{\alpha}}", exponents, fixed)]


def token_pieces(levels: int) -> list[Piece]:
    """Return ``B / D^beta``, or nothing where a log has one token count."""
    if levels < 2:
        return []
    exponents, fixed = free_or_held("beta", levels)
    factors: tuple[Factor, ...] = (Power("train_tokens", "beta", -1),)
    return [Piece(Term("B", factors), "B/D^beta", r"\frac{B}{D^{\beta}}", exponents, fixed)]


def free_or_held(
    name: str, levels: int
) -> tuple[tuple[Exponent, ...], tuple[tuple[str, float], ...]]:
    """Return an exponent as one to search (three levels or more) or as one that is held."""
    if levels >= 3:
        return (Exponent(name, 0.01, 5.0),), ()
    return (), ((name, HELD_EXPONENT),)
