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
