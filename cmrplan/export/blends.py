"""Frameworks that read corpora tokenized beforehand: sequences of one length, so a weight is a share of tokens."""

from __future__ import annotations

import shlex
from typing import Any

from cmrplan.errors import InputError
from cmrplan.export.request import ExportRequest
from cmrplan.export.target import ExportTarget, TrainerSettings, yaml_text
from cmrplan.numbers import compact

RESERVED_BY_AUTOMODEL = "weighted"


def _repeats(request: ExportRequest) -> str:
    tokens = compact(request.planned.train_tokens)
    return f"Corpora are repeated without a word until the run ends: train for {tokens} tokens and no more"


def _blend(request: ExportRequest) -> list[str]:
    """Return weights and paths by turns, as Megatron's ``get_blend_from_list`` takes them."""
    return [
        text for name, share in request.shares.items() for text in (str(share), request.path(name))
    ]


def _megatron(request: ExportRequest) -> TrainerSettings:
    text = shlex.join(["--data-path", *_blend(request)]) + "\n"
    notes = (
        "Weights and prefixes by turns; a list of odd length would be read as prefixes without weights",
        "--train-data-path takes the same list; a file for --data-args-path is split at spaces, so it has the weights "
        "and prefixes alone: no --data-path, no comments, no quotes",
        _repeats(request),
    )
    return TrainerSettings(request.shares, text, notes)


def _megatron_bridge(request: ExportRequest) -> TrainerSettings:
    content = {"dataset": {"data_path": _blend(request)}}
    notes = (
        "data_path of GPTDatasetConfig; source_weights and manifests of SFT count passes and rows, not sequences",
        _repeats(request),
    )
    return TrainerSettings(request.shares, yaml_text(content), notes)


def _nemo_automodel(request: ExportRequest) -> TrainerSettings:
    shares = request.shares
    if RESERVED_BY_AUTOMODEL in shares:
        raise InputError(
            f"nemo-automodel keeps the name {RESERVED_BY_AUTOMODEL!r} for itself; rename the corpus in the log, or "
            "give --to megatron"
        )
    content: dict[str, Any] = {"dataset": {"paths": _blend(request)}}
    notes = ["Both lists have to stay in the same order, and paths cannot be a JSON file"]
    if len(shares) > 1:
        content["domain_mixture"] = {
            "domains": [
                {
                    "name": name,
                    "path": request.path(name),
                    "sampling_weight": share,
                    "objective_weight": share,
                }
                for name, share in shares.items()
            ]
        }
        notes += [
            "Equal sampling and objective weights leave every token its weight in the loss",
            "Each domain needs a validation_dataset_NAME; where sequences are packed, or in pipeline or context "
            "parallel, leave domain_mixture out: paths alone set the mixture",
        ]
    return TrainerSettings(shares, yaml_text(content), (*notes, _repeats(request)))


def _nanotron(request: ExportRequest) -> TrainerSettings:
    shares = request.shares
    dataset = {
        "dataset_folder": [request.path(name) for name in shares],
        "dataset_weights": list(shares.values()),
    }
    stage = {
        "name": "Continual pre-training",
        "start_training_step": 1,
        "data": {"dataset": dataset, "num_loading_workers": 1, "seed": request.seed},
    }
    notes = (
        "Two lists of the same order; the mapping of paths to weights in older documentation is refused",
        _repeats(request),
    )
    return TrainerSettings(shares, yaml_text({"data_stages": [stage]}), notes)


BLEND_TARGETS = (
    ExportTarget("megatron", "Megatron-LM, --data-path", "sequence", ".txt", _megatron),
    ExportTarget(
        "megatron-bridge",
        "Megatron-Bridge, GPTDatasetConfig",
        "sequence",
        ".yaml",
        _megatron_bridge,
    ),
    ExportTarget(
        "nemo-automodel",
        "NeMo AutoModel, MegatronPretraining",
        "sequence",
        ".yaml",
        _nemo_automodel,
    ),
    ExportTarget("nanotron", "nanotron, Nanosets", "sequence", ".yaml", _nanotron),
)
