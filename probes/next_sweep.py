"""The next sweep trains the probes that the planner names, in the folder of the sweep before it."""

from __future__ import annotations

from collections.abc import Iterable

from cmrplan.arrays import SAME_SIZE
from cmrplan.design.next_probes import NextProbe
from cmrplan.errors import InputError
from probes.checkpoint_checks import spec_vocab_size
from probes.models.source import count_params
from probes.planned_runs import model_source
from probes.spec.sweep import ProbeSpec, SweepSpec


def sizes_of(spec: SweepSpec, *, is_total: bool) -> tuple[float, ...]:
    """Return the parameters of the sizes that a sweep can train, with or without embeddings."""
    vocab_size = spec_vocab_size(spec)
    counts = [count_params(model_source(size, vocab_size)) for size in spec.sizes]
    return tuple(float(count.total if is_total else count.non_embedding) for count in counts)


def sweep_of(spec: SweepSpec, probes: Iterable[NextProbe]) -> SweepSpec:
    """Return the sweep that the log came from with other runs.

    Run in the folder of that sweep, it trains the new runs alone: base and controls are there.

    Raises
    ------
    InputError
        If a probe has a size that the sweep lacks.
    """
    vocab_size = spec_vocab_size(spec)
    counts = {size.name: count_params(model_source(size, vocab_size)) for size in spec.sizes}

    def name_of(model_params: float) -> str:
        for name, count in counts.items():
            if any(
                abs(known / model_params - 1) <= SAME_SIZE
                for known in (count.non_embedding, count.total)
            ):
                return name
        known = ", ".join(f"{name} with {count.non_embedding}" for name, count in counts.items())
        raise InputError(
            f"the sweep {spec.name} has no size of {model_params:.6g} parameters; its sizes: {known}"
        )

    runs = [
        ProbeSpec(
            domain_ratio=probe.domain_ratio,
            size=name_of(probe.model_params),
            seed=probe.seed,
            train_tokens=probe.train_tokens,
        )
        for probe in probes
    ]
    return spec.model_copy(
        update={"probes": spec.probes.model_copy(update={"grid": None, "runs": runs})}
    )
