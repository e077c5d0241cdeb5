"""What to be careful about in a probe log without errors.

A warning does not keep a log from being fitted; it says what the fit will not know, or what its
losses may not be.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cmrplan.errors import Code
from cmrplan.log import CORPORA
from cmrplan.log.base_rows import base_rows_apart
from cmrplan.log.cells import LogFinding, RawLog, listed, shown
from cmrplan.log.columns import share_columns
from cmrplan.log.corpora import naming_command
from cmrplan.log.cut_off import cut_off_findings
from cmrplan.log.realized import REALIZED, with_token_share
from cmrplan.log.schedules import inside_decay

_FEW_RATIOS = 3
_SMALL_RATIO = 0.01
_HIGH_LOSS = 20.0  # nats per token; a uniform guess over 256,000 tokens is at 12.5
_LOSSES_APART = 1.5  # times; repeated runs differ by a hundredth
_SAME_BASE = 2e-4  # nats per token; two units of the fourth decimal, which is what papers print

Advice = tuple[Code, str | None, str]  # code, column, text


def advice(raw: RawLog, frame: pd.DataFrame) -> list[LogFinding]:
    """Return every warning on a log without errors; ``frame`` is its canonical form."""
    findings = [
        LogFinding(code, f"{raw.source}: {text}", raw.source, column=column)
        for check in (_coverage, _base_rows, _settings, _shares, _losses_apart)
        for code, column, text in check(frame)
    ] + [*_lacking_corpora(raw, frame), *cut_off_findings(raw)]
    high = np.flatnonzero(frame["loss"] > _HIGH_LOSS)
    if len(high):
        got = f"{frame['loss'].iloc[high[0]]:g}"
        findings.append(
            raw.finding(
                Code.LOSS_UNIT,
                f"loss is above {_HIGH_LOSS:g} nats per token, got {got}",
                "Perplexity? Take the natural logarithm (--loss-unit ppl of cmrplan logs import table).",
                rows=high,
                column="loss",
                value=got,
            )
        )
    return findings


def _coverage(frame: pd.DataFrame) -> Iterator[Advice]:
    training = frame[frame["train_tokens"] > 0]
    if training.empty:
        yield (
            Code.NO_TRAINING_ROWS,
            "train_tokens",
            "every row is a base checkpoint; add probe runs",
        )
        return
    mixture = ["domain_ratio"] if "domain_ratio" in frame else share_columns(frame)
    num_ratios = len(training[mixture].drop_duplicates())
    if num_ratios < _FEW_RATIOS:
        yield (
            Code.FEW_RATIOS,
            mixture[0],
            f"{_counted(num_ratios, 'mixture')}; a law of the ratio needs {_FEW_RATIOS} at least, "
            "and 5 to be checked",
        )
    if mixture == ["domain_ratio"]:
        ratio = training["domain_ratio"]
        lacking = [f"{control}" for control in (0, 1) if not (ratio == control).any()]
        if lacking:
            yield (
                Code.NO_CONTROL_RATIO,
                "domain_ratio",
                f"no run at domain_ratio {' or '.join(lacking)}; controls show what mixing does",
            )
        if not ((ratio > 0) & (ratio <= _SMALL_RATIO)).any():
            yield (
                Code.NO_SMALL_RATIO,
                "domain_ratio",
                f"no run with 0 < domain_ratio <= {_SMALL_RATIO}; do not trust a law there",
            )
    if frame["model_params"].nunique() == 1:
        yield Code.ONE_MODEL_SIZE, "model_params", "one model size; nothing says how others behave"
    if training["train_tokens"].nunique() == 1:
        yield (
            Code.ONE_TOKEN_COUNT,
            "train_tokens",
            "one token count; nothing says how others behave",
        )
    if (
        "seed" not in frame
        or training.groupby(["model_params", *mixture])["seed"].nunique().max() < 2
    ):
        yield (
            Code.NO_REPEATED_SEEDS,
            "seed",
            "no mixture was run with two seeds; the spread between runs is unknown",
        )


def _lacking_corpora(raw: RawLog, frame: pd.DataFrame) -> list[LogFinding]:
    """Return a warning for each of general and domain that a log of two corpora lacks, with what would name it."""
    corpora = list(frame["eval_corpus"].unique())
    lacking = [corpus for corpus in CORPORA if corpus not in corpora]
    if "domain_ratio" not in frame or not (frame["train_tokens"] > 0).any() or not lacking:
        return []
    command = naming_command(frame, raw.source)
    remedy = f"if it goes by another name: {command}" if command else "evaluate the runs on it"
    message = "{}: no rows with eval_corpus {}, only {}; its loss cannot be predicted; {}"
    return [
        LogFinding(
            Code.MISSING_CORPUS,
            message.format(raw.source, corpus, listed(corpora), remedy),
            raw.source,
            column="eval_corpus",
        )
        for corpus in lacking
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _base_rows(frame: pd.DataFrame) -> Iterator[Advice]:
    base = frame[frame["train_tokens"] == 0]
    general = frame[frame["eval_corpus"] == "general"]
    known = base.loc[base["eval_corpus"] == "general", "model_params"]
    lacking = sorted(set(general["model_params"]) - set(known))
    if lacking:
        yield (
            Code.NO_BASE_ROW,
            "train_tokens",
            "no row on general with train_tokens 0 for model_params "
            f"{listed([f'{size:.12g}' for size in lacking])}; evaluate the base checkpoint, "
            "a tolerance in percent needs it",
        )
    for row in base_rows_apart(frame, _SAME_BASE).to_dict("records"):
        yield (
            Code.BASE_ROWS_DIFFER,
            "loss",
            f"base rows of model_params {row['model_params']:.12g} on {shown(row['eval_corpus'])} "
            f"run from {row['min']:g} to {row['max']:g}; one checkpoint on one evaluation set has "
            "one loss",
        )


def _shares(frame: pd.DataFrame) -> Iterator[Advice]:
    for finding in with_token_share(frame)[1]:
        yield finding.code, REALIZED, finding.message


def _losses_apart(frame: pd.DataFrame) -> Iterator[Advice]:
    mixture = ["domain_ratio"] if "domain_ratio" in frame else share_columns(frame)
    keys = ["eval_corpus", "model_params", "train_tokens", *mixture]
    losses = frame.groupby(keys)["loss"].agg(["min", "max"])
    apart = losses[losses["max"] > _LOSSES_APART * losses["min"]].reset_index()
    for row in apart.head(1).to_dict("records"):
        yield (
            Code.LOSSES_APART,
            "loss",
            f"runs of model_params {row['model_params']:.12g}, train_tokens {row['train_tokens']:.12g} and one mixture "
            f"have losses of {row['min']:g} and {row['max']:g} on {shown(row['eval_corpus'])}; two metrics or "
            "evaluation sets? give each an eval_corpus of its own",
        )


def base_maturity(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each base of a log with its pre-training tokens per parameter; no rows without ``base_tokens``.

    Returns
    -------
    DataFrame
        ``model_params``, ``base_tokens`` and ``tokens_per_parameter``, ascending.
    """
    names = ["model_params", "base_tokens"]
    bases = frame.reindex(columns=names).dropna().drop_duplicates().sort_values(names)
    return bases.assign(
        tokens_per_parameter=bases["base_tokens"] / bases["model_params"]
    ).reset_index(drop=True)


def _settings(frame: pd.DataFrame) -> Iterator[Advice]:
    if "loss_stderr" not in frame or frame["loss_stderr"].isna().all():
        yield Code.NO_STDERR, "loss_stderr", "no loss_stderr; the noise is taken from the residuals"
    for name in ("tokenizer", "schedule", "params_kind"):
        if name in frame and frame[name].nunique(dropna=False) > 1:
            values = list(frame[name].dropna().unique())
            yield (
                Code.MIXED_SETTINGS,
                name,
                f"{name} is not the same in every row ({listed(values)}); fit them apart",
            )
    if "base_model" in frame:
        models = frame.groupby("model_params")["base_model"].nunique(dropna=False)
        for size in models.index[models > 1]:
            yield (
                Code.MIXED_SETTINGS,
                "base_model",
                f"model_params {size:.12g} has several base_model values; fit them apart",
            )
    inside = inside_decay(frame)
    if inside.any():
        yield (
            Code.DECAYING_SCHEDULE,
            "schedule" if "schedule" in frame else "learning_rate",
            f"{inside.sum()} rows of {_counted(frame['run_id'][inside].nunique(), 'run')} lie inside a decaying "
            "learning rate; a checkpoint inside a decay is not a short finished run, which the default fit takes into "
            "account where learning_rate stands in every row",
        )
