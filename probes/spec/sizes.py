"""The model sizes of a spec are built-in decoders by their shape, or checkpoints that somebody trained."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, model_validator

from probes.spec.fields import Count, Flag, Name, Spec, Text, Width

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""What an id of the Hugging Face hub looks like: owner/name."""


class PlacedSpec(Spec):
    """What every size says: its name, and how its runs fit on the machine."""

    name: Name
    micro_batch_size: Width | None = None
    """Sequences in one forward and backward pass of a process; that of ``numerics`` when left out."""
    processes: Count = 1
    """Processes, each on a GPU of its own, that train one run together."""
    sharding: Literal["replicate", "shard"] = "replicate"
    """Whether each of several processes holds the whole model (DDP) or a part of it (FSDP2)."""


class SizeSpec(PlacedSpec):
    """A size that starts from random weights; see :class:`probes.models.decoder.ModelShape`."""

    width: Width
    layers: Width
    heads: Width
    feedforward: Width
    tied_embeddings: Flag = True

    @model_validator(mode="after")
    def _heads_divide_width(self) -> SizeSpec:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} over {self.heads} heads must give an even whole number; "
                f"make width a multiple of {2 * self.heads}"
            )
        return self


class CheckpointSpec(PlacedSpec):
    """A size that starts from a causal language model in the format of ``transformers``."""

    checkpoint: Text
    """Its folder, or its id on the Hugging Face hub."""
    revision: Text | None = None
    """Branch, tag or commit on the hub."""


def absolute_checkpoint(size: AnySize, folder: Path) -> AnySize:
    """Return a size whose checkpoint, if it is a folder, is not relative to ``folder`` any more."""
    if isinstance(size, SizeSpec):
        return size
    path = folder / Path(size.checkpoint).expanduser()
    if HUB_ID.fullmatch(size.checkpoint) and not path.exists():
        return size
    return size.model_copy(update={"checkpoint": str(path)})


def checkpoint_from(size: AnySize, folder: Path) -> AnySize:
    """Return a size whose checkpoint, if it is named by a path below ``folder``, is named from there."""
    if isinstance(size, SizeSpec) or not size.checkpoint.startswith(f"{folder}{os.sep}"):
        return size
    # A leading dot keeps owner/name from being read as an id of the hub.
    path = f".{os.sep}{size.checkpoint.removeprefix(f'{folder}{os.sep}')}"
    return size.model_copy(update={"checkpoint": path})


SIZE_KINDS: dict[str, type[Spec]] = {"<shape>": SizeSpec, "<checkpoint>": CheckpointSpec}
"""The kinds of sizes by the tags with which pydantic marks them in the locations of errors."""


def _kind(value: Any) -> str:
    has_checkpoint = (
        "checkpoint" in value if isinstance(value, dict) else isinstance(value, CheckpointSpec)
    )
    return "<checkpoint>" if has_checkpoint else "<shape>"


AnySize = Annotated[
    Annotated[SizeSpec, Tag("<shape>")] | Annotated[CheckpointSpec, Tag("<checkpoint>")],
    Discriminator(_kind),
]
