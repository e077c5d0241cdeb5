"""Several training corpora: one law per validation corpus, and the best mixture on the simplex."""

from cmrplan.mixture.file import mixture_report, read_mixture_fit, write_mixture_fit
from cmrplan.mixture.fit import fit_mixture
from cmrplan.mixture.levels import mixture_levels
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.mixture_plan import MixturePlan
from cmrplan.mixture.plan import plan_mixture
from cmrplan.mixture.request import MixturePlanRequest
from cmrplan.mixture.transfer import NewDomain, fit_domains, predict_new_domain

__all__ = [
    "MixtureFit",
    "MixturePlan",
    "MixturePlanRequest",
    "NewDomain",
    "fit_domains",
    "fit_mixture",
    "mixture_levels",
    "mixture_report",
    "plan_mixture",
    "predict_new_domain",
    "read_mixture_fit",
    "write_mixture_fit",
]
