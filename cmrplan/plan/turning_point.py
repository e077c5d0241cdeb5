"""The second test of the CMR paper: the objective must turn downward before training ends.

A ratio passes at budget T when the objective ``L_dom + lambda * L_gen`` is falling there. As lambda grows
without bound, that asks for a falling general loss: the peak of the general loss lies behind.

References
----------
Gu et al., CMR Scaling Law, EMNLP 2024, arXiv:2407.17467, section 4.
"""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.fit import Fit


def turning_ratio(
    fit: Fit, *, model_params: float, train_tokens: float, multiplier: float
) -> float:
    """Return the largest domain ratio whose objective has turned downward by ``train_tokens``.

    Parameters
    ----------
    fit : Fit
        With the CMR laws, so that every run has its token laws.
    model_params, train_tokens : float
    multiplier : float
        The weight lambda of the general loss; ``inf`` for the version without it.

    Returns
    -------
    float
        In [0, 1]; 1 where every probed ratio passes, 0 where none does. Between two probed ratios
        the slope is taken as a straight line.

    Raises
    ------
    InputError
        If the fit has no CMR laws, or the multiplier is negative.
    CmrplanError
        If the runs have too few token counts for token laws.
    """
    if not multiplier >= 0:
        raise InputError(f"turning_point must be a weight (lambda) at or above 0, got {multiplier}")
    ratio, general, domain = _slopes(fit, model_params, train_tokens)
    slope = general if np.isinf(multiplier) else multiplier * general + domain
    return _largest_falling(ratio, slope)


def multiplier_at(
    fit: Fit, *, model_params: float, train_tokens: float, domain_ratio: float
) -> float | None:
    """Return the weight at which a ratio's objective turns just at ``train_tokens``.

    Larger weights forbid the ratio. None where none does: its general loss is falling already.
    """
    ratio, general, domain = _slopes(fit, model_params, train_tokens)
    rising = float(np.interp(domain_ratio, ratio, general))
    falling = float(np.interp(domain_ratio, ratio, domain))
    return max(-falling / rising, 0.0) if rising > 0 else None


def _slopes(fit: Fit, model_params: float, train_tokens: float) -> tuple[Array, Array, Array]:
    """Return ratios and the slopes of both losses there by the logarithm of the tokens, seeds averaged."""
    by_corpus = [
        fit.models[corpus].token_slopes(model_params, train_tokens)
        if corpus in fit.models
        else None
        for corpus in ("general", "domain")
    ]
    general, domain = by_corpus
    if general is None or domain is None:
        raise InputError("turning_point needs token laws of every run: fit with --law cmr")
    slopes: dict[float, list[tuple[float, float]]] = {}
    for run, (share, general_slope) in general.items():
        if run in domain:
            slopes.setdefault(share, []).append((general_slope, domain[run][1]))
    if len(slopes) < 2:
        raise CmrplanError(
            "the turning point needs runs with at least 6 token counts at two or more ratios strictly between 0 and 1; "
            f"found {len(slopes)} such ratio(s) at model_params = {model_params:.4g}"
        )
    ratio = np.array(sorted(slopes))
    mean = np.array([np.mean(slopes[r], axis=0) for r in ratio])
    return ratio, mean[:, 0], mean[:, 1]


def _largest_falling(ratio: Array, slope: Array) -> float:
    falling = np.flatnonzero(slope <= 0)
    if not len(falling):
        return 0.0
    last = int(falling[-1])
    if last == len(ratio) - 1:
        return 1.0
    part = slope[last] / (slope[last] - slope[last + 1])
    return float(ratio[last] + part * (ratio[last + 1] - ratio[last]))
