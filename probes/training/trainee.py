"""A trainee is what the training loop sees of the models it trains; one model is the plain case.

A trainee holds one or several members: models of one shape, each with its own weights, optimizer
and batches, that do their steps together. :mod:`probes.training.loop` never asks which it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cmrplan.errors import InputError
from probes.models.decoder import next_token_losses
from probes.models.source import ModelShape
from probes.run_settings import RunSettings
from probes.training.repeatable import make_compiler_repeatable
from probes.training.threads import Threads, most_threads, side_by_side

BETAS = (0.9, 0.95)
"""AdamW's decay rates, as is usual for language models (arXiv:2005.14165, appendix B)."""

EVALUATION_BATCH = 8
"""Sequences of a built-in decoder evaluated at once on a CPU; as fast as more or faster (benchmarks/cpu_step.py)."""

EVALUATION_BYTES = 2 * 2**30
"""Memory that an evaluation may take otherwise, beside the weights."""

MOMENTS = ("exp_avg", "exp_avg_sq")

UPDATE_COUNT = "adamw.step"
"""Name of the number of AdamW's updates among the tensors of a state."""


class Diverged(Exception):
    """A loss or gradient that is not a finite number."""


class Trainee(Protocol):
    """Models that are trained together, and their optimizers."""

    num_members: int
    """How many models there are."""

    def update(self, tokens: Sequence[np.ndarray], *, learning_rate: float) -> None:
        """Do one step of every member.

        Parameters
        ----------
        tokens : sequence of ndarray, each of shape (B, T + 1)
            The batch of every member.
        learning_rate : float
            Of this step.
        """
        ...

    def trouble(self) -> list[str]:
        """Say of each member which number was not finite, and in which step, or ''.

        Covers the steps since it was last asked. Asking waits for the device.
        """
        ...

    def sequence_losses(self, sequences: np.ndarray) -> np.ndarray:
        """Return the mean loss of every sequence, nats per token, shape ``(members, S)``, float32."""
        ...

    def state(self, member: int) -> dict[str, Tensor]:
        """Return weights, moments and update count of a member.

        Named ``model.<parameter>``, ``exp_avg.<parameter>``, ``exp_avg_sq.<parameter>`` and
        ``adamw.step``, in the shapes of a single model, whatever the trainee.
        """
        ...

    def restore(self, member: int, state: Mapping[str, Tensor], *, moments: bool = True) -> None:
        """Take over a state that :meth:`state` gave, or its weights alone."""
        ...


class Single:
    """One model with fused AdamW.

    Parameters
    ----------
    model : Module
        Gives logits of shape ``(B, T, V)`` for tokens of shape ``(B, T)``; on its device.
    settings : RunSettings
        Optimizer and numerics.
    threads : callable
        Says how many threads it may have; the numbers do not depend on it.
    """

    num_members = 1

    def __init__(
        self, model: nn.Module, settings: RunSettings, threads: Threads = lambda: 1
    ) -> None:
        self.model = model
        self.optimizer = make_optimizer(model, settings)
        self._settings = settings
        self._device = torch.device(settings.device)
        self._call = compiled_if_asked(model, settings)
        self._seen: list[Tensor] = []
        self._threads = threads

    def update(self, tokens: Sequence[np.ndarray], *, learning_rate: float) -> None:
        """Do one step; a step whose loss or gradient is not finite leaves the weights as they are."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        (batch,) = on_device(tokens, self._device)
        loss = self._backward(batch)
        self._seen.append(torch.stack([loss, self._clip()]))
        if self._device.type == "cpu" and not torch.isfinite(self._seen[-1]).all():
            return
        self.optimizer.step()

    def trouble(self) -> list[str]:
        """Say which number was not finite; see :class:`Trainee`."""
        seen = torch.stack(self._seen).cpu() if self._seen else torch.zeros(0, 2)
        self._seen.clear()
        return [first_trouble(seen)]

    def sequence_losses(self, sequences: np.ndarray) -> np.ndarray:
        """Return the loss of every sequence, shape ``(1, S)``."""
        self.model.eval()
        size = evaluation_batch(self._settings)
        slices = np.split(sequences, range(size, len(sequences), size))
        losses = torch.cat(list(side_by_side(self._evaluated, slices, self._usable_threads())))
        self.model.train()
        return losses.float().cpu().numpy()[None]

    def state(self, member: int = 0) -> dict[str, Tensor]:
        """Return weights, moments and update count."""
        tensors = {}
        count = torch.zeros(())
        for name, weight in self.model.named_parameters():
            tensors[f"model.{name}"] = weight.detach()
            if kept := self.optimizer.state.get(weight):
                count = kept["step"].detach().cpu().float()
                tensors |= {f"{moment}.{name}": kept[moment] for moment in MOMENTS}
        return tensors | {UPDATE_COUNT: count}

    def restore(self, member: int, state: Mapping[str, Tensor], *, moments: bool = True) -> None:
        """Take over a state, or its weights alone."""
        self.optimizer.state.clear()
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(state[f"model.{name}"])
                if moments and f"{MOMENTS[0]}.{name}" in state:
                    self.optimizer.state[weight] = {
                        "step": state[UPDATE_COUNT].clone().to(weight.device)
                    } | {
                        moment: state[f"{moment}.{name}"].to(weight.device, weight.dtype, copy=True)
                        for moment in MOMENTS
                    }

    def _backward(self, batch: Tensor) -> Tensor:
        """Add the gradient of a batch, pass by pass, and return its mean loss."""
        passes = batch.split(self._settings.numerics.micro_batch_size)
        total = torch.zeros((), device=self._device)
        if (threads := self._usable_threads()) > 1:
            for loss, gradients in side_by_side(self._pass, passes, threads):
                add_gradients(self._weights(), gradients)
                total = total + loss
            return total
        for part in passes:
            loss = self._losses(part).sum() / len(batch)
            loss.backward()
            total = total + loss.detach()
        return total

    def _usable_threads(self) -> int:
        return min(self._threads(), most_threads(self._settings))

    def _weights(self) -> list[nn.Parameter]:
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def _pass(self, part: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the loss of a part of a batch and its gradients; touches nothing that others use."""
        loss = self._losses(part).sum() / self._settings.batch_size
        return loss.detach(), torch.autograd.grad(loss, self._weights())

    def _evaluated(self, sequences: np.ndarray) -> Tensor:
        (part,) = on_device([sequences], self._device)
        with torch.no_grad():  # of this thread
            return self._losses(part)

    def _clip(self) -> Tensor:
        """Limit the norm of the gradient and return what it was."""
        return nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.gradient_clip)

    def _losses(self, tokens_BT: Tensor) -> Tensor:
        with autocast(self._settings):
            logits_BTV = self._call(tokens_BT[:, :-1])
        return next_token_losses(logits_BTV, tokens_BT[:, 1:])


def add_gradients(weights: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Add gradients to those that the weights have."""
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)


def on_device(tokens: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Return token ids of one shape as int64 of shape ``(len(tokens), ...)``; a GPU copies behind us."""
    together = torch.from_numpy(np.stack(tokens).astype(np.int64))
    return (
        together.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else together
    )


def first_trouble(seen: Tensor) -> str:
    """Say which number is not finite first, or '', of losses and gradient norms, shape ``(S, 2)``."""
    bad = ~torch.isfinite(seen)
    if not bad.any():
        return ""
    step, which = bad.nonzero()[0].tolist()
    return f"{('loss', 'gradient norm')[which]} was {seen[step, which].item()}"


def evaluation_batch(settings: RunSettings, members: int = 1) -> int:
    """Return how many sequences each member evaluates at once.

    On a GPU, and of a checkpoint, which may be large, as many as keep logits and activations within
    a fixed size: of free memory it would change from start to start, and the last digits with it.
    """
    shape = settings.model
    if settings.device == "cpu" and isinstance(shape, ModelShape):
        return EVALUATION_BATCH
    feedforward = shape.feedforward if isinstance(shape, ModelShape) else 4 * shape.width
    token_bytes = 12 * shape.vocab_size + 4 * (10 * shape.width + 4 * feedforward)
    return max(1, EVALUATION_BYTES // (token_bytes * settings.sequence_length * members))


def compiled_if_asked(model: nn.Module, settings: RunSettings) -> Callable[..., Tensor]:
    """Return the model, through ``torch.compile`` where the settings say so.

    What was compiled before is forgotten and every shape gets a graph of its own, so that the numbers
    depend on the settings alone and not on what the process did before; PyTorch's cache on the disk
    makes compiling again short.

    Raises
    ------
    InputError
        If there is no C++ compiler.
    """
    if not settings.numerics.compile:
        return model
    if not (os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")):
        raise InputError(
            "numerics.compile needs a C++ compiler and none is on the PATH; install one (g++ or "
            "clang) or set compile to false"
        )
    make_compiler_repeatable()
    torch.compiler.reset()
    compiled: Callable[..., Tensor] = torch.compile(model, dynamic=False)
    return compiled


def make_optimizer(
    model: nn.Module, settings: RunSettings, *, members: bool = False, **options: Any
) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only.

    ``members`` says that the parameters have a leading axis of members; ``options`` are AdamW's.
    """
    matrix_dims = 3 if members else 2
    matrices = [weight for weight in model.parameters() if weight.dim() >= matrix_dims]
    gains = [weight for weight in model.parameters() if weight.dim() < matrix_dims]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": gains, "weight_decay": 0.0},
        ],
        **({"lr": settings.schedule.learning_rate} | options),
        betas=BETAS,
        fused=True,
    )


def autocast(settings: RunSettings) -> AbstractContextManager[None]:
    """Return the context in which forward passes have the settings' precision."""
    is_bf16 = settings.numerics.precision == "bf16"
    return torch.autocast(settings.device, dtype=torch.bfloat16, enabled=is_bf16)
