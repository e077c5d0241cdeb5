"""What pyproject.toml declares: the lowest versions stand in a file of their own, and the site has every page."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_the_lowest_versions_are_those_that_are_declared():
    groups = [PROJECT["dependencies"], *(EXTRAS[name] for name in EXTRAS.keys() - {"dev", "site"})]
    lowest = set()
    for line in (line for group in groups for line in group):
        name, version = re.match(r"([\w.-]+)>=([\w.]+)", line).groups()
        lowest.add(f"{name.lower()}=={version}")
    pinned = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    assert [line for line in pinned if not line.startswith("#")] == sorted(lowest)


def test_every_page_of_docs_is_on_the_site():
    index = (ROOT / "docs" / "site" / "index.md").read_text()
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {
        page for page in pages if f"../{page}>" not in index and f"../{page}\n" not in index
    } == set()


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("sphinx_click"), reason="needs cmrplan[site]")
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-c",
        "docs/site",
        ".",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "max-general-rise" in (tmp_path / "docs" / "site" / "commands.html").read_text()
    assert "PlanRequest" in (tmp_path / "docs" / "site" / "library.html").read_text()
