"""What a finished run says is taken as evidence only where its files agree with each other.

The folder's name holds the hash of the settings, every column of a metrics row but its losses follows from the
settings, and each loss is the mean of the losses of the sequences beside it. A file that was cut, edited or damaged
breaks one of these; nothing is guessed then, and the run is refused with the file and what is wrong in it.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrplan.errors import InputError
from cmrplan.log import CORPORA
from probes.run_settings import RunSettings
from probes.runs import RunFolder
from probes.training.evaluations import evaluation_row
from probes.training.metrics import read_rows

REDO = "remove the folder to train the run anew"
_RELATIVE = 1e-12  # The same arithmetic on another processor differs in the last digits.
_HEADER_BYTES = 4096


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run: its row of metrics, and the losses of all sequences, each ``(E,)``."""

    row: dict[str, Any]
    losses: Mapping[str, np.ndarray]


def read_evidence(run: RunFolder, settings: RunSettings) -> list[Evaluation]:
    """Return the evaluations of a finished probe, checked against its verified settings.

    Raises
    ------
    InputError
        Naming the file that is damaged, or that says something else than the others.
    """
    steps = [0, *settings.evaluation_steps]
    rows = read_rows(run.metrics)
    at = [row.get("step") if isinstance(row, dict) else None for row in rows]
    if at != steps:
        raise InputError(
            f"{run.metrics} has evaluations after the steps {_shortened(at)}, and the settings say "
            f"{_shortened(steps)}; {REDO}"
        )
    evaluations = []
    for row, step in zip(rows, steps, strict=True):
        losses = _sequence_losses(run.losses(step), settings.evaluation_sequences)
        _compare(row, evaluation_row(settings, step, losses), run.metrics)
        evaluations.append(Evaluation(row, losses))
    return evaluations


def _compare(row: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    """Refuse a row of metrics that is not what settings and sequence losses give."""
    for name in sorted(row.keys() | expected.keys()):
        said, is_so = row.get(name), expected.get(name)
        if isinstance(said, float) and isinstance(is_so, float):
            agrees = math.isclose(said, is_so, rel_tol=_RELATIVE)
        else:
            is_in_both = name in row and name in expected
            agrees = is_in_both and said == is_so and not isinstance(said, bool)
        if not agrees:
            source = "the losses of the sequences" if name.endswith("_loss") else "the settings"
            raise InputError(
                f"{path} has {name} {_shortened(said)} after step {expected['step']}, and {source} say "
                f"{_shortened(is_so)}; {REDO}"
            )


def _sequence_losses(path: Path, num_sequences: int) -> dict[str, np.ndarray]:
    """Return the losses of all sequences of both corpora, each ``(E,)``, in float64."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in CORPORA):
                raise ValueError("it does not hold both corpora")
            losses = {name: _losses(archive, f"{name}.npy", num_sequences) for name in CORPORA}
    except FileNotFoundError:
        raise InputError(f"{path} is not there; {REDO}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise InputError(f"{path} is damaged ({error}); {REDO}") from None
    return losses


def _losses(archive: zipfile.ZipFile, name: str, num_sequences: int) -> np.ndarray:
    """Return one array of an archive; its header is read first, so that no file asks for more memory than it has."""
    largest = 8 * num_sequences + _HEADER_BYTES
    with archive.open(name) as stream:
        content = stream.read(largest + 1)  # Read to the end, its checksum is compared.
    if len(content) > largest:
        raise ValueError(f"{name} has more than {num_sequences} losses")
    header = io.BytesIO(content)
    np.lib.format.read_magic(header)
    shape, _, dtype = np.lib.format.read_array_header_1_0(header)
    if shape != (num_sequences,) or dtype.kind != "f":
        raise ValueError(f"{name} is {dtype} of shape {shape}, not {num_sequences} losses")
    values = np.frombuffer(content, dtype, offset=header.tell()).astype(np.float64)
    if len(values) != num_sequences or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"{name} has losses that are not finite numbers from 0 on")
    return values


def _shortened(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
