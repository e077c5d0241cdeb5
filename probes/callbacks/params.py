"""The parameters of a model are counted here where the description of its run does not say them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.callbacks.description import ProbeRun

if TYPE_CHECKING:
    from torch import nn


def with_counted_params(run: ProbeRun, model: nn.Module) -> ProbeRun:
    """Return the run with ``model_params`` and ``params_total`` counted, unless it has its own."""
    if run.model_params is not None:
        return run
    from probes.models.counting import count_model_params

    params = count_model_params(model)
    counted = params.total if run.params_kind == "total" else params.non_embedding
    return run.completed(model_params=counted, params_total=params.total)
