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
from probes.models.decoder import ModelShape, count_params
from probes.spec.sizes import SizeSpec
from probes.spec.sweep import SweepSpec
from probes.training.schedule import evaluation_steps, whole_steps


@dataclass(frozen=True)
class RunSettings:
    """The settings of one run, base or probe; all of them enter its identity.

    Parameters
    ----------
    stage : {"base", "probe"}
        A base starts from random weights on the general corpus, a probe from its base.
    size : str
        Name of the model size in the spec.
    shape : ModelShape
        What that size means.
    domain_ratio : float
        Share of training tokens from the domain corpus, 0 to 1.
    seed : int
        Data seed, and seed of the initial weights of a base.
    steps, evaluation_steps : int, tuple of int
        Training steps, and the steps after which the run evaluates.
    learning_rate, warmup_steps, cooldown_share : float, int, float
        Peak learning rate and its schedule; see :func:`probes.training.schedule.learning_rate_factor`.
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
        ``"cpu"`` (fp32) or ``"cuda"`` (bf16 autocast).
    """

    stage: Literal["base", "probe"]
    size: str
    shape: ModelShape
    domain_ratio: float
    seed: int
    steps: int
    evaluation_steps: tuple[int, ...]
    learning_rate: float
    warmup_steps: int
    cooldown_share: float
    weight_decay: float
    gradient_clip: float
    batch_size: int
    sequence_length: int
    evaluation_sequences: int
    data_fingerprint: str
    tokenizer: str
    base: str
    device: str

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return self.batch_size * self.sequence_length

    @property
    def train_tokens(self) -> int:
        """Tokens of the whole run."""
        return self.steps * self.step_tokens

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
        shape = ModelShape(**values["shape"])
        steps = tuple(values["evaluation_steps"])
        return cls(**(values | {"shape": shape, "evaluation_steps": steps}))


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
        If the evaluations do not fit in the probes' steps.
    """
    probes = planned_probes(spec)
    used = {probe.size for probe in probes}
    bases = {
        size.name: _base_settings(spec, size, data, device)
        for size in spec.sizes
        if size.name in used
    }
    settings = [_probe_settings(spec, probe, bases[probe.size]) for probe in probes]
    return bases, list(dict.fromkeys(settings))  # budgets that round to the same steps are one run


def _probe_settings(spec: SweepSpec, probe: PlannedProbe, base: RunSettings) -> RunSettings:
    """Return the settings of a probe; each evaluates equally often, from the same tokens on."""
    first = spec.probes.first_evaluation_tokens or spec.probes.train_tokens / 16
    if first >= probe.train_tokens != spec.probes.train_tokens:
        first = probe.train_tokens / 2
    steps = evaluation_steps(
        probe.train_tokens,
        spec.step_tokens,
        evaluations=spec.probes.evaluations,
        first_tokens=first,
    )
    return replace(
        base,
        stage="probe",
        domain_ratio=probe.domain_ratio,
        seed=probe.seed,
        steps=steps[-1],
        evaluation_steps=steps,
        learning_rate=spec.probes.learning_rate,
        warmup_steps=spec.probes.warmup_steps,
        cooldown_share=0.0,
        weight_decay=spec.probes.weight_decay,
        gradient_clip=spec.probes.gradient_clip,
        base=base.run_id,
    )


def base_tokens(spec: SweepSpec, size: SizeSpec, vocab_size: int) -> float:
    """Return how many tokens the base of a size is pre-trained on."""
    if spec.base.train_tokens is not None:
        return spec.base.train_tokens
    return spec.base.tokens_per_param * count_params(model_shape(size, vocab_size)).non_embedding


def model_shape(size: SizeSpec, vocab_size: int) -> ModelShape:
    """Return the model of a size with a tokenizer's vocabulary."""
    return ModelShape(**size.model_dump(exclude={"name"}), vocab_size=vocab_size)


def _base_settings(spec: SweepSpec, size: SizeSpec, data: DataIdentity, device: str) -> RunSettings:
    steps = whole_steps(base_tokens(spec, size, data.vocab_size), spec.step_tokens)
    return RunSettings(
        stage="base",
        domain_ratio=0.0,
        seed=spec.base.seed,
        steps=steps,
        evaluation_steps=(steps,),
        learning_rate=spec.base.learning_rate,
        warmup_steps=spec.base.warmup_steps,
        cooldown_share=spec.base.cooldown_share,
        weight_decay=spec.base.weight_decay,
        gradient_clip=spec.base.gradient_clip,
        base="",
        **_common(spec, size, data, device),
    )


def _common(spec: SweepSpec, size: SizeSpec, data: DataIdentity, device: str) -> dict[str, Any]:
    return {
        "size": size.name,
        "shape": model_shape(size, data.vocab_size),
        "batch_size": spec.batch_size,
        "sequence_length": spec.sequence_length,
        "evaluation_sequences": spec.evaluation_sequences,
        "data_fingerprint": data.data_fingerprint,
        "tokenizer": data.tokenizer,
        "device": device,
    }
