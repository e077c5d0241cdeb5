"""The callback here writes probe-log rows from the Trainer of Lightning."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from cmrplan.errors import InputError
from cmrplan.log.cells import listed, shown
from probes.callbacks.description import ProbeRun
from probes.callbacks.params import with_counted_params
from probes.callbacks.rows import ProbeLogWriter

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(
        f"LightningProbeLog needs lightning ({error}): pip install 'cmrplan[lightning]'"
    ) from None

_DEFAULT_METRICS = {"general": "val_general_loss", "domain": "val_domain_loss"}


class LightningProbeLog(Callback):
    """Writes a probe-log row for each validation and corpus of a Lightning ``Trainer``.

    The module logs one loss for each corpus in ``validation_step``. The row of the base checkpoint comes from
    ``trainer.validate(...)`` before ``trainer.fit(...)``: the sanity check keeps no metrics. A Trainer that goes on
    from a checkpoint goes on in the same file, and the callback keeps its count of tokens in the checkpoint.

    Parameters
    ----------
    folder : path
        Where ``<run_id>.jsonl`` goes; all runs of a study may share it.
    run : ProbeRun
        The run. Left out, ``model_params`` is counted; give ``seed`` and ``schedule``, which Lightning does not know.
    metrics : mapping of str to str, optional
        Corpus to the name of its loss among the logged metrics. By default ``general`` is ``val_general_loss`` and
        ``domain`` is ``val_domain_loss``; a metric of several dataloaders is ``val_loss/dataloader_idx_0``.
    tokens_per_step : int, optional
        Tokens of an optimizer step over all devices and accumulated batches. Left out, the elements of each batch's
        ``input_ids``, of the first tensor of a list, or of the tensor that it is, times the number of processes.

    Raises
    ------
    InputError
        If the run, its batches or its metrics do not give a probe log.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        run: ProbeRun,
        *,
        metrics: Mapping[str, str] | None = None,
        tokens_per_step: int | None = None,
    ) -> None:
        if tokens_per_step is not None and not tokens_per_step > 0:
            raise InputError(f"tokens_per_step must be above 0, got {shown(tokens_per_step)}")
        self._folder = folder
        self._run = run
        self._metrics = dict(_DEFAULT_METRICS if metrics is None else metrics)
        self._tokens_per_step = tokens_per_step
        self._writer: ProbeLogWriter | None = None
        self._base_losses: dict[str, float] = {}
        self._train_tokens = 0
        self._accumulated_tokens = 0  # of batches that no step has used yet
        self._last_step = 0
        self._learning_rate: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count the parameters before anything is sharded."""
        if stage == "fit" and any(True for _ in pl_module.parameters()):
            self._run = with_counted_params(self._run, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a row for each corpus; keep what ``trainer.validate`` finds before the fit."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "validate":
            if trainer.global_step == 0:
                self._base_losses = self._losses(trainer)
        elif self._writer is not None:
            self._writer.write(
                trainer.global_step,
                self._tokens_until(trainer.global_step),
                self._losses(trainer),
                learning_rate=self._learning_rate,
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the log at the step the Trainer starts from, with the row of the base checkpoint."""
        step = self._last_step = trainer.global_step
        self._accumulated_tokens = 0  # their gradients are not in a checkpoint
        if step > 0 and self._tokens_until(step) == 0:
            raise InputError(
                f"tokens_per_step must be given: the checkpoint of step {step} was trained without this callback"
            )
        if not trainer.is_global_zero:
            return
        planned = trainer.estimated_stepping_batches
        self._writer = ProbeLogWriter(
            self._folder,
            with_counted_params(self._run, pl_module),
            resume_step=step,
            planned_steps=int(planned) if 0 < planned < math.inf else None,
        )
        if step == 0 and self._base_losses:
            self._writer.write(0, 0, self._base_losses)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """Note the learning rate of the step, before the schedule moves on."""
        self._learning_rate = max(float(group["lr"]) for group in optimizer.param_groups)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the tokens of a batch, as trained on once a step has used it."""
        if self._tokens_per_step is not None:
            return
        self._accumulated_tokens += batch_tokens(batch) * trainer.world_size
        if trainer.global_step > self._last_step:
            self._train_tokens += self._accumulated_tokens
            self._accumulated_tokens = 0
            self._last_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the run has ended."""
        if self._writer is not None:
            self._writer.end(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the tokens trained on."""
        return {"train_tokens": self._train_tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the count of tokens from a checkpoint."""
        self._train_tokens = int(state_dict["train_tokens"])

    def _tokens_until(self, step: int) -> int:
        return self._train_tokens if self._tokens_per_step is None else step * self._tokens_per_step

    def _losses(self, trainer: Trainer) -> dict[str, float]:
        """Return the loss of each corpus in the validation that has just ended."""
        logged = trainer.callback_metrics
        lacking = [name for name in self._metrics.values() if name not in logged]
        if lacking:
            logged_names = listed(sorted(logged)) or "none"
            raise InputError(
                f"the metrics have no {listed(lacking)}, only {logged_names}; log it in validation_step with "
                "on_epoch=True, or say what it is called: metrics={'general': ...}"
            )
        return {corpus: float(logged[name]) for corpus, name in self._metrics.items()}


def batch_tokens(batch: Any) -> int:
    """Return the number of tokens in one process's batch, padding included.

    Raises
    ------
    InputError
        If the batch does not say where its tokens are.
    """
    tokens = batch
    if isinstance(batch, Mapping):
        tokens = batch.get("input_ids")
    elif isinstance(batch, list | tuple) and batch:
        tokens = batch[0]
    if not hasattr(tokens, "numel"):
        raise InputError(
            f"tokens_per_step must be given: a batch is a {type(batch).__name__} without input_ids, so its tokens "
            "cannot be counted"
        )
    return int(tokens.numel())
