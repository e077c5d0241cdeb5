"""Profile-likelihood intervals of a fit: of a parameter, of a loss, of the critical ratio.

A second opinion beside the resamples: it follows curved valleys, and says which side of a parameter the log leaves
open. Rows of a run count together as one observation. Where laws were averaged, the one with the largest weight is
profiled. See :mod:`cmrplan.solve.profile` for the method.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.averaged_model import leading_surface
from cmrplan.fit.fit import Fit
from cmrplan.fit.law_model import Surface, law_inputs, row_inputs
from cmrplan.solve.profile import (
    ProfileInterval,
    profile_crossing,
    profile_parameter,
    profile_prediction,
)


def free_parameters(fit: Fit, corpus: str) -> list[str]:
    """Return the parameters of the law of a corpus that its fit estimated."""
    law = _surface(fit, corpus).fit.law
    return list(law.parameter_names[: law.num_free])


def parameter_interval(
    fit: Fit, corpus: str, name: str, *, confidence: float = 0.9
) -> ProfileInterval:
    """Return the interval of a parameter of the law of a corpus, such as ``beta``.

    Raises
    ------
    InputError
        If the law has no such free parameter.
    CmrplanError
        If the corpus was not fitted by one law across runs.
    """
    surface = _surface(fit, corpus)
    inputs, loss = _rows(fit, surface)
    return profile_parameter(
        surface.fit, inputs, loss, name, confidence=confidence, num_clusters=surface.num_runs
    )


def loss_interval(
    fit: Fit,
    corpus: str,
    *,
    model_params: float,
    train_tokens: float,
    domain_ratio: float,
    confidence: float = 0.9,
) -> ProfileInterval:
    """Return the interval of the loss of a corpus at one setting, nats per token, without the noise of a new run."""
    surface = _surface(fit, corpus)
    inputs, loss = _rows(fit, surface)
    return profile_prediction(
        surface.fit,
        inputs,
        loss,
        _point(corpus, model_params, train_tokens, domain_ratio),
        confidence=confidence,
        num_clusters=surface.num_runs,
    )


def critical_ratio_interval(
    fit: Fit,
    *,
    model_params: float,
    train_tokens: float,
    general_loss_limit: float,
    confidence: float = 0.9,
) -> ProfileInterval:
    """Return the interval of the domain ratio at which the general loss reaches its limit.

    Parameters
    ----------
    general_loss_limit : float
        Base loss plus the allowed rise, nats per token.

    Raises
    ------
    CmrplanError
        If the fitted general loss does not reach the limit at any ratio.
    """
    surface = _surface(fit, "general")
    inputs, loss = _rows(fit, surface)
    found = profile_crossing(
        surface.fit,
        inputs,
        loss,
        _point("general", model_params, train_tokens, 0.5),
        "share",
        general_loss_limit,
        (0.0, 1.0),
        confidence=confidence,
        num_clusters=surface.num_runs,
    )
    # the law reads the share of general data
    return replace(
        found,
        name="critical_ratio",
        estimate=1 - found.estimate,
        low=1 - found.high,
        high=1 - found.low,
        is_open=(found.is_open[1], found.is_open[0]),
        values=1 - found.values[::-1],
        ratio=found.ratio[::-1],
    )


def _surface(fit: Fit, corpus: str) -> Surface:
    surface = leading_surface(fit.models[corpus]) if corpus in fit.models else None
    if surface is None:
        raise CmrplanError(
            f"the {corpus} loss was not fitted by one law across runs, so it has no profile; fit it with law = 'dcpt'"
        )
    return surface


def _rows(fit: Fit, surface: Surface) -> tuple[dict[str, Array], Array]:
    rows = fit.rows(surface.corpus)
    return row_inputs(surface.corpus, rows), rows["loss"].to_numpy(dtype=float)


def _point(
    corpus: str, model_params: float, train_tokens: float, domain_ratio: float
) -> dict[str, float]:
    places = (np.array([value]) for value in (model_params, train_tokens, domain_ratio))
    return {name: float(values[0]) for name, values in law_inputs(corpus, *places).items()}
