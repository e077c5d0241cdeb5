"""Where nothing is left to narrow but the run lies beyond the probes, one run tests the answer.

Resamples of the same laws agree more easily than runs do: where the general loss turns round beyond the probes, no
resample knows it. So the run is named that lies nearest to the full-scale one, of those that lie nearer than every
probe so far and that the budget pays for.
"""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.design.forecast import Outlook
from cmrplan.design.nested import FINE, Design, RunPrices
from cmrplan.fit.fit import Fit

DECIMALS = 6  # of a distance, beyond which two are the same


def trial_run(
    fit: Fit, outlook: Outlook, prices: RunPrices, budget: float, ratio: float
) -> Design | None:
    """Return the run that tests an answer best, or None where no affordable one lies nearer than the probes.

    Nearness is in size and tokens, by the sum of both distances in logarithms; of runs as near, the one with the
    ratio that is nearest to the answer.

    Parameters
    ----------
    fit : Fit
    outlook : Outlook
    prices : RunPrices
        Of its candidates.
    budget : float
        In their unit.
    ratio : float
        The answer, or the ratio where the general loss rises least.
    """
    runs, asked = outlook.candidates, outlook.request

    def distance(model_params: Array, train_tokens: Array) -> Array:
        off = np.abs(np.log(model_params / asked.size)) + np.abs(
            np.log(train_tokens / asked.tokens)
        )
        return np.round(off, DECIMALS)

    trained = fit.log[fit.log["train_tokens"] > 0]
    so_far = distance(trained["model_params"].to_numpy(), trained["train_tokens"].to_numpy())
    off = distance(runs.model_params, runs.train_tokens)
    cost = prices.cost + prices.surcharge
    is_nearer = prices.is_free & (cost <= budget * (1 + FINE)) & (off < so_far.min())
    if not is_nearer.any():
        return None
    order = np.lexsort((np.abs(runs.domain_ratio - ratio), np.where(is_nearer, off, np.inf)))
    row = int(order[0])
    size_controls = prices.controls[float(runs.model_params[row])]
    controls = size_controls.missing if prices.surcharge[row] > 0 else ()
    low, high = outlook.interval_now()
    return Design((row,), controls, float(cost[row]), low, high, (high - low,))
