"""Whether the fitted general loss agrees with what was measured where the decision is made.

A law that cannot follow the data (a general loss that keeps rising with tokens, say) can have narrow
intervals and be wrong. The check is direct: at the largest measured budget of the size nearest to the
plan's, at the probed ratios on both sides of the planned one, how far is the fitted general loss from the measured one,
against the rise that is allowed?
"""

from __future__ import annotations

import numpy as np

from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit

WORRYING_SHARE = 0.25  # of the allowed rise


def misfit_findings(
    fit: Fit, *, model_params: float, domain_ratio: float, allowed: float
) -> list[Finding]:
    """Return a finding where the fit misses the measured general loss by much of the allowed rise.

    Parameters
    ----------
    fit : Fit
    model_params : float
        Size of the plan; the nearest probed size is compared.
    domain_ratio : float
        The planned ratio; the probed ratios on both sides of it are compared.
    allowed : float
        Allowed rise of the general loss, nats per token; nothing is said where it is zero.
    """
    rows = fit.rows("general")
    if allowed <= 0 or not len(rows):
        return []
    sizes = rows["model_params"].to_numpy(dtype=float)
    size = sizes[np.argmin(np.abs(np.log(sizes / model_params)))]
    rows = rows[rows["model_params"] == size]
    tokens = float(rows["train_tokens"].max())
    rows = rows[rows["train_tokens"] == tokens]
    measured = rows.groupby("domain_ratio")["loss"].mean()
    ratio = measured.index.to_numpy(dtype=float)
    above = int(np.searchsorted(ratio, domain_ratio))
    measured = measured.iloc[max(above - 1, 0) : above + 1]
    ratio = measured.index.to_numpy(dtype=float)
    try:
        fitted = fit.predict(
            "general", model_params=float(size), train_tokens=tokens, domain_ratio=ratio
        ).loss
    except CmrplanError:
        return []
    miss = measured.to_numpy(dtype=float) - fitted
    miss = np.where(np.isfinite(miss), miss, 0.0)
    worst = int(np.argmax(np.abs(miss)))
    if abs(miss[worst]) <= WORRYING_SHARE * allowed:
        return []
    return [
        Finding(
            Code.MISFIT,
            f"at {tokens:.4g} tokens and domain_ratio {ratio[worst]:g} the measured general loss is "
            f"{abs(miss[worst]):.3f} nats {'above' if miss[worst] > 0 else 'below'} the fitted one, "
            f"{100 * abs(miss[worst]) / allowed:.0f} % of the allowed rise; leave out early evaluations "
            "(--min-train-tokens) or try another law, and look at the residuals",
        )
    ]
