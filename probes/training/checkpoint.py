"""A checkpoint holds the tensors of a run at one position, in a safetensors file of its own.

A file carries the fingerprint of its run's settings and a checksum of its tensors. It appears
whole or not at all, a newer one never replaces it before it is on the disk itself, and one whose
checksum is wrong is set aside, so that a run whose newest checkpoint was damaged goes on from the
one before.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cmrplan.errors import InputError
from cmrplan.files import atomic_write

_METADATA = "cmrplan"
_NAME = re.compile(r"(\d{4,})-(\d{8,})\.safetensors")


@dataclass(frozen=True, order=True)
class Position:
    """Where a run is: the number of its segment, and the steps that the trained weights have seen."""

    segment: int
    step: int


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    folder : Path
        Where they are.
    settings_fingerprint : str
        Identity of the run's settings; files of other settings are refused.
    """

    folder: Path
    settings_fingerprint: str

    def path(self, position: Position) -> Path:
        """Return the file of a position."""
        return self.folder / f"{position.segment:04d}-{position.step:08d}.safetensors"

    def positions(self) -> list[Position]:
        """Return the positions that have a file, newest first."""
        names = map(_NAME.fullmatch, (path.name for path in self.folder.glob("*.safetensors")))
        return sorted((Position(int(m[1]), int(m[2])) for m in names if m), reverse=True)

    def save(self, position: Position, tensors: Mapping[str, Tensor]) -> None:
        """Write the tensors of a position and wait until they are on the disk."""
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {
            "settings_fingerprint": self.settings_fingerprint,
            "checksum": _checksum(on_cpu),
        }
        with atomic_write(self.path(position)) as temporary:
            # The metadata are one entry, since the library writes several in random order.
            save_file(on_cpu, temporary, {_METADATA: json.dumps(metadata)})

    def load(self, position: Position) -> dict[str, Tensor] | None:
        """Return the tensors of a position; None if its file is missing or damaged.

        A damaged file is renamed, so that it is seen once.

        Raises
        ------
        InputError
            If the file belongs to a run with other settings.
        """
        path = self.path(position)
        try:
            with safe_open(path, framework="pt") as stream:
                metadata = json.loads(stream.metadata()[_METADATA])
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}
            is_whole = metadata["checksum"] == _checksum(tensors)
            fingerprint = metadata["settings_fingerprint"]
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            is_whole = False
        if not is_whole:
            path.rename(path.with_suffix(".damaged"))
            return None
        if fingerprint != self.settings_fingerprint:
            raise InputError(
                f"{path} belongs to other settings ({fingerprint}, not "
                f"{self.settings_fingerprint}); delete it to start this run anew"
            )
        return tensors

    def keep(self, positions: Collection[Position]) -> None:
        """Delete the files of all other positions, and damaged ones."""
        for path in self.folder.glob("*.damaged"):
            if _NAME.fullmatch(path.with_suffix(".safetensors").name):
                path.unlink()
        for position in self.positions():
            if position not in positions:
                self.path(position).unlink()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        value = zlib.crc32(repr((name, tensor.dtype, tuple(tensor.shape))).encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return value
