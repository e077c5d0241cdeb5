"""What a kriging predicts of rows without them, from its one factorisation.

With ``K`` the covariance of the rows and ``z`` their log losses less a centre, the rows ``b`` are missed without them
by ``[K^-1]_bb^-1 [K^-1 z]_b``. Coefficients of the law are part of ``K``, so they are estimated without these rows too;
hyperparameters stay.

References
----------
Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, section 5.4.2.
Ginsbourger & Schärer 2023, Fast calculation of Gaussian process multiple-fold cross-validation residuals and their
covariances, arXiv:2101.03108.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from cmrplan.arrays import Array
from cmrplan.fit.residual.kriging import Kriging

By = Literal["run", "ratio"]
LEFT_OUT_COLUMNS: dict[By, str] = {"run": "run_id", "ratio": "domain_ratio"}  # columns of a log


def left_out_log_losses(kriging: Kriging, label: NDArray[np.intp]) -> Array:
    """Return the log loss of each row as the rows of other labels predict it, ``(n,)``.

    What a row shares with others beside the curve, such as the noise of a step, is left out of the prediction, as
    :meth:`~cmrplan.fit.residual.kriging.Kriging.log_loss` does.

    Parameters
    ----------
    kriging : Kriging
    label : int array (n,)
        Rows of one label are left out together.
    """
    problem = kriging.problem
    observed, count = problem.observed, len(problem.target)
    inverse = cho_solve((kriging.factor, True), np.eye(count))
    noise = problem.with_noise(np.zeros((count, count)), kriging.hyper)
    over_law = observed.log_loss - problem.mean.offset(observed.points)
    solved, of_ones = inverse @ over_law, inverse.sum(axis=1)
    predicted = np.empty(count)
    for one in np.unique(label):
        here = label == one
        center = np.mean(over_law[~here])
        weights = solved - center * of_ones
        missed = np.linalg.solve(inverse[np.ix_(here, here)], weights[here])
        others = weights[~here] - inverse[np.ix_(~here, here)] @ missed
        shared = noise[np.ix_(here, ~here)] @ others
        predicted[here] = observed.log_loss[here] - missed - shared
    return predicted


def left_out_figures(table: pd.DataFrame, by: By) -> dict[str, Any]:
    """Return the mean absolute error of rows that were left out, and the run or ratio that is missed most.

    Parameters
    ----------
    table : DataFrame
        ``loss``, ``predicted`` and the column that was left out by.
    by : {"run", "ratio"}

    Returns
    -------
    dict
        ``mae``, ``worst``, and ``worst_error``, the mean of its losses less their predictions; nats per token.
    """
    missed = table["loss"] - table["predicted"]
    mean = missed.groupby(table[LEFT_OUT_COLUMNS[by]]).mean()
    worst = int(np.argmax(np.abs(mean.to_numpy())))
    return {
        "mae": float(missed.abs().mean()),
        "worst": mean.index[worst],
        "worst_error": float(mean.iloc[worst]),
    }
