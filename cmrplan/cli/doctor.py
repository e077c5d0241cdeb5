"""The command ``cmrplan doctor``."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

import click

from cmrplan._version import __version__
from cmrplan.cli.output import print_json, show, working
from cmrplan.cli.parameters import as_json
from cmrplan.errors import InputError

if TYPE_CHECKING:
    from cmrplan.cli.installation import CheckedExtra


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    help="Longest time to take; what has not answered by then is told as unknown.",
)
@as_json
def doctor(seconds: float, as_json: bool) -> int:
    """Say what is installed, which extras and devices there are, and whether they work.

    Each extra does a little work, in processes of their own. Exit code 1 says that something that is installed does not
    work; an extra that is not installed is no trouble.
    """
    from cmrplan.cli.installation import ExtraState, check_installation

    try:
        with working() as say:
            say("trying what is installed")
            extras = check_installation(seconds)
    except metadata.PackageNotFoundError:
        raise InputError(
            "cmrplan runs from a folder and is not installed, so what it needs is not known: pip install -e FOLDER"
        ) from None
    works = not any(extra.state is ExtraState.BROKEN for extra in extras)
    devices = [_cpu(), *(device for extra in extras for device in extra.devices)]
    if as_json:
        system = {"cmrplan": __version__, "python": platform.python_version()}
        system |= {"system": platform.platform()}
        dicts = [extra.as_dict() for extra in extras]
        print_json({"works": works, **system, "devices": devices, "extras": dicts})
    else:
        show(_doctor_text(extras, devices))
    return 0 if works else 1


def _cpu() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    has_memory = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if has_memory else None
    return {"name": "cpu", "model": f"{platform.machine()}, {usable} cores", "bytes": memory}


def _doctor_text(extras: list[CheckedExtra], devices: list[dict[str, Any]]) -> str:
    lines = [f"cmrplan {__version__}, Python {platform.python_version()}, {platform.platform()}"]
    for device in devices:
        size = f", {device['bytes'] / 2**30:.0f} GiB" if device["bytes"] else ""
        lines.append(f"device {device['name']:<12}{device['model']}{size}")
    for extra in extras:
        versions = ", ".join(f"{p.name} {p.version}" for p in extra.packages if p.version)
        lines.append(f"{extra.name:<12} {extra.state:<8} {extra.message or versions}".rstrip())
    return "\n".join(lines)
