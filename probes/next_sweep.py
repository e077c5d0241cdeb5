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
    return tuple(_params_by_size(spec, is_total=is_total).values())


def sweep_of(spec: SweepSpec, probes: Iterable[NextProbe], *, is_total: bool) -> SweepSpec:
    """Return the sweep that the log came from with other runs.

    Run in the folder of that sweep, it trains the new runs alone: base and controls are there.

    Parameters
    ----------
    spec : SweepSpec
        The sweep.
    probes : iterable of NextProbe
        The runs that it is to have.
    is_total : bool
        Whether their sizes are counted with embeddings, as the log says; of one sweep, the one count
        of a size may be the other count of another.

    Raises
    ------
    InputError
        If a probe has a size that the sweep lacks.
    """
    params = _params_by_size(spec, is_total=is_total)

    def name_of(model_params: float) -> str:
        nearest = min(params, key=lambda name: abs(params[name] / model_params - 1))
        if abs(params[nearest] / model_params - 1) <= SAME_SIZE:
            return nearest
        known = ", ".join(f"{name} with {count:.0f}" for name, count in params.items())
        counted = "with" if is_total else "without"
        raise InputError(
            f"the sweep {spec.name} has no size of {model_params:.6g} parameters; its sizes, counted {counted} "
            f"embeddings: {known}"
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


def _params_by_size(spec: SweepSpec, *, is_total: bool) -> dict[str, float]:
    vocab_size = spec_vocab_size(spec)
    counts = {size.name: count_params(model_source(size, vocab_size)) for size in spec.sizes}
    return {
        name: float(count.total if is_total else count.non_embedding)
        for name, count in counts.items()
    }
