"""The fit of a mixture as a JSON file, in the format of all fits."""

from __future__ import annotations

import os
from typing import Any

from cmrplan.fit.file import FIT_FILE_VERSION, common_report, read_fitted_log, write_fitted_log
from cmrplan.mixture.fit import MixtureFit


def mixture_report(fit: MixtureFit) -> dict[str, Any]:
    """Return the figures of a fit as plain values: what ``cmrplan mix fit --json`` prints."""
    return {
        "cmrplan_fit": FIT_FILE_VERSION,
        "kind": "mixture",
        "corpora": sorted(fit.corpora),
        "eval_corpora": dict(sorted(fit.summary().items())),
    } | common_report(fit)


def write_mixture_fit(fit: MixtureFit, path: str | os.PathLike[str]) -> None:
    """Write a fit as JSON, atomically."""
    write_fitted_log(fit, mixture_report(fit), path)


def read_mixture_fit(path: str | os.PathLike[str]) -> MixtureFit:
    """Return a fit from its file; reading it runs no code and fits nothing again.

    Raises
    ------
    InputError
        If the file cannot be read, or is not the fit of a mixture.
    """
    return MixtureFit(**read_fitted_log(path, "mixture"))
