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

# Loading a folder of this package puts it under its name here, over the function of the same name. So both are loaded
# now, empty as they are, and taken out again.
for _folder in ("fit", "plan"):
    importlib.import_module(f"cmrplan.{_folder}")
    del globals()[_folder]

if TYPE_CHECKING:
    from cmrplan import plots
    from cmrplan.design.next_probes import NextProbes, next_probes
    from cmrplan.errors import CmrplanError, Finding, InputError
    from cmrplan.fit.file import fit_report, read_fit, write_fit
    from cmrplan.fit.fit import Fit
    from cmrplan.fit.fit_log import fit
    from cmrplan.fit.prediction import Prediction
    from cmrplan.log.files import check_log, read_log, validate_log, write_log
    from cmrplan.mixture import (
        fit_domains,
        fit_mixture,
        plan_mixture,
        predict_new_domain,
        read_mixture_fit,
        write_mixture_fit,
    )
    from cmrplan.plan.plan import Plan, plan
    from cmrplan.plan.questions.compute_budget import best_budget
    from cmrplan.plan.questions.critical_curve import critical_over_sizes, critical_over_tokens
    from cmrplan.plan.questions.domain_tokens import by_epochs, spend_domain_tokens
    from cmrplan.plan.questions.frontier import frontier
    from cmrplan.plan.questions.law_panel import law_panel
    from cmrplan.plan.questions.sensitivity import sensitivity
    from cmrplan.plan.questions.target_loss import fewest_tokens, smallest_model
    from cmrplan.validate.backtest import backtest
    from cmrplan.validate.compare import compare

_HOMES = {
    "CmrplanError": "cmrplan.errors",
    "Finding": "cmrplan.errors",
    "InputError": "cmrplan.errors",
    "fit_report": "cmrplan.fit.file",
    "read_fit": "cmrplan.fit.file",
    "write_fit": "cmrplan.fit.file",
    "Fit": "cmrplan.fit.fit",
    "Prediction": "cmrplan.fit.prediction",
    "fit": "cmrplan.fit.fit_log",
    "Plan": "cmrplan.plan.plan",
    "plan": "cmrplan.plan.plan",
    "fit_domains": "cmrplan.mixture",
    "fit_mixture": "cmrplan.mixture",
    "plan_mixture": "cmrplan.mixture",
    "predict_new_domain": "cmrplan.mixture",
    "read_mixture_fit": "cmrplan.mixture",
    "write_mixture_fit": "cmrplan.mixture",
    "backtest": "cmrplan.validate.backtest",
    "frontier": "cmrplan.plan.questions.frontier",
    "critical_over_tokens": "cmrplan.plan.questions.critical_curve",
    "critical_over_sizes": "cmrplan.plan.questions.critical_curve",
    "fewest_tokens": "cmrplan.plan.questions.target_loss",
    "smallest_model": "cmrplan.plan.questions.target_loss",
    "best_budget": "cmrplan.plan.questions.compute_budget",
    "spend_domain_tokens": "cmrplan.plan.questions.domain_tokens",
    "by_epochs": "cmrplan.plan.questions.domain_tokens",
    "law_panel": "cmrplan.plan.questions.law_panel",
    "NextProbes": "cmrplan.design.next_probes",
    "next_probes": "cmrplan.design.next_probes",
    "sensitivity": "cmrplan.plan.questions.sensitivity",
    "check_log": "cmrplan.log.files",
    "compare": "cmrplan.validate.compare",
    "read_log": "cmrplan.log.files",
    "validate_log": "cmrplan.log.files",
    "write_log": "cmrplan.log.files",
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
    "fit_domains",
    "fit_mixture",
    "fit_report",
    "frontier",
    "law_panel",
    "next_probes",
    "plan",
    "plan_mixture",
    "plots",
    "predict_new_domain",
    "read_fit",
    "read_log",
    "read_mixture_fit",
    "sensitivity",
    "smallest_model",
    "spend_domain_tokens",
    "validate_log",
    "write_fit",
    "write_log",
    "write_mixture_fit",
]


def __getattr__(name: str) -> Any:
    if name == "plots":
        return importlib.import_module("cmrplan.plots")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
