"""The sweep spec is what one YAML file can say, with every default and every check.

A spec names two corpora, a tokenizer, model sizes, how the base models are pre-trained and which
probes continue them. :func:`probes.spec.file.read_spec` reads one from a file; the models here
hold the values and check them. Unknown keys are refused everywhere.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from probes.spec.corpora import CorporaSpec, TokenizerSpec
from probes.spec.fields import (
    Evaluations,
    Flag,
    Fraction,
    Name,
    Natural,
    OpenFraction,
    Positive,
    Spec,
    Tokens,
    Width,
)
from probes.spec.sizes import AnySize, CheckpointSpec
from probes.spec.training import BaseSpec, NumericsSpec, TrainingSpec

MOST_PROBES = 100_000
"""Probes of a sweep, controls left out."""


class GridSpec(Spec):
    """Every combination of ratios, sizes and seeds is a probe."""

    domain_ratio: Annotated[list[Fraction], Field(min_length=1)]
    seed: Annotated[list[Natural], Field(min_length=1)] = Field(default=[0])
    size: Annotated[list[Name], Field(min_length=1)] | None = None
    """Names of sizes; all of them when left out."""


class ProbeSpec(Spec):
    """One probe of ``probes.runs``."""

    domain_ratio: Fraction
    size: Name
    seed: Natural = 0
    train_tokens: Tokens | None = None
    """Tokens of this probe; ``probes.train_tokens`` when left out."""


class ProbesSpec(TrainingSpec):
    """How the probes continue their base, and which probes there are."""

    train_tokens: Tokens
    """Tokens of each probe, domain and general together."""
    evaluations: Evaluations = 8
    """Evaluations after token 0, at log-spaced token counts."""
    first_evaluation_tokens: Tokens | None = None
    """The earliest of them; a sixteenth of ``train_tokens`` when left out."""
    learning_rate: Positive = 1e-3
    warmup_steps: Natural = 10
    schedule: Literal["constant", "averaged", "branches", "cosine"] = "averaged"
    """See :mod:`probes.training.schedule`."""
    decay_share: OpenFraction = 0.2
    """Share of each budget over which a cooldown branch decays, or weights are averaged."""
    separate_runs: Flag = False
    """Whether each budget is a run of its own; always so for ``cosine``."""
    inherit_optimizer: Flag = False
    """Whether a probe starts with the moments of its base's optimizer."""
    grid: GridSpec | None = None
    """The probes as all combinations."""
    runs: Annotated[list[ProbeSpec], Field(min_length=1)] | None = None
    """The probes one by one, instead of a grid."""

    @property
    def has_separate_runs(self) -> bool:
        """Whether each budget is a run of its own."""
        return self.separate_runs or self.schedule == "cosine"

    @model_validator(mode="after")
    def _grid_or_runs(self) -> ProbesSpec:
        if (self.grid is None) == (self.runs is None):
            raise ValueError("give either grid or runs")
        first = self.first_evaluation_tokens
        if first is not None and first > self.train_tokens:
            raise ValueError(
                f"first_evaluation_tokens {first:g} is more than train_tokens {self.train_tokens:g}"
            )
        return self


class SweepSpec(Spec):
    """A whole sweep: the content of one YAML file."""

    name: Name
    corpora: CorporaSpec
    tokenizer: TokenizerSpec = TokenizerSpec()
    sequence_length: Width
    """Tokens predicted in one sequence."""
    batch_size: Width
    """Sequences in one training step."""
    evaluation_sequences: Width = 256
    """Validation sequences per corpus, the same ones for every run and size."""
    sizes: Annotated[list[AnySize], Field(min_length=1)]
    numerics: NumericsSpec = NumericsSpec()
    base: BaseSpec | None = None
    """How sizes without a checkpoint get their base."""
    probes: ProbesSpec

    @model_validator(mode="before")
    @classmethod
    def _checkpoints_bring_their_tokenizer(cls, values: Any) -> Any:
        sizes = values.get("sizes") if isinstance(values, dict) else None
        if not sizes or not isinstance(sizes, list) or "tokenizer" in values:
            return values
        if all(isinstance(size, dict) and "checkpoint" in size for size in sizes):
            return values | {"tokenizer": {"kind": "checkpoint"}}
        return values

    @model_validator(mode="after")
    def _checkpoints_need_no_base(self) -> SweepSpec:
        if self.tokenizer.kind == "checkpoint" and not self.checkpoints:
            raise ValueError("tokenizer: kind checkpoint needs a size with a checkpoint")
        shapes = [size.name for size in self.sizes if size not in self.checkpoints]
        if shapes and self.base is None:
            raise ValueError(f"key 'base' is missing; the size '{shapes[0]}' has no checkpoint")
        if not shapes and self.base is not None:
            raise ValueError(
                "base: every size has a checkpoint, so no base is trained; leave it out"
            )
        if self.probes.inherit_optimizer and self.checkpoints:
            raise ValueError(
                f"probes.inherit_optimizer: the checkpoint of size '{self.checkpoints[0].name}' has no "
                "state of an optimizer; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _processes_share_the_batch(self) -> SweepSpec:
        for size in self.sizes:
            if self.batch_size % size.processes:
                raise ValueError(
                    f"batch_size {self.batch_size} must be a multiple of the {size.processes} processes of "
                    f"size '{size.name}'"
                )
        return self

    @model_validator(mode="after")
    def _averages_in_one_process(self) -> SweepSpec:
        split = next((size for size in self.sizes if size.processes > 1), None)
        if self.probes.schedule == "averaged" and split:
            raise ValueError(
                f"probes.schedule averaged, the default, needs runs of one process, and size '{split.name}' has "
                f"{split.processes}; take branches or constant"
            )
        return self

    @model_validator(mode="after")
    def _size_names(self) -> SweepSpec:
        names = [size.name for size in self.sizes]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"sizes has the name '{twice}' twice")
        if self.probes.grid is not None:
            used = self.probes.grid.size or []
        else:
            used = [probe.size for probe in self.probes.runs or []]
        if unknown := next((name for name in used if name not in names), None):
            raise ValueError(
                f"probes names the size '{unknown}', which sizes does not have: {', '.join(names)}"
            )
        return self

    @model_validator(mode="after")
    def _few_enough_probes(self) -> SweepSpec:
        grid = self.probes.grid
        if grid is not None:
            sizes = len(grid.size or self.sizes)
            count = len(grid.domain_ratio) * len(grid.seed) * sizes
            if count > MOST_PROBES:
                raise ValueError(
                    f"probes.grid: {len(grid.domain_ratio)} ratios, {len(grid.seed)} seeds and {sizes} sizes are "
                    f"{count:,} probes; a sweep has at most {MOST_PROBES:,}"
                )
        return self

    @property
    def checkpoints(self) -> list[CheckpointSpec]:
        """The sizes that start from a checkpoint."""
        return [size for size in self.sizes if isinstance(size, CheckpointSpec)]

    @property
    def step_tokens(self) -> int:
        """Tokens of one training step."""
        return self.batch_size * self.sequence_length
