"""The training loop of bases and probes: one function, resumable at any moment.

A run evaluates both corpora after given steps, appends a row to its metrics and saves a checkpoint.
What a step does depends only on the settings, the step number and the state before it, so a run
that was killed and resumed ends with the same numbers, bit for bit, as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from cmrplan.files import atomic_write, write_json
from probes.data.prepared import PreparedCorpora
from probes.data.sampling import batch
from probes.models.decoder import Decoder, next_token_losses
from probes.runs import RunFolder, RunState
from probes.settings import RunSettings
from probes.training.checkpoint import load_checkpoint, save_checkpoint
from probes.training.metrics import append_row, cut_back
from probes.training.schedule import learning_rate_factor

BETAS = (0.9, 0.95)
"""AdamW's decay rates, as is usual for language models (arXiv:2005.14165, appendix B)."""

CHECKPOINT_SECONDS = 30.0
"""Longest time between two checkpoints; a kill loses at most this much work."""

PROGRESS_SECONDS = 1.0
"""Time between two updates of the progress file."""

EVALUATION_BATCH = 32
"""Sequences evaluated at once."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    state : RunState
        ``FINISHED``, ``FAILED`` or ``STOPPED``.
    reason : str
        Why it failed or stopped; empty when finished.
    seconds : float
        Time spent training and evaluating, over all starts of the run.
    """

    state: RunState
    reason: str
    seconds: float


class Diverged(Exception):
    """A loss or gradient that is not a finite number."""


def make_optimizer(model: nn.Module, settings: RunSettings) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only."""
    matrices = [weight for weight in model.parameters() if weight.dim() >= 2]
    gains = [weight for weight in model.parameters() if weight.dim() < 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": gains, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=BETAS,
        fused=True,
    )


def sequence_losses(model: Decoder, sequences: np.ndarray) -> np.ndarray:
    """Return the mean loss of every sequence, nats per token, shape ``(S,)``, float32."""
    model.eval()
    losses = []
    with torch.no_grad():
        for start in range(0, len(sequences), EVALUATION_BATCH):
            losses.append(_losses(model, sequences[start : start + EVALUATION_BATCH]).cpu().numpy())
    model.train()
    return np.concatenate(losses)


def evaluate(model: Decoder, corpora: PreparedCorpora) -> dict[str, np.ndarray]:
    """Return the losses of the fixed evaluation sequences of both corpora, each ``(E,)``.

    Raises
    ------
    Diverged
        If one of them is NaN or infinite.
    """
    losses = {
        name: sequence_losses(model, sequences) for name, sequences in corpora.evaluation.items()
    }
    for name, values in losses.items():
        if not np.isfinite(values).all():
            raise Diverged(f"{name} validation loss was {np.mean(values)}")
    return losses


def training_step(
    model: Decoder,
    optimizer: torch.optim.AdamW,
    tokens: np.ndarray,
    *,
    learning_rate: float,
    gradient_clip: float,
) -> float:
    """Do one update and return the loss before it, nats per token.

    Raises
    ------
    Diverged
        If the loss or the gradient is NaN or infinite; the weights are then as before.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    loss = _losses(model, tokens).mean()
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    for name, value in (("loss", loss.item()), ("gradient norm", norm.item())):
        if not math.isfinite(value):
            raise Diverged(f"{name} was {value}")
    optimizer.step()
    return loss.item()


def train(
    model: Decoder,
    settings: RunSettings,
    corpora: PreparedCorpora,
    run: RunFolder,
    *,
    start_losses: Mapping[str, np.ndarray] | None = None,
    should_stop: Callable[[], str] = lambda: "",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Outcome:
    """Train a run to its end, from its checkpoint if there is one.

    Parameters
    ----------
    model : Decoder
        With the weights to start from, on its device.
    settings : RunSettings
        What to do.
    corpora : PreparedCorpora
        The sequences to train and evaluate on.
    run : RunFolder
        Where metrics, losses and checkpoints go; its lock must be held.
    start_losses : mapping of str to ndarray, shape (E,), optional
        Losses per corpus of the weights to start from; written as the row of token 0.
    should_stop : callable
        Asked before every step; returns why to stop, or an empty string.
    checkpoint_seconds : float
        Longest time between two checkpoints.

    Returns
    -------
    Outcome
    """
    optimizer = make_optimizer(model, settings)
    step, domain_sequences = 0, 0
    if run.checkpoint.exists():
        step, domain_sequences = load_checkpoint(
            run.checkpoint, model, optimizer, settings_fingerprint=settings.fingerprint
        )
    rows = cut_back(run.metrics, last_step=step)
    if start_losses is not None and not rows:
        _record(run, settings, 0, 0, start_losses)
    clock = _Clock(run, settings)
    saved_at = time.monotonic()

    def save() -> None:
        nonlocal saved_at
        save_checkpoint(
            run.checkpoint,
            model,
            optimizer,
            step=step,
            domain_sequences=domain_sequences,
            settings_fingerprint=settings.fingerprint,
        )
        clock.write(step)
        saved_at = time.monotonic()

    while step < settings.steps:
        clock.write_now_and_then(step)
        if reason := should_stop():
            save()
            return Outcome(RunState.STOPPED, reason, clock.seconds())
        try:
            domain_sequences += _scheduled_step(model, optimizer, settings, corpora, step)
            step += 1
            if is_evaluation := step in settings.evaluation_steps:
                losses = evaluate(model, corpora)
        except Diverged as trouble:
            reason = f"{trouble} at step {step}; a lower learning_rate may help"
            return Outcome(RunState.FAILED, reason, clock.seconds())
        if is_evaluation:
            _record(run, settings, step, domain_sequences, losses)
            save()
        elif time.monotonic() - saved_at > checkpoint_seconds:
            save()
    return Outcome(RunState.FINISHED, "", clock.seconds())


def _scheduled_step(
    model: Decoder,
    optimizer: torch.optim.AdamW,
    settings: RunSettings,
    corpora: PreparedCorpora,
    step: int,
) -> int:
    """Do training step number ``step`` of a run; return how many domain sequences it had."""
    tokens, num_domain = batch(
        step,
        corpora.train["general"],
        corpora.train["domain"],
        batch_size=settings.batch_size,
        domain_ratio=settings.domain_ratio,
        stage=settings.stage,
        seed=settings.seed,
    )
    factor = learning_rate_factor(
        step,
        steps=settings.steps,
        warmup_steps=settings.warmup_steps,
        cooldown_share=settings.cooldown_share,
    )
    training_step(
        model,
        optimizer,
        tokens,
        learning_rate=settings.learning_rate * factor,
        gradient_clip=settings.gradient_clip,
    )
    return num_domain


def _losses(model: Decoder, sequences: np.ndarray) -> torch.Tensor:
    """Return the mean loss of each sequence, in bf16 on a GPU and fp32 on a CPU."""
    device = model.embedding.weight.device
    tokens_BT = torch.from_numpy(sequences.astype(np.int64)).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        logits_BTV = model(tokens_BT[:, :-1])
    return next_token_losses(logits_BTV, tokens_BT[:, 1:])


def _record(
    run: RunFolder,
    settings: RunSettings,
    step: int,
    domain_sequences: int,
    losses: Mapping[str, np.ndarray],
) -> None:
    """Write one evaluation: the losses of all sequences, then the metrics row."""
    with atomic_write(run.losses(step)) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **losses)
    row: dict[str, Any] = {
        "step": step,
        "train_tokens": step * settings.step_tokens,
        "domain_tokens": domain_sequences * settings.sequence_length,
        "realized_domain_ratio": domain_sequences / (step * settings.batch_size) if step else None,
    }
    for name, values in losses.items():
        row[f"{name}_loss"] = float(np.mean(values, dtype=np.float64))
    append_row(run.metrics, row)


class _Clock:
    """Counts the seconds of a run over all its starts and writes its progress file."""

    def __init__(self, run: RunFolder, settings: RunSettings) -> None:
        self._run = run
        self._settings = settings
        before = run.read_progress()
        self._earlier = before["seconds"] if before else 0.0
        self._began = self._written = time.monotonic()

    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._began

    def write_now_and_then(self, step: int) -> None:
        if time.monotonic() - self._written > PROGRESS_SECONDS or not self._run.progress.exists():
            self.write(step)

    def write(self, step: int) -> None:
        self._written = time.monotonic()
        write_json(
            self._run.progress,
            {
                "step": step,
                "steps": self._settings.steps,
                "train_tokens": step * self._settings.step_tokens,
                "seconds": round(self.seconds(), 3),
            },
        )
