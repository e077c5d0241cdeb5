"""The probes that a spec asks for, controls included; who asks for no more than that does not wait for torch."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from probes.spec.sweep import SweepSpec
from probes.training.schedule import evaluation_steps, whole_steps


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
    order = {size.name: number for number, size in enumerate(spec.sizes)}
    return sorted(
        chosen | controls,
        key=lambda probe: (order[probe.size], probe.seed, probe.domain_ratio, probe.train_tokens),
    )


def probe_steps(spec: SweepSpec, probe: PlannedProbe) -> tuple[int, ...]:
    """Return the steps at which a probe evaluates: equally often for each, from the same tokens on."""
    first = spec.probes.first_evaluation_tokens or spec.probes.train_tokens / 16
    if first >= probe.train_tokens != spec.probes.train_tokens:
        first = probe.train_tokens / 2
    return evaluation_steps(
        probe.train_tokens,
        spec.step_tokens,
        evaluations=spec.probes.evaluations,
        first_tokens=first,
    )


def run_tokens(spec: SweepSpec, probe: PlannedProbe) -> tuple[int, ...]:
    """Return the training tokens of each run of a probe: of one alone, or of one a budget."""
    if spec.probes.has_separate_runs:
        return tuple(step * spec.step_tokens for step in probe_steps(spec, probe))
    return (whole_steps(probe.train_tokens, spec.step_tokens) * spec.step_tokens,)
