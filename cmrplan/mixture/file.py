"""A fit of a mixture as a JSON file; reading it runs no code and fits nothing again."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import ValidationError

from cmrplan.errors import Code, Finding, InputError
from cmrplan.files import read_json, write_json
from cmrplan.fit.file import LawFitRecord, Strict, dump_law_fit, load_law_fit
from cmrplan.mixture.fit import MixtureFit, MixtureSettings
from cmrplan.mixture.model import Member, MixtureModel

VERSION = 1


class _Member(Strict):
    fit: LawFitRecord
    search: list[list[float]]
    coefficients: list[list[float]]


class _Model(Strict):
    corpus: str
    members: list[_Member]
    weights: list[float]
    num_rows: int
    num_runs: int


class _Settings(Strict):
    law: str
    bootstrap: int
    seed: int
    method: Literal["runs", "wild"] | None
    confidence: float
    model_params: float | None
    min_train_tokens: float


class _BaseLoss(Strict):
    corpus: str
    model_params: float
    loss: float


class _State(Strict):
    corpora: list[str]
    log: dict[str, list[Any]]
    models: list[_Model]
    base_loss: list[_BaseLoss]


class _File(Strict):
    cmrplan_mixture_fit: Literal[1]
    corpora: list[str]
    eval_corpora: dict[str, dict[str, Any]]
    warnings: list[dict[str, str]]
    settings: _Settings
    provenance: dict[str, Any]
    state: _State


def mixture_report(fit: MixtureFit) -> dict[str, Any]:
    """Return the figures of a fit as plain values: what ``cmrplan mix fit --json`` prints."""
    return {
        "cmrplan_mixture_fit": VERSION,
        "corpora": sorted(fit.corpora),
        "eval_corpora": dict(sorted(fit.summary().items())),
        "warnings": [finding.as_dict() for finding in fit.warnings],
        "settings": asdict(fit.settings),
        "provenance": fit.provenance,
    }


def write_mixture_fit(fit: MixtureFit, path: str | os.PathLike[str]) -> None:
    """Write a fit as JSON, atomically."""
    state = {
        "corpora": list(fit.corpora),
        "log": {str(column): values.tolist() for column, values in fit.log.items()},
        "models": [_dump(model) for model in fit.models.values()],
        "base_loss": [
            {"corpus": corpus, "model_params": size, "loss": loss}
            for corpus, sizes in fit.base_loss.items()
            for size, loss in sizes.items()
        ],
    }
    write_json(path, mixture_report(fit) | {"state": state})


def read_mixture_fit(path: str | os.PathLike[str]) -> MixtureFit:
    """Return a fit from its file.

    Raises
    ------
    InputError
        If the file cannot be read, or is not the fit of a mixture.
    """
    value = read_json(path)
    if not isinstance(value, dict) or "cmrplan_mixture_fit" not in value:
        raise InputError(
            f"{path} is not the fit of a mixture; make one with cmrplan mix fit LOG --out FIT.json"
        )
    try:
        file = _File.model_validate(value)
        models = {
            model.corpus: _load(model, file.settings.bootstrap) for model in file.state.models
        }
        settings = MixtureSettings(**file.settings.model_dump())
        log = pd.DataFrame(file.state.log)
        log["run_id"] = log["run_id"].astype("str")
        warnings = tuple(Finding(Code(w["code"]), w["message"]) for w in file.warnings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path} is not a whole fit ({place}: {first['msg']}); make it again with cmrplan mix fit"
        ) from None
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is not a whole fit ({type(error).__name__}: {error}); make it again with cmrplan mix fit"
        ) from None
    base_loss: dict[str, dict[float, float]] = {corpus: {} for corpus in models}
    for base in file.state.base_loss:
        base_loss.setdefault(base.corpus, {})[base.model_params] = base.loss
    return MixtureFit(
        settings=settings,
        corpora=tuple(file.state.corpora),
        log=log,
        models=models,
        base_loss=base_loss,
        warnings=warnings,
        provenance=file.provenance,
    )


def _dump(model: MixtureModel) -> dict[str, Any]:
    return {
        "corpus": model.corpus,
        "members": [
            {
                "fit": dump_law_fit(member.fit),
                "search": member.search.tolist(),
                "coefficients": member.coefficients.tolist(),
            }
            for member in model.members
        ],
        "weights": model.weights.tolist(),
        "num_rows": model.num_rows,
        "num_runs": model.num_runs,
    }


def _load(record: _Model, num_draws: int) -> MixtureModel:
    if not record.members or len(record.members) != len(record.weights):
        raise ValueError(f"{len(record.members)} laws and {len(record.weights)} weights")
    members = []
    for item in record.members:
        fit = load_law_fit(item.fit)
        search = np.array(item.search).reshape(len(item.search), len(fit.search))
        coefficients = np.array(item.coefficients).reshape(-1, len(fit.coefficients))
        if len(search) != len(coefficients):
            raise ValueError(f"{len(search)} and {len(coefficients)} resamples of one law")
        members.append(Member(fit, search, coefficients))
    made = MixtureModel(
        record.corpus, tuple(members), np.array(record.weights), record.num_rows, record.num_runs
    )
    if made.num_draws != num_draws:
        raise ValueError(f"{made.num_draws} resamples, and the settings say {num_draws}")
    return made
