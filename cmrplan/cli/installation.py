"""What is installed here: the base, each extra with its packages, the devices, and whether they work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

BASE_TEST = "cmrplan.cli.smoke_plan"
EXTRA_TEST = "probes.smoke"
SHARED = ("probes", "lightning")
"""Extras that are tested in one process, since both spend seconds on importing torch; the quicker first."""

LATE = "Its smoke test gave no answer in time: give more --seconds."

_FOR_DEVELOPERS = frozenset({"dev", "site", "test"})


class ExtraState(StrEnum):
    """Whether an extra can be used."""

    WORKS = "works"
    BROKEN = "broken"
    """Its packages are there, and its smoke test failed."""
    ABSENT = "absent"
    """A package of it is not installed."""
    UNKNOWN = "unknown"
    """Its smoke test gave no answer in time."""


@dataclass(frozen=True)
class InstalledPackage:
    """A package that the base or an extra asks for.

    Parameters
    ----------
    name : str
        As a package index has it.
    required : str
        The versions that are asked for.
    version : str or None
        The version that is installed; None where there is none.
    """

    name: str
    required: str
    version: str | None

    @property
    def is_outside(self) -> bool:
        """Whether the installed version is none of those asked for."""
        requirement = Requirement(f"{self.name}{self.required}")
        return self.version is not None and not requirement.specifier.contains(
            self.version, prereleases=True
        )


@dataclass(frozen=True)
class CheckedExtra:
    """The base, or an extra, and what its smoke test said.

    Parameters
    ----------
    name : str
        ``base``, or the name of the extra.
    state : ExtraState
        Whether it works.
    message : str
        Why it does not, what to do, or what else is worth a word.
    packages : tuple of InstalledPackage
        What it asks for.
    devices : tuple of dict
        The GPUs that its smoke test worked on.
    seconds : float
        How long the process of its smoke test took.
    """

    name: str
    state: ExtraState
    message: str
    packages: tuple[InstalledPackage, ...]
    devices: tuple[dict[str, Any], ...] = ()
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return asdict(self)


def required_packages() -> dict[str, tuple[InstalledPackage, ...]]:
    """Return the packages of ``base`` and of each extra, as the metadata of the installed cmrplan name them.

    Raises
    ------
    PackageNotFoundError
        If cmrplan is not installed, but runs from a folder.
    """
    extras: dict[str, list[Requirement]] = {"base": []}
    for line in metadata.requires("cmrplan") or ():
        requirement = Requirement(line)
        name = str(requirement.marker).partition('extra == "')[2].partition('"')[0] or "base"
        extras.setdefault(name, []).append(requirement)
    return {
        name: tuple(InstalledPackage(r.name, str(r.specifier), _version(r.name)) for r in required)
        for name, required in extras.items()
        if name not in _FOR_DEVELOPERS
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_installation(seconds: float) -> list[CheckedExtra]:
    """Run the smoke test of everything that is installed, as many processes at a time as there are cores.

    Parameters
    ----------
    seconds : float
        How long all of it may take; a tenth is kept for the start of the command and for what it prints.
    """
    deadline = time.monotonic() + 0.9 * seconds
    extras = required_packages()
    checked = {
        name: _incomplete(name, packages)
        for name, packages in extras.items()
        if any(package.version is None for package in packages)
    }
    usable = [name for name in extras if name not in checked]
    shared = tuple(name for name in SHARED if name in usable)
    groups = [shared] if shared else []
    groups += [(name,) for name in usable if name not in shared]
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        for answers in pool.map(lambda names: _check_group(names, extras, deadline), groups):
            checked |= answers
    return [checked[name] for name in extras]


def _incomplete(name: str, packages: tuple[InstalledPackage, ...]) -> CheckedExtra:
    missing = ", ".join(package.name for package in packages if package.version is None)
    state = ExtraState.BROKEN if name == "base" else ExtraState.ABSENT
    message = f"It lacks {missing}: pip install '{_as_installed(name)}'"
    return CheckedExtra(name, state, message, packages)


def _check_group(
    names: Sequence[str], extras: Mapping[str, tuple[InstalledPackage, ...]], deadline: float
) -> dict[str, CheckedExtra]:
    """Test extras one after the other in one process; what one of them leaves without an answer is told of it."""
    began = time.monotonic()
    packages = {name: [package.name for package in extras[name]] for name in names}
    lines, trouble = _smoke_test(packages, deadline - began)
    spent = time.monotonic() - began
    checked = {}
    for number, name in enumerate(names):
        answer = json.loads(lines[number]) if number < len(lines) else {}
        state, message = ExtraState.WORKS, answer.get("note", "")
        if not answer and trouble is None:
            state, message = ExtraState.UNKNOWN, LATE
        elif not answer or "error" in answer:
            state, words = ExtraState.BROKEN, answer.get("error", trouble)
            message = f"Its smoke test failed ({words}): install it anew, pip install '{_as_installed(name)}'"
        message = " ".join(filter(None, [message, _outside(extras[name])]))
        devices = tuple(answer.get("devices", ()))
        checked[name] = CheckedExtra(name, state, message, extras[name], devices, spent)
    return checked


def _smoke_test(
    packages: Mapping[str, Sequence[str]], seconds: float
) -> tuple[list[str], str | None]:
    """Return the lines that a process answers, one an extra, and how it ended; None where it was late."""
    if seconds <= 0:
        return [], None
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    folder = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.getenv("PYTHONPATH")]))
    module = BASE_TEST if "base" in packages else EXTRA_TEST
    command = [sys.executable, "-P", "-m", module, json.dumps(packages)]
    with tempfile.TemporaryFile("w+") as answers:
        try:
            code = subprocess.run(
                command,
                stdout=answers,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                env=environment,
                check=False,
            ).returncode
            trouble = f"it ended with exit code {code}"
        except subprocess.TimeoutExpired:
            trouble = None
        answers.seek(0)
        return [line for line in answers if line.endswith("\n")], trouble


def _as_installed(name: str) -> str:
    return "cmrplan" if name == "base" else f"cmrplan[{name}]"


def _outside(packages: Iterable[InstalledPackage]) -> str:
    return " ".join(
        f"{package.name} {package.version} is none of the tested versions, {package.required}."
        for package in packages
        if package.is_outside
    )
