"""How remarks are printed: the gravest first, three at most, the others counted; and lines within the terminal."""

import click
import pandas as pd
import pytest

import cmrplan as cp
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


class TestEveryCommandOfAFit:
    """Of many remarks those that ``fit`` printed are counted, and the command's own stand first."""

    RUN = ("--model-params", "3e5", "--train-tokens", "1e9")

    @pytest.mark.parametrize(
        ("command", "options"),
        [
            ("predict", ("--domain-ratio", "0.3")),
            ("next", ("--budget", "1e15flops", "--max-general-rise", "5%")),
            ("plan", ("--max-general-rise", "50%")),
        ],
    )
    def test_at_most_three_and_the_rest_counted(self, command, options, fit_path, call):
        run = (command, fit_path, *self.RUN, *options)
        normal, verbose, quiet = (
            call(*run, *flags).err.splitlines() for flags in ((), ("--verbose",), ("--quiet",))
        )
        assert f"cmrplan {command} … --verbose prints" in normal[-1]
        left = int(normal[-1].split()[0])
        assert len(normal) - 1 <= 3
        assert "[extrapolates_tokens]" in normal[0]
        assert len(verbose) == len(normal) - 1 + left
        assert not [line for line in quiet if not line.startswith("stop")]


class TestNoRatio:
    """Pure replay lies far above the base, which the reason says and a remark of the fit says too."""

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, tmp_path_factory):
        rows = [
            (f"r{ratio}", 2e8, tokens, ratio, corpus, loss)
            for ratio in (0.0, 0.2, 0.5, 0.8, 1.0)
            for tokens in (0.0, 1e9, 2e9, 4e9)
            for corpus, loss in (
                ("general", 2.6 + (0.3 + 0.2 * ratio**2) * (tokens > 0)),
                ("domain", 2.4 - (0.3 * ratio**0.5 + tokens / 1e11) * (tokens > 0)),
            )
        ]
        names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
        fitted = cp.fit(pd.DataFrame(rows, columns=names), bootstrap=20)
        path = tmp_path_factory.mktemp("no_ratio") / "fit.json"
        cp.write_fit(fitted, path)
        return path

    RUN = ("--model-params", "2e8", "--train-tokens", "4e9", "--max-general-rise", "3%")
    APART = "without domain data the general loss lies"

    @pytest.mark.parametrize("flags", [(), ("--verbose",)])
    def test_nothing_is_said_twice(self, flags, fitted, call):
        answer = call("plan", fitted, *self.RUN, *flags)
        assert answer.code == 1
        assert answer.err.startswith("error: no domain ratio keeps the general loss within 3%")
        assert (answer.out + answer.err).count(self.APART) == 1

    def test_a_budget_beyond_the_probes_is_said_once(self, fitted, call):
        answer = call("plan", fitted, *self.RUN[:3], "8e9", *self.RUN[4:], "--verbose")
        assert answer.code == 1
        assert (answer.out + answer.err).count("train_tokens = 8e+09 is 2 times the largest") == 1
        assert answer.err.count("the interval of one new run") <= 1

    def test_on_a_terminal_the_answer_says_it_and_every_line_fits(self, fitted, call, monkeypatch):
        monkeypatch.setattr("cmrplan.cli.output.line_width", lambda *, err: 70)
        monkeypatch.setattr("cmrplan.cli.plan.line_width", lambda *, err: 70)
        answer = call("plan", fitted, *self.RUN, "--compare", "0.2,0.5,0.8")
        assert answer.code == 1
        assert answer.out.startswith("No domain ratio holds a rise of 3%")
        assert "error:" not in answer.err
        assert " ".join(answer.err.split()).count(self.APART) == 1
        assert max(map(len, (answer.out + answer.err).splitlines())) <= 70

    def test_an_error_is_wrapped_on_a_terminal(self, fitted, call, monkeypatch):
        monkeypatch.setattr("cmrplan.cli.output.line_width", lambda *, err: 70)
        answer = call("plan", fitted, "--model-params", "2e8", "--train-tokens", "4e9")
        assert answer.code == 2
        lines = answer.err.splitlines()
        assert lines[0].startswith("error: max_general_rise")
        assert len(lines) > 1
        assert max(map(len, lines)) <= 70
