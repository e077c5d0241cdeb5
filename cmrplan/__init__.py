"""cmrplan: choose the data mixture of continual pre-training with evidence.

>>> import cmrplan as cp
>>> log = cp.read_log("data/published/dcpt_usage1_log.csv")
>>> fit = cp.fit(log, bootstrap=0)
>>> plan = cp.plan(fit, model_params=1.8e9, train_tokens=10e9, max_general_rise="3%")
>>> f"{plan.domain_ratio:.3f} bound by {plan.binding}"
'0.924 bound by tolerance'

Names are imported when they are first used, so that a training process that needs only the errors does not
load the fitting stack.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cmrplan._version import __version__

if TYPE_CHECKING:
    from cmrplan import plots
    from cmrplan.backtesting import backtest
    from cmrplan.comparison import compare
    from cmrplan.errors import CmrplanError, Finding, InputError
    from cmrplan.fitfile import fit_report, read_fit, write_fit
    from cmrplan.fits import Fit, Prediction, fit
    from cmrplan.planning.budget import best_budget
    from cmrplan.planning.critical import critical_over_sizes, critical_over_tokens
    from cmrplan.planning.frontier import frontier
    from cmrplan.planning.next_probes import NextProbes, next_probes
    from cmrplan.planning.panel import law_panel
    from cmrplan.planning.plan import Plan, plan
    from cmrplan.planning.sensitivity import sensitivity
    from cmrplan.planning.spend import by_epochs, spend_domain_tokens
    from cmrplan.planning.targets import fewest_tokens, smallest_model
    from cmrplan.records import check_log, read_log, validate_log, write_log

_HOMES = {
    "CmrplanError": "cmrplan.errors",
    "Finding": "cmrplan.errors",
    "InputError": "cmrplan.errors",
    "fit_report": "cmrplan.fitfile",
    "read_fit": "cmrplan.fitfile",
    "write_fit": "cmrplan.fitfile",
    "Fit": "cmrplan.fits",
    "Prediction": "cmrplan.fits",
    "fit": "cmrplan.fits",
    "Plan": "cmrplan.planning.plan",
    "plan": "cmrplan.planning.plan",
    "backtest": "cmrplan.backtesting",
    "frontier": "cmrplan.planning.frontier",
    "critical_over_tokens": "cmrplan.planning.critical",
    "critical_over_sizes": "cmrplan.planning.critical",
    "fewest_tokens": "cmrplan.planning.targets",
    "smallest_model": "cmrplan.planning.targets",
    "best_budget": "cmrplan.planning.budget",
    "spend_domain_tokens": "cmrplan.planning.spend",
    "by_epochs": "cmrplan.planning.spend",
    "law_panel": "cmrplan.planning.panel",
    "NextProbes": "cmrplan.planning.next_probes",
    "next_probes": "cmrplan.planning.next_probes",
    "sensitivity": "cmrplan.planning.sensitivity",
    "check_log": "cmrplan.records",
    "compare": "cmrplan.comparison",
    "read_log": "cmrplan.records",
    "validate_log": "cmrplan.records",
    "write_log": "cmrplan.records",
}

__all__ = [
    "CmrplanError",
    "Finding",
    "Fit",
    "InputError",
    "NextProbes",
    "Plan",
    "Prediction",
    "__version__",
    "backtest",
    "best_budget",
    "by_epochs",
    "check_log",
    "compare",
    "critical_over_sizes",
    "critical_over_tokens",
    "fewest_tokens",
    "fit",
    "fit_report",
    "frontier",
    "law_panel",
    "next_probes",
    "plan",
    "plots",
    "read_fit",
    "read_log",
    "sensitivity",
    "smallest_model",
    "spend_domain_tokens",
    "validate_log",
    "write_fit",
    "write_log",
]


def __getattr__(name: str) -> Any:
    if name == "plots":
        return importlib.import_module("cmrplan.plots")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
