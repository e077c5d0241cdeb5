"""A mapping that is kept in a file and used again: what the options of ``logs import`` said.

The file is JSON, which every reader of YAML takes too. One that was written or edited as YAML is read where PyYAML is
installed (it comes with ``cmrplan[probes]``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmrplan.errors import InputError
from cmrplan.files import read_text, write_json
from cmrplan.log.cells import listed, named, shown

MOST_MAPPING_BYTES = 250_000
MOST_MAPPING_LEVELS = 2  # the sections, and their names
SECTIONS = ("map", "scale", "set", "bytes_per_token")  # of names with texts or numbers
WORDS = ("format", "loss_unit", "run_pattern", "join", "phases")
FLAGS = ("normalize_shares",)


def write_mapping(path: Path, mapping: Mapping[str, Any]) -> None:
    """Write a mapping, without what is empty."""
    write_json(path, {name: value for name, value in mapping.items() if value})


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a file: sections as dicts of texts, words as texts, flags as bool.

    Raises
    ------
    InputError
        If it is no mapping, or has an entry of another name or kind.
    """
    source = named(path)
    content = _content(read_text(path, most=MOST_MAPPING_BYTES), source)
    if not isinstance(content, dict):
        raise InputError(f"{source} is no mapping; logs import --save-map writes one")
    mapping: dict[str, Any] = {}
    for name, value in content.items():
        if name in SECTIONS and isinstance(value, dict) and all(map(_is_plain, value.values())):
            mapping[name] = {str(key): str(entry) for key, entry in value.items()}
        elif (name in WORDS and isinstance(value, str)) or (
            name in FLAGS and isinstance(value, bool)
        ):
            mapping[name] = value
        else:
            raise InputError(
                f"{source}: {shown(name)} is {shown(value)}; a mapping has {listed([*SECTIONS, *WORDS, *FLAGS], 20)}"
            )
    return mapping


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _content(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        import yaml
    except ImportError:
        raise InputError(
            f"{source} is not JSON, and YAML needs PyYAML; pip install 'cmrplan[probes]', or write it as JSON"
        ) from None
    try:
        levels = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            levels += isinstance(event, yaml.CollectionStartEvent)
            levels -= isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or levels > MOST_MAPPING_LEVELS:
                raise InputError(
                    f"{source}: a mapping has sections of names, without aliases; "
                    "write the values out"
                )
        return yaml.safe_load(text)
    except InputError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError):
        raise InputError(
            f"{source} is neither JSON nor YAML; logs import --save-map writes a mapping"
        ) from None
