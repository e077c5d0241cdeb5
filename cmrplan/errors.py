"""The two kinds of trouble a user can meet, and the findings that a result carries.

A mistake of the caller is an :class:`InputError`: its message names the argument or the file, row
and column, the value found and what would be right. Data that cannot answer the question raise a
:class:`CmrplanError`, whose message says what would. A result that is usable but suspect raises
nothing: it carries a :class:`Finding`, whose :class:`Code` (codes.py) says what it means and how grave it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cmrplan.codes import Code as Code
from cmrplan.codes import Severity as Severity


def printable(text: str, *, keep: str = "\n\t") -> str:
    r"""Return text in which no character but those of ``keep`` moves a cursor, colors a terminal or hides.

    Examples
    --------
    >>> printable("a\x1b[2Jb"), printable("a\u202eb"), printable("a\nb", keep="")
    ('a\\x1b[2Jb', 'a\\u202eb', 'a\\nb')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


class CmrplanError(Exception):
    """The data cannot answer the question; the message says what would (exit code 1).

    What a file or an argument brought into the message and no line can show is written out.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message.replace("\n", " "), keep=""))


class InputError(CmrplanError, ValueError):
    """The caller's mistake; the message names the argument or cell and the remedy (exit code 2)."""

    exit_code = 2


@dataclass(frozen=True)
class Finding:
    """A coded remark on a log, a fit or a plan.

    Parameters
    ----------
    code : Code
        What kind of remark it is.
    message : str
        One sentence that says where, the value that was met, and the remedy.
    """

    code: Code
    message: str

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"code": ..., "message": ...}`` as plain strings."""
        return {"code": self.code.value, "message": self.message}
