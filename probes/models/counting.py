"""The parameters of any torch language model are counted here as the probe log counts them."""

from __future__ import annotations

from torch import nn

from cmrplan.errors import InputError
from probes.models.source import ParamCount


def count_model_params(model: nn.Module) -> ParamCount:
    """Return all parameters, and those outside embeddings and output head; each counted once.

    What is left out are the tables of all ``nn.Embedding`` (positions too, as in arXiv:2001.08361) and the
    head that ``get_output_embeddings()`` of the model, or of the first part that has it, names.

    Raises
    ------
    InputError
        If nothing names the head.
    """
    heads = [getattr(part, "get_output_embeddings", None) for part in model.modules()]
    name_head = next((name_head for name_head in heads if name_head is not None), None)
    if name_head is None:
        raise InputError(
            f"model_params cannot be counted: {type(model).__name__} has no get_output_embeddings(), so its output "
            "head is not known; give model_params in the ProbeRun"
        )
    head = name_head()
    tables = [part for part in model.modules() if isinstance(part, nn.Embedding)]
    left_out = {
        id(parameter)
        for part in [*tables, *([] if head is None else [head])]
        for parameter in part.parameters()
    }
    total = non_embedding = 0
    for parameter in model.parameters():
        # A parameter that DeepSpeed has sharded keeps its full size in ds_numel.
        size = int(getattr(parameter, "ds_numel", parameter.numel()))
        total += size
        non_embedding += 0 if id(parameter) in left_out else size
    return ParamCount(total, non_embedding)
