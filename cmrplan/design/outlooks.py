"""The outlook of a fit: by its Gaussian process where both losses have one, else by its laws."""

from __future__ import annotations

from collections.abc import Sequence

from cmrplan.design.forecast import Outlook
from cmrplan.design.kriged_outlook import KrigedOutlook
from cmrplan.design.law_outlook import LawOutlook
from cmrplan.errors import CmrplanError
from cmrplan.fit.fit import Fit
from cmrplan.plan.request import PlanRequest


def outlook_of(fit: Fit, request: PlanRequest, more_sizes: Sequence[float] = ()) -> Outlook:
    """Return what a fit expects of possible probes; see :class:`~cmrplan.design.forecast.Outlook`.

    Raises
    ------
    CmrplanError
        If the fit cannot say what a run would show.
    """
    for corpus in ("general", "domain"):
        if corpus not in fit.models:
            raise CmrplanError(
                f"the {corpus} loss was not fitted, and the next probes need both; add rows with eval_corpus = {corpus}"
            )
    kind = KrigedOutlook if all(m.follows_rows for m in fit.models.values()) else LawOutlook
    return kind(fit, request, more_sizes)
