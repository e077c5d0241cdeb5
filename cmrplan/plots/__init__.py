"""Pictures of a fit and of a plan.

For each kind there is a ``*_data`` function with all the arithmetic, a ``plot_*`` function that draws its numbers
on one Axes, and :func:`figure`, which puts the panels of a kind together.
"""

from cmrplan.plots.critical import CriticalData, critical_data, plot_critical
from cmrplan.plots.curves import CurvesData, RatioSeries, curves_data, plot_curves
from cmrplan.plots.figures import KINDS, figure, write_figure
from cmrplan.plots.frontier import FrontierData, frontier_data, plot_frontier
from cmrplan.plots.next_map import NextData, next_data, plot_next
from cmrplan.plots.panel import PanelData, panel_data, plot_panel
from cmrplan.plots.ratio import RatioData, plot_ratio, ratio_data
from cmrplan.plots.residuals import ResidualsData, plot_residuals, residuals_data
from cmrplan.plots.risk import RiskData, plot_risk, risk_data
from cmrplan.plots.tradeoff import TradeoffData, plot_tradeoff, tradeoff_data

__all__ = [
    "KINDS",
    "CriticalData",
    "CurvesData",
    "FrontierData",
    "NextData",
    "PanelData",
    "RatioData",
    "RatioSeries",
    "ResidualsData",
    "RiskData",
    "TradeoffData",
    "critical_data",
    "curves_data",
    "figure",
    "frontier_data",
    "next_data",
    "panel_data",
    "plot_critical",
    "plot_curves",
    "plot_frontier",
    "plot_next",
    "plot_panel",
    "plot_ratio",
    "plot_residuals",
    "plot_risk",
    "plot_tradeoff",
    "ratio_data",
    "residuals_data",
    "risk_data",
    "tradeoff_data",
    "write_figure",
]
