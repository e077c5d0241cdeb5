"""Causal language models of ``transformers`` come from a checkpoint in a folder or on the hub.

``transformers`` is imported when a checkpoint is read, not before. Nothing here runs code that comes with a
checkpoint, or reads pickle.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmrplan.errors import InputError
from probes.models.checkpoint_files import (
    checkpoint_fingerprint,
    checkpoint_folder,
    read_json_object,
)
from probes.models.counting import count_model_params
from probes.models.source import Pretrained

RANDOM_PARTS = ("drop", "jitter")
"""Words in the names of settings that make a training step random; all of them are set to 0."""


class CausalLM(nn.Module):
    """A model of ``transformers`` that gives logits of tokens.

    Parameters
    ----------
    lm : PreTrainedModel
        The model.
    """

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Return the logits of every next token, shape ``(B, T, V)``."""
        return self.lm(input_ids=tokens_BT, use_cache=False).logits


def read_pretrained(checkpoint: str, revision: str | None = None) -> Pretrained:
    """Describe a checkpoint; all its files are read once, but no weights are loaded.

    Raises
    ------
    InputError
        If it is not there, or no causal language model that can be trained.
    """
    folder = checkpoint_folder(checkpoint, revision)
    skeleton = _skeleton(folder)
    text = skeleton.config.get_text_config()
    return Pretrained(
        checkpoint=checkpoint,
        revision="" if Path(checkpoint).is_absolute() else folder.name,
        fingerprint=checkpoint_fingerprint(folder),
        model_type=skeleton.config.model_type,
        params=count_model_params(skeleton),
        vocab_size=skeleton.get_input_embeddings().weight.shape[0],
        width=text.hidden_size,
        layers=text.num_hidden_layers,
    )


def load_pretrained(source: Pretrained, *, gradient_checkpointing: bool = False) -> CausalLM:
    """Load a checkpoint with float32 weights, ready to be trained.

    Dropout and router noise are off, so that a step depends on weights and tokens alone.

    Raises
    ------
    InputError
        If the checkpoint changed, or does not hold the weights of its architecture.
    """
    folder = checkpoint_folder(source.checkpoint, source.revision or None)
    if (fingerprint := checkpoint_fingerprint(folder)) != source.fingerprint:
        raise InputError(
            f"{source.checkpoint} has changed since the sweep was planned ({fingerprint}, not {source.fingerprint}); "
            "restore it, or choose another output folder"
        )
    config = read_config(folder)
    with transformers_quietly() as transformers:
        try:
            lm, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # of the package, of safetensors, of the disk
            raise InputError(f"{folder} cannot be loaded: {_first_line(error)}") from None
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"{folder} lacks {len(missing)} weights of a {type(lm).__name__}, first {missing[0]}; give a "
            "checkpoint of the whole model"
        )
    for part in lm.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    if gradient_checkpointing:
        # The second name is the older one.
        enable = getattr(lm, "activation_checkpointing_enable", None)
        enable = enable or lm.gradient_checkpointing_enable
        enable({"use_reentrant": False, "preserve_rng_state": False})
    return CausalLM(lm).train()


def read_config(folder: Path) -> Any:
    """Return the configuration of a checkpoint, with everything random switched off.

    Raises
    ------
    InputError
        If it is not that of a causal language model of ``transformers``.
    """
    values = read_json_object(folder / "config.json")
    name = values.get("model_type")
    with transformers_quietly() as transformers:
        if name not in transformers.CONFIG_MAPPING:
            cause = (
                "code of its own, which is never run"
                if "auto_map" in values
                else f"an architecture that transformers {transformers.__version__} does not know"
            )
            raise InputError(
                f"{folder}/config.json: model_type {name!r} needs {cause}; give a checkpoint of an architecture "
                "in transformers, or a newer version of it"
            )
        try:
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # its checks raise errors without a common base
            raise InputError(f"{folder}/config.json: {_first_line(error)}") from None
        known = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
        model = known[type(config)].__name__ if type(config) in known else None
    architectures = values.get("architectures") or [model]
    if model is None or model not in architectures:
        raise InputError(
            f"{folder} holds a {architectures[0] or name}, which is no causal language model; give one that "
            "AutoModelForCausalLM saved"
        )
    if "quantization_config" in values:
        raise InputError(f"{folder} is quantized and cannot be trained; give it unquantized")
    for key, value in values.items():
        if any(word in key for word in RANDOM_PARTS) and isinstance(value, int | float):
            setattr(config, key, 0.0)
    return config


def _skeleton(folder: Path) -> Any:
    """Return the model of a checkpoint without weights."""
    config = read_config(folder)
    with transformers_quietly() as transformers, torch.device("meta"):
        try:
            skeleton = transformers.AutoModelForCausalLM.from_config(
                config, trust_remote_code=False
            )
            skeleton.tie_weights()  # the first versions of 5 leave it out
        except Exception as error:  # settings that do not go together, a package that is missing
            raise InputError(f"{folder} cannot be built: {_first_line(error)}") from None
    if skeleton.get_output_embeddings() is None:
        raise InputError(
            f"{folder}: {type(skeleton).__name__} does not say which part is its output head, so its parameters "
            "cannot be counted; give another architecture"
        )
    return skeleton


@contextmanager
def transformers_quietly() -> Iterator[Any]:
    """Give the package, which says nothing below an error and draws no bar inside the block.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise InputError("a checkpoint needs transformers: pip install 'cmrplan[probes]'") from None
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.ERROR)
    log.disable_progress_bar()
    try:
        yield transformers
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return next(filter(None, str(error).splitlines()), type(error).__name__)
