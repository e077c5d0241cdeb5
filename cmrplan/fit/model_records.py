"""Fitted models as records of a file, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.cmr_model import CmrModel, RunCurve
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_model import AveragedModel, LawModel
from cmrplan.fit.settings import FitSettings
from cmrplan.laws import build_law
from cmrplan.laws.law import Link
from cmrplan.laws.registry import REGISTRY
from cmrplan.solve.law_fit import LawFit, Status

if TYPE_CHECKING:
    from cmrplan.fit.fitted_log import FittedLog


class Strict(BaseModel):
    """A record whose fields are all there, of the right type, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class LawFitRecord(Strict):
    """A fitted law as it stands in a file."""

    law: str
    options: dict[str, Any]
    scales: dict[str, float]
    search: list[float]
    coefficients: list[float]
    delta: float | None
    objective: float
    gradient: float
    status: str
    residual: list[float]
    link: Link
    row_weights: list[float] | None
    unidentified: list[str]
    at_bound: list[str]
    r2: float | None
    huber: float
    mae: float


class LawModelRecord(Strict):
    """One law of a corpus with its resamples."""

    kind: Literal["law"] = "law"
    fit: LawFitRecord
    search: list[list[float]]
    coefficients: list[list[float]]
    num_rows: int
    num_runs: int


class AveragedModelRecord(Strict):
    """Several laws of a corpus with their weights."""

    kind: Literal["average"] = "average"
    members: list[LawModelRecord]
    weights: list[float]


class MemberRecord(Strict):
    """A mean function with its hyperparameters."""

    mean: str
    has_residual: bool
    repeat_scale: float | None = None
    weight: float
    hyper: list[float]
    samples: list[list[float]]


class KrigedModelRecord(Strict):
    """Mean functions with residuals above fitted laws; the rows that they are fitted to are those of the log."""

    kind: Literal["kriged"] = "kriged"
    laws: LawModelRecord | AveragedModelRecord
    members: list[MemberRecord]
    count: int


class KrigedMixtureRecord(Strict):
    """Laws of the mixture with a process above them; the rows that it knows are those of the log."""

    kind: Literal["kriged_mixture"] = "kriged_mixture"
    laws: LawModelRecord | AveragedModelRecord
    unit: float
    log_hyper: list[float]
    raised: list[float]
    number: int


class RunCurveRecord(Strict):
    """The losses of one run, and its token law where it has one."""

    model_params: float
    run_id: str
    domain_ratio: float
    train_tokens: list[float]
    loss: list[float]
    fit: LawFitRecord | None


class CmrModelRecord(Strict):
    """The CMR laws of a corpus."""

    kind: Literal["cmr"] = "cmr"
    curves: list[RunCurveRecord]
    num_rows: int
    num_runs: int


ModelRecord = (
    LawModelRecord | AveragedModelRecord | CmrModelRecord | KrigedModelRecord | KrigedMixtureRecord
)


def dump_state(fit: FittedLog) -> dict[str, Any]:
    """Return what predictions of a fit need, as plain values."""
    return {
        "corpora": list(fit.corpora),
        "resampled_in_order": True,
        "log": {
            str(column): values.astype(object).where(values.notna(), None).tolist()
            for column, values in fit.log.items()
        },
        "models": {corpus: dump_model(model) for corpus, model in fit.models.items()},
        "base_loss": [
            {"corpus": corpus, "model_params": size, "loss": loss}
            for corpus, sizes in fit.base_loss.items()
            for size, loss in sizes.items()
        ],
    }


def dump_model(model: CorpusModel) -> dict[str, Any]:
    """Return a fitted model as plain values."""
    if isinstance(model, LawModel):
        return {
            "kind": "law",
            "fit": _dump_law_fit(model.fit),
            "search": model.search.tolist(),
            "coefficients": model.coefficients.tolist(),
            "num_rows": model.num_rows,
            "num_runs": model.num_runs,
        }
    if isinstance(model, AveragedModel):
        return {
            "kind": "average",
            "members": [dump_model(member) for member in model.members],
            "weights": model.weights.tolist(),
        }
    if not isinstance(model, CmrModel):
        return _dump_kriged_model(model)
    return {
        "kind": "cmr",
        "curves": [
            {
                "model_params": size,
                "run_id": curve.run_id,
                "domain_ratio": curve.domain_ratio,
                "train_tokens": curve.train_tokens.tolist(),
                "loss": curve.loss.tolist(),
                "fit": None if curve.fit is None else _dump_law_fit(curve.fit),
            }
            for size, curves in model.sizes.items()
            for curve in curves
        ],
        "num_rows": model.num_rows,
        "num_runs": model.num_runs,
    }


def _dump_kriged_model(model: CorpusModel) -> dict[str, Any]:
    # Most fits have no residual, and its modules take a tenth of a second to import.
    from cmrplan.fit.residual.kriged_model import KrigedModel
    from cmrplan.fit.residual.mixture_model import KrigedMixture

    if isinstance(model, KrigedMixture):
        return {
            "kind": "kriged_mixture",
            "laws": dump_model(model.laws),
            "unit": model.process.unit,
            "log_hyper": model.process.log_hyper.tolist(),
            "raised": model.process.raised.tolist(),
            "number": model.number,
        }
    assert isinstance(model, KrigedModel)
    return {
        "kind": "kriged",
        "laws": dump_model(model.laws),
        "members": [
            {
                "mean": member.choice.mean,
                "has_residual": member.choice.has_residual,
                "repeat_scale": member.choice.repeat_scale,
                "weight": member.weight,
                "hyper": member.hyper.tolist(),
                "samples": member.samples.tolist(),
            }
            for member in model.members
        ],
        "count": model.count,
    }


@dataclass(frozen=True)
class FittedTo:
    """What a model was fitted to and with.

    Parameters
    ----------
    log : DataFrame
        The rows that the fit keeps, of all corpora.
    base_loss : dict of str to dict of float to float
        By corpus and size.
    settings : FitSettings
    resamples : Resamples or None
    """

    log: pd.DataFrame
    base_loss: dict[str, dict[float, float]]
    settings: FitSettings
    resamples: Resamples | None


def load_model(corpus: str, record: ModelRecord, fitted_to: FittedTo) -> CorpusModel:
    """Return a fitted model from its record.

    Raises
    ------
    ValueError
        If the record is not whole.
    """
    if isinstance(record, LawModelRecord):
        return _load_law_model(corpus, record)
    if isinstance(record, AveragedModelRecord):
        if not record.members or len(record.members) != len(record.weights):
            raise ValueError(f"{len(record.members)} laws and {len(record.weights)} weights")
        members = tuple(_load_law_model(corpus, member) for member in record.members)
        return AveragedModel(corpus, members, np.array(record.weights))
    if isinstance(record, KrigedModelRecord):
        return _load_kriged_model(corpus, record, fitted_to)
    if isinstance(record, KrigedMixtureRecord):
        return _load_kriged_mixture(corpus, record, fitted_to)
    sizes: dict[float, tuple[RunCurve, ...]] = {}
    for item in record.curves:
        curve = RunCurve(
            item.run_id,
            item.domain_ratio,
            np.array(item.train_tokens),
            np.array(item.loss),
            None if item.fit is None else _load_law_fit(item.fit),
        )
        sizes[item.model_params] = (*sizes.get(item.model_params, ()), curve)
    return CmrModel(
        corpus,
        sizes,
        fitted_to.resamples,
        fitted_to.settings.huber_delta,
        record.num_rows,
        record.num_runs,
    )


def _load_kriged_model(corpus: str, record: KrigedModelRecord, fitted_to: FittedTo) -> CorpusModel:
    from cmrplan.fit.residual.kriged_model import KrigedModel, MeanChoice, Member
    from cmrplan.fit.residual.observations import observations

    laws = load_model(corpus, record.laws, fitted_to)
    rows = fitted_rows(fitted_to.log, corpus, fitted_to.settings.min_train_tokens)
    base = fitted_to.base_loss.get(corpus, {})
    members = tuple(
        Member(
            MeanChoice(item.mean, item.has_residual, item.repeat_scale),
            item.weight,
            np.array(item.hyper),
            np.array(item.samples).reshape(len(item.samples), len(item.hyper)),
        )
        for item in record.members
    )
    model = KrigedModel(
        corpus,
        laws,
        observations(corpus, rows, base, by_rates=fitted_to.settings.law == "auto"),
        base,
        members,
        record.count,
        fitted_to.settings.seed,
    )
    model.require_whole()
    return model


def _load_kriged_mixture(
    corpus: str, record: KrigedMixtureRecord, fitted_to: FittedTo
) -> CorpusModel:
    from cmrplan.fit.residual.mixture_model import KrigedMixture, process_rows
    from cmrplan.fit.residual.mixture_process import MixtureProcess

    laws = load_model(corpus, record.laws, fitted_to)
    rows = fitted_rows(fitted_to.log, corpus, fitted_to.settings.min_train_tokens)
    known = process_rows(rows)
    log_hyper, raised = np.array(record.log_hyper), np.array(record.raised)
    process = MixtureProcess(known.at, known.runs, record.unit, log_hyper, raised)
    model = KrigedMixture(corpus, laws, known, process, fitted_to.settings.seed, record.number)
    model.require_whole()
    return model


def _load_law_model(corpus: str, record: LawModelRecord) -> LawModel:
    fit = _load_law_fit(record.fit)
    search = np.array(record.search).reshape(len(record.search), len(fit.search))
    coefficients = np.array(record.coefficients).reshape(-1, len(fit.coefficients))
    if len(search) != len(coefficients):
        raise ValueError(f"{len(search)} and {len(coefficients)} resamples of one law")
    return LawModel(corpus, fit, search, coefficients, record.num_rows, record.num_runs)


def _dump_law_fit(fit: LawFit) -> dict[str, Any]:
    return {
        "law": fit.law.name,
        "options": {k: list(v) if isinstance(v, tuple) else v for k, v in fit.law.options},
        "scales": fit.scales,
        "search": fit.search.tolist(),
        "coefficients": fit.coefficients.tolist(),
        "delta": fit.delta if np.isfinite(fit.delta) else None,
        "objective": fit.objective,
        "gradient": fit.gradient,
        "status": str(fit.status),
        "residual": fit.residual.tolist(),
        "link": fit.law.link,
        "row_weights": None if np.all(fit.row_weights == 1) else fit.row_weights.tolist(),
        "unidentified": list(fit.unidentified),
        "at_bound": list(fit.at_bound),
        "r2": fit.r2 if np.isfinite(fit.r2) else None,
        "huber": fit.huber,
        "mae": fit.mae,
    }


def _load_law_fit(record: LawFitRecord) -> LawFit:
    if record.law not in REGISTRY:
        raise ValueError(f"unknown law {record.law!r}")
    law = replace(build_law(record.law, record.options), link=record.link)
    residual = np.array(record.residual)
    if record.row_weights is not None and len(record.row_weights) != len(residual):
        raise ValueError(f"{len(record.row_weights)} row weights for {len(residual)} rows")
    search, coefficients = np.array(record.search), np.array(record.coefficients)
    if (len(search), len(coefficients)) != (len(law.exponents), len(law.terms)):
        raise ValueError(f"law {record.law} has other parameters")
    return LawFit(
        law=law,
        scales=record.scales,
        search=search,
        coefficients=coefficients,
        delta=np.inf if record.delta is None else record.delta,
        objective=record.objective,
        gradient=record.gradient,
        status=Status(record.status),
        residual=residual,
        row_weights=np.ones(len(residual))
        if record.row_weights is None
        else np.array(record.row_weights),
        unidentified=tuple(record.unidentified),
        at_bound=tuple(record.at_bound),
        r2=np.nan if record.r2 is None else record.r2,
        huber=record.huber,
        mae=record.mae,
    )
