"""The pages: what they print is what the commands print, and what they link to exists."""

import ast
import doctest
import json
import re
import runpy
from pathlib import Path

import documented_commands as documented
import pytest
from law_table import PAGE, TABLE, law_table
from pydantic import BaseModel

from cmrplan.errors import Code
from probes.spec import corpora, sizes, sweep, training

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", documented.PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_print_what_it_shows(page):
    commands = [c for c in documented.commands_of(page.read_text()) if not c.is_slow]
    with documented.scratch():
        for command in commands:
            shown = command.cut(documented.run(command))
            assert command.is_same(shown), "\n".join(
                ("make docs-figures renews", command.line, *shown)
            )


def test_pages_were_renewed_since_their_commands_or_data_changed():
    """Pictures and slow commands are not run here: only what they are made from is compared."""
    marks = {}
    for page in documented.PAGES:
        commands = documented.commands_of(page.read_text())
        if commands:
            marks[str(page.relative_to(ROOT))] = documented.fingerprint(commands)
    assert marks == json.loads(documented.FINGERPRINTS.read_text())
    assert {"README.md", "docs/pictures.md"} <= set(marks)


def test_every_picture_of_the_pages_is_written_by_a_command_of_theirs():
    commands = [c for page in documented.PAGES for c in documented.commands_of(page.read_text())]
    written = {word for c in commands for word in c.line.split() if word.endswith(".png")}
    assert written == {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.png")}


SESSION = """Text.

```console
$ cmrplan fit log.csv
$ cmrplan plan fit.json
ratio 0.70
...
$ cmrplan next fit.json
12.0 s, 340 tokens/s
```
"""


def test_a_page_is_renewed_only_where_more_than_times_changed():
    fit, plan, after = documented.commands_of(SESSION)
    assert fit.cut("anything\n") == ()
    assert plan.cut("ratio 0.83\nmore\nmore\n") == ("ratio 0.83", "...")
    assert after.is_same(("9.1 s, 35 tokens/s",))
    assert not after.is_same(("9.1 s, then",))
    page = documented.renewed(SESSION, [(), ("ratio 0.83", "..."), ("9.1 s, 35 tokens/s",)])
    assert page == SESSION.replace("0.70", "0.83")


def test_every_code_is_in_the_tables_with_its_sentence_and_no_other():
    page = (ROOT / "docs" / "warnings.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    documented = {(code.strip().strip("`"), meaning.strip()) for _, code, meaning, *_ in rows}
    assert documented == {(code.value, code.meaning) for code in Code}


def test_every_code_is_raised_somewhere_in_the_library():
    sources = (path for path in (ROOT / "cmrplan").rglob("*.py") if path.name != "errors.py")
    used = {
        node.attr
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Code"
    }
    assert used == set(Code.__members__)


@pytest.mark.parametrize("code", Code)
def test_a_code_is_its_name_in_lower_case_and_means_one_sentence(code):
    assert code.value == code.name.lower()
    assert re.fullmatch(r"[A-Z][^|]*\.", code.meaning)


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


def test_the_table_of_the_laws_is_that_of_the_registry():
    assert TABLE.findall(PAGE.read_text()) == [law_table()]


SOURCES = [path for folder in ("cmrplan", "probes") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("page", [*PAGES, *SOURCES], ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_are_named_exist(page):
    missing = [
        name
        for name in set(
            re.findall(r"\bcmrplan(?!\.(?:toml|fish)\b)(?:\.[A-Za-z_]\w*)+", page.read_text())
        )
        if not is_defined(name.split("."))
    ]
    assert not missing


def is_defined(names):
    """Tell whether a dotted name is a folder or module, or a name that one has in its text."""
    for number in range(len(names), 0, -1):
        path = ROOT.joinpath(*names[:number])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.exists():
            rest = names[number : number + 1]
            return not rest or re.search(rf"\b{rest[0]}\b", module.read_text()) is not None
    return False


def test_a_module_that_does_not_exist_is_seen():
    assert is_defined(["cmrplan", "plan", "plan", "Plan"])
    assert not is_defined(["cmrplan", "planning", "choice"])
    assert not is_defined(["cmrplan", "plan", "plan", "Choice"])


def test_the_session_of_the_python_page_prints_what_it_shows(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = str(ROOT / "docs" / "python.md")
    outcome = doctest.testfile(page, module_relative=False, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 5
    assert outcome.failed == 0


def test_every_page_that_a_page_of_the_site_links_to_is_on_it():
    """Sphinx ends with an error at others, but is not run here."""
    patterns = runpy.run_path(str(ROOT / "docs" / "site" / "conf.py"))["include_patterns"]
    assert "docs/**.md" in patterns
    shown = {
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / pattern for pattern in patterns if "*" not in pattern),
    }
    missing = []
    for page in shown:
        for target in re.findall(
            r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")
        ):
            linked = (page.parent / target).resolve()
            if linked not in shown:
                missing.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not missing
