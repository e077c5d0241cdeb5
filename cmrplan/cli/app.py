"""The command line: parse, call the library, print, exit code.

Exit codes: 0 done; 1 the data cannot answer, and the message says what would; 2 the caller's mistake, and the
message names the argument, file, row and column. Messages are one line on standard error. With ``--json``
standard output is one JSON object and nothing else.

A command's module is imported when the command is called, so that help, completion and a typo cost nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import click
from click.shell_completion import CompletionItem

from cmrplan._version import __version__
from cmrplan.cli.output import print_error
from cmrplan.cli.project_file import use_project_file, with_project_file
from cmrplan.errors import CmrplanError


@dataclass(frozen=True)
class CommandEntry:
    """A command that is imported when it is called.

    Parameters
    ----------
    module, attribute : str
        Where it is.
    help : str
        Its line in the list of commands: the first sentence of its own help.
    """

    module: str
    attribute: str
    help: str


# In the order of the flow.
COMMANDS = {
    "quickstart": CommandEntry(
        "quickstart",
        "quickstart",
        "Run the whole flow on two corpora that Python ships, on a CPU, in minutes.",
    ),
    "probe": CommandEntry(
        "probe", "probe", "Design, run and watch a sweep of small training runs."
    ),
    "logs": CommandEntry("logs", "logs", "Make, import and check probe logs."),
    "fit": CommandEntry(
        "fit", "fit", "Fit the laws of the general and the domain loss to a probe log."
    ),
    "compare": CommandEntry(
        "compare",
        "compare",
        "Rank every applicable law, and simple baselines, by out-of-sample error.",
    ),
    "backtest": CommandEntry(
        "backtest",
        "backtest",
        "Hide the largest budgets and models, plan from the rest, and report the miss.",
    ),
    "profile": CommandEntry(
        "profile",
        "profile",
        "Profile-likelihood intervals: of parameters, of losses, of the critical ratio.",
    ),
    "predict": CommandEntry(
        "predict", "predict", "Predict both losses of one run, with intervals."
    ),
    "plan": CommandEntry("plan", "plan", "Recommend the domain ratio of a full-scale run."),
    "next": CommandEntry(
        "next",
        "next_command",
        "Name the probes that would narrow the interval of the best ratio most for their cost.",
    ),
    "plot": CommandEntry(
        "plot", "plot", "Draw a picture of a fit, with a plan where a limit is given."
    ),
    "export": CommandEntry(
        "export", "export", "Write the mixture of a plan as the settings of a training framework."
    ),
    "report": CommandEntry(
        "report",
        "report",
        "Write a report on a fit: one page with the answer, what it rests on, and sliders for other settings.",
    ),
    "doctor": CommandEntry(
        "doctor",
        "doctor",
        "Say what is installed, which extras and devices there are, and whether they work.",
    ),
    "mix": CommandEntry(
        "mix", "mix", "Several training corpora: fit their losses, find the best mixture."
    ),
}


class LazyGroup(click.Group):
    """Knows its commands by name and line; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the flow."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None for a name that is not one."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"cmrplan.cli.{entry.module}")
        command: click.Command = getattr(module, entry.attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was called.

        Raises
        ------
        click.UsageError
            If there is none of that name, with the nearest.
        """
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        width = formatter.width - 6 - max(len(name) for name in COMMANDS)
        lines = [
            (name, click.Command(name, help=entry.help).get_short_help_str(width))
            for name, entry in COMMANDS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(lines)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so."""
        return [
            CompletionItem(name, help=entry.help)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cmrplan")
@click.option(
    "--project",
    type=click.Path(),
    help="TOML file with defaults for options.  [default: cmrplan.toml in this folder, if it is there]",
)
@click.pass_context
def cli(ctx: click.Context, project: str | None) -> None:
    """Choose the domain/general mixture of continual pre-training with evidence.

    The flow: corpora -> probes -> probe log -> fit -> plan -> plots. Every step reads and writes a
    file, so start anywhere: most people have a log of their own and begin with `fit`.
    """
    use_project_file(ctx, project)


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
        return print_error(f"{with_project_file(error)} (see {command} --help)", 2)
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
