"""Batched training does the steps of several models as one forward, backward and optimizer step.

Every tensor of the members has a leading axis, so a step takes as many calls as that of one model:
on a GPU that small models leave waiting for its host, members beyond the first cost next to nothing.
The losses of the members are summed, not averaged, and each gradient is clipped by its own norm, so
every member does the step that it would do alone, up to rounding; see docs/batched-training.md.

Shape suffixes: K members, B sequences of a member, T positions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from probes.models.decoder import next_token_losses
from probes.models.stacked import stack
from probes.run_settings import RunSettings
from probes.training.trainee import (
    MOMENTS,
    UPDATE_COUNT,
    autocast,
    compiled_if_asked,
    evaluation_batch,
    first_trouble,
    make_optimizer,
    on_device,
)

WARMUP_STEPS = 3
"""Steps before a CUDA graph is captured, in which libraries choose kernels and take memory."""


class Batched:
    """Built-in decoders of one shape with one fused AdamW.

    Parameters
    ----------
    models : sequence of Module
        One a member, on their device; copied.
    settings : RunSettings
        Optimizer and numerics of all members.
    """

    def __init__(self, models: Sequence[nn.Module], settings: RunSettings) -> None:
        self.num_members = len(models)
        self.model = stack(models)
        self._settings = settings
        self._device = torch.device(settings.device)
        self._call = compiled_if_asked(self.model, settings)
        self._is_captured = self._device.type == "cuda" and settings.numerics.cuda_graphs
        self.optimizer = self._make_optimizer()
        self._restored: dict[int, float] = {}  # update counts of members restored since an update
        self._seen: list[Tensor] = []
        self._run: Callable[[Tensor], Tensor] | None = None if self._is_captured else self._step

    def update(self, tokens: Sequence[np.ndarray], *, learning_rate: float) -> None:
        """Do one step of every member; on a CPU one that is not finite leaves its member as it was."""
        counts = set(self._restored.values())
        assert len(counts) <= 1, "the members of a group have done equally many updates"
        self._restored.clear()
        self._set_rate(learning_rate)
        tokens_KBT = on_device(tokens, self._device)
        run = self._run or self._captured_step(tokens_KBT)
        self._run = run
        self._seen.append(run(tokens_KBT))

    def trouble(self) -> list[str]:
        """Say which numbers were not finite; see :class:`~probes.training.trainee.Trainee`."""
        seen = torch.stack(self._seen).cpu() if self._seen else torch.zeros(0, 2, self.num_members)
        self._seen.clear()
        return [first_trouble(mine) for mine in seen.unbind(-1)]

    def sequence_losses(self, sequences: np.ndarray) -> np.ndarray:
        """Return the loss of every sequence under every member, shape ``(K, S)``."""
        size = evaluation_batch(self._settings, self.num_members)
        losses = []
        with torch.no_grad():
            for start in range(0, len(sequences), size):
                (part,) = on_device([sequences[start : start + size]], self._device)
                losses.append(self._losses(part.expand(self.num_members, *part.shape)))
        return torch.cat(losses, dim=1).float().cpu().numpy()

    def state(self, member: int) -> dict[str, Tensor]:
        """Return weights, moments and update count of a member, as a single model has them."""
        tensors = {}
        for name, weight in self.model.named_parameters():
            kept = self.optimizer.state[weight]
            tensors[f"model.{name}"] = weight.detach()[member]
            tensors |= {f"{moment}.{name}": kept[moment][member] for moment in MOMENTS}
            tensors[UPDATE_COUNT] = kept["step"].detach().cpu().float()
        return tensors

    def restore(self, member: int, state: Mapping[str, Tensor], *, moments: bool = True) -> None:
        """Take over a state, or its weights alone.

        One update count holds for the group, so whoever restores one member restores all that go on.
        """
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                kept = self.optimizer.state[weight]
                weight[member].copy_(state[f"model.{name}"])
                has_moments = moments and f"{MOMENTS[0]}.{name}" in state
                for moment in MOMENTS:
                    mine = kept[moment][member]
                    mine.copy_(state[f"{moment}.{name}"]) if has_moments else mine.zero_()
                count = state[UPDATE_COUNT].item() if has_moments else 0.0
                kept["step"].fill_(count)
        self._restored[member] = count

    def _step(self, tokens_KBT: Tensor) -> Tensor:
        """Return losses and gradient norms of one step, shape ``(2, K)``, without waiting for them."""
        self.optimizer.zero_grad()
        members, batch, _ = tokens_KBT.shape
        total_K = torch.zeros(members, device=self._device)
        for part in torch.split(tokens_KBT, self._settings.numerics.micro_batch_size, dim=1):
            losses_K = self._losses(part).sum(dim=1) / batch
            losses_K.sum().backward()
            total_K = total_K + losses_K.detach()
        seen = torch.stack([total_K, self._clip()])
        if self._device.type == "cpu" and not (is_sound := torch.isfinite(seen).all(dim=0)).all():
            self._step_of(is_sound)
        else:
            self.optimizer.step()
        return seen

    def _captured_step(self, tokens_KBT: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the step as a CUDA graph, or as it is where that cannot be recorded."""
        try:
            return _CapturedStep(self._step, tokens_KBT, self._tensors())
        except RuntimeError as error:
            warnings.warn(f"steps are not replayed as a CUDA graph: {error}", stacklevel=2)
            return self._step

    def _clip(self) -> Tensor:
        """Scale the gradient of each member to the largest norm allowed; return the norms before."""
        weights = self.model.parameters()
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
        norm_K: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        # Each member is clipped by the rule of torch.nn.utils.clip_grad_norm_.
        scale_K = (self._settings.gradient_clip / (norm_K + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale_K.view(-1, *[1] * (gradient.dim() - 1)))
        return norm_K

    def _step_of(self, is_sound: Tensor) -> None:
        """Step, and put back the members whose numbers are not finite."""
        others = [(tensor, tensor[~is_sound]) for tensor in self._tensors() if tensor.dim()]
        self.optimizer.step()
        with torch.no_grad():
            for tensor, before in others:
                tensor[~is_sound] = before

    def _losses(self, tokens_KBT: Tensor) -> Tensor:
        """Return the mean loss of each sequence, shape ``(K, B)``."""
        tokens_NT = tokens_KBT.flatten(0, 1)
        with autocast(self._settings):
            logits_NTV = self._call(tokens_NT[:, :-1])
        return next_token_losses(logits_NTV, tokens_NT[:, 1:]).view(tokens_KBT.shape[:2])

    def _make_optimizer(self) -> torch.optim.AdamW:
        """Return the optimizer with its moments, which keep their addresses in memory from now on."""
        captured = {"lr": torch.zeros((), device=self._device), "capturable": True}
        options = captured if self._is_captured else {}
        optimizer = make_optimizer(self.model, self._settings, members=True, **options)
        for weight in self.model.parameters():
            optimizer.state[weight] = {"step": torch.zeros((), device=self._device)} | {
                moment: torch.zeros_like(weight) for moment in MOMENTS
            }
        return optimizer

    def _set_rate(self, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate

    def _tensors(self) -> list[Tensor]:
        """Return everything that a step changes: weights, moments and counts."""
        weights = list(self.model.parameters())
        kept = [self.optimizer.state[weight].values() for weight in weights]
        return [weight.detach() for weight in weights] + [
            value for values in kept for value in values
        ]


class _CapturedStep:
    """A step recorded once as a CUDA graph and replayed with other tokens.

    Parameters
    ----------
    step : callable
        The step; of tokens of one shape, without a look at any number on the device.
    tokens : Tensor
        Tokens of that shape.
    tensors : sequence of Tensor
        Everything that the step changes; as before afterwards.
    """

    def __init__(
        self, step: Callable[[Tensor], Tensor], tokens: Tensor, tensors: Sequence[Tensor]
    ) -> None:
        self._tokens = tokens.clone()
        self._graph = torch.cuda.CUDAGraph()
        before = [tensor.clone() for tensor in tensors]
        try:
            self._record(step)
        finally:
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)

    def _record(self, step: Callable[[Tensor], Tensor]) -> None:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARMUP_STEPS):
                step(self._tokens)
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(self._graph):
            self._seen = step(self._tokens)

    def __call__(self, tokens: Tensor) -> Tensor:
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._seen.clone()
