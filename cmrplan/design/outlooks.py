"""The outlook of a fit: by its Gaussian process where both losses have one, else by its laws."""

from __future__ import annotations

from collections.abc import Sequence

from cmrplan.design.forecast import Outlook
from cmrplan.design.kriged_outlook import KrigedOutlook
from cmrplan.design.law_outlook import LawOutlook
from cmrplan.errors import CmrplanError
from cmrplan.fit.fit import Fit
from cmrplan.log import CORPORA
from cmrplan.plan.request import PlanRequest


def require_both_losses(fit: Fit) -> None:
    """Refuse a fit of one loss, which cannot say what a probe tells of the ratio.

    Raises
    ------
    CmrplanError
        With what such a fit can answer.
    """
    for corpus in CORPORA:
        if corpus not in fit.models:
            instead = "; of this fit, plan --general-weight 0 seeks the lowest domain loss alone"
            raise CmrplanError(
                f"the {corpus} loss was not fitted, and what a probe tells of the ratio is judged by both; evaluate "
                f"the runs on {corpus} data (eval_corpus = {corpus}) and fit again"
                + (instead if corpus == "general" else "")
            )


def outlook_of(fit: Fit, request: PlanRequest, more_sizes: Sequence[float] = ()) -> Outlook:
    """Return what a fit expects of possible probes; see :class:`~cmrplan.design.forecast.Outlook`.

    Raises
    ------
    CmrplanError
        If the fit cannot say what a run would show.
    """
    require_both_losses(fit)
    kind = KrigedOutlook if all(m.follows_rows for m in fit.models.values()) else LawOutlook
    return kind(fit, request, more_sizes)
