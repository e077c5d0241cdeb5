"""Several decoders become one, whose parameters have a leading axis of members.

Their products are done in batches.

The decoder's own code runs unchanged, on the sequences of all members one after another (the first
of member 0, ..., the last of member K - 1); only the layers that hold parameters are exchanged for
ones that use each member's own. Attention has none, so it sees one long batch. Nothing mixes
members: a NaN in one stays there.

Shape suffixes as in :mod:`probes.models.decoder`, with K members, O outputs of a layer, and N = K *
B sequences.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """A linear layer without bias, of every member.

    Parameters
    ----------
    weight_KOC : Parameter
        The members' weights.
    """

    def __init__(self, weight_KOC: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight_KOC

    def forward(self, x_NTC: Tensor) -> Tensor:
        """Multiply each sequence by its member's weight, shape ``(N, T, O)``."""
        members, _, width = self.weight.shape
        y_KMO = torch.bmm(x_NTC.reshape(members, -1, width), self.weight.transpose(1, 2))
        return y_KMO.view(*x_NTC.shape[:-1], -1)


class StackedEmbedding(nn.Module):
    """The embedding of every member: one table in which member k begins at row k V.

    Parameters
    ----------
    weight_KVC : Parameter
        The members' tables.
    """

    first_row_K: Tensor

    def __init__(self, weight_KVC: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight_KVC
        members, vocab_size, _ = weight_KVC.shape
        self.register_buffer("first_row_K", torch.arange(members) * vocab_size, persistent=False)

    def forward(self, tokens_NT: Tensor) -> Tensor:
        """Look each sequence up in its member's table, shape ``(N, T, C)``."""
        rows_KM = tokens_NT.reshape(len(self.weight), -1) + self.first_row_K[:, None]
        return F.embedding(rows_KM.view(tokens_NT.shape), self.weight.flatten(0, 1))


class StackedNorm(nn.Module):
    """RMSNorm with the gains of every member.

    Parameters
    ----------
    weight_KC : Parameter
        The members' gains.
    eps : float
        Added to the mean square.
    """

    def __init__(self, weight_KC: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight_KC
        self.eps = eps

    def forward(self, x_NTC: Tensor) -> Tensor:
        """Normalize each position and scale it by its member's gains, shape ``(N, T, C)``."""
        members, width = self.weight.shape
        normalized_KMC = F.rms_norm(x_NTC, (width,), eps=self.eps).view(members, -1, width)
        return (normalized_KMC * self.weight[:, None]).view(x_NTC.shape)


def stack(models: Sequence[nn.Module]) -> nn.Module:
    """Return models of one shape as one model of the same parameter names.

    Parameters
    ----------
    models : sequence of Module
        Decoders; each parameter-holding layer is a linear layer without bias, an embedding or an
        RMSNorm.

    Returns
    -------
    Module
        Its parameters are the members' with a leading axis. For tokens of shape ``(N, T)``, those
        of each member one after another, it gives logits of shape ``(N, T, V)``.
    """
    stacked_weights: dict[nn.Parameter, nn.Parameter] = {}  # a tied head stays tied
    stacked = copy.deepcopy(models[0])
    for parent in list(stacked.modules()):
        for name, layer in list(parent.named_children()):
            if next(layer.parameters(recurse=False), None) is not None:
                setattr(parent, name, _stacked_layer(layer, len(models), stacked_weights))
    with torch.no_grad():
        for member, model in enumerate(models):
            for mine, weight in zip(stacked.parameters(), model.parameters(), strict=True):
                mine[member].copy_(weight)
    return stacked


def _stacked_layer(
    layer: nn.Module, members: int, stacked_weights: dict[nn.Parameter, nn.Parameter]
) -> nn.Module:
    (old,) = layer.parameters(recurse=False)
    weight = stacked_weights.setdefault(old, nn.Parameter(old.new_empty((members, *old.shape))))
    if isinstance(layer, nn.Embedding):
        return StackedEmbedding(weight)
    if isinstance(layer, nn.RMSNorm):
        assert layer.eps is not None
        return StackedNorm(weight, layer.eps)
    assert isinstance(layer, nn.Linear)
    return StackedLinear(weight)
