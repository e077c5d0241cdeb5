"""What the modules of probes import: no circle, no way up, and little where little is needed."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import probes

ROOT = Path(probes.__file__).parent
FOLDERS = ["spec", "models", "data", "training", "executors"]
"""Each imports only those before it, and modules that stand in no folder."""

FROM_CMRPLAN = {"errors", "files", "numbers", "arrays", "_version", "log", "design"}
HEAVY = {"torch", "transformers", "numpy", "pandas", "pyarrow", "pydantic"}


def module_name(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in ROOT.rglob("*.py")}


def imports(path):
    """Return the modules that a file imports anywhere, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & MODULES.keys() or {node.module}
    return names


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def folder(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FOLDERS else None


def test_no_circle():
    inside = {name: names & MODULES.keys() - {name} for name, names in GRAPH.items()}
    assert len(list(TopologicalSorter(inside).static_order())) == len(MODULES)


@pytest.mark.parametrize("upper", FOLDERS)
def test_a_folder_imports_those_before_it(upper):
    allowed = FOLDERS[: FOLDERS.index(upper) + 1]
    for name, names in GRAPH.items():
        if folder(name) == upper:
            assert {folder(other) for other in names} <= {None, *allowed}, name


def test_of_cmrplan_only_what_is_agreed():
    for name, names in GRAPH.items():
        parts = {other.split(".")[1] for other in names if other.startswith("cmrplan.")}
        assert parts <= FROM_CMRPLAN, name
        assert "cmrplan" not in names, name


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("probes.status", HEAVY),
        ("probes.executors.base", HEAVY),
        ("probes.callbacks", {"torch", "transformers"}),
        ("probes.executors.local_worker", HEAVY - {"torch", "numpy"}),
    ],
)
def test_what_starts_often_waits_for_little(module, absent):
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not absent & set(loaded.stdout.split())
