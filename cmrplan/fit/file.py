"""A fit as a JSON file: figures for people at the top, the state to predict from below.

The file holds everything that a prediction needs, so reading it fits nothing again; its numbers are
written so that they read back to the last digit. A file that was edited or cut is refused with the
place that is wrong.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cmrplan.errors import Code, Finding, InputError
from cmrplan.files import read_json, write_json
from cmrplan.fit.averaged_model import Average
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.cmr_model import Curve, Curves
from cmrplan.fit.fit import CorpusModel, Fit, resamples_of
from cmrplan.fit.law_model import Surface
from cmrplan.fit.row_weights import Weights
from cmrplan.fit.settings import Settings
from cmrplan.laws import LAW_BUILDERS, build_law
from cmrplan.laws.law import Link
from cmrplan.solve.law_fit import LawFit, Status

VERSION = 1


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


class _Surface(Strict):
    kind: Literal["surface"] = "surface"
    fit: LawFitRecord
    search: list[list[float]]
    coefficients: list[list[float]]
    num_rows: int
    num_runs: int


class _Average(Strict):
    kind: Literal["average"] = "average"
    members: list[_Surface]
    weights: list[float]


class _Curve(Strict):
    model_params: float
    run_id: str
    domain_ratio: float
    train_tokens: list[float]
    loss: list[float]
    fit: LawFitRecord | None


class _Curves(Strict):
    kind: Literal["curves"] = "curves"
    curves: list[_Curve]
    num_rows: int
    num_runs: int


class _Settings(Strict):
    law: str
    bootstrap: int
    seed: int
    method: Literal["runs", "wild"] | None
    delta: float | None
    min_train_tokens: float
    confidence: float
    model_params: float | None
    objective: Literal["huber", "least_squares"]
    residuals: Literal["log", "raw"]
    weights: Weights


class _BaseLoss(Strict):
    corpus: str
    model_params: float
    loss: float


class _State(Strict):
    log: dict[str, list[Any]]
    models: dict[str, _Surface | _Average | _Curves]
    base_loss: list[_BaseLoss]


class _File(Strict):
    cmrplan_fit: Literal[1]
    general: dict[str, Any] | None
    domain: dict[str, Any] | None
    warnings: list[dict[str, str]]
    settings: _Settings
    provenance: dict[str, Any]
    state: _State


def fit_report(fit: Fit) -> dict[str, Any]:
    """Return the figures of a fit as plain values: what ``cmrplan fit --json`` prints."""
    figures = fit.summary()
    return {
        "cmrplan_fit": VERSION,
        "general": figures.get("general"),
        "domain": figures.get("domain"),
        "warnings": [finding.as_dict() for finding in fit.warnings],
        "settings": asdict(fit.settings),
        "provenance": fit.provenance,
    }


def write_fit(fit: Fit, path: str | os.PathLike[str]) -> None:
    """Write a fit as JSON, atomically."""
    state = {
        "log": {
            str(column): values.astype(object).where(values.notna(), None).tolist()
            for column, values in fit.log.items()
        },
        "models": {corpus: _dump_model(model) for corpus, model in fit.models.items()},
        "base_loss": [
            {"corpus": corpus, "model_params": size, "loss": loss}
            for corpus, sizes in fit.base_loss.items()
            for size, loss in sizes.items()
        ],
    }
    write_json(path, fit_report(fit) | {"state": state})


def read_fit(path: str | os.PathLike[str]) -> Fit:
    """Return a fit from its file.

    Raises
    ------
    InputError
        If the file cannot be read, or is not a fit.
    """
    value = read_json(path)
    if not isinstance(value, dict) or "cmrplan_fit" not in value:
        raise InputError(f"{path} is not a fit; make one with cmrplan fit LOG --out FIT.json")
    try:
        file = _File.model_validate(value)
        settings = Settings(**file.settings.model_dump())
        log = pd.DataFrame(file.state.log)
        resamples = resamples_of(log, settings)
        models = {
            corpus: _load_model(corpus, record, settings, resamples)
            for corpus, record in file.state.models.items()
        }
        warnings = tuple(Finding(Code(w["code"]), w["message"]) for w in file.warnings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path} is not a whole fit ({place}: {first['msg']}); make it again with cmrplan fit"
        ) from None
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is not a whole fit ({type(error).__name__}: {error}); make it again with cmrplan fit"
        ) from None
    base_loss: dict[str, dict[float, float]] = {}
    for base in file.state.base_loss:
        base_loss.setdefault(base.corpus, {})[base.model_params] = base.loss
    return Fit(
        settings=settings,
        log=log,
        models=models,
        base_loss=base_loss,
        warnings=warnings,
        provenance=file.provenance,
    )


def dump_law_fit(fit: LawFit) -> dict[str, Any]:
    """Return a fitted law as plain values."""
    return {
        "law": fit.law.name,
        "options": dict(fit.law.options),
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


def load_law_fit(record: LawFitRecord) -> LawFit:
    """Return a fitted law from its record.

    Raises
    ------
    ValueError
        If the record is not whole.
    """
    if record.law not in LAW_BUILDERS:
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


def _dump_model(model: CorpusModel) -> dict[str, Any]:
    if isinstance(model, Surface):
        return {
            "kind": "surface",
            "fit": dump_law_fit(model.fit),
            "search": model.search.tolist(),
            "coefficients": model.coefficients.tolist(),
            "num_rows": model.num_rows,
            "num_runs": model.num_runs,
        }
    if isinstance(model, Average):
        return {
            "kind": "average",
            "members": [_dump_model(member) for member in model.members],
            "weights": model.weights.tolist(),
        }
    assert isinstance(model, Curves)
    return {
        "kind": "curves",
        "curves": [
            {
                "model_params": size,
                "run_id": curve.run_id,
                "domain_ratio": curve.domain_ratio,
                "train_tokens": curve.train_tokens.tolist(),
                "loss": curve.loss.tolist(),
                "fit": None if curve.fit is None else dump_law_fit(curve.fit),
            }
            for size, curves in model.sizes.items()
            for curve in curves
        ],
        "num_rows": model.num_rows,
        "num_runs": model.num_runs,
    }


def _load_model(
    corpus: str,
    record: _Surface | _Average | _Curves,
    settings: Settings,
    resamples: Resamples | None,
) -> CorpusModel:
    if isinstance(record, _Surface):
        return _load_surface(corpus, record)
    if isinstance(record, _Average):
        if len(record.members) != len(record.weights):
            raise ValueError(f"{len(record.members)} laws and {len(record.weights)} weights")
        members = tuple(_load_surface(corpus, member) for member in record.members)
        return Average(corpus, members, np.array(record.weights))
    sizes: dict[float, tuple[Curve, ...]] = {}
    for item in record.curves:
        curve = Curve(
            item.run_id,
            item.domain_ratio,
            np.array(item.train_tokens),
            np.array(item.loss),
            None if item.fit is None else load_law_fit(item.fit),
        )
        sizes[item.model_params] = (*sizes.get(item.model_params, ()), curve)
    return Curves(corpus, sizes, resamples, settings.knee, record.num_rows, record.num_runs)


def _load_surface(corpus: str, record: _Surface) -> Surface:
    fit = load_law_fit(record.fit)
    return Surface(
        corpus=corpus,
        fit=fit,
        search=np.array(record.search).reshape(len(record.search), len(fit.search)),
        coefficients=np.array(record.coefficients).reshape(-1, len(fit.coefficients)),
        num_rows=record.num_rows,
        num_runs=record.num_runs,
    )
