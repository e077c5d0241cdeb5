"""The settings of a run hold everything it depends on, and its identity follows from them.

Two runs with the same settings give the same numbers on the same machine, so the settings' hash
names the run: what is finished is never trained again, and a checkpoint of other settings is
refused.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, Literal

from cmrplan.files import fingerprint
from probes.models.source import ModelSource, Pretrained, source_from_dict
from probes.training.schedule import Schedule, Segment, segments, trained_steps


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
    def segments(self) -> tuple[Segment, ...]:
        """The segments of training in their order."""
        return segments(self.schedule, self.evaluation_steps)

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
        """Tokens that the run trains on, cooldown branches included."""
        return trained_steps(self.schedule, self.evaluation_steps) * self.step_tokens

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all settings, 12 hex digits."""
        return fingerprint(self.as_dict())

    @property
    def short_name(self) -> str:
        """Size, ratio and seed, which are known before the corpora are prepared."""
        kind = "base" if self.stage == "base" else f"r{self.domain_ratio:g}"
        return f"{self.size}-{kind}-s{self.seed}"

    @property
    def run_id(self) -> str:
        """Name of the run and of its folder."""
        return f"{self.short_name}-{self.fingerprint[:8]}"

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return _plain(self)

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


def _plain(settings: Any) -> dict[str, Any]:
    """Return what ``asdict`` does; nothing is copied, which is most of its time."""
    parts = ((part.name, getattr(settings, part.name)) for part in fields(settings))
    return {name: _plain(part) if is_dataclass(part) else part for name, part in parts}
