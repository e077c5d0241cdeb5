"""Three parts of the decoder have hand-written gradients here, for a CPU without a compiler.

Between the matrix products of a small model PyTorch's own gradients read and write the activations
many times. These take 0.2 to 0.5 times as long for rotary positions and norms, and a whole training
step is 1.05 to 1.1 times as fast. The matrix products themselves are oneDNN's, which PyTorch has beside
the library it takes for float32: on some processors they are twice as fast (benchmarks/cpu_step.py). Only
the rounding differs.

Shape suffixes as in :mod:`probes.models.decoder`.
"""

from __future__ import annotations

import platform
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def pays(x: Tensor) -> bool:
    """Tell whether the functions here are faster for ``x`` than what they replace."""
    is_wide = x.dtype in (torch.float32, torch.float64)
    return is_wide and x.device.type == "cpu" and not torch.compiler.is_compiling()


def product_pays(x: Tensor) -> bool:
    """Tell whether :class:`Product` can take the place of a linear layer's product for ``x``."""
    is_plain = x.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
    return is_plain and pays(x) and has_onednn()


@cache
def has_onednn() -> bool:
    """Tell whether this PyTorch has oneDNN's products for this processor."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return is_x86 and torch.backends.mkldnn.is_available()


def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    """Return ``x @ weight.T`` of float32 matrices, which may be transposed views."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return product


class Product(Function):
    """``x @ weight.T`` over the last axis."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Return the product, shape ``(..., O)``, with ``weight`` of shape ``(O, C)``."""
        rows = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(rows, weight)
        return _onednn(rows, weight).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of ``x`` and ``weight``."""
        rows, weight = ctx.saved_tensors
        grads = grad.reshape(-1, grad.shape[-1])
        grad_x = _onednn(grads, weight.t()).view(*grad.shape[:-1], -1)
        return grad_x, _onednn(grads.t(), rows.t())


class NormalizedRows(Function):
    """``x * weight / sqrt(mean(x**2) + eps)`` over the last axis."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Return the normalized ``x``, shape ``(..., C)``."""
        rows = x.reshape(-1, x.shape[-1])
        norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        scale = torch.rsqrt(norm.square_().div_(rows.shape[1]).add_(eps))
        ctx.save_for_backward(rows, weight, scale)
        return rows.mul(scale).mul_(weight).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients of ``x`` and ``weight``."""
        rows, weight, scale = ctx.saved_tensors
        grads = grad.reshape(rows.shape)
        products = grads * rows
        along = (products @ weight)[:, None] * scale.pow(3).div_(-rows.shape[1])
        grad_x = (grads * weight).mul_(scale).addcmul_(rows, along)
        return grad_x.view(grad.shape), scale[:, 0] @ products, None


class TurnedHeads(Function):
    """Queries, keys and values by head, queries and keys turned by their positions.

    A pair of features (2i, 2i + 1) is one complex number, and a turn one product.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv_BTC: Tensor, turns_TC: Tensor, heads: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return three tensors of shape ``(B, H, T, K)``; ``turns_TC`` is of :func:`turns`."""
        ctx.save_for_backward(turns_TC)
        turned = torch.empty_like(qkv_BTC)
        width = qkv_BTC.shape[-1] // 3
        torch.mul(_pairs(qkv_BTC[..., :-width]), turns_TC, out=_pairs(turned[..., :-width]))
        turned[..., -width:] = qkv_BTC[..., -width:]
        q_BHTK, k_BHTK, v_BHTK = turned.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        return q_BHTK, k_BHTK, v_BHTK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads_BHTK: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of queries, keys and values before the turn."""
        (turns_TC,) = ctx.saved_tensors
        batch, heads, length, features = grads_BHTK[0].shape
        grad = grads_BHTK[0].new_empty(batch, length, 3, heads, features)
        for number, part in enumerate(grads_BHTK):
            grad[:, :, number] = part.transpose(1, 2)
        grad_BTC = grad.view(batch, length, -1)
        _pairs(grad_BTC[..., : -heads * features]).mul_(turns_TC.conj())
        return grad_BTC, None, None


@lru_cache(maxsize=8)
def turns(length: int, heads: int, features: int, base: float, dtype: torch.dtype) -> Tensor:
    """Return the turn of every position and pair of queries and keys, complex, shape ``(T, C)``.

    ``dtype`` is that of the features.
    """
    frequencies = base ** (-torch.arange(0, features, 2) / features)
    angles = (torch.arange(length)[:, None] * frequencies).repeat(1, 2 * heads)
    return torch.complex(angles.cos().to(dtype), angles.sin().to(dtype))


def _pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
