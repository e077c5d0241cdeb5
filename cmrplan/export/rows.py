"""Frameworks that draw rows: the share of tokens is divided by the mean tokens of a row."""

from __future__ import annotations

import json

from cmrplan.errors import InputError
from cmrplan.export.request import ExportRequest
from cmrplan.export.target import ExportTarget, TrainerSettings, yaml_text
from cmrplan.numbers import compact


def _end_of_run(request: ExportRequest) -> str:
    return (
        f"End the run at {compact(request.planned.train_tokens)} tokens (max_steps): corpora are repeated until then, "
        "and beyond it more often than planned"
    )


def _hugging_face(request: ExportRequest) -> TrainerSettings:
    weights = request.row_weights("hf")
    paths = "".join(f"    {request.path(name)!a},\n" for name in weights)
    text = f"""from datasets import interleave_datasets, load_dataset

paths = [
{paths}]
train = interleave_datasets(
    [load_dataset(path, split="train", streaming=True).repeat(None) for path in paths],
    probabilities={list(weights.values())},
    seed={request.seed},
    stopping_strategy="all_exhausted",
)
"""
    notes = (
        _end_of_run(request),
        "repeat(None) begins a corpus again when it ends; without it all_exhausted would end the run once every corpus "
        "was passed over, and first_exhausted with the first",
    )
    return TrainerSettings(weights, text, notes)


def _llama_factory(request: ExportRequest) -> TrainerSettings:
    weights = request.row_weights("llama-factory")
    for name in weights:
        if "," in name or name != name.strip():
            raise InputError(
                f"llama-factory separates names by commas and cannot take the corpus {name!r}; rename the corpus in "
                "the log, or give --to hf"
            )
    content = {
        "stage": "pt",
        "dataset": ",".join(weights),
        "mix_strategy": "interleave_over",
        "interleave_probs": ",".join(str(weight) for weight in weights.values()),
        "packing": True,
    }
    entries = json.dumps(
        {name: {"file_name": request.path(name), "columns": {"prompt": "text"}} for name in weights}
    )
    notes = (
        f"In dataset_info.json, where prompt names the field that has a document: {entries}",
        "Without packing, a row counts no more tokens than cutoff_len: give the mean after that cut",
        "mix_strategy concat, the default, refuses interleave_probs; every epoch has the same order",
        _end_of_run(request),
    )
    return TrainerSettings(weights, yaml_text(content), notes)


def _mosaicml_streaming(request: ExportRequest) -> TrainerSettings:
    weights = request.row_weights("mosaicml-streaming")
    samples = round(request.planned.train_tokens / request.tokens_of_a_row(weights))
    streams = "".join(
        f"    Stream(local={request.path(name)!a}, proportion={weight}),\n"
        for name, weight in weights.items()
    )
    text = f"""from streaming import Stream, StreamingDataset

streams = [
{streams}]
train = StreamingDataset(
    streams=streams,
    epoch_size={samples},
    shuffle=True,
    shuffle_seed={request.seed},
)
"""
    notes = (
        f"A sample is a row; one epoch of {samples:,} samples is the run of "
        f"{compact(request.planned.train_tokens)} tokens",
        "Every stream needs its proportion; repeat counts passes and cannot stand beside it",
    )
    return TrainerSettings(weights, text, notes)


ROW_TARGETS = (
    ExportTarget("hf", "Hugging Face datasets, interleave_datasets", "row", ".py", _hugging_face),
    ExportTarget("llama-factory", "LLaMA-Factory, data arguments", "row", ".yaml", _llama_factory),
    ExportTarget(
        "mosaicml-streaming",
        "MosaicML Streaming, StreamingDataset",
        "row",
        ".py",
        _mosaicml_streaming,
    ),
)
