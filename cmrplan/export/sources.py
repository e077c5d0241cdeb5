"""Frameworks that list named sources, each with its share of the tokens or of packed sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cmrplan.errors import InputError
from cmrplan.export.request import ExportRequest
from cmrplan.export.target import ExportTarget, TrainerSettings, yaml_text
from cmrplan.numbers import compact

SMALLEST_BLOCK, LARGEST_BLOCK = 2**11, 2**15  # levanter's default, and the last that it takes
_REPETITION_UNIT = 100  # passes that the plan does not bound are rounded up to hundredths


def _torchtitan(request: ExportRequest) -> TrainerSettings:
    sources = "".join(
        f"        HFDataSource(dataset={name!a}, dataset_path={request.path(name)!a}, weight={share}, "
        "infinite=True),\n"
        for name, share in request.shares.items()
    )
    text = f"""from torchtitan.hf_datasets.text_datasets import HFDataSource, InterleavedHuggingFaceTextDataLoader

dataloader = InterleavedHuggingFaceTextDataLoader.Config(
    sources=[
{sources}    ],
    seed={request.seed},
    stopping_strategy="all_exhausted",
)
"""
    notes = (
        "Each dataset has to be a key of DATASETS in torchtitan.hf_datasets.text_datasets, with its loader",
        "infinite is the same for all sources; corpora are repeated until training.steps, so end the run at "
        f"{compact(request.planned.train_tokens)} tokens",
        "stopping_strategy has other words here than in Hugging Face datasets",
    )
    return TrainerSettings(request.shares, text, notes)


def _olmo_core(request: ExportRequest) -> TrainerSettings:
    passes = {name: _allowed_passes(request, name) for name in request.shares}
    sources = [
        {
            "source_name": name,
            "target_ratio": share,
            "paths": [request.path(name)],
            "max_repetition_ratio": max(1.0, passes[name]),
            "max_source_fraction": min(1.0, passes[name]),
        }
        for name, share in request.shares.items()
    ]
    tokens = round(request.planned.train_tokens)
    notes = (
        "source_list=SourceMixtureList.from_yaml(THIS FILE) of a SourceMixtureDatasetConfig with "
        f"requested_tokens={tokens}",
        "A corpus that is too small for its ratio is an error there unless max_repetition_ratio suffices",
        "MixingTokenSourceSpec says ratio and max_repetition_factor for the same",
    )
    return TrainerSettings(request.shares, yaml_text({"sources": sources}), notes)


def _allowed_passes(request: ExportRequest, name: str) -> float:
    """Return the passes that the plan allows over a corpus; over one that it does not bound those that are needed."""
    allowed = request.planned.max_epochs.get(name)
    if allowed is not None:
        return allowed
    needed = request.passes.get(name, 1.0)
    return max(1.0, math.ceil(needed * _REPETITION_UNIT) / _REPETITION_UNIT)


def _levanter(request: ExportRequest) -> TrainerSettings:
    shares = request.shares
    block = SMALLEST_BLOCK
    while _largest_error(shares, block) > request.share_tolerance:
        block *= 2
        if block > LARGEST_BLOCK:
            raise InputError(
                f"levanter cannot keep the shares within {request.share_tolerance:g}: of {LARGEST_BLOCK} sequences it "
                f"misses one by {_largest_error(shares, LARGEST_BLOCK):.2g}; give a larger --share-tolerance"
            )
    content = {
        "data": {
            "components": {name: {"cache_dir": request.path(name)} for name in shares},
            "train_weights": shares,
            "stop_strategy": "restart",
            "mixture_block_size": block,
        }
    }
    achieved = levanter_shares(shares, block)
    listed = ", ".join(f"{name} {share:.6g}" for name, share in achieved.items())
    notes = [
        f"Of every {block} sequences each corpus gets a whole number, the largest the rest: {listed}",
        f"Corpora restart without a word: train for {compact(request.planned.train_tokens)} tokens and no more",
    ]
    never = [name for name, share in achieved.items() if not share]
    if never:
        notes.append(f"{', '.join(never)}: the share is below one sequence, so none is ever drawn")
    return TrainerSettings(shares, yaml_text(content), tuple(notes), achieved)


def levanter_shares(shares: Mapping[str, float], block: int) -> dict[str, float]:
    """Return the shares that levanter makes: whole sequences of a block, cut off, and the rest to the largest.

    Examples
    --------
    >>> levanter_shares({"a": 0.9996, "b": 0.0004}, 2048)
    {'a': 1.0, 'b': 0.0}
    """
    counts = {name: int(share * block) for name, share in shares.items()}
    largest = max(counts, key=lambda name: counts[name])
    counts[largest] += block - sum(counts.values())
    return {name: count / block for name, count in counts.items()}


def _largest_error(shares: Mapping[str, float], block: int) -> float:
    achieved = levanter_shares(shares, block)
    return max(abs(achieved[name] - share) for name, share in shares.items())


SOURCE_TARGETS = (
    ExportTarget(
        "torchtitan",
        "torchtitan, InterleavedHuggingFaceTextDataLoader",
        "sequence",
        ".py",
        _torchtitan,
    ),
    ExportTarget("olmo-core", "OLMo-core, SourceMixtureList", "token", ".yaml", _olmo_core),
    ExportTarget("levanter", "levanter, LmDataConfig", "sequence", ".yaml", _levanter),
)
