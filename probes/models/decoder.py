"""The decoder is small and modern: RMSNorm, rotary positions, SwiGLU, scaled dot-product attention.

Shape suffixes: B sequences, T positions, H heads, K features of a head, C width, F feed-forward
width, V vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from probes.models import fused
from probes.models.source import ModelShape

ROTARY_BASE = 10_000.0
"""Longest rotary wavelength / 2 pi, as in the original rotary embedding (arXiv:2104.09864)."""

INITIAL_STD = 0.02
"""Standard deviation of initial weights; layers that write to the residual stream get less."""


class Projection(nn.Linear):
    """Multiplies by a matrix."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(width, outputs, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return the product at every position, shape ``(B, T, outputs)``."""
        if fused.product_pays(x_BTC):
            return fused.Product.apply(x_BTC, self.weight)
        return super().forward(x_BTC)


class Attention(nn.Module):
    """Causal multi-head attention with rotary positions."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = Projection(shape.width, 3 * shape.width)
        self.out = Projection(shape.width, shape.width)

    def forward(self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Let every position read from itself and earlier ones, shape ``(B, T, C)``."""
        q_BHTK, k_BHTK, v_BHTK = self._turned_heads(self.qkv(x_BTC), rotation)
        mixed_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True)
        return self.out(mixed_BHTK.transpose(1, 2).reshape(x_BTC.shape))

    def _turned_heads(
        self, qkv_BTC: Tensor, rotation: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, width = qkv_BTC.shape
        features = width // (3 * self.heads)
        if fused.pays(qkv_BTC):
            turns = fused.turns(length, self.heads, features, ROTARY_BASE, qkv_BTC.dtype)
            return fused.TurnedHeads.apply(qkv_BTC, turns, self.heads)
        heads = qkv_BTC.view(batch, length, 3, self.heads, features)
        q_BHTK, k_BHTK, v_BHTK = heads.permute(2, 0, 3, 1, 4)
        return rotate(q_BHTK, *rotation), rotate(k_BHTK, *rotation), v_BHTK


class FeedForward(nn.Module):
    """SwiGLU: a gated feed-forward layer (arXiv:2002.05202)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_up = Projection(shape.width, 2 * shape.feedforward)
        self.down = Projection(shape.feedforward, shape.width)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return ``down(silu(gate(x)) * up(x))`` of every position, shape ``(B, T, C)``."""
        gate_BTF, up_BTF = self.gate_up(x_BTC).chunk(2, dim=-1)
        return self.down(F.silu(gate_BTF) * up_BTF)


class Norm(nn.RMSNorm):
    """Divides by the root mean square and multiplies by a gain."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return the normalized features of every position, shape ``(B, T, C)``."""
        if fused.pays(x_BTC):
            return fused.NormalizedRows.apply(x_BTC, self.weight, self.eps)
        return super().forward(x_BTC)


class Block(nn.Module):
    """Attention and feed-forward, each on a normalized copy of the residual stream."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.attention_norm = Norm(shape.width)
        self.attention = Attention(shape)
        self.feedforward_norm = Norm(shape.width)
        self.feedforward = FeedForward(shape)

    def forward(self, x_BTC: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Add what both parts find to the residual stream, shape ``(B, T, C)``."""
        x_BTC = x_BTC + self.attention(self.attention_norm(x_BTC), rotation)
        return x_BTC + self.feedforward(self.feedforward_norm(x_BTC))


class Decoder(nn.Module):
    """A decoder-only language model.

    Parameters
    ----------
    shape : ModelShape
        Its sizes.
    seed : int
        Seed of the initial weights.
    gradient_checkpointing : bool
        Whether blocks compute their activations again in the backward pass.
    """

    def __init__(
        self, shape: ModelShape, *, seed: int = 0, gradient_checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.shape = shape
        self.gradient_checkpointing = gradient_checkpointing
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        self.head = Projection(shape.width, shape.vocab_size)
        if shape.tied_embeddings:
            self.head.weight = self.embedding.weight
        self._initialize(torch.Generator().manual_seed(seed))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Return the logits of every next token, shape ``(B, T, V)``."""
        rotation = rotary_tables(
            tokens_BT.shape[1], self.shape.width // self.shape.heads, tokens_BT.device
        )
        x_BTC = self.embedding(tokens_BT)
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x_BTC = checkpoint(
                    block, x_BTC, rotation, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x_BTC = block(x_BTC, rotation)
        return self.head(self.norm(x_BTC))

    def _initialize(self, generator: torch.Generator) -> None:
        residual_std = INITIAL_STD / math.sqrt(2 * self.shape.layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                writes_residual = name.endswith(("out.weight", "down.weight"))
                std = residual_std if writes_residual else INITIAL_STD
                nn.init.normal_(weight, std=std, generator=generator)


def next_token_losses(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the mean loss of each sequence in nats per token, shape ``(B,)``, float32 or wider."""
    losses_BT = F.cross_entropy(
        at_least_float32(logits_BTV).flatten(0, 1), targets_BT.flatten(), reduction="none"
    )
    return losses_BT.view(targets_BT.shape).mean(dim=1)


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or as it is where it is wider."""
    return x if x.dtype is torch.float64 else x.float()


def rotary_tables(length: int, features: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of every position and feature pair, each ``(T, K / 2)``."""
    frequencies = ROTARY_BASE ** (-torch.arange(0, features, 2, device=device) / features)
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Turn each feature pair (2i, 2i + 1) by its position's angle."""
    first, second = at_least_float32(x_BHTK).unflatten(-1, (-1, 2)).unbind(-1)
    turned = (first * cos_TK - second * sin_TK, first * sin_TK + second * cos_TK)
    return torch.stack(turned, dim=-1).flatten(-2).type_as(x_BHTK)
