"""The two kinds of trouble a user can meet, and the exit code of each.

A mistake of the caller is an :class:`InputError`: its message names the argument or the file, row
and column, the value found and what would be right. Data that cannot answer the question raise a
:class:`CmrplanError`, whose message says what would. A result that is usable but suspect raises
nothing: it carries a coded :class:`Finding`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


class CmrplanError(Exception):
    """The data cannot answer the question; the message says what would (exit code 1)."""

    exit_code = 1


class InputError(CmrplanError, ValueError):
    """The caller's mistake; the message names the place and the remedy (exit code 2)."""

    exit_code = 2


@dataclass(frozen=True)
class Finding:
    """A coded remark on a log, a fit or a plan.

    Parameters
    ----------
    code : str
        Short, stable and lower case, such as ``"extrapolates_tokens"``.
    message : str
        One sentence that names the place, the value found and the remedy.
    """

    code: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """Return ``{"code": ..., "message": ...}``."""
        return asdict(self)
