"""What a target of an export is, and what it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from cmrplan.export.request import ExportRequest

WeightUnit = Literal["token", "sequence", "row", "pass"]


@dataclass(frozen=True)
class TrainerSettings:
    """The mixture as a framework takes it.

    Parameters
    ----------
    weights : mapping of str to float
        By corpus, in the unit of the target; those of passes do not sum to 1.
    text : str
        The settings, without the comments that all targets have.
    notes : tuple of str
        What holds for this framework alone, one sentence each.
    achieved : mapping of str to float, optional
        Shares of tokens that the framework makes of the weights, where it rounds them.
    """

    weights: Mapping[str, float]
    text: str
    notes: tuple[str, ...] = ()
    achieved: Mapping[str, float] | None = None


@dataclass(frozen=True)
class ExportTarget:
    """A framework that a mixture is written for.

    Parameters
    ----------
    name : str
        As it is typed.
    title : str
        The framework, and what of it reads the settings.
    unit : {"token", "sequence", "row", "pass"}
        What a weight is per. Packed sequences all have the same tokens, so a weight per sequence is one per token.
    suffix : str
        Of a file with the settings.
    settings : callable
        Writes them; an InputError where the request lacks something.
    """

    name: str
    title: str
    unit: WeightUnit
    suffix: str
    settings: Callable[[ExportRequest], TrainerSettings]


def yaml_text(content: Any) -> str:
    """Return plain values as YAML of ASCII characters, in the order given."""
    return str(yaml.safe_dump(content, sort_keys=False, width=10**6))
