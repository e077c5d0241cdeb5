"""The D-CPT law and the reduced forms that small sweeps can support.

``L(N, D, r) = E + A / N^alpha + B r^eta / D^beta + C / (r + epsilon)^gamma``

``r`` is the share of the corpus whose loss is predicted: the domain loss uses the domain ratio, the
general loss one minus it. The two are fitted separately. The offset epsilon is called
``ratio_offset`` outside the formula.

A term needs three levels of its variable before its exponent means anything. With two, the exponent
is held at the value published for it elsewhere; with one, the term goes, since it is a constant there.

References
----------
Que et al., D-CPT Law, NeurIPS 2024, arXiv:2406.01375. Held exponents: Muennighoff et al., NeurIPS
2023, arXiv:2305.16264, alpha = beta = 0.3526596.
"""

from __future__ import annotations

from cmrplan.laws.law import Exponent, Exponential, Factor, Law, Power, ShiftedPower, Term

HELD_EXPONENT = 0.3526596
SMALLEST_OFFSET = 1e-4
LARGEST_OFFSET = 2.0


def dcpt_law(
    *,
    size_levels: int = 3,
    token_levels: int = 3,
    smallest_share: float = 0.0,
    is_power: bool = True,
) -> Law:
    """Return the D-CPT law with the terms that the levels of a log support.

    Parameters
    ----------
    size_levels, token_levels : int
        Distinct values of ``model_params`` and of ``train_tokens`` in the log.
    smallest_share : float
        The smallest share observed. Without probes at or near zero the offset cannot be told, so it is
        kept above a tenth of that share.
    is_power : bool
        The ratio term is ``C / (r + epsilon)^gamma`` as published, or else ``C exp(-k r)``, and
        the mixture term keeps only its tokens.
    """
    exponents: list[Exponent] = []
    fixed: list[tuple[str, float]] = []
    terms = [Term("E")]
    pieces = ["E"]
    latex = ["E"]
    if size_levels >= 2:
        terms.append(Term("A", (Power("model_params", "alpha", -1),)))
        pieces.append("A/N^alpha")
        latex.append(r"\frac{A}{N^{\alpha}}")
        _free_or_held("alpha", size_levels, exponents, fixed)
    if token_levels >= 2:
        mixture: tuple[Factor, ...] = (Power("train_tokens", "beta", -1),)
        if is_power:
            mixture = (Power("share", "eta"), *mixture)
            exponents.append(Exponent("eta", 0.0, 5.0, is_log=False))
        terms.append(Term("B", mixture))
        pieces.append("B*r^eta/D^beta" if is_power else "B/D^beta")
        latex.append(r"\frac{B\,r^{\eta}}{D^{\beta}}" if is_power else r"\frac{B}{D^{\beta}}")
        _free_or_held("beta", token_levels, exponents, fixed)
    if is_power:
        lowest = max(SMALLEST_OFFSET, smallest_share / 10)
        terms.append(Term("C", (ShiftedPower("share", "ratio_offset", "gamma"),)))
        exponents += [
            Exponent("gamma", 0.01, 10.0),
            Exponent("ratio_offset", lowest, LARGEST_OFFSET),
        ]
        pieces.append("C/(r+epsilon)^gamma")
        latex.append(r"\frac{C}{(r+\epsilon)^{\gamma}}")
    else:
        terms.append(Term("C", (Exponential("share", "k"),)))
        exponents.append(Exponent("k", 0.01, 1000.0))
        pieces.append("C*exp(-k*r)")
        latex.append(r"C\,e^{-k r}")
    return Law(
        name="dcpt" if is_power else "dcpt_exp",
        formula="L = " + " + ".join(pieces),
        latex="L = " + " + ".join(latex),
        reference="Que et al. 2024, arXiv:2406.01375",
        exponents=tuple(exponents),
        terms=tuple(terms),
        fixed=tuple(fixed),
        options=(
            ("size_levels", size_levels),
            ("token_levels", token_levels),
            ("smallest_share", smallest_share),
        ),
    )


def _free_or_held(
    name: str, levels: int, exponents: list[Exponent], fixed: list[tuple[str, float]]
) -> None:
    if levels >= 3:
        exponents.append(Exponent(name, 0.01, 5.0))
    else:
        fixed.append((name, HELD_EXPONENT))
