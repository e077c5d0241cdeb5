"""Other people's logs -> the probe log, one file a source; formats.py lists them.

What a file does not say the caller adds, in the same words for every format: a :class:`Changes`. A format is read from
files, from folders that hold some, or recognised by what the files hold.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cmrplan.errors import InputError
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.formats import LOG_FORMATS, files_of

Source = str | os.PathLike[str]


def import_log(
    format: str, source: Source | Sequence[Source], changes: Changes | None = None
) -> pd.DataFrame:
    """Return somebody's log as a probe log, checked; see :func:`import_with_remarks`."""
    return import_with_remarks(format, source, changes).log


def import_with_remarks(
    format: str, source: Source | Sequence[Source], changes: Changes | None = None
) -> Imported:
    """Return somebody's log as a probe log, checked, and what was left out or named anew.

    Parameters
    ----------
    format : str
        One of :data:`LOG_FORMATS`.
    source : path or sequence of paths
        Files, or folders that hold files of the format.
    changes : Changes, optional
        What the files do not say.

    Raises
    ------
    InputError
        If the source is not in that format; the message names the file, row and column.
    """
    if format not in LOG_FORMATS:
        raise InputError(f"format must be one of {', '.join(LOG_FORMATS)}, got {format!r}")
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    paths = files_of(format, [Path(path) for path in sources])
    return LOG_FORMATS[format].read(paths, changes or Changes())
