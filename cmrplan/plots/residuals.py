"""What the fit leaves over, row by row, against each variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.fit import Fit
from cmrplan.plots.artists import (
    LIMIT,
    axes_or_new,
    count_axis,
    padded,
    ratio_axis,
    say_why,
    shades,
)
from cmrplan.plots.legends import finished
from cmrplan.plots.view import require_fitted
from cmrplan.plots.wording import heading, law_title, plain

Variable = Literal["domain_ratio", "train_tokens", "model_params", "run_order"]

VARIABLES: tuple[Variable, ...] = ("domain_ratio", "train_tokens", "model_params", "run_order")
MOST_NAMED_RUNS = 8


@dataclass(frozen=True)
class ResidualsData:
    """The numbers of :func:`plot_residuals`, one element per row of the log that the law can answer.

    Parameters
    ----------
    corpus : str
    law : str
    run_id : tuple of str
        Ratios ascending, then runs, then tokens.
    domain_ratio, train_tokens, model_params : array (n,)
    run_order : array (n,)
        1 for the run that comes first in the log, and so on.
    residual : array (n,)
        Measured over fitted loss, less one, in percent of the loss; above zero where the fit is too low.
    num_left_out : int
        Rows that the law does not take.
    """

    corpus: str
    law: str
    run_id: tuple[str, ...]
    domain_ratio: Array
    train_tokens: Array
    model_params: Array
    run_order: Array
    residual: Array
    num_left_out: int

    @property
    def context(self) -> str:
        """Law, number of rows, and how many it does not take."""
        rest = f"; {self.num_left_out} the law does not take" if self.num_left_out else ""
        return f"{law_title(self.law)}, {len(self.residual)} rows{rest}"

    @property
    def title(self) -> str:
        """What the panel shows when it stands alone."""
        return f"{heading(self.corpus)}: {self.context}"

    def runs(self) -> list[tuple[str, NDArray[np.intp]]]:
        """Return each run with the positions of its rows."""
        names = np.array(self.run_id, dtype=object)
        return [(run, np.flatnonzero(names == run)) for run in dict.fromkeys(self.run_id)]


def residuals_data(fit: Fit, corpus: str = "general") -> ResidualsData:
    """Return the numbers of :func:`plot_residuals`.

    Rows that the law does not take, such as those at ratio 0 for the CMR laws, are left out and counted.
    """
    bare = fit.without_resamples()
    require_fitted(fit, corpus)
    rows = fit.rows(corpus)
    rows["run_order"] = 1.0 + pd.factorize(rows["run_id"])[0]
    rows = rows.sort_values(
        ["domain_ratio", "model_params", "run_id", "train_tokens"], kind="stable", ignore_index=True
    )
    taken = fit.models[corpus].is_fitted(rows)
    ratio = rows["domain_ratio"].to_numpy(dtype=float)
    fitted = np.full(len(rows), np.nan)
    for _, group in rows.groupby(["model_params", "train_tokens"], sort=True):
        where = group.index.to_numpy()
        try:
            fitted[where] = bare.models[corpus].fitted_loss(group)
        except CmrplanError:
            continue  # counted below
    known = taken & np.isfinite(fitted) & (fitted > 0)
    loss = rows["loss"].to_numpy(dtype=float)
    return ResidualsData(
        corpus=corpus,
        law=fit.law,
        run_id=tuple(rows["run_id"].astype(str)[known]),
        domain_ratio=ratio[known],
        train_tokens=rows["train_tokens"].to_numpy(dtype=float)[known],
        model_params=rows["model_params"].to_numpy(dtype=float)[known],
        run_order=rows["run_order"].to_numpy(dtype=float)[known],
        residual=100 * (loss[known] / fitted[known] - 1),
        num_left_out=int((~known).sum()),
    )


def plot_residuals(
    fit: Fit,
    corpus: str = "general",
    *,
    against: Variable = "domain_ratio",
    ax: Axes | None = None,
) -> Axes:
    """Draw the residuals of a corpus against one variable, one color for each run.

    Colors follow the ratio, dark to light.

    Parameters
    ----------
    fit : Fit
    corpus : {"general", "domain"}
    against : {"domain_ratio", "train_tokens", "model_params", "run_order"}
    ax : Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If there is no such variable.
    CmrplanError
        If that corpus was not fitted.
    """
    data = residuals_data(fit, corpus)
    title = f"Residuals in percent of the loss\n{data.title}"
    return finished(draw_residuals(data, axes_or_new(ax), against), title)


def draw_residuals(data: ResidualsData, ax: Axes, against: Variable) -> Axes:
    """Draw the numbers, without title and legend."""
    if against not in VARIABLES:
        raise InputError(f"against must be one of {', '.join(VARIABLES)}, got {against!r}")
    x: Array = getattr(data, against)
    if not len(x):
        ax.set_ylabel(f"{data.corpus} residual (percent)")
        return say_why(ax, f"The law takes none of the {data.num_left_out} rows of this corpus.")
    runs = data.runs()
    ax.axhline(0, color=LIMIT, linewidth=1)
    are_named = len(runs) <= MOST_NAMED_RUNS
    for (run, where), color in zip(runs, shades(len(runs)), strict=True):
        ax.plot(
            x[where],
            data.residual[where],
            marker="o",
            markersize=3.6,
            linestyle="-" if against == "train_tokens" else "none",
            linewidth=0.7,
            color=color,
            alpha=0.85,
            label=plain(run) if are_named else "_run",
        )
    if against == "domain_ratio":
        ratio_axis(ax, x)
        ax.set_xlabel(
            "domain ratio"
        )  # there are up to four axes in a row, and its ticks say percent
    elif against == "run_order":
        ax.set_xlim(*padded([x]))
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        ax.set_xlabel("run, by size and ratio")
    else:
        label = "training tokens" if against == "train_tokens" else "model parameters"
        count_axis(ax, x, label)
    ax.set_ylim(*padded([data.residual, np.zeros(1)]))
    ax.set_ylabel(f"{data.corpus} residual (percent)")
    return ax
