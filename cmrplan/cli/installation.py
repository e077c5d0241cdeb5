"""What is installed here: the base, each extra with its packages, the devices, and whether they work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

BASE_TEST = "cmrplan.cli.smoke_plan"
EXTRA_TEST = "probes.smoke"

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
        How long the smoke test took.
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
    """Run the smoke test of everything that is installed, as many at a time as there are cores.

    Parameters
    ----------
    seconds : float
        When to stop waiting for answers.
    """
    deadline = time.monotonic() + seconds
    extras = required_packages()
    # Lightning takes longest and comes last, so that a slow machine leaves no other without an answer.
    first = ("base", "probes")
    order = sorted(extras, key=lambda name: (name == "lightning", name not in first))
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        answers = {name: pool.submit(_check_extra, name, extras[name], deadline) for name in order}
        return [answers[name].result() for name in extras]


def _check_extra(
    name: str, packages: tuple[InstalledPackage, ...], deadline: float
) -> CheckedExtra:
    missing = [package.name for package in packages if package.version is None]
    if missing:
        state = ExtraState.BROKEN if name == "base" else ExtraState.ABSENT
        message = f"It lacks {', '.join(missing)}: pip install '{_as_installed(name)}'"
        return CheckedExtra(name, state, message, packages)
    began = time.monotonic()
    state, message, devices = _smoke_test(name, packages, deadline - began)
    spent = time.monotonic() - began
    message = " ".join(filter(None, [message, _outside(packages)]))
    return CheckedExtra(name, state, message, packages, tuple(devices), spent)


def _smoke_test(
    name: str, packages: Iterable[InstalledPackage], seconds: float
) -> tuple[ExtraState, str, list[dict[str, Any]]]:
    late = "Its smoke test gave no answer in time: give more --seconds."
    if seconds <= 0:
        return ExtraState.UNKNOWN, late, []
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    folder = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.getenv("PYTHONPATH")]))
    module = BASE_TEST if name == "base" else EXTRA_TEST
    command = [sys.executable, "-P", "-m", module, name, *(p.name for p in packages)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return ExtraState.UNKNOWN, late, []
    if done.returncode == 0 and done.stdout.strip():
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        return ExtraState.WORKS, answer["note"], answer["devices"]
    words = done.stderr.strip().splitlines()[-1:] if done.returncode == 1 else []
    words = words or [f"it ended with exit code {done.returncode}"]
    reason = f"Its smoke test failed ({words[0][:300]}): install it anew, pip install '{_as_installed(name)}'"
    return ExtraState.BROKEN, reason, []


def _as_installed(name: str) -> str:
    return "cmrplan" if name == "base" else f"cmrplan[{name}]"


def _outside(packages: Iterable[InstalledPackage]) -> str:
    return " ".join(
        f"{package.name} {package.version} is none of the tested versions, {package.required}."
        for package in packages
        if package.is_outside
    )
