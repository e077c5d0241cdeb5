"""Numbers in another unit than their column's, as far as their size gives them away.

Losses are held against the loss that a trained language model of that size has, sizes and tokens against each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cmrplan.errors import Code
from cmrplan.log.advice import Advice
from cmrplan.log.cells import LogFinding, shown

FEWEST_PARAMS = 1000  # the smallest published language models have tens of thousands
LEAST_TOKENS_PER_PARAM = 1e-4  # at the largest budget; 7e9 parameters see more in one step
FEW_TOKENS_PER_PARAM = 1e-3
MOST_TOKENS_PER_PARAM = 1e7

UNIFORM_LOSS = 12.5  # nats per token; a uniform guess over 256,000 tokens
CANNOT_BE_NATS = 3.0  # times the loss of a trained model of that size
HARDLY_NATS = 1.5
FEW_NATS = 0.5
# Smaller models are often trained from scratch on few tokens, or byte by byte.
LARGE_MODEL, SMALL_MODEL = 5e7, 1e7


def trained_loss(model_params: float) -> float:
    """Return the loss of a model of that size trained on plenty of web text, nats per token.

    References
    ----------
    Kaplan et al., Scaling Laws for Neural Language Models, 2020, arXiv:2001.08361, equation 1.1.

    Examples
    --------
    >>> round(trained_loss(3e8), 2)
    2.6
    """
    return float((8.8e13 / model_params) ** 0.076)


def unit_findings(log: pd.DataFrame, source: str) -> list[LogFinding]:
    """Return a finding for each column whose numbers are in another unit, or look like it.

    Parameters
    ----------
    log : DataFrame
        A log in canonical types.
    source : str
        What the messages call it.
    """
    training = log[log["train_tokens"] > 0]
    if training.empty:
        return []
    return [
        LogFinding(code, f"{source}: {text}", source, column=column, num_rows=len(log))
        for check in (_sizes, _tokens, _losses)
        for code, column, text in check(training)
    ]


def _sizes(training: pd.DataFrame) -> Iterator[Advice]:
    smallest = float(training["model_params"].min())
    if smallest < FEWEST_PARAMS:
        yield (
            Code.SIZE_UNIT,
            "model_params",
            f"model_params is {smallest:.6g}, and no language model has so few parameters; millions or billions? "
            "--scale model_params=1e6 (or 1e9) of cmrplan logs import table multiplies them",
        )


def _tokens(training: pd.DataFrame) -> Iterator[Advice]:
    largest = training.groupby("model_params")["train_tokens"].max()
    sizes = largest.index.to_numpy(dtype=float)
    if sizes.min() < FEWEST_PARAMS:
        return  # the sizes are wrong, so nothing can be held against them
    tokens = largest.to_numpy(dtype=float)
    ratio = tokens / sizes
    row = int(np.argmax(ratio))
    held = f"train_tokens goes up to {tokens[row]:.6g} where model_params is {sizes[row]:.6g}"
    remedy = (
        "millions or billions? --scale train_tokens=1e6 (or 1e9) of cmrplan logs import table multiplies them; steps? "
        "--scale train_tokens=TOKENS_PER_STEP"
    )
    if "step" in training and _counts_steps(training):
        yield (
            Code.TOKENS_UNIT,
            "train_tokens",
            "train_tokens equals step in every row, so it counts steps; --scale train_tokens=TOKENS_PER_STEP of "
            "cmrplan logs import table multiplies it",
        )
    elif (fall := _fall_of_tokens(training)) is not None:
        yield Code.TOKENS_UNIT, "train_tokens", fall
    elif ratio[row] < LEAST_TOKENS_PER_PARAM:
        yield (
            Code.TOKENS_UNIT,
            "train_tokens",
            f"{held}, fewer tokens than one training step has; {remedy}",
        )
    elif ratio[row] < FEW_TOKENS_PER_PARAM:
        yield (
            Code.FEW_TOKENS,
            "train_tokens",
            f"{held}, which is very few tokens for such a model; {remedy}; if they are tokens, go on",
        )
    elif ratio[row] > MOST_TOKENS_PER_PARAM:
        yield (
            Code.TOKENS_UNIT,
            "train_tokens",
            f"{held}, more tokens for a parameter than any training run has; check the units of both columns",
        )


def _counts_steps(training: pd.DataFrame) -> bool:
    steps = training["step"].to_numpy(dtype=float, na_value=np.nan)
    return bool((steps == training["train_tokens"].to_numpy(dtype=float)).all())


def _fall_of_tokens(training: pd.DataFrame) -> str | None:
    """Return what to say where the tokens of a run fall from one evaluation to the next and its step does not."""
    if "step" not in training:
        return None
    rows = training[["run_id", "eval_corpus", "step", "train_tokens"]].dropna()
    change = rows.groupby(["run_id", "eval_corpus"], sort=False)[["step", "train_tokens"]].diff()
    falls = (change["step"] > 0) & (change["train_tokens"] < 0)
    if not falls.any():
        return None
    after = rows[falls.to_numpy()].iloc[0]
    before = after["train_tokens"] - change[falls].iloc[0]["train_tokens"]
    return (
        f"train_tokens of run {shown(after['run_id'])} falls from {before:.6g} to {after['train_tokens']:.6g} at step "
        f"{after['step']}, so it is no count of all tokens of the run: the tokens of each step, or a count that began "
        "anew when the run was resumed; add them up, or take --tokens-per-step VALUE of cmrplan logs import"
    )


def _losses(training: pd.DataFrame) -> Iterator[Advice]:
    """Judge the lowest loss of each size, on general data where there are any, then each corpus by itself."""
    if training["model_params"].min() < FEWEST_PARAMS:
        return
    general = training[training["eval_corpus"] == "general"]
    told = list(_lowest_losses(training, general))
    yield from told or _losses_of_one_corpus(training)


def _lowest_losses(training: pd.DataFrame, general: pd.DataFrame) -> Iterator[Advice]:
    judged = general if len(general) else training
    which = "lowest loss on general" if len(general) else "lowest loss"
    size, loss, times = _farthest(judged)
    held = _held(which, size, loss)
    if loss > UNIFORM_LOSS or times > CANNOT_BE_NATS:
        yield (
            Code.LOSS_NOT_NATS,
            "loss",
            f"{held}; perplexity? --loss-unit ppl of cmrplan logs import table converts it",
        )
    elif times > HARDLY_NATS and size >= LARGE_MODEL:
        yield (
            Code.LOSS_UNIT,
            "loss",
            f"{held}; perplexity or bits per token? --loss-unit ppl (or bits) of cmrplan logs import table converts "
            "it; if it is in nats, go on",
        )
    elif (
        len(general)
        and times < FEW_NATS
        and training["model_params"].max() >= SMALL_MODEL
        and not _is_bytewise(training)
    ):
        yield (
            Code.LOSS_UNIT,
            "loss",
            f"{held}; bits per byte? --loss-unit bpb --bytes-per-token X of cmrplan logs import table converts it; if "
            "it is in nats (of a tokenizer of bytes, say), go on",
        )


def _losses_of_one_corpus(training: pd.DataFrame) -> Iterator[Advice]:
    """Tell the corpus whose losses are in another unit than the others', which may be nats."""
    for corpus, rows in training.groupby("eval_corpus", sort=True):
        size, loss, times = _farthest(rows)
        if loss > UNIFORM_LOSS:
            code, remark = Code.LOSS_NOT_NATS, ""
        elif times > HARDLY_NATS and size >= LARGE_MODEL:
            code, remark = Code.LOSS_UNIT, "; if it is in nats, go on"
        else:
            continue
        yield (
            code,
            "loss",
            f"{_held(f'lowest loss on {shown(corpus)}', size, loss)}, and other losses of this log are lower; "
            "perplexity? import its rows apart with --loss-unit ppl of cmrplan logs import table, since the others are "
            f"not{remark}",
        )


def _farthest(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return the size whose lowest loss is the most times a trained model's, that loss, and how many times."""
    lowest = rows.groupby("model_params")["loss"].min()
    sizes, losses = lowest.index.to_numpy(dtype=float), lowest.to_numpy(dtype=float)
    times = losses / np.array([trained_loss(size) for size in sizes])
    row = int(np.argmax(times))
    return float(sizes[row]), float(losses[row]), float(times[row])


def _held(which: str, size: float, loss: float) -> str:
    return (
        f"the {which} is {loss:.4g} at model_params {size:.4g}, where a trained model has about "
        f"{trained_loss(size):.2g} nats per token"
    )


def _is_bytewise(training: pd.DataFrame) -> bool:
    if "tokenizer" not in training:
        return False
    names = training["tokenizer"].dropna().astype(str).str.lower()
    return bool(len(names) and names.str.contains("byte|char").all())
