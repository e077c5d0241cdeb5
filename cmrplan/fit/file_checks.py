"""Whether the parts of a fit file belong together: the log, the base losses, and the laws with what they left over.

A checksum finds every edit of a file that has one. Files from before there was one have only this: a law's residuals
follow from its parameters and the log, so an edit of any of the three breaks the equation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrplan.fit.cmr_model import CmrModel
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_model import AveragedModel, component_of_draws
from cmrplan.log.files import base_losses, validate_log
from cmrplan.solve.law_fit import LawFit

if TYPE_CHECKING:
    import pandas as pd

    from cmrplan.arrays import Array
    from cmrplan.fit.model_records import FittedTo

# Other processors round the same parameters to the same residuals within this, in nats; an edit moves them farther.
_SAME_RESIDUAL = 1e-6
_SAME_WEIGHT = 1e-9
_SAME_FIGURE = 1e-6


def require_consistent(models: Mapping[str, CorpusModel], fitted_to: FittedTo) -> None:
    """Refuse a fit whose parts do not belong together.

    Raises
    ------
    ValueError
        Saying which part contradicts which.
    """
    log, settings = fitted_to.log, fitted_to.settings
    validate_log(log, source="state.log")
    for corpus in fitted_to.base_loss.keys() | models.keys():
        if base_losses(log, corpus) != fitted_to.base_loss.get(corpus, {}):
            raise ValueError(f"the base losses of {corpus!r} are not those of the rows at 0 tokens")
    for corpus, model in models.items():
        rows = fitted_rows(log, corpus, settings.min_train_tokens)
        if model.num_draws != settings.bootstrap:
            raise ValueError(
                f"{model.num_draws} resamples of {corpus!r}, and the settings say {settings.bootstrap}"
            )
        if isinstance(model, CmrModel):
            _require_curves(model, rows)
        elif not len(rows):
            raise ValueError(f"a law of {corpus!r}, of which the log has no row")
        for law in model.components:
            if (law.num_rows, law.num_runs) != (len(rows), rows["run_id"].nunique()):
                raise ValueError(
                    f"{law.num_rows} rows of {law.num_runs} runs on {corpus!r}, and the log has {len(rows)} of "
                    f"{rows['run_id'].nunique()}"
                )
            loss = rows["loss"].to_numpy(dtype=float)
            _require_residuals(law.fit, loss, law.fitted_loss(rows), corpus)
        _require_weights(model)


def require_figures(
    models: Mapping[str, CorpusModel], shown: Mapping[str, Any], confidence: float
) -> None:
    """Refuse a fit whose parameters, with their errors and intervals, are not those that its file shows.

    Errors and intervals follow from the resamples, which nothing else in a file without a checksum speaks of.

    Raises
    ------
    ValueError
        Saying which figures of which corpus.
    """
    for corpus, model in models.items():
        figures = model.summary(confidence)
        for name in ("params", "stderr", "interval"):
            if not _is_same(shown[corpus][name], figures[name]):
                raise ValueError(f"{name} of {corpus!r} that are not those of its laws")


def _is_same(shown: Any, own: Any) -> bool:
    """Tell whether two figures agree as far as processors do."""
    if isinstance(own, Mapping):
        return shown.keys() == own.keys() and all(_is_same(shown[key], own[key]) for key in own)
    if isinstance(own, list):
        return len(shown) == len(own) and all(map(_is_same, shown, own))
    if own is None or shown is None:
        return own is shown
    return bool(np.isclose(shown, own, rtol=_SAME_FIGURE, atol=0))


def _require_weights(model: CorpusModel) -> None:
    """Refuse weights that do not sum to one, and resamples that are not shared out by them."""
    laws = getattr(model, "laws", model)
    if not isinstance(laws, AveragedModel):
        return
    weights = laws.weights
    if not (weights > 0).all() or abs(weights.sum() - 1) > _SAME_WEIGHT:
        raise ValueError(f"weights of laws that sum to {weights.sum():g} and not to 1")
    if (np.diff(weights) > 0).any():
        raise ValueError("laws that do not stand in the order of their weights")
    counts = [law.num_draws for law in laws.components]
    shared = np.bincount(component_of_draws(weights, sum(counts)), minlength=len(counts))
    if shared.tolist() != counts:
        raise ValueError(
            f"{counts} resamples of the laws, and their weights ask for {shared.tolist()}"
        )


def _require_curves(model: CmrModel, rows: pd.DataFrame) -> None:
    """Refuse curves whose losses are not those of the log, or not those of their token law."""
    sizes = rows["model_params"].to_numpy(dtype=float)
    for size, curves in model.sizes.items():
        for curve in curves:
            own = rows[(rows["run_id"] == curve.run_id) & (sizes == size)]
            own = own.sort_values("train_tokens")
            logged = own["train_tokens"].tolist(), own["loss"].tolist()
            ratio = set(own["domain_ratio"].tolist())
            if logged != (curve.train_tokens.tolist(), curve.loss.tolist()) or ratio != {
                curve.domain_ratio
            }:
                raise ValueError(f"a curve of run {curve.run_id!r} that is not in the log")
            if curve.fit is not None:
                fitted = curve.fit.predict({"train_tokens": curve.train_tokens})
                _require_residuals(curve.fit, curve.loss, fitted, model.corpus)


def _require_residuals(fit: LawFit, loss: Array, fitted: Array, corpus: str) -> None:
    """Refuse a law whose residuals are not what its parameters leave of the losses, and figures out of range."""
    what = f"law {fit.law.name} of {corpus!r}"
    if set(fit.scales) != {name for name in fit.law.scaled if name in fit.law.inputs}:
        raise ValueError(f"scales of the {what} for {', '.join(fit.scales) or 'nothing'}")
    if len(fit.residual) != len(loss):
        raise ValueError(f"{len(fit.residual)} residuals of the {what} for {len(loss)} rows")
    left = np.log(loss / fitted) if fit.law.link == "log" else loss - fitted
    if not np.allclose(left, fit.residual, rtol=_SAME_RESIDUAL, atol=_SAME_RESIDUAL):
        raise ValueError(f"residuals of the {what} that its parameters do not leave")
    if not (fit.row_weights >= 0).all() or not fit.row_weights.any():
        raise ValueError(f"row weights of the {what} below 0")
    if not (fit.delta > 0 and min(fit.objective, fit.gradient, fit.huber, fit.mae) >= 0):
        raise ValueError(f"figures of the {what} that no fit has")
    named = {*fit.unidentified, *fit.at_bound}
    if not named <= set(fit.law.parameter_names):
        raise ValueError(f"parameters of the {what} that it does not have")
