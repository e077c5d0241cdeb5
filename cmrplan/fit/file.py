"""A fit as a JSON file: figures for people at the top, the state to predict from below.

One format serves fits of two corpora and of many; ``kind`` says which. The file holds everything that a prediction
needs, so reading it fits nothing again; its numbers are written so that they read back to the last digit. It holds a
checksum over its content, and is refused where that is wrong or gone. Files of 0.2.0 have none: their parts are
compared with each other.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, ValidationError

from cmrplan.errors import Code, Finding, InputError
from cmrplan.files import CHECKSUM, DAMAGE, read_json, require_seal, sealed, write_json
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.diagnosis.burn_in import burn_in_of
from cmrplan.fit.file_checks import require_consistent, require_figures
from cmrplan.fit.fit import Fit, WithoutEarly
from cmrplan.fit.fitted_log import FIT_FILE_VERSION, resamples_of
from cmrplan.fit.mixture_repeats import RepeatedCorpus
from cmrplan.fit.model_records import FittedTo, ModelRecord, Strict, load_model
from cmrplan.fit.settings import FitSettings
from cmrplan.log.cells import SUFFIXES, read_raw

Kind = Literal["two_corpora", "mixture"]
EarlyModels = tuple[float, dict[str, CorpusModel]]
_COMMAND_OF_KIND: dict[Kind, str] = {"two_corpora": "cmrplan fit", "mixture": "cmrplan mix fit"}
_NAMES: dict[Kind, str] = {"two_corpora": "a fit", "mixture": "the fit of a mixture"}
_USES: dict[Kind, str] = {
    "two_corpora": "a fit of two corpora; give it to cmrplan plan or cmrplan predict",
    "mixture": "the fit of a mixture; give it to cmrplan mix plan or cmrplan mix predict",
}

UNSEALED_VERSION = "0.2.0"
_LATER_ENTRIES = {"residual", "resampled_in_order", "without_early", "repeat_scales"}
_LATER_KINDS = {"kriged", "kriged_mixture"}


class _SettingsRecord(Strict):
    law: str
    bootstrap: int = Field(le=10**6)
    seed: int
    method: Literal["runs", "wild"] | None
    delta: float | None
    min_train_tokens: float
    confidence: float
    model_params: float | None
    objective: Literal["huber", "least_squares"]
    residuals: Literal["log", "raw"]
    weights: Literal["equal", "stderr", "seeds"]
    residual: Literal["auto", "gp", "none"] = "none"  # files of 0.2.0 have none


class _BaseLossRecord(Strict):
    corpus: str
    model_params: float
    loss: float


class _WithoutEarlyRecord(Strict):
    first_tokens: float
    models: dict[str, ModelRecord]


class _StateRecord(Strict):
    corpora: list[str]
    resampled_in_order: bool = False  # files of 0.2.0 drew their resamples in the order of names
    log: dict[str, list[Any]]
    models: dict[str, ModelRecord]
    base_loss: list[_BaseLossRecord]
    without_early: _WithoutEarlyRecord | None = None
    repeat_scales: dict[str, float] = Field(default_factory=dict)


class _FitFile(Strict):
    cmrplan_fit: Literal[2]
    checksum: str | None = None  # files of 0.2.0 have none
    kind: Kind
    general: dict[str, Any] | None = None
    domain: dict[str, Any] | None = None
    corpora: list[str] | None = None
    eval_corpora: dict[str, dict[str, Any]] | None = None
    repeated: dict[str, dict[str, Any]] | None = None
    warnings: list[dict[str, str]]
    settings: _SettingsRecord
    provenance: dict[str, Any]
    state: _StateRecord


def fit_report(fit: Fit) -> dict[str, Any]:
    """Return the figures of a fit as plain values: what ``cmrplan fit --json`` prints.

    ``fit.report()`` is the text for people.
    """
    return fit.figures()


def write_fit(fit: Fit, path: str | os.PathLike[str]) -> None:
    """Write a fit as JSON, atomically."""
    write_json(path, sealed(fit.as_dict()))


def read_fit(path: str | os.PathLike[str]) -> Fit:
    """Return a fit from its file.

    A file of 0.2.0 does not hold the laws without early evaluations; where those matter these are fitted, from their
    optima.

    Raises
    ------
    InputError
        If the file cannot be read, or is not a fit of two corpora.
    """
    fields, early = _read(path, "two_corpora")
    fit = Fit(**fields)
    if early is not None:
        first, models = early
        fit = replace(
            fit, without_early=WithoutEarly(first, replace(fit, models=models, warnings=()))
        )
    elif any(finding.code == Code.EARLY_EVALUATIONS for finding in fit.warnings):
        rows = {corpus: fit.rows(corpus) for corpus in fit.models}
        first = burn_in_of(fit.models, rows).chosen
        fit = replace(fit, without_early=fit.left_out_before(first))
    has_no_own = any(model.noise is None for model in fit.models.values())
    if has_no_own and top_weighted_laws(fit.models):
        _ = fit.noise  # worked out once, and no question does it again
    return fit


def read_fitted_log(path: str | os.PathLike[str], kind: Kind) -> dict[str, Any]:
    """Return the fields of a :class:`~cmrplan.fit.fitted_log.FittedLog` from its file.

    Raises
    ------
    InputError
        If the file cannot be read, or is not a whole fit of that kind.
    """
    return _read(path, kind)[0]


def _read(path: str | os.PathLike[str], kind: Kind) -> tuple[dict[str, Any], EarlyModels | None]:
    """Return the fields of a fit, and the first tokens and models of the fit without early evaluations."""
    require_no_log(path)
    value = read_json(path)
    again = f"make it again with {_COMMAND_OF_KIND[kind]}"
    _require_kind(path, value, kind)
    is_sealed = CHECKSUM in value or not _is_of_0_2_0(value)
    if is_sealed:
        require_seal(path, value, remedy=again)
    try:
        file = _FitFile.model_validate(value)
        settings = FitSettings(**file.settings.model_dump())
        log = pd.DataFrame(file.state.log)
        log["run_id"] = log["run_id"].astype("str")
        base_loss: dict[str, dict[float, float]] = {}
        for base in file.state.base_loss:
            base_loss.setdefault(base.corpus, {})[base.model_params] = base.loss
        by_name = not file.state.resampled_in_order
        resamples = resamples_of(log, settings, by_name=by_name) if kind == "two_corpora" else None
        fitted_to = FittedTo(log, base_loss, settings, resamples)

        def load(records: dict[str, ModelRecord]) -> dict[str, CorpusModel]:
            return {c: load_model(c, record, fitted_to) for c, record in records.items()}

        models, later = load(file.state.models), file.state.without_early
        early = None if later is None else (later.first_tokens, load(later.models))
        require_consistent(models, fitted_to)
        if not is_sealed:
            shown = value["eval_corpora"] if kind == "mixture" else value
            require_figures(models, shown, settings.confidence)
        repeated = {
            corpus: RepeatedCorpus.of(log, corpus, scale)
            for corpus, scale in file.state.repeat_scales.items()
        }
        warnings = tuple(Finding(Code(w["code"]), w["message"]) for w in file.warnings)
    except ValidationError as error:
        first = error.errors()[0]
        part = ".".join(str(name) for name in first["loc"])
        raise InputError(f"{path} is not a whole fit ({part}: {first['msg']}); {again}") from None
    except DAMAGE as error:
        raise InputError(
            f"{path} is not a whole fit ({type(error).__name__}: {error}); {again}"
        ) from None
    fields = {
        "settings": settings,
        "corpora": tuple(file.state.corpora),
        "log": log,
        "models": models,
        "base_loss": base_loss,
        "warnings": warnings,
        "provenance": file.provenance,
    }
    if kind == "mixture":
        fields["repeated"] = repeated
    return fields, early


def require_no_log(path: str | os.PathLike[str]) -> None:
    """Refuse a probe log, which has to be fitted first; another file with the suffix of one is told apart."""
    if Path(path).suffix.lower() not in SUFFIXES or not Path(path).is_file():
        return
    try:
        columns = set(map(str, read_raw(path).table))
    except InputError:
        columns = set()
    if not {"eval_corpus", "loss"} <= columns:
        raise InputError(
            f"{path} is not a fit but a table, and no probe log; cmrplan logs import table {path} --out LOG.csv, then "
            "cmrplan fit LOG.csv --out FIT.json"
        )
    is_mixture = "domain_ratio" not in columns and any(
        name.startswith("share_") for name in columns
    )
    command = _COMMAND_OF_KIND["mixture" if is_mixture else "two_corpora"]
    raise InputError(
        f"{path} is not a fit: this is a probe log; {command} {path} --out FIT.json first"
    )


def _is_of_0_2_0(value: dict[str, Any]) -> bool:
    """Tell whether a fit has nothing that only later versions write, which give every fit a checksum."""
    try:
        state, version = value["state"], value["provenance"]["code_version"]
        kinds = {model["kind"] for model in state["models"].values()}
        later = {*_LATER_ENTRIES & {*value["settings"], *state}, *_LATER_KINDS & kinds}
        return version == UNSEALED_VERSION and not later
    except DAMAGE:
        return True  # What is wrong with it is said where it is taken apart.


def _require_kind(path: str | os.PathLike[str], value: Any, kind: Kind) -> None:
    """Refuse what is no fit, a fit of the other kind, and a fit of an earlier version."""
    keys = value if isinstance(value, dict) else {}
    its_kind = keys.get("kind", "mixture" if "cmrplan_mixture_fit" in keys else "two_corpora")
    is_fit = "cmrplan_fit" in keys or "cmrplan_mixture_fit" in keys
    if is_fit and its_kind != kind and its_kind in _USES:
        raise InputError(f"{path} is not {_NAMES[kind]}: it is {_USES[its_kind]}")
    if not is_fit or its_kind != kind:
        raise InputError(
            f"{path} is not {_NAMES[kind]}; make one with {_COMMAND_OF_KIND[kind]} LOG --out FIT.json"
        )
    if keys.get("cmrplan_fit") != FIT_FILE_VERSION:
        raise InputError(
            f"{path} was written by another version of cmrplan (file version {keys.get('cmrplan_fit', 1)!r}, this one "
            f"reads {FIT_FILE_VERSION}); make it again with {_COMMAND_OF_KIND[kind]}"
        )
