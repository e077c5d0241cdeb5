"""Frameworks that count passes over each corpus: the planned tokens of a corpus are divided by its unique tokens."""

from __future__ import annotations

import json
import math

from cmrplan.export.request import EXPORTED_DIGITS, ExportRequest
from cmrplan.export.target import ExportTarget, TrainerSettings, yaml_text


def _axolotl(request: ExportRequest) -> TrainerSettings:
    passes = request.all_passes("axolotl")
    entries = [
        {"path": request.path(name), "type": "completion", "weight": weight}
        for name, number in passes.items()
        for weight in _listed_weights(number)
    ]
    content = {"datasets": entries, "num_epochs": 1, "streaming": False}
    notes = (
        "A weight is the part of the rows of a corpus, at most 1; a corpus with more passes is listed again",
        "num_epochs has to stay 1: all passes stand in the weights",
        "Weights do nothing when streaming, and pretraining_dataset has none",
    )
    return TrainerSettings(passes, yaml_text(content), notes)


def _listed_weights(passes: float) -> list[float]:
    """Return the weights in (0, 1] that sum to a number of passes."""
    whole = math.floor(passes)
    rest = round(passes - whole, EXPORTED_DIGITS)
    return [1.0] * whole + ([rest] if rest > 0 else [])


def _megatron_bridge_sft(request: ExportRequest) -> TrainerSettings:
    passes = request.all_passes("megatron-bridge-sft")
    content = {
        "dataset": {
            "source": [
                {"path_or_dataset": request.path(name), "split": "train"} for name in passes
            ],
            "source_weights": list(passes.values()),
            "blend_seed": request.seed,
        }
    }
    notes = [
        "source_weights of DirectHFSFTDatasetConfig count passes over each source; train for one epoch of the blend",
        "A list of sources needs validation_source and test_source as well",
    ]
    if request.shares.keys() <= request.row_tokens.keys():
        rows = request.row_weights("megatron-bridge-sft")
        listed = [text for name in rows for text in (str(rows[name]), request.path(name))]
        notes.append(
            f"A manifest of GPTSFTDatasetConfig counts rows instead: {json.dumps({'train': listed})}"
        )
    return TrainerSettings(passes, yaml_text(content), tuple(notes))


PASS_TARGETS = (
    ExportTarget("axolotl", "axolotl, datasets", "pass", ".yaml", _axolotl),
    ExportTarget(
        "megatron-bridge-sft",
        "Megatron-Bridge, DirectHFSFTDatasetConfig",
        "pass",
        ".yaml",
        _megatron_bridge_sft,
    ),
)
