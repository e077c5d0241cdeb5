"""What the commands print: one JSON object, findings, errors, and what is being done while it takes long."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from cmrplan.cli.project_file import used_defaults
from cmrplan.codes import Severity
from cmrplan.errors import printable

if TYPE_CHECKING:
    from cmrplan.errors import Finding


QUIET, NORMAL, VERBOSE = "quiet", "normal", "verbose"
MOST_REMARKS = 3  # remarks
LONG_JSON = 100_000  # characters
OUTPUT_WORDS = {Severity.STOP: "stop", Severity.CAUTION: "caution", Severity.NOTE: "note"}
NARROWEST = 40  # columns
HEAD_WIDTH = 26  # columns before the text of a line of a list


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """Show what is being done on standard error while a long command works, on a terminal only."""
    from rich.console import Console  # takes a tenth of a second to import
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda line: status.update(escape(printable(line)))


def show(text: str, *, err: bool = False, is_table: bool = False) -> None:
    """Print text on standard output, or on standard error; what would steer a terminal is shown as an escape.

    On a terminal, lines longer than it is wide are wrapped between words, but for tables and what is to be pasted.
    """
    width = None if is_table else line_width(err=err)
    click.echo(wrapped(printable(text), width), err=err)


def line_width(*, err: bool) -> int | None:
    """Return the width of lines on standard output or error; None where it is no terminal."""
    stream = sys.stderr if err else sys.stdout
    return max(shutil.get_terminal_size().columns, NARROWEST) if stream.isatty() else None


def is_on_terminal() -> bool:
    """Return whether standard output and error are both read on a terminal."""
    return line_width(err=False) is not None and line_width(err=True) is not None


def wrapped(text: str, width: int | None) -> str:
    """Return text with its long lines broken between words; the rest of a line of a list stands below its text.

    Examples
    --------
    >>> print(wrapped("what binds                a limit that somebody asked for", 44))
    what binds                a limit that
                              somebody asked for
    """
    if width is None:
        return text
    lines = []
    for line in text.split("\n"):
        body = line[HEAD_WIDTH:] if line[HEAD_WIDTH - 2 : HEAD_WIDTH] == "  " else ""
        indent = " " * (HEAD_WIDTH if body[:1].strip() else 0)
        lines += textwrap.wrap(
            line,
            width,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        ) or [""]
    return "\n".join(lines)


def print_json(value: Any) -> None:
    """Print one JSON object on standard output, with the options that a project file gave under ``project_file``.

    A long one stands on one line: breaking it into many takes longer than all else about it.
    """
    defaults = used_defaults(click.get_current_context(silent=True))
    if defaults and isinstance(value, dict):
        value = value | {"project_file": defaults}
    text = json.dumps(value, allow_nan=False, default=str)
    if len(text) < LONG_JSON:
        text = json.dumps(value, indent=2, allow_nan=False, default=str)
    click.echo(text)


def print_findings(
    findings: Sequence[Finding], *, said: Sequence[Finding] = (), again: str = ""
) -> None:
    """Print remarks on standard error, one a line, the gravest first.

    Parameters
    ----------
    findings : sequence of Finding
    said : sequence of Finding
        Those that an earlier command printed, which are counted only.
    again : str
        The command that prints all. Without it all are printed; with it three at most, unless ``--verbose`` was given,
        and with ``--quiet`` those alone that stop.
    """
    verbosity = _verbosity() if again else VERBOSE
    by_severity = sorted(findings, key=lambda one: list(Severity).index(one.code.severity))
    if verbosity == VERBOSE:
        shown = by_severity
    elif verbosity == QUIET:
        shown = [one for one in by_severity if one.code.severity is Severity.STOP]
    else:
        shown = [one for one in by_severity if one not in said][:MOST_REMARKS]
    for finding in shown:
        word = OUTPUT_WORDS[finding.code.severity]
        show(f"{word} [{finding.code}]: {printable(finding.message, keep='')}", err=True)
    left = len(by_severity) - len(shown)
    if left and verbosity == NORMAL:
        more, them = ("remark", "it") if left == 1 else ("remarks", "them")
        show(f"{left} more {more}; {again} --verbose prints {them}", err=True)


def verbosity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--quiet`` and ``--verbose`` to a command, which :func:`print_findings` heeds."""
    for flag, level, text in (
        ("--verbose", VERBOSE, "Print every remark."),
        ("--quiet", QUIET, "Print no remarks but those that speak against the answer."),
    ):
        command = click.option(
            flag, is_flag=True, expose_value=False, callback=partial(_remember, level), help=text
        )(command)
    return command


def _remember(level: str, ctx: click.Context, param: click.Parameter, is_given: bool) -> None:
    if is_given:
        ctx.meta["verbosity"] = level


def _verbosity() -> str:
    return str(click.get_current_context().meta.get("verbosity", NORMAL))


def print_error(message: str, code: int) -> int:
    """Print a message as one line on standard error, wrapped on a terminal, and return the exit code."""
    show(f"error: {' '.join(message.split())}", err=True)
    return code
