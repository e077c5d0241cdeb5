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

import ast
import importlib
from typing import TYPE_CHECKING, Any

from cmrplan._version import __version__ as __version__

# Loading a folder of this package puts it under its name here, over the function of the same name. So both are loaded
# now, empty as they are, and taken out again.
for _folder in ("export", "fit", "plan"):
    importlib.import_module(f"cmrplan.{_folder}")
    del globals()[_folder]

if TYPE_CHECKING:  # the one list of the public names: type checkers read it, and so does _homes
    from cmrplan import plots as plots
    from cmrplan.design.next_probes import NextProbes as NextProbes
    from cmrplan.design.next_probes import next_probes as next_probes
    from cmrplan.errors import CmrplanError as CmrplanError
    from cmrplan.errors import Code as Code
    from cmrplan.errors import Finding as Finding
    from cmrplan.errors import InputError as InputError
    from cmrplan.errors import Severity as Severity
    from cmrplan.export.export import Export as Export
    from cmrplan.export.export import export as export
    from cmrplan.fit.corpus_model import Interval as Interval
    from cmrplan.fit.corpus_model import Prediction as Prediction
    from cmrplan.fit.file import fit_report as fit_report
    from cmrplan.fit.file import read_fit as read_fit
    from cmrplan.fit.file import write_fit as write_fit
    from cmrplan.fit.fit import Fit as Fit
    from cmrplan.fit.fit_log import fit as fit
    from cmrplan.fit.planned_schedule import under_schedule as under_schedule
    from cmrplan.log.files import check_log as check_log
    from cmrplan.log.files import read_log as read_log
    from cmrplan.log.files import validate_log as validate_log
    from cmrplan.log.files import write_log as write_log
    from cmrplan.mixture import MixtureFit as MixtureFit
    from cmrplan.mixture import MixturePlan as MixturePlan
    from cmrplan.mixture import MixturePlanRequest as MixturePlanRequest
    from cmrplan.mixture import fit_domains as fit_domains
    from cmrplan.mixture import fit_mixture as fit_mixture
    from cmrplan.mixture import mixture_levels as mixture_levels
    from cmrplan.mixture import plan_mixture as plan_mixture
    from cmrplan.mixture import predict_new_domain as predict_new_domain
    from cmrplan.mixture import read_mixture_fit as read_mixture_fit
    from cmrplan.mixture import write_mixture_fit as write_mixture_fit
    from cmrplan.plan.plan import Plan as Plan
    from cmrplan.plan.plan import plan as plan
    from cmrplan.plan.questions.compared_ratios import compared_ratios as compared_ratios
    from cmrplan.plan.questions.compute_budget import best_budget as best_budget
    from cmrplan.plan.questions.confidence_levels import confidence_levels as confidence_levels
    from cmrplan.plan.questions.critical_curve import critical_over_sizes as critical_over_sizes
    from cmrplan.plan.questions.critical_curve import critical_over_tokens as critical_over_tokens
    from cmrplan.plan.questions.domain_tokens import by_epochs as by_epochs
    from cmrplan.plan.questions.domain_tokens import spend_domain_tokens as spend_domain_tokens
    from cmrplan.plan.questions.frontier import frontier as frontier
    from cmrplan.plan.questions.law_panel import law_panel as law_panel
    from cmrplan.plan.questions.peak_rates import by_peak_rate as by_peak_rate
    from cmrplan.plan.questions.remedies import remedies as remedies
    from cmrplan.plan.questions.sensitivity import sensitivity as sensitivity
    from cmrplan.plan.questions.target_loss import fewest_tokens as fewest_tokens
    from cmrplan.plan.questions.target_loss import smallest_model as smallest_model
    from cmrplan.plan.request import PlanRequest as PlanRequest
    from cmrplan.validate.backtest import backtest as backtest
    from cmrplan.validate.compare import compare as compare
    from cmrplan.validate.mixture_backtest import backtest_mixtures as backtest_mixtures


def _homes() -> dict[str, str]:
    """Return the module of each public name, as the list above has it."""
    with open(__file__, encoding="utf-8") as source:
        body = ast.parse(source.read()).body
    block = next(node for node in body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


_HOMES = _homes()
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "plots":
        return importlib.import_module("cmrplan.plots")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
