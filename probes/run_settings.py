"""Everything one run depends on, and the identity that follows from it.

Two runs with the same settings give the same numbers on the same machine, so the settings' hash
names the run: what is finished is never trained again, and a checkpoint of other settings is
refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Literal, NamedTuple

from cmrplan.files import fingerprint
from probes.models.decoder import ModelShape
from probes.models.pretrained import Pretrained, read_pretrained
from probes.models.source import ModelSource, count_params, source_from_dict
from probes.spec.sizes import AnySize, PlacedSpec, SizeSpec
from probes.spec.sweep import SweepSpec
from probes.training.schedule import (
    Leg,
    Schedule,
    evaluation_steps,
    legs,
    trained_steps,
    whole_steps,
)


@dataclass(frozen=True)
class Numerics:
    """How the arithmetic of a run is done; enters its identity, since it moves the last digits.

    Parameters
    ----------
    precision : {"fp64", "fp32", "bf16"}
        Of activations; weights and moments are fp32, or fp64.
    micro_batch_size : int
        Sequences in one forward and backward pass; a step accumulates the gradients of its passes.
    gradient_checkpointing : bool
        Whether activations are computed again in the backward pass to save memory.
    compile : bool
        Whether the model goes through ``torch.compile``.
    cuda_graphs : bool
        Whether a GPU replays the step of built-in decoders as a recorded graph.
    processes : int
        Processes (GPUs) that train one run together, each with a share of every batch.
    sharding : {"none", "replicate", "shard"}
        Whether each of them holds the whole model (DDP) or a part of it (FSDP2).
    """

    precision: Literal["fp64", "fp32", "bf16"]
    micro_batch_size: int
    gradient_checkpointing: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    processes: int = 1
    sharding: Literal["none", "replicate", "shard"] = "none"


@dataclass(frozen=True)
class RunSettings:
    """The settings of one run, base or probe; all of them enter its identity.

    Parameters
    ----------
    stage : {"base", "probe"}
        A base of a shape starts from random weights on the general corpus, that of a checkpoint is
        only evaluated; a probe starts from its base.
    size : str
        Name of the model size in the spec.
    model : ModelSource
        What that size means.
    domain_ratio : float
        Share of training tokens from the domain corpus, 0 to 1.
    seed : int
        Data seed, and seed of the initial weights of a base.
    evaluation_steps : tuple of int
        The steps after which the run evaluates: its budgets.
    schedule : Schedule
        The learning rate; see :mod:`probes.training.schedule`.
    inherits_optimizer : bool
        Whether a probe starts with the moments of its base's optimizer instead of zeros.
    weight_decay, gradient_clip : float
        AdamW's decay of matrices, and the largest gradient norm.
    batch_size, sequence_length : int
        Sequences in a step, and tokens predicted in a sequence.
    evaluation_sequences : int
        Validation sequences per corpus.
    data_fingerprint, tokenizer : str
        Identities of the documents and of the tokenizer.
    base : str
        Id of the base that a probe continues; empty for a base.
    device : str
        ``"cpu"`` or ``"cuda"``.
    numerics : Numerics
        Precision and memory.
    """

    stage: Literal["base", "probe"]
    size: str
    model: ModelSource
    domain_ratio: float
    seed: int
    evaluation_steps: tuple[int, ...]
    schedule: Schedule
    inherits_optimizer: bool
    weight_decay: float
    gradient_clip: float
    batch_size: int
    sequence_length: int
    evaluation_sequences: int
    data_fingerprint: str
    tokenizer: str
    base: str
    device: str
    numerics: Numerics

    @property
    def is_pretrained(self) -> bool:
        """Whether base and probes start with the weights of a checkpoint that was given."""
        return isinstance(self.model, Pretrained)

    @property
    def base_model(self) -> str:
        """What the probe log calls the base of a probe."""
        return self.model.label if isinstance(self.model, Pretrained) else self.base

    @property
    def steps(self) -> int:
        """Steps of the largest budget."""
        return self.evaluation_steps[-1]

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The stretches of training in their order."""
        return legs(self.schedule, self.evaluation_steps)

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return self.batch_size * self.sequence_length

    @property
    def passes(self) -> int:
        """Forward and backward passes of a step, in each process."""
        share = self.batch_size // self.numerics.processes
        return -(-share // self.numerics.micro_batch_size)

    @property
    def train_tokens(self) -> int:
        """Tokens of the largest budget."""
        return self.steps * self.step_tokens

    @property
    def trained_tokens(self) -> int:
        """Tokens that the run trains on, branches included."""
        return trained_steps(self.schedule, self.evaluation_steps) * self.step_tokens

    @property
    def fingerprint(self) -> str:
        """Hash of all settings, 12 hex digits."""
        return fingerprint(asdict(self))

    @property
    def run_id(self) -> str:
        """Name of the run and of its folder."""
        kind = "base" if self.stage == "base" else f"r{self.domain_ratio:g}"
        return f"{self.size}-{kind}-s{self.seed}-{self.fingerprint[:8]}"

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunSettings:
        """Return the settings that :meth:`as_dict` gave."""
        parts = {
            "model": source_from_dict(values["model"]),
            "evaluation_steps": tuple(values["evaluation_steps"]),
            "schedule": Schedule(**values["schedule"]),
            "numerics": Numerics(**values["numerics"]),
        }
        return cls(**(values | parts))


@dataclass(frozen=True)
class DataIdentity:
    """What the runs of a sweep need to know of the prepared corpora to be named.

    Parameters
    ----------
    data_fingerprint : str
        Identity of the documents and their split.
    tokenizer : str
        Identity of the tokenizer.
    vocab_size : int
        Token ids.
    """

    data_fingerprint: str
    tokenizer: str
    vocab_size: int


class PlannedProbe(NamedTuple):
    """One probe of a sweep: the name of its size, its ratio, seed and tokens."""

    size: str
    domain_ratio: float
    seed: int
    train_tokens: float


def planned_probes(spec: SweepSpec) -> list[PlannedProbe]:
    """Return every probe, controls included, each once.

    Ratios 0 and 1 are added for every size and seed in use: they are the controls that tell
    forgetting from continued training.
    """
    tokens = spec.probes.train_tokens
    if spec.probes.grid is not None:
        grid = spec.probes.grid
        sizes = grid.size or [size.name for size in spec.sizes]
        combinations = product(sizes, grid.domain_ratio, grid.seed)
        chosen = {PlannedProbe(*combination, tokens) for combination in combinations}
    else:
        chosen = {
            PlannedProbe(run.size, run.domain_ratio, run.seed, run.train_tokens or tokens)
            for run in spec.probes.runs or []
        }
    controls = {
        PlannedProbe(probe.size, ratio, probe.seed, tokens)
        for probe in chosen
        for ratio in (0.0, 1.0)
    }
    order = {size.name: place for place, size in enumerate(spec.sizes)}
    return sorted(
        chosen | controls,
        key=lambda probe: (order[probe.size], probe.seed, probe.domain_ratio, probe.train_tokens),
    )


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
    """Return the runs of a probe: one with all its budgets, or one a budget.

    Each probe evaluates equally often, from the same tokens on.
    """
    first = spec.probes.first_evaluation_tokens or spec.probes.train_tokens / 16
    if first >= probe.train_tokens != spec.probes.train_tokens:
        first = probe.train_tokens / 2
    steps = evaluation_steps(
        probe.train_tokens,
        spec.step_tokens,
        evaluations=spec.probes.evaluations,
        first_tokens=first,
    )
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
            spec.probes.decay_share if spec.probes.schedule == "branches" else 0.0,
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
    # two passes, which two cores can do side by side
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
