"""The cross-domain D-CPT law: one fit for several domains, and a forecast for a new one.

``L(N, D, r, K) = E + A / N^alpha + B r^eta / D^beta + C / (r + epsilon)^gamma + F / K^mu``

The domain enters through its coefficient ``K = w1 / k1 + w2 k2``, measured on a short run (about one
hundredth of the cost): k1 is the first validation loss and k2 the early rate of decline.

The paper's exact definition of k2 was not at hand; the one used here is minus the slope of the
least-squares line of the loss over tokens, in nats per 1e9 tokens. Loss curves flatten, so the short
runs of all domains must start from the same checkpoint and end at the same token count.

References
----------
Que et al., D-CPT Law, NeurIPS 2024, arXiv:2406.01375.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cmrplan.errors import InputError
from cmrplan.laws.assembly import Piece, assemble
from cmrplan.laws.dcpt import dcpt_pieces
from cmrplan.laws.law import Exponent, Law, Power, Term

FEWEST_DOMAINS = 3
TOKENS_PER_RATE = 1e9


def cross_domain_law(
    *,
    size_levels: int = 3,
    token_levels: int = 3,
    smallest_share: float = 0.0,
    domain_levels: int = FEWEST_DOMAINS,
) -> Law:
    """Return the D-CPT law with the term ``F / K^mu`` in the input ``domain_coefficient``.

    Parameters
    ----------
    size_levels, token_levels, smallest_share
        As in :func:`cmrplan.laws.dcpt.dcpt_law`.
    domain_levels : int
        Distinct values of ``domain_coefficient``, at least three.

    Raises
    ------
    InputError
        If there are fewer than three domains.
    """
    if domain_levels < FEWEST_DOMAINS:
        raise InputError(
            f"domain_levels must be at least {FEWEST_DOMAINS} for a law across domains, got "
            f"{domain_levels}; fit dcpt to each domain"
        )
    domain = Piece(
        Term("F", (Power("domain_coefficient", "mu", -1),)),
        "F/K^mu",
        r"\frac{F}{K^{\mu}}",
        (Exponent("mu", 0.01, 5.0),),
    )
    return assemble(
        [*dcpt_pieces(size_levels, token_levels, smallest_share, "product", True), domain],
        name="cross_domain",
        reference="Que et al. 2024, arXiv:2406.01375",
        needs="Losses on 3 or more domains from the same base, each with the domain coefficient of a "
        "short run, at 3 or more shares.",
        scaled=("model_params", "train_tokens", "domain_coefficient"),
        options=(
            ("size_levels", size_levels),
            ("token_levels", token_levels),
            ("smallest_share", smallest_share),
            ("domain_levels", domain_levels),
        ),
    )


def domain_coefficient(
    tokens: ArrayLike, loss: ArrayLike, w1: float = 1.0, w2: float = 1.0
) -> float:
    """Return ``K = w1 / k1 + w2 k2`` of a short run on one domain.

    Parameters
    ----------
    tokens : array (n,)
        Training tokens at each evaluation, increasing, at least two.
    loss : array (n,)
        Validation loss of the domain there, nats per token. k1 is the first.
    w1, w2 : float
        Weights, in nats and in 1e9 tokens per nat; the same for every domain of a fit. Choose them by
        the error on a domain that is held out.

    Raises
    ------
    InputError
        If the run is too short, or K is not positive.

    Examples
    --------
    >>> round(domain_coefficient([0, 1e8, 2e8], [2.0, 1.9, 1.8]), 9)
    1.5
    """
    at, height = np.asarray(tokens, dtype=float), np.asarray(loss, dtype=float)
    if at.ndim != 1 or at.shape != height.shape or len(at) < 2 or not (np.diff(at) > 0).all():
        raise InputError(
            "tokens and loss must be two evaluations or more at increasing token counts, got shapes "
            f"{at.shape} and {height.shape}"
        )
    centered = (at - at.mean()) / TOKENS_PER_RATE
    rate = -float(centered @ height / (centered @ centered))
    coefficient = w1 / float(height[0]) + w2 * rate
    if not coefficient > 0:
        raise InputError(
            f"the domain coefficient must be positive, got {coefficient:.4g} from a first loss of "
            f"{height[0]:.4g} and a decline of {rate:.4g} nats per 1e9 tokens; evaluate later, or "
            "lower w2"
        )
    return coefficient
