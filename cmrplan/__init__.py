"""cmrplan: choose the data mixture of continual pre-training with evidence.

>>> import cmrplan as cp
>>> log = cp.read_log("data/published/dcpt_usage1_log.csv")
>>> fit = cp.fit(log, bootstrap=0)
>>> plan = cp.plan(fit, model_params=1.8e9, train_tokens=10e9, max_general_rise="3%")
>>> f"{plan.domain_ratio:.3f} bound by {plan.binding}"
'0.924 bound by tolerance'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cmrplan._version import __version__
from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fitfile import fit_report, read_fit, write_fit
from cmrplan.fits import Fit, Prediction, fit
from cmrplan.planning.plan import Plan, plan
from cmrplan.records import check_log, read_log, validate_log, write_log

if TYPE_CHECKING:
    from cmrplan import plots

__all__ = [
    "CmrplanError",
    "Finding",
    "Fit",
    "InputError",
    "Plan",
    "Prediction",
    "__version__",
    "check_log",
    "fit",
    "fit_report",
    "plan",
    "plots",
    "read_fit",
    "read_log",
    "validate_log",
    "write_fit",
    "write_log",
]


def __getattr__(name: str) -> Any:
    """Import the plots when they are first asked for: matplotlib is slow to load."""
    if name == "plots":
        import importlib

        return importlib.import_module("cmrplan.plots")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
