"""A project file, ``cmrplan.toml``, has defaults for the options of repeated commands.

::

    [fit]
    bootstrap = 400
    [plan]
    train-tokens = "10B"
    max-general-rise = "3%"
    [mix.plan]
    protect = ["general=2%"]

A table is a command, a key is one of its options without the hyphens before it, and what the command line says wins. A
file that is to be written, and ``--force``, are never taken from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cmrplan.errors import InputError
from cmrplan.files import read_text

PROJECT_FILE = "cmrplan.toml"
_FILE_KEY = "cmrplan project file"


def use_project_file(ctx: click.Context, path: str | None) -> None:
    """Take the defaults of a project file, of the one in the working folder where none is given.

    Parameters
    ----------
    ctx : Context
        Of the whole command line; its commands inherit the defaults.
    path : str, optional
        The file.

    Raises
    ------
    InputError
        If the file is not there or no TOML, or it has a command, an option or a kind of value that cannot be.
    """
    if path is None and not Path(PROJECT_FILE).is_file():
        return
    file = path or PROJECT_FILE
    assert isinstance(ctx.command, click.Group)
    ctx.default_map = _defaults(_read(file), ctx.command, ctx, f"{file}:", ())
    ctx.meta[_FILE_KEY] = os.path.abspath(file)
    table = ctx.default_map.get(ctx.invoked_subcommand or "", {})
    if table:
        from cmrplan.cli.output import show  # it asks this file which options came from a project

        show(f"note: {file} has defaults for {ctx.invoked_subcommand}", err=True)


def used_defaults(ctx: click.Context | None) -> dict[str, Any] | None:
    """Return the project file and the options of a command that it gave, or None where it gave none."""
    if ctx is None or _FILE_KEY not in ctx.meta:
        return None
    options = {
        option_name(param): ctx.default_map[str(param.name)]
        for param in ctx.command.params
        if ctx.default_map is not None
        and ctx.get_parameter_source(str(param.name)) is ParameterSource.DEFAULT_MAP
    }
    return {"path": ctx.meta[_FILE_KEY], "options": options} if options else None


def with_project_file(error: click.UsageError) -> str:
    """Return the message of a usage error, with the project file where the wrong value comes from it."""
    param, ctx = getattr(error, "param", None), error.ctx
    message = error.format_message()
    if param is None or ctx is None or _FILE_KEY not in ctx.meta:
        return message
    if ctx.get_parameter_source(str(param.name)) is not ParameterSource.DEFAULT_MAP:
        return message
    return f"{ctx.meta[_FILE_KEY]}: {message}"


def option_name(param: click.Parameter) -> str:
    """Return the longest name of an option, without hyphens before it."""
    return max(param.opts, key=len).lstrip("-")


def _read(file: str) -> dict[str, Any]:
    import tomllib  # only where there is a project file

    try:
        return tomllib.loads(read_text(file))
    except ValueError as error:  # A wrong form, or an integer of thousands of digits.
        raise InputError(f"{file} is no TOML that can be read: {error}") from None
    except RecursionError:
        raise InputError(f"{file} is no TOML that can be read: it is nested too deeply") from None


def _defaults(
    table: Mapping[str, Any],
    group: click.Group,
    ctx: click.Context,
    where: str,
    names: tuple[str, ...],
) -> dict[str, Any]:
    """Return the defaults of the commands of a group, by command and parameter."""
    defaults = {}
    for name, inner in table.items():
        command = group.get_command(ctx, name)
        if command is None:
            known = group.list_commands(ctx)
            raise InputError(f"{where} {_unknown('table', [*names, name], name, known)}")
        if not isinstance(inner, dict):
            raise InputError(
                f"{where} {'.'.join([*names, name])} must be a table, [{'.'.join([*names, name])}]"
            )
        if isinstance(command, click.Group):
            defaults[name] = _defaults(inner, command, ctx, where, (*names, name))
        else:
            defaults[name] = dict(_options(inner, command, f"{where} [{'.'.join([*names, name])}]"))
    return defaults


def _options(
    table: Mapping[str, Any], command: click.Command, where: str
) -> Iterator[tuple[str, Any]]:
    """Yield the name of each parameter and its default."""
    options = {option_name(p): p for p in command.params if isinstance(p, click.Option)}
    for key, value in table.items():
        option = options.get(key)
        if option is None:
            raise InputError(f"{where} {_unknown('key', [key], key, options)}")
        if _writes(option):
            raise InputError(
                f"{where} {key} cannot stand in a file; give --{key} on the command line"
            )
        if problem := _problem(option, value):
            raise InputError(f"{where} {key} must be {problem}, got {value!r}")
        yield str(option.name), value


def _writes(option: click.Option) -> bool:
    from cmrplan.cli.outputs import OutputPath

    return isinstance(option.type, OutputPath) or option.name in ("force", "out")


def _problem(option: click.Option, value: Any) -> str:
    """Return what a value has to be where it is of the wrong kind."""
    if option.is_flag:
        return "" if isinstance(value, bool) else "true or false"
    values = value if option.multiple and isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in values):
        return "a list of texts or numbers" if option.multiple else "a text or a number"
    if isinstance(option.type, click.types.IntParamType) and any(
        isinstance(one, float) for one in values
    ):
        return "a whole number"
    return "" if not option.multiple or isinstance(value, list) else "a list"


def _unknown(kind: str, names: list[str], name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"unknown {kind} {'.'.join(names)}; {hint}"
