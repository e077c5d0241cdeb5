"""What the commands print: one JSON object, findings, errors, and what is being done while it takes long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cmrplan.cli.project_file import used_defaults
from cmrplan.log.texts import printable

if TYPE_CHECKING:
    from cmrplan.errors import Finding


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """Show what is being done on standard error while a long command works, on a terminal only."""
    from rich.console import Console  # takes a tenth of a second to import
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda line: status.update(escape(printable(line)))


def show(text: str, *, err: bool = False) -> None:
    """Print text on standard output, or on standard error; what would steer a terminal is shown as an escape."""
    click.echo(printable(text), err=err)


def print_json(value: Any) -> None:
    """Print one JSON object on standard output, with the options that a project file gave under ``project_file``."""
    defaults = used_defaults(click.get_current_context(silent=True))
    if defaults and isinstance(value, dict):
        value = value | {"project_file": defaults}
    click.echo(json.dumps(value, indent=2, allow_nan=False, default=str))


def print_findings(findings: Sequence[Finding]) -> None:
    """Print remarks on standard error, one a line."""
    for finding in findings:
        show(f"warning [{finding.code}]: {printable(finding.message, keep='')}", err=True)


def print_error(message: str, code: int) -> int:
    """Print a message as one line on standard error and return the exit code."""
    line = " ".join(message.split())
    show(f"error: {line}", err=True)
    return code
