"""Several processes train one model, each on a share of every batch: with DDP, or with FSDP2.

The processes are started by ``torchrun``; see :mod:`probes.executors.torchrun_worker`. Together they do the
step that one process would do with the same batch, up to the order in which gradients are summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from probes.run_settings import RunSettings
from probes.training.trainee import Single, compiled_if_asked


class TorchRanks:
    """The processes of the default process group."""

    steps_between_decisions = 10

    def __init__(self) -> None:
        self.number = dist.get_rank()
        self.count = dist.get_world_size()
        self.is_main = self.number == 0

    def agree(self, word: str) -> str:
        """Return what the main process said."""
        said = [word]
        dist.broadcast_object_list(said, src=0)
        return said[0]


@contextmanager
def process_group(device: str) -> Iterator[TorchRanks]:
    """Join the group of processes that ``torchrun`` started."""
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        ranks = TorchRanks()
        if device == "cuda":
            torch.cuda.set_device(ranks.number)
        yield ranks
    finally:
        dist.destroy_process_group()


class Distributed(Single):
    """One model that several processes train.

    Parameters
    ----------
    model : Module
        The whole model, the same on every process.
    settings : RunSettings
        ``numerics.sharding`` says whether weights are replicated (DDP) or sharded (FSDP2).
    ranks : TorchRanks
        This process among the others.
    """

    def __init__(self, model: nn.Module, settings: RunSettings, ranks: TorchRanks) -> None:
        self._ranks = ranks
        if settings.numerics.sharding == "shard":
            _shard(model)
        super().__init__(model, settings)
        self._replica = None
        if settings.numerics.sharding == "replicate":
            self._replica = DistributedDataParallel(self.model)
            self._call = compiled_if_asked(self._replica, settings)

    def trouble(self) -> list[str]:
        """Say which number was not finite; every process must ask."""
        if self._seen:
            seen = torch.stack(self._seen)
            losses = seen[:, 0].contiguous()
            dist.all_reduce(losses)
            seen[:, 0] = losses / self._ranks.count
            self._seen = list(seen)
        return super().trouble()

    def sequence_losses(self, sequences: np.ndarray) -> np.ndarray:
        """Return the loss of every sequence, shape ``(1, S)``; each process does a share."""
        count, number = self._ranks.count, self._ranks.number
        share = -(-len(sequences) // count)
        rows = np.arange(number * share, (number + 1) * share) % len(sequences)
        mine = torch.from_numpy(super().sequence_losses(sequences[rows])[0])
        mine = mine.to(self._device)
        if isinstance(self.model, FSDPModule):
            self.model.reshard()  # only a backward pass does it for the weights outside the blocks
        everyone = [torch.empty_like(mine) for _ in range(count)]
        dist.all_gather(everyone, mine)
        return torch.cat(everyone)[: len(sequences)].cpu().numpy()[None]

    def state(self, member: int = 0) -> dict[str, Tensor]:
        """Return whole weights and moments; every process must ask."""
        return {name: _whole(tensor) for name, tensor in super().state(member).items()}

    def restore(self, member: int, state: Mapping[str, Tensor], *, moments: bool = True) -> None:
        """Take over a state; sharded weights take their shard."""
        sharded = {
            name: weight
            for name, weight in self.model.named_parameters()
            if isinstance(weight, DTensor)
        }
        parts = {
            name: _like(tensor, sharded[name.partition(".")[2]])
            if name.partition(".")[2] in sharded
            else tensor
            for name, tensor in state.items()
        }
        super().restore(member, parts, moments=moments)

    def _backward(self, batch: Tensor) -> Tensor:
        """Add the gradient of this process's share; the last pass sums over the processes."""
        own = len(batch) // self._ranks.count
        mine = batch[self._ranks.number * own :][:own]
        size = self._settings.numerics.micro_batch_size
        total = torch.zeros((), device=self._device)
        for start in range(0, own, size):
            with self._unsynced(is_last=start + size >= own):
                loss = self._losses(mine[start : start + size]).sum() / own
                loss.backward()
            total = total + loss.detach()
        return total

    @contextmanager
    def _unsynced(self, *, is_last: bool) -> Iterator[None]:
        """Keep gradients on their process until the last pass of a step."""
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(is_last)
        with nullcontext() if is_last or self._replica is None else self._replica.no_sync():
            yield

    def _clip(self) -> Tensor:
        return _whole(super()._clip())


def _shard(model: nn.Module) -> None:
    """Shard every block of a model, then what is left."""
    for block in blocks(model):
        fully_shard(block)
    fully_shard(model)


def blocks(model: nn.Module) -> Sequence[nn.Module]:
    """Return the longest list of modules in a model: its layers."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len, default=[]))


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(tensor: Tensor, weight: DTensor) -> Tensor:
    return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements)
