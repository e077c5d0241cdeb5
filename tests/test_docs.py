"""The pages: what they print is what the commands print, and what they link to exists."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from probes.spec import corpora, sizes, sweep, training

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_the_readmes_sessions_print_what_they_show(call, tmp_path, monkeypatch):
    sessions = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "".join(sessions).splitlines()
    monkeypatch.chdir(tmp_path)
    printed: list[str] = []
    for line in lines:
        if not line.startswith("$"):
            assert line in printed
            continue
        arguments = line.removeprefix("$ cmrplan ").split()
        arguments = [str(ROOT / a) if a.startswith("data/") else a for a in arguments]
        answer = call(*arguments)
        assert answer.code == 0, answer.err
        printed = answer.out.splitlines()
    assert len(sessions) == 3


# Where findings are made from codes that other modules name.
MADE_FROM_CODES = {"rawlog.py", "checks.py", "cautions.py", "fitfile.py", "fits.py"}


def codes_in_the_source():
    """Return the code of every finding that the library makes."""
    found = {"no_rows", "empty_file"}  # one function of rawlog.py makes both
    for path in (ROOT / "cmrplan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            code = None
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ("Finding", "LogFinding", "finding", "_unreadable") and node.args:
                    code = node.args[0]
                    assert isinstance(code, ast.Constant) or path.name in MADE_FROM_CODES, path
                elif name == "add" and path.name == "checks.py":
                    code = node.args[1]
            elif isinstance(node, ast.Yield) and path.name == "cautions.py":
                code = node.value.elts[0]
            if isinstance(code, ast.Constant):
                found.add(code.value)
    return found


def test_every_code_is_in_the_table_and_no_other():
    page = (ROOT / "docs" / "warnings.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {code for cell in rows for code in re.findall(r"`([a-z_]+)`", cell)}
    assert documented == codes_in_the_source()


def test_every_key_of_a_sweep_is_in_the_table():
    parts = [
        part
        for module in (corpora, sizes, sweep, training)
        for part in vars(module).values()
        if isinstance(part, type) and issubclass(part, BaseModel)
    ]
    keys = {key for part in parts for key in part.model_fields}
    assert len(keys) > 40
    page = (ROOT / "docs" / "sweep-spec.md").read_text()
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []
