"""A sweep spec is read from a YAML file; every mistake is one line with file, key and remedy."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cmrplan.errors import InputError
from cmrplan.files import read_text
from probes.spec.corpora import DATASETS_PREFIX, CorpusSpec, absolute_source
from probes.spec.sizes import SIZE_KINDS, absolute_checkpoint, checkpoint_from
from probes.spec.sweep import SweepSpec

MOST_SPEC_BYTES = 1_000_000
MOST_LINES = 10_000
MOST_LINE_CHARACTERS = 5_000
DEEPEST_NESTING = 16
MOST_SPEC_VALUES = 20_000
MOST_DIGITS = 40
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_UNKNOWN_KEY = ("extra_forbidden", "invalid_key")


class _StrictLoader(yaml.SafeLoader):
    """YAML without code execution, without silently repeated keys, and without what makes a short text long.

    Refused are aliases and merge keys, which can double a text with every line, levels of nesting and values beyond
    what a spec has, and numbers of more digits than any has.
    """

    most_values = MOST_SPEC_VALUES
    depth = 0
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise _refused("an alias is not allowed here; write the value out", mark)
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST_NESTING:
            raise _refused(f"values are nested more than {DEEPEST_NESTING} levels deep", mark)
        if self.count > self.most_values:
            raise _refused(f"a spec has at most {self.most_values:,} values", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBER_TAGS:
            if len(node.value) > MOST_DIGITS:
                raise _refused(f"a number of {len(node.value):,} characters", mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _refused(
                    "a merge key is not allowed here; write the keys out", key_node.start_mark
                )
            if key in seen:
                raise _refused(f"the key {_cut(key)!r} is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _StoredLoader(_StrictLoader):
    """The same for a spec that a sweep wrote, where every probe has lines of its own."""

    most_values = 10_000_000


def read_stored_spec(path: str | os.PathLike[str]) -> SweepSpec:
    """Read the spec that a sweep wrote to its folder.

    Raises
    ------
    InputError
        See :func:`read_spec`.
    """
    try:
        value = yaml.load(read_text(path), Loader=_StoredLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: {_yaml_problem(error)}") from None
    return parse_spec(value, origin=str(path))


def read_spec(path: str | os.PathLike[str]) -> SweepSpec:
    """Read and check a sweep spec.

    Parameters
    ----------
    path : str or path
        YAML file. Relative paths of corpora and checkpoints in it are relative to its folder.

    Raises
    ------
    InputError
        If the file cannot be read or anything in it is wrong: one line with the file, the key,
        the value found and what would be right.
    """
    text = read_text(path, most=MOST_SPEC_BYTES)
    _refuse_long_lines(text, path)
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that is none
        raise InputError(f"{path}: {_yaml_problem(error)}") from None
    if value is None:
        raise InputError(f"{path} is empty; a sweep spec starts with name, corpora, sizes")
    spec = parse_spec(value, origin=str(path))
    return _with_absolute_sources(spec, Path(path).absolute().parent)


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _refuse_long_lines(text: str, path: str | os.PathLike[str]) -> None:
    """Refuse lines that would take seconds to take apart, and name the key that they belong to."""
    key = ""
    for number, line in enumerate(text.splitlines(), start=1):
        before, colon, _ = line.partition(":")
        key = _cut(before.strip(" -{[")) if colon else key
        if len(line) > MOST_LINE_CHARACTERS or number > MOST_LINES:
            raise InputError(
                f"{path}: line {number}, key '{key}': a spec has at most {MOST_LINES:,} lines of at most "
                f"{MOST_LINE_CHARACTERS:,} characters; give fewer values"
            )


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def parse_spec(value: Any, *, origin: str = "spec") -> SweepSpec:
    """Check the values of a spec that was read from ``origin``.

    Raises
    ------
    InputError
        If a key is unknown or missing, or a value is wrong.
    """
    if not isinstance(value, dict):
        raise InputError(f"{origin}: a sweep spec is a mapping of keys, got {_shown(value)}")
    try:
        return SweepSpec.model_validate(value)
    except ValidationError as error:
        # An unknown key is often the cause of a missing one, so it goes first.
        details = sorted(error.errors(), key=lambda one: one["type"] not in _UNKNOWN_KEY)
        raise InputError(f"{origin}: {_problem(details[0])}") from None


def spec_text(spec: SweepSpec) -> str:
    """Return a spec as YAML, with every default written out."""
    return yaml.safe_dump(spec.model_dump(), sort_keys=False)


def _with_absolute_sources(spec: SweepSpec, folder: Path) -> SweepSpec:
    sizes = [absolute_checkpoint(size, folder) for size in spec.sizes]
    changed = _with_sources(spec, lambda source: absolute_source(source, folder))
    return changed.model_copy(update={"sizes": sizes})


def with_sources_below(spec: SweepSpec, folder: Path) -> SweepSpec:
    """Return a spec whose local sources and checkpoints below a folder are named from there.

    So it says no more of a machine than it has to.
    """

    def named_from_folder(source: str) -> str:
        prefix = DATASETS_PREFIX if source.startswith(DATASETS_PREFIX) else ""
        return prefix + source.removeprefix(prefix).removeprefix(f"{folder}{os.sep}")

    sizes = [checkpoint_from(size, folder) for size in spec.sizes]
    return _with_sources(spec, named_from_folder).model_copy(update={"sizes": sizes})


def _with_sources(spec: SweepSpec, change: Callable[[str], str]) -> SweepSpec:
    def changed(corpus: CorpusSpec) -> CorpusSpec:
        return corpus.model_copy(update={"source": change(corpus.source)})

    corpora = spec.corpora.model_copy(
        update={"general": changed(spec.corpora.general), "domain": changed(spec.corpora.domain)}
    )
    return spec.model_copy(update={"corpora": corpora})


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{position}{problem}"


def _problem(error: ErrorDetails) -> str:
    """Say one validation error in one line: key, value found, what is right."""
    key = _dotted(error["loc"])
    value = error["input"]
    if error["type"] in _UNKNOWN_KEY:
        valid = _valid_keys(error["loc"][:-1])
        close = difflib.get_close_matches(_cut(str(error["loc"][-1])), valid, n=1)
        meant = f" did you mean '{close[0]}'?" if close else ""
        return f"unknown key '{_cut(key)}';{meant} valid keys: {', '.join(valid)}"
    if error["type"] == "missing":
        return f"key '{key}' is missing"
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        if isinstance(value, BaseModel | dict):  # a check over several keys names them itself
            return f"{key}: {message}" if key else message
        return f"{key} {message}" + ("" if "got" in message else f", got {_shown(value)}")
    if error["type"] == "too_short":
        return f"{key} must have at least one entry"
    if error["type"] in ("list_type", "model_type"):
        wanted = "a list" if error["type"] == "list_type" else "a mapping of keys"
        return f"{key} must be {wanted}, got {_shown(value)}"
    if error["type"] == "literal_error":
        return f"{key} must be {error['ctx']['expected']}, got {_shown(value)}"
    return f"{key}: {error['msg']}, got {_shown(value)}"


def _dotted(location: Sequence[int | str]) -> str:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in location
        if part not in SIZE_KINDS
    )
    return path.removeprefix(".")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)
    text = " ".join(text.removesuffix("...\n").split())
    return f"'{text[:60]}'" if isinstance(value, str) else text[:60]


def _valid_keys(location: Sequence[int | str]) -> list[str]:
    """Return the keys of the part of a spec at ``location``."""
    model: type[BaseModel] = SweepSpec
    for part in location:
        if part in SIZE_KINDS:
            model = SIZE_KINDS[str(part)]
        elif isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside an annotation such as ``list[Model] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
