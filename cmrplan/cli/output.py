"""What the commands print: one JSON object, findings, errors, and what is being done while it takes long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cmrplan.errors import Finding


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """Show what is being done on standard error while a long command works, on a terminal only."""
    from rich.console import Console  # takes a tenth of a second to import

    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda line: status.update(line)


def print_json(value: Any) -> None:
    """Print one JSON object on standard output."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, default=str))


def print_findings(findings: Sequence[Finding]) -> None:
    """Print remarks on standard error, one a line."""
    for finding in findings:
        click.echo(f"warning [{finding.code}]: {finding.message}", err=True)


def print_error(message: str, code: int) -> int:
    """Print a message as one line on standard error and return the exit code."""
    line = " ".join(message.split())
    click.echo(f"error: {line}", err=True)
    return code
