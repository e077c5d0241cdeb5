"""The pages: what they print is what the commands print, and what they link to exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_the_readmes_session_prints_what_it_shows(call, tmp_path, monkeypatch):
    session = re.search(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    lines = session.splitlines()
    commands = [line.removeprefix("$ cmrplan ").split() for line in lines if line.startswith("$")]
    shown = [line for line in lines if line and not line.startswith("$")]
    monkeypatch.chdir(tmp_path)
    for arguments in commands:
        arguments = [str(ROOT / a) if a.startswith("data/") else a for a in arguments]
        answer = call(*arguments)
        assert answer.code == 0, answer.err
    printed = answer.out.splitlines()
    assert shown
    assert all(line in printed for line in shown)
