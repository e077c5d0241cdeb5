"""Event files as TensorBoard's own writer makes them."""

from collections.abc import Iterable
from pathlib import Path

import pytest


def write_scalars(folder: Path, scalars: Iterable[tuple[int, str, float]]) -> Path:
    """Write scalars, each a step, a tag and a value, and return the file in the folder."""
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step, tag, value in scalars:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(step=step, summary=summary))
    writer.close()
    (path,) = folder.iterdir()
    return path
