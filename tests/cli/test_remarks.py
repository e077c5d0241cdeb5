"""How remarks are printed: the gravest first, three at most, the others counted; and lines within the terminal."""

import click
import pytest

from cmrplan.cli.output import print_findings, show, wrapped
from cmrplan.errors import Code, Finding

CODES = (Code.UNIDENTIFIED, Code.FEW_SIZES, Code.MEASURED_BREAK, Code.MISFIT, Code.NO_STDERR)
FINDINGS = [Finding(code, f"about {code}") for code in CODES]


@pytest.fixture
def printed(capsys):
    """Return a function that prints remarks inside a command, and what it printed."""

    def run(verbosity=None, **options):
        with click.Context(click.Command("plan")) as context:
            if verbosity:
                context.meta["verbosity"] = verbosity
            print_findings(FINDINGS, **options)
        return capsys.readouterr().err.splitlines()

    return run


def test_three_the_gravest_first(printed):
    assert printed(again="cmrplan plan …") == [
        "stop [measured_break]: about measured_break",
        "caution [few_sizes]: about few_sizes",
        "caution [misfit]: about misfit",
        "2 more remarks; cmrplan plan … --verbose prints them",
    ]


def test_what_was_said_before_is_counted_only(printed):
    lines = printed(again="cmrplan plan …", said=FINDINGS[1:2])
    assert [line.split("]")[0] for line in lines[:3]] == [
        "stop [measured_break",
        "caution [misfit",
        "note [unidentified",
    ]
    assert lines[3].startswith("2 more remarks")


def test_all_and_only_the_gravest(printed):
    assert len(printed("verbose", again="cmrplan plan …")) == 5
    assert printed("quiet", again="cmrplan plan …") == [
        "stop [measured_break]: about measured_break"
    ]
    assert len(printed()) == 5  # a command that has no such options


def test_lines_are_as_wide_as_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr("cmrplan.cli.output.line_width", lambda *, err: 50)
    line = "without any constraint    0.700, the best of the probed ratios, which end there"
    show(line, is_table=True)
    assert capsys.readouterr().out == f"{line}\n"
    show(line)
    assert capsys.readouterr().out.splitlines() == [
        "without any constraint    0.700, the best of the",
        "                          probed ratios, which end",
        "                          there",
    ]


def test_without_a_terminal_nothing_is_wrapped():
    long = "word " * 60
    assert wrapped(long, None) == long
