"""The command line: parse, call the library, print, exit code.

Exit codes: 0 done; 1 the data cannot answer, and the message says what would; 2 the caller's mistake, and the
message names the argument, file, row and column. Messages are one line on standard error. With ``--json``
standard output is one JSON object and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from cmrplan._version import __version__
from cmrplan.cli import data_commands, judge_commands, mix, next, plan_commands, probe
from cmrplan.cli.parameters import print_error
from cmrplan.errors import CmrplanError

Command = TypeVar("Command", bound=Callable[..., Any])


class _InOrder(click.Group):
    """Lists its commands in the order of the flow, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cmrplan")
def cli() -> None:
    """Choose the domain/general mixture of continual pre-training with evidence.

    The flow: corpora -> probes -> probe log -> fit -> plan -> plots. Every step reads and writes a
    file, so start anywhere: most people have a log of their own and begin with `fit`.
    """


cli.add_command(probe.quickstart)
cli.add_command(probe.probe)
cli.add_command(data_commands.logs)
cli.add_command(data_commands.fit)
cli.add_command(judge_commands.compare)
cli.add_command(judge_commands.backtest)
cli.add_command(judge_commands.profile)
cli.add_command(data_commands.predict)
cli.add_command(plan_commands.plan)
cli.add_command(next.next_command)
cli.add_command(plan_commands.plot)
cli.add_command(mix.mix)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="cmrplan",
            standalone_mode=False,
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "cmrplan"
        return print_error(f"{error.format_message()} (see {command} --help)", 2)
    except click.ClickException as error:
        return print_error(error.format_message(), 2)
    except CmrplanError as error:
        return print_error(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return print_error("stopped; nothing was lost, give the same command to go on", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return print_error("out of memory; give fewer rows or resamples", 1)
    except Exception as error:
        if os.environ.get("CMRPLAN_TRACEBACK"):
            raise
        where = f"{type(error).__name__}: {error}".replace("\n", " ")
        return print_error(
            f"internal error, {where}; set CMRPLAN_TRACEBACK=1 to see where and report it", 1
        )
    return int(result) if isinstance(result, int) else 0
