"""A spec asks for runs: the base of each size, and every probe with its controls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from probes.data.prepared import DataIdentity
from probes.models.pretrained import read_pretrained
from probes.models.source import ModelShape, ModelSource, count_params
from probes.planned_probes import PlannedProbe, planned_probes, probe_steps
from probes.run_settings import Numerics, RunSettings
from probes.spec.sizes import AnySize, PlacedSpec, SizeSpec
from probes.spec.sweep import SweepSpec
from probes.training.schedule import Schedule, whole_steps

WITH_SHARE = ("averaged", "branches")
"""Schedules that read ``decay_share``."""


def sweep_settings(
    spec: SweepSpec, data: DataIdentity, *, device: str = "cpu"
) -> tuple[dict[str, RunSettings], list[RunSettings]]:
    """Return the settings of the base of each size in use, and of every probe.

    Raises
    ------
    InputError
        If the evaluations do not fit in the probes' steps, or a checkpoint is not there.
    """
    probes = planned_probes(spec)
    used = {probe.size for probe in probes}
    bases = {
        size.name: _base_settings(spec, size, data, device)
        for size in spec.sizes
        if size.name in used
    }
    settings = [one for probe in probes for one in _probe_settings(spec, probe, bases[probe.size])]
    return bases, list(dict.fromkeys(settings))  # budgets that round to the same steps are one run


def _probe_settings(spec: SweepSpec, probe: PlannedProbe, base: RunSettings) -> list[RunSettings]:
    """Return the runs of a probe: one with all its budgets, or one a budget."""
    steps = probe_steps(spec, probe)
    settings = replace(
        base,
        stage="probe",
        domain_ratio=probe.domain_ratio,
        seed=probe.seed,
        evaluation_steps=steps,
        schedule=Schedule(
            spec.probes.schedule,
            spec.probes.learning_rate,
            spec.probes.warmup_steps,
            spec.probes.decay_share if spec.probes.schedule in WITH_SHARE else 0.0,
        ),
        inherits_optimizer=spec.probes.inherit_optimizer,
        weight_decay=spec.probes.weight_decay,
        gradient_clip=spec.probes.gradient_clip,
        base=base.run_id,
    )
    if spec.probes.has_separate_runs:
        return [replace(settings, evaluation_steps=(step,)) for step in steps]
    return [settings]


def base_tokens(spec: SweepSpec, size: SizeSpec, vocab_size: int) -> float:
    """Return how many tokens the base of a size is pre-trained on."""
    assert spec.base is not None  # the spec's own checks
    if spec.base.train_tokens is not None:
        return spec.base.train_tokens
    assert spec.base.tokens_per_param is not None
    return spec.base.tokens_per_param * count_params(model_source(size, vocab_size)).non_embedding


def model_source(size: AnySize, vocab_size: int) -> ModelSource:
    """Return the model of a size: with a tokenizer's vocabulary, or as its checkpoint has it."""
    if not isinstance(size, SizeSpec):
        return read_pretrained(size.checkpoint, size.revision)
    return ModelShape(
        **size.model_dump(exclude=set(PlacedSpec.model_fields)), vocab_size=vocab_size
    )


def _base_settings(spec: SweepSpec, size: AnySize, data: DataIdentity, device: str) -> RunSettings:
    if not isinstance(size, SizeSpec):
        return RunSettings(
            stage="base",
            domain_ratio=0.0,
            seed=0,
            evaluation_steps=(0,),
            schedule=Schedule("constant", 0.0, 0),
            inherits_optimizer=False,
            weight_decay=0.0,
            gradient_clip=1.0,
            base="",
            **_common(spec, size, data, device),
        )
    assert spec.base is not None  # the spec's own checks
    steps = whole_steps(base_tokens(spec, size, data.vocab_size), spec.step_tokens)
    return RunSettings(
        stage="base",
        domain_ratio=0.0,
        seed=spec.base.seed,
        evaluation_steps=(steps,),
        schedule=Schedule(
            "branches" if spec.base.cooldown_share else "constant",
            spec.base.learning_rate,
            spec.base.warmup_steps,
            spec.base.cooldown_share,
        ),
        inherits_optimizer=False,
        weight_decay=spec.base.weight_decay,
        gradient_clip=spec.base.gradient_clip,
        base="",
        **_common(spec, size, data, device),
    )


def _common(spec: SweepSpec, size: AnySize, data: DataIdentity, device: str) -> dict[str, Any]:
    return {
        "size": size.name,
        "model": model_source(size, data.vocab_size),
        "batch_size": spec.batch_size,
        "sequence_length": spec.sequence_length,
        "evaluation_sequences": spec.evaluation_sequences,
        "data_fingerprint": data.data_fingerprint,
        "tokenizer": data.tokenizer,
        "device": device,
        "numerics": _numerics(spec, size, device),
    }


def _numerics(spec: SweepSpec, size: AnySize, device: str) -> Numerics:
    asked = spec.numerics
    share = spec.batch_size // size.processes
    # A decoder on a CPU takes two passes by default, which two cores can do side by side.
    default = -(-share // 2) if device == "cpu" and isinstance(size, SizeSpec) else share
    micro_batch_size = size.micro_batch_size or asked.micro_batch_size or default
    return Numerics(
        precision=asked.precision or ("bf16" if device == "cuda" else "fp32"),
        micro_batch_size=min(micro_batch_size, share),
        processes=size.processes,
        sharding=size.sharding if size.processes > 1 else "none",
        gradient_checkpointing=asked.gradient_checkpointing,
        compile=asked.compile,
        cuda_graphs=asked.cuda_graphs and device == "cuda",
    )
