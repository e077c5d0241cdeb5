"""Laws of several corpora whose mixture term changes with the tokens and with the size.

- bilinear mixing law: ``L = c + A (N/N0)^-alpha + b d(D) + (k + q d(D)) exp(sum_j t_j r_j)``
- size mixing law: ``L = c + A (N/N0)^-alpha + b d(D) + (N/N0)^-a0 (k + q d(D)) exp(sum_j t_j r_j)``

``exp(sum_j t_j r_j)`` is the mixture term of the data mixing law (:mod:`cmrplan.laws.mixtures`), and ``d(D)`` the
Box-Cox transform of the tokens of the bilinear law (:mod:`cmrplan.laws.bilinear`): ``ln(D/D1)`` at ``beta = 0``. D1 and
N0 are the geometric means of the tokens and of the sizes of the log. In the published laws tokens and size move the
loss of every mixture alike; here q is what a factor e of tokens adds to the part of the loss that depends on the
mixture, and a0 how that part shrinks with size. No coefficient has a sign imposed. beta is 0 or above, so that nothing
grows faster than the logarithm: a curve that does follows early evaluations and is far off at later budgets.

Few levels reduce the laws: at two token counts beta is held at 0, at one the terms in ``d(D)`` are left out; at two
sizes alpha is held, at one the terms in N are left out, and the size mixing law is the bilinear mixing law.

The source is this project: these forms were not published elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from cmrplan.laws.assembly import Piece, assemble
from cmrplan.laws.bilinear import FREE_TOKEN_LEVELS, OWN_REFERENCE
from cmrplan.laws.chinchilla import free_or_held
from cmrplan.laws.law import Exponent, Factor, Law, Term
from cmrplan.laws.mixtures import checked_corpora, mixture_exponential
from cmrplan.laws.scaled import BoxCox, SizePower

LEVELING_EXPONENT = Exponent("beta", 0.0, 3.0, is_log=False)
MIXTURE_SIZE_EXPONENT = Exponent("a0", -2.0, 2.0, is_log=False)


def bilinear_mixing_law(
    *,
    corpora: Sequence[str],
    size_levels: int = 1,
    token_levels: int = 1,
    token_scale: float = 1.0,
    size_scale: float = 1.0,
    has_size_power: bool = False,
) -> Law:
    """Return the law whose mixture term changes with the tokens, and with the size where it is the size mixing law.

    Parameters
    ----------
    corpora : sequence of str
        Names of the training corpora, at least two.
    size_levels, token_levels : int
        Distinct values of ``model_params`` and of ``train_tokens`` in the log.
    token_scale, size_scale : float
        D1 and N0, the geometric means of ``train_tokens`` and of the sizes in the log.
    has_size_power : bool
        Whether the mixture term is multiplied by a power of the size.
    """
    names = checked_corpora(corpora)
    mixed, exponents, held = mixture_exponential(names)
    around: tuple[Factor, ...] = (mixed,)
    front, latex_front = "", ""
    if has_size_power and size_levels > 1:
        around = (SizePower("model_params", "a0", "N0"), mixed)
        exponents = (MIXTURE_SIZE_EXPONENT, *exponents)
        front, latex_front = "(N/N0)^-a0*", r"(N/N_0)^{-a_0}"
    text = f"{front}exp(sum_j t_j*r_j)"
    latex = latex_front + r"e^{\sum_j t_j r_j}"
    pieces = [
        Piece(Term("c", sign=0), "c", "c"),
        Piece(Term("k", around, sign=0), f"k*{text}", rf"k\,{latex}", exponents, held),
        *_size_pieces(size_levels, size_scale),
    ]
    if token_levels > 1:
        d = BoxCox("train_tokens", "beta", "D1")
        pieces += [
            _token_piece(d, token_levels, token_scale),
            Piece(Term("q", (d, *around), sign=0), f"q*d*{text}", rf"q\,d(D)\,{latex}"),
        ]
    return assemble(
        pieces,
        name="size_mixing" if has_size_power else "bilinear_mixing",
        reference=OWN_REFERENCE,
        needs="Losses of one corpus on more mixtures than corpora (two more at least), at 3 or more token counts; "
        "2 or more sizes, better 3, for the terms in them.",
        scaled=(),
        options=(
            ("corpora", names),
            ("size_levels", size_levels),
            ("token_levels", token_levels),
            ("token_scale", token_scale),
            ("size_scale", size_scale),
        ),
    )


def _size_pieces(levels: int, scale: float) -> list[Piece]:
    """Return ``A (N/N0)^-alpha``, or nothing where a log has one size."""
    if levels < 2:
        return []
    exponents, fixed = free_or_held("alpha", levels)
    term = Term("A", (SizePower("model_params", "alpha", "N0"),), sign=0)
    held = (*fixed, ("N0", float(scale)))
    return [Piece(term, "A*(N/N0)^-alpha", r"A\,(N/N_0)^{-\alpha}", exponents, held)]


def _token_piece(d: BoxCox, levels: int, scale: float) -> Piece:
    """Return ``b d(D)``, with its exponent held where the log has two token counts."""
    is_free = levels >= FREE_TOKEN_LEVELS
    exponents = (LEVELING_EXPONENT,) if is_free else ()
    fixed = (*(() if is_free else (("beta", 0.0),)), ("D1", float(scale)))
    return Piece(Term("b", (d,), sign=0), "b*d", r"b\,d(D)", exponents, fixed)
