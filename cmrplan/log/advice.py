"""What to be careful about in a probe log without errors.

A warning does not keep a log from being fitted; it says what the fit will not know, or what its
losses may not be.

======================  ============================================================================
code                    meaning
======================  ============================================================================
``no_training_rows``    every row is a base checkpoint
``few_ratios``          fewer than 3 mixtures: no law of the ratio can be checked
``no_control_ratio``    no run at ratio 0, or none at 1
``no_small_ratio``      no run with 0 < ratio <= 0.01: the laws bend sharply there
``one_model_size``      nothing is known about other sizes
``one_token_count``     nothing is known about other budgets
``missing_corpus``      no losses on ``general``, or none on ``domain``
``no_base_row``         no loss of the base checkpoint for ``general``
``base_rows_differ``    runs of one size start from different losses
``loss_unit``           losses above 20: perplexity?
``no_stderr``           no ``loss_stderr``: the noise comes from the residuals alone
``no_repeated_seeds``   no mixture was run with two seeds
``mixed_settings``      several tokenizers, schedules, ``params_kind``, or base models of one size
``decaying_schedule``   checkpoints inside a decay are not short finished runs
======================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cmrplan.log.cells import LogFinding, RawLog, shown
from cmrplan.log.schedules import inside_decay
from cmrplan.log.validate import listed, share_columns

_FEW_RATIOS = 3
_SMALL_RATIO = 0.01
_HIGH_LOSS = 20.0  # nats per token; a uniform guess over 256,000 tokens is at 12.5
_SAME_BASE = 2e-4  # nats per token; two units of the fourth decimal, which is what papers print

Caution = tuple[str, str | None, str]  # code, column, text


def cautions(raw: RawLog, frame: pd.DataFrame) -> list[LogFinding]:
    """Return every warning on a log without errors; ``frame`` is its canonical form."""
    findings = [
        LogFinding(code, f"{raw.source}: {text}", "warning", raw.source, column=column)
        for check in (_coverage, _base_rows, _settings)
        for code, column, text in check(frame)
    ]
    high = np.flatnonzero(frame["loss"] > _HIGH_LOSS)
    if len(high):
        got = f"{frame['loss'].iloc[high[0]]:g}"
        findings.append(
            raw.finding(
                "loss_unit",
                f"loss is above {_HIGH_LOSS:g} nats per token, got {got}",
                "Perplexity? Take the natural logarithm.",
                severity="warning",
                rows=high,
                column="loss",
                value=got,
            )
        )
    return findings


def _coverage(frame: pd.DataFrame) -> Iterator[Caution]:
    training = frame[frame["train_tokens"] > 0]
    if training.empty:
        yield "no_training_rows", "train_tokens", "every row is a base checkpoint; add probe runs"
        return
    mixture = ["domain_ratio"] if "domain_ratio" in frame else share_columns(frame)
    num_ratios = len(training[mixture].drop_duplicates())
    if num_ratios < _FEW_RATIOS:
        yield (
            "few_ratios",
            mixture[0],
            f"{_counted(num_ratios, 'mixture')}; a law of the ratio needs {_FEW_RATIOS} at least, "
            "and 5 to be checked",
        )
    if mixture == ["domain_ratio"]:
        ratio = training["domain_ratio"]
        lacking = [f"{control}" for control in (0, 1) if not (ratio == control).any()]
        if lacking:
            yield (
                "no_control_ratio",
                "domain_ratio",
                f"no run at domain_ratio {' or '.join(lacking)}; controls show what mixing does",
            )
        if not ((ratio > 0) & (ratio <= _SMALL_RATIO)).any():
            yield (
                "no_small_ratio",
                "domain_ratio",
                f"no run with 0 < domain_ratio <= {_SMALL_RATIO}; do not trust a law there",
            )
        corpora = list(frame["eval_corpus"].unique())
        for corpus in ("general", "domain"):
            if corpus not in corpora:
                yield (
                    "missing_corpus",
                    "eval_corpus",
                    f"no rows with eval_corpus {corpus}, only {listed(corpora)}; its loss cannot "
                    "be predicted",
                )
    if frame["model_params"].nunique() == 1:
        yield "one_model_size", "model_params", "one model size; nothing says how others behave"
    if training["train_tokens"].nunique() == 1:
        yield "one_token_count", "train_tokens", "one token count; nothing says how others behave"
    if (
        "seed" not in frame
        or training.groupby(["model_params", *mixture])["seed"].nunique().max() < 2
    ):
        yield (
            "no_repeated_seeds",
            "seed",
            "no mixture was run with two seeds; the spread between runs is unknown",
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _base_rows(frame: pd.DataFrame) -> Iterator[Caution]:
    base = frame[frame["train_tokens"] == 0]
    general = frame[frame["eval_corpus"] == "general"]
    known = base.loc[base["eval_corpus"] == "general", "model_params"]
    lacking = sorted(set(general["model_params"]) - set(known))
    if lacking:
        yield (
            "no_base_row",
            "train_tokens",
            "no row on general with train_tokens 0 for model_params "
            f"{listed([f'{size:.12g}' for size in lacking])}; evaluate the base checkpoint, "
            "a tolerance in percent needs it",
        )
    losses = base.groupby(["model_params", "eval_corpus"])["loss"].agg(["min", "max"])
    apart = losses[losses["max"] - losses["min"] > _SAME_BASE].reset_index()
    for row in apart.to_dict("records"):
        yield (
            "base_rows_differ",
            "loss",
            f"base rows of model_params {row['model_params']:.12g} on {shown(row['eval_corpus'])} "
            f"run from {row['min']:g} to {row['max']:g}; one checkpoint on one evaluation set has "
            "one loss",
        )


def _settings(frame: pd.DataFrame) -> Iterator[Caution]:
    if "loss_stderr" not in frame or frame["loss_stderr"].isna().all():
        yield "no_stderr", "loss_stderr", "no loss_stderr; the noise is taken from the residuals"
    for name in ("tokenizer", "schedule", "params_kind"):
        if name in frame and frame[name].nunique(dropna=False) > 1:
            values = list(frame[name].dropna().unique())
            yield (
                "mixed_settings",
                name,
                f"{name} is not the same in every row ({listed(values)}); fit them apart",
            )
    if "base_model" in frame:
        models = frame.groupby("model_params")["base_model"].nunique(dropna=False)
        for size in models.index[models > 1]:
            yield (
                "mixed_settings",
                "base_model",
                f"model_params {size:.12g} has several base_model values; fit them apart",
            )
    inside = inside_decay(frame)
    if inside.any():
        yield (
            "decaying_schedule",
            "schedule" if "schedule" in frame else "learning_rate",
            f"{inside.sum()} rows of {_counted(frame['run_id'][inside].nunique(), 'run')} lie inside a decaying "
            "learning rate; a checkpoint inside a decay is not a short finished run",
        )
