"""The fit of a mixture as a JSON file, in the format of all fits."""

from __future__ import annotations

import os
from typing import Any

from cmrplan.files import sealed, write_json
from cmrplan.fit.file import read_fitted_log
from cmrplan.mixture.mixture_fit import MixtureFit


def mixture_report(fit: MixtureFit) -> dict[str, Any]:
    """Return the figures of a fit as plain values: what ``cmrplan mix fit --json`` prints."""
    return fit.figures()


def write_mixture_fit(fit: MixtureFit, path: str | os.PathLike[str]) -> None:
    """Write a fit as JSON, atomically."""
    write_json(path, sealed(fit.as_dict()))


def read_mixture_fit(path: str | os.PathLike[str]) -> MixtureFit:
    """Return a fit from its file; reading it runs no code and fits nothing again.

    Raises
    ------
    InputError
        If the file cannot be read, or is not the fit of a mixture.
    """
    return MixtureFit(**read_fitted_log(path, "mixture"))
