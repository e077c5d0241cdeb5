"""The relearning law: what a run learns of a corpus from its tokens and share, beside a drift in tokens.

``L = a_N + w_N ln(1 + D/D1) - G_N (1 - (1 + r^eta D/D0)^-beta) - q_N r ln(1 + D/D1)``

r is the share of the corpus whose loss is predicted, D1 the geometric mean of the tokens in the log. a is the loss
before the run, w the drift of a run without a token of the corpus, in nats per factor e of ``1 + D/D1``, and q what
each unit of share takes off that drift. G is what is regained in the end, D0 the tokens of the corpus alone that begin
to tell, eta how a share counts against tokens, and beta how fast the end is reached. a, w, G and q may have either
sign and belong to the size (:mod:`cmrplan.laws.by_size`); eta, D0 and beta are shared by the sizes.

Fewer than five shares hold eta at one half, three hold beta too. At two token counts beta is held, and at one there is
no drift either. The source is this project.
"""

from __future__ import annotations

from collections.abc import Sequence

from cmrplan.laws.bilinear import FREE_TOKEN_LEVELS, OWN_REFERENCE, token_levels_of
from cmrplan.laws.by_size import (
    CURVE_SHARES,
    CURVE_TOKENS,
    checked_levels,
    own_terms,
    sizes_in_words,
)
from cmrplan.laws.chinchilla import HELD_EXPONENT
from cmrplan.laws.dcpt import ALL_SHAPES, HELD_SHAPES
from cmrplan.laws.law import Exponent, Law
from cmrplan.laws.scaled import Linear, LogOnePlus, Relearned

ETA_SHARES, BETA_SHARES = 5, 4  # shares from which on they are free
SCALE_RANGE = 1e3  # how far D0 may lie from D1


def relearning_law(
    *,
    levels_by_size: Sequence[Sequence[float]] = (),
    token_scale: float = 1.0,
    share_levels: int = ALL_SHAPES,
) -> Law:
    """Return the relearning law with the terms that the levels of a log support.

    Parameters
    ----------
    levels_by_size : sequence of (size, shares, token counts)
        The probed sizes, and at how many shares and token counts each was measured; one size by default.
    token_scale : float
        D1, the geometric mean of ``train_tokens`` in the log.
    share_levels : int
        Distinct shares in the log, 3 or more.
    """
    levels = checked_levels(levels_by_size)
    number = token_levels_of(levels)
    drift = LogOnePlus("train_tokens", "D1")
    regained = Relearned("share", "train_tokens", "eta", "D0", "beta")
    held = {} if share_levels >= ETA_SHARES else {"eta": HELD_SHAPES["eta"]}
    if share_levels < BETA_SHARES or number < FREE_TOKEN_LEVELS:
        held["beta"] = HELD_EXPONENT
    exponents = (
        Exponent("eta", 0.02, 5.0),
        Exponent("D0", token_scale / SCALE_RANGE, token_scale * SCALE_RANGE),
        Exponent("beta", 0.01, 10.0),
    )
    has_drift = number >= CURVE_TOKENS
    drifts = own_terms("w", (drift,), levels, tokens=CURVE_TOKENS)
    eased = own_terms(
        "q", (Linear("share", sign=-1), drift), levels, tokens=CURVE_TOKENS, shares=CURVE_SHARES
    )
    text = "L = a{} - G*(1-(1+r^eta*D/D0)^-beta){}" + sizes_in_words(levels)
    latex = r"L = a{} - G\left(1-(1+r^{{\eta}}D/D_0)^{{-\beta}}\right){}"
    log = (" + w*ln(1+D/D1)", " - q*r*ln(1+D/D1)"), (r" + w\ln(1+D/D_1)", r" - q\,r\ln(1+D/D_1)")
    return Law(
        name="relearning",
        formula=text.format(*(log[0] if has_drift else ("", ""))),
        latex=latex.format(*(log[1] if has_drift else ("", ""))),
        reference=OWN_REFERENCE,
        needs="Losses of one corpus at 5 or more shares and 4 or more token counts, at each size.",
        exponents=tuple(e for e in exponents if e.name not in held),
        terms=(
            *own_terms("a", (), levels),
            *(drifts if has_drift else ()),
            *own_terms("G", (regained,), levels, shares=CURVE_SHARES),
            *(eased if has_drift else ()),
        ),
        scaled=(),
        fixed=(*held.items(), *((("D1", float(token_scale)),) if has_drift else ())),
        options=(
            ("levels_by_size", levels),
            ("token_scale", token_scale),
            ("share_levels", share_levels),
        ),
    )
