"""Profile-likelihood intervals of a fit: of a parameter, of a loss, of the critical ratio.

A second opinion beside the resamples: it follows curved valleys, and says which side of a parameter the log leaves
open. Rows of a run count together as one observation, and some rows may be noisier than others. Where laws were
averaged, the one with the largest weight is profiled. See :mod:`cmrplan.solve.profile` for the method.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import law_inputs
from cmrplan.fit.fit import Fit
from cmrplan.fit.law_model import LawModel, fitted_values, row_inputs
from cmrplan.solve.profile import (
    Crossing,
    ProfileInterval,
    profile_crossing,
    profile_parameter,
    profile_prediction,
)


def profiled_law(fit: Fit, corpus: str) -> str:
    """Return the name of the law of a corpus that is profiled: the first of those that the fit predicts by."""
    return _top_law(fit, corpus).law


def free_parameters(fit: Fit, corpus: str) -> list[str]:
    """Return the parameters of the law of a corpus that its fit estimated."""
    declared = _top_law(fit, corpus).fit.law
    return list(declared.parameter_names[: declared.num_free])


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
    law = _top_law(fit, corpus)
    inputs, loss = _rows(fit, law)
    return profile_parameter(
        law.fit,
        inputs,
        loss,
        name,
        confidence=confidence,
        num_clusters=law.num_runs,
        unequal_noise=True,
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
    law = _top_law(fit, corpus)
    inputs, loss = _rows(fit, law)
    return profile_prediction(
        law.fit,
        inputs,
        loss,
        _point(fit, law, model_params, train_tokens, domain_ratio),
        confidence=confidence,
        num_clusters=law.num_runs,
        unequal_noise=True,
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
    law = _top_law(fit, "general")
    inputs, loss = _rows(fit, law)
    profile = profile_crossing(
        law.fit,
        inputs,
        loss,
        _point(fit, law, model_params, train_tokens, 0.5),
        Crossing("share", general_loss_limit, (0.0, 1.0)),
        confidence=confidence,
        num_clusters=law.num_runs,
        unequal_noise=True,
    )
    # The law reads the share of general data.
    return replace(
        profile,
        name="critical_ratio",
        estimate=1 - profile.estimate,
        low=1 - profile.high,
        high=1 - profile.low,
        is_open=(profile.is_open[1], profile.is_open[0]),
        values=1 - profile.values[::-1],
        ratio=profile.ratio[::-1],
    )


def _top_law(fit: Fit, corpus: str) -> LawModel:
    law = fit.models[corpus].top_weighted if corpus in fit.models else None
    if law is None:
        raise CmrplanError(
            f"the {corpus} loss was not fitted by one law across runs, so it has no profile; fit it with law = 'dcpt'"
        )
    return law


def _rows(fit: Fit, law: LawModel) -> tuple[dict[str, Array], Array]:
    rows = fit.rows(law.corpus)
    inputs = row_inputs(law.corpus, rows)
    return inputs, fitted_values(law.law, inputs, rows)


def _point(
    fit: Fit, law: LawModel, model_params: float, train_tokens: float, domain_ratio: float
) -> dict[str, float]:
    if law.entry.fits_rises:
        raise CmrplanError(
            f"the law {law.law} is one of rises over the base loss; profile its parameters"
        )
    columns = {
        "model_params": np.array([model_params]),
        "train_tokens": np.array([train_tokens]),
        "domain_ratio": np.array([domain_ratio]),
    }
    whole = fit.completed(law.corpus, columns, None)
    return {name: float(values[0]) for name, values in law_inputs(law.corpus, whole).items()}
