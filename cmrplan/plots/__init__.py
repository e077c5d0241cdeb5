"""Pictures of a fit and of a plan.

For each kind there is a ``*_data`` function with all the arithmetic, a ``plot_*`` function that draws its numbers
on one Axes, and :func:`figure`, which puts the panels of a kind together.
"""

from cmrplan.plots.curves import CurvesData, RatioSeries, curves_data, plot_curves
from cmrplan.plots.figures import KINDS, figure, write_figure
from cmrplan.plots.next_map import NextData, next_data, plot_next
from cmrplan.plots.ratio import RatioData, plot_ratio, ratio_data
from cmrplan.plots.residuals import ResidualsData, plot_residuals, residuals_data
from cmrplan.plots.tradeoff import TradeoffData, plot_tradeoff, tradeoff_data

__all__ = [
    "KINDS",
    "CurvesData",
    "NextData",
    "RatioData",
    "RatioSeries",
    "ResidualsData",
    "TradeoffData",
    "curves_data",
    "figure",
    "next_data",
    "plot_curves",
    "plot_next",
    "plot_ratio",
    "plot_residuals",
    "plot_tradeoff",
    "ratio_data",
    "residuals_data",
    "tradeoff_data",
    "write_figure",
]
