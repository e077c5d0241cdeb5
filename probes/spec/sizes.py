"""Model sizes of a sweep spec."""

from __future__ import annotations

from pydantic import model_validator

from probes.spec.fields import Count, Flag, Name, Spec


class SizeSpec(Spec):
    """One model size; see :class:`probes.models.decoder.ModelShape`."""

    name: Name
    width: Count
    layers: Count
    heads: Count
    feedforward: Count
    tied_embeddings: Flag = True

    @model_validator(mode="after")
    def _heads_divide_width(self) -> SizeSpec:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} over {self.heads} heads must give an even whole number; "
                f"make width a multiple of {2 * self.heads}"
            )
        return self
