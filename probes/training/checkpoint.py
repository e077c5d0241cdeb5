"""Checkpoints: weights, AdamW's moments and the step in one safetensors file, replaced atomically.

A checkpoint carries the fingerprint of its run's settings and is refused by any other run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from cmrplan.errors import InputError
from cmrplan.files import atomic_write

_METADATA = "cmrplan"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    *,
    step: int,
    domain_sequences: int,
    settings_fingerprint: str,
) -> None:
    """Write the state after ``step`` training steps.

    Parameters
    ----------
    path : Path
        Target; the old checkpoint stays until the new one is complete.
    model : Module
        Its parameters are stored as ``model.<name>``.
    optimizer : AdamW
        Its moments are stored as ``exp_avg.<name>`` and ``exp_avg_sq.<name>``.
    step : int
        Training steps done, which is also AdamW's count.
    domain_sequences : int
        Domain sequences trained on so far.
    settings_fingerprint : str
        Identity of the run's settings.
    """
    tensors = {}
    for name, weight in model.named_parameters():
        tensors[f"model.{name}"] = weight.detach()
        for moment in _MOMENTS:
            if weight in optimizer.state:
                tensors[f"{moment}.{name}"] = optimizer.state[weight][moment]
    metadata = {
        "settings_fingerprint": settings_fingerprint,
        "step": step,
        "domain_sequences": domain_sequences,
    }
    with atomic_write(path) as temporary:
        # one metadata entry: the library writes several in random order
        save_file(tensors, temporary, {_METADATA: json.dumps(metadata)})


def read_metadata(path: Path) -> dict[str, Any]:
    """Return a checkpoint's metadata: ``settings_fingerprint``, ``step``, ``domain_sequences``.

    Raises
    ------
    InputError
        If the file is not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            return json.loads(stream.metadata()[_METADATA])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a readable checkpoint ({error}); delete it") from None


def load_weights(path: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into a model of the same shape."""
    with safe_open(path, framework="pt") as stream, torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(stream.get_tensor(f"model.{name}"))


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.AdamW, *, settings_fingerprint: str
) -> tuple[int, int]:
    """Restore model and optimizer; return the step and the domain sequences so far.

    Raises
    ------
    InputError
        If the checkpoint belongs to a run with other settings.
    """
    metadata = read_metadata(path)
    if metadata["settings_fingerprint"] != settings_fingerprint:
        raise InputError(
            f"{path} belongs to other settings ({metadata['settings_fingerprint']}, not "
            f"{settings_fingerprint}); delete it to start this run anew"
        )
    step = metadata["step"]
    load_weights(path, model)
    with safe_open(path, framework="pt") as stream:
        stored = set(stream.keys())
        for name, weight in model.named_parameters():
            if f"exp_avg.{name}" in stored:
                optimizer.state[weight] = {
                    "step": torch.tensor(float(step), device=weight.device)
                } | {
                    moment: stream.get_tensor(f"{moment}.{name}").to(weight.device)
                    for moment in _MOMENTS
                }
    return step, metadata["domain_sequences"]
