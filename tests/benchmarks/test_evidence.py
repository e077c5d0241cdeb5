"""The evidence page: its commands exist, its sentences follow from its tables, and its cheap figures come out again."""

import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import evidence
import evidence_tables
import published

ROOT = Path(__file__).parents[2]
PAGE = evidence.PAGE.read_text(encoding="utf-8")
PARTS = evidence.parts_of(PAGE)
SECTIONS = {section.title: section for section in evidence.SECTIONS}
CHEAP = ["dcpt", "interpolation", "carry_forward", "linear"]


def test_the_page_has_every_section_with_its_command():
    assert list(PARTS) == list(SECTIONS)
    for title, section in SECTIONS.items():
        assert f"\n`{section.command}`\n" in PARTS[title]


@pytest.mark.parametrize("section", evidence.SECTIONS, ids=lambda section: section.title)
def test_a_command_of_the_page_exists_and_has_its_options(section):
    words = shlex.split(section.command)
    script = ROOT / words[1]
    sources = script.read_text() + (ROOT / "benchmarks" / "world_runs.py").read_text()
    assert words[0] == "python"
    assert all(f'"{word}"' in sources for word in words if word.startswith("--"))


@pytest.mark.parametrize("section", evidence.SECTIONS, ids=lambda section: section.title)
def test_what_the_page_says_of_a_table_follows_from_it(section):
    part = PARTS[section.title]
    if section.verdict:
        output = part.split(f"`{section.command}`\n\n")[1]
        tables = evidence_tables.tables_of(output)
        lines = section.verdict(tables)
        assert "\n".join(lines) in part


def test_published_figures_come_out_again():
    header, rows = published.hidden_ratios(CHEAP)
    table = evidence_tables.tables_of(PARTS["Published tables"])[0]
    shown = {row[0]: row for row in table.rows}
    assert header == table.header
    for row in rows:
        old, new = " | ".join(shown[row[0]]), " | ".join(row)
        assert evidence.is_same_line(old, new, evidence.DIGITS), f"{old}\n{new}"


@pytest.mark.parametrize(
    ("old", "new", "noise", "is_same"),
    [
        ("a 0.0134", "a 0.0135", "digits", True),
        ("a 0.0134", "a 0.0136", "digits", False),
        ("a 0.0134", "b 0.0134", "digits", False),
        ("12 runs", "13 runs", "digits", True),
        ("1.0 s", "4.9 s", "seconds", True),
        ("1.0 s", "5.2 s", "seconds", False),
    ],
)
def test_figures_are_compared_within_their_noise(old, new, noise, is_same):
    assert evidence.is_same_line(old, new, noise) == is_same


def test_a_loss_stands_as_one():
    table = evidence_tables.tables_of(
        "| by | x | y |\n| --- | --- | --- |\n| auto | 0.9 / 2 | 1 |\n| a | 0.9 / **1** | 3 |\n| b |  | 2 |"
    )[0]
    assert evidence_tables.errors_beside(table, "auto") == [
        "- x: **lost**, 2 against 1 of a",
        "- y: **won**, 1 against 2 of b",
    ]


def test_a_default_that_keeps_every_limit_is_judged_by_what_that_costs():
    """Beside the cheapest other that answers all and keeps all; who breaks a limit buys its regret."""
    losses = ["| method | eval_corpus | mae | held |", "| --- | --- | --- | --- |"]
    losses += [f"| {m} | general | {v} | 0.9 |" for m, v in (("default", 0.01), ("dcpt", 0.02))]
    header = "| method | questions | answered | broken | regret_where_kept |"
    rows = [
        "| dcpt | 6 | 6 | 1 | 0.01 |",
        "| half | 6 | 3 | 0 | 0.02 |",
        "| rule | 6 | 6 | 0 | 0.04 |",
    ]

    def judged(default):
        text = "\n".join([*losses, "", header, "| --- | --- | --- | --- | --- |", default, *rows])
        return evidence_tables.predicted(evidence_tables.tables_of(text))

    lost, won = judged("| default | 6 | 6 | 0 | 0.05 |"), judged("| default | 6 | 6 | 0 | 0.03 |")
    assert lost[-1].startswith("- regret: **lost**, 0.05 against 0.04 of rule")
    assert won[-1].startswith("- regret: **won**, 0.03 against 0.04 of rule")
    assert judged("| default | 6 | 6 | 2 | 0.03 |")[-1].startswith("- limits: **lost**")
