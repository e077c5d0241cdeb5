"""The ``--slurm key=value`` options are checked here, and named as submitit names them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from cmrplan.errors import InputError

CLUSTERS = ("slurm", "local", "debug")
"""``local`` and ``debug`` do the same without Slurm: in processes of this machine, or in this one."""

SHORT_NAMES = {"gpus": "gpus_per_node", "cpus": "cpus_per_task", "signal": "signal_delay_s"}
"""Short names of submitit's options."""

MINUTES = 120
"""Time limit of a Slurm job unless ``time`` says otherwise."""


def asks_for_gpus(options: Mapping[str, str]) -> bool:
    """Tell whether Slurm options ask for a GPU."""
    return any("gpu" in f"{key}={value}" for key, value in options.items() if value != "0")


def slurm_parameters(options: Mapping[str, str], valid: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as submitit's Slurm executor takes them.

    Parameters
    ----------
    options : mapping of str to str
        As given on the command line, without ``cluster``.
    valid : mapping of str to object
        Names that submitit knows, each with its default.

    Raises
    ------
    InputError
        If a name is unknown, or a number is none.

    Examples
    --------
    >>> slurm_parameters({"partition": "gpu", "time": "90"}, {"partition": None, "time": 5})
    {'time': 90, 'partition': 'gpu'}
    """
    parameters: dict[str, Any] = {"time": MINUTES}
    names = sorted({*valid, *SHORT_NAMES, "cluster"})
    for given, value in options.items():
        name = SHORT_NAMES.get(given, given)
        if name not in valid:
            close = difflib.get_close_matches(given, names, n=1)
            meant = f" did you mean '{close[0]}'?" if close else ""
            raise InputError(f"--slurm: unknown option '{given}';{meant} valid: {', '.join(names)}")
        is_count = name.startswith(("gpus_per", "cpus_per", "nodes", "array_")) or name in (
            "time",
            "signal_delay_s",
        )
        if is_count and not value.isdigit():
            unit = " of minutes" if name == "time" else ""
            raise InputError(f"--slurm {given} must be a whole number{unit}, got '{value}'")
        parameters[name] = int(value) if is_count else value
    return parameters
