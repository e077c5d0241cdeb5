"""Fractions with a percent sign, and the words of an option that takes pairs."""

import pytest

AT = ("--model-params", "400M", "--train-tokens", "10B")


class TestPercent:
    def test_a_percent_sign_makes_a_fraction(self, call, fit_path):
        told, plain = (
            call("predict", fit_path, *AT, "--domain-ratio", ratio, "--json").json()
            for ratio in ("28.7%", "0.287")
        )
        assert told == plain

    def test_also_in_a_list(self, call, fit_path):
        limit = ("--max-general-rise", "3%", "--json")
        told, plain = (
            call("plan", fit_path, *AT, *limit, "--compare", ratios).json()
            for ratios in ("10%,0.25", "0.1,0.25")
        )
        assert told == plain

    @pytest.mark.parametrize("command", ["plan", "predict"])
    def test_a_confidence_may_have_one(self, call, fit_path, command):
        asked = {
            "plan": ("--max-general-rise", "3%"),
            "predict": ("--domain-ratio", "0.3"),
        }[command]
        told, plain = (
            call(command, fit_path, *AT, *asked, "--confidence", level, "--json").json()
            for level in ("80%", "0.8")
        )
        assert told == plain

    @pytest.mark.parametrize(
        ("level", "said"),
        [
            ("100%", "must be between 0 and 1, got 100%"),
            ("0", "must be between 0 and 1, got 0"),
            ("90", "must be a fraction in [0, 1], got 90. Percent? Divide by 100, or write 90%."),
        ],
    )
    def test_a_confidence_is_no_certainty(self, call, fit_path, level, said):
        answer = call("predict", fit_path, *AT, "--domain-ratio", "0.3", "--confidence", level)
        assert answer.code == 2
        assert said in answer.err

    @pytest.mark.parametrize("ratio", ["130%", "-1%", "%", "a%", "nan%"])
    def test_what_is_no_percentage_is_refused(self, call, fit_path, ratio):
        answer = call("predict", fit_path, *AT, f"--domain-ratio={ratio}")
        assert answer.code == 2
        assert answer.err.count("\n") == 1
        assert f"must be a fraction in [0, 1], got {ratio}" in answer.err

    def test_a_share_of_a_corpus_may_have_one(self, call, tmp_path):
        answer = call(
            "mix", "plan", tmp_path / "no.json", "--train-tokens", "1M", "--ceiling", "web=50%"
        )
        assert "no.json: no such file" in answer.err


@pytest.mark.parametrize(
    ("option", "sides"),
    [("--protect", "CORPUS=RISE"), ("--available", "CORPUS=TOKENS"), ("--floor", "CORPUS=SHARE")],
)
def test_a_pair_without_a_sign_is_told_what_stands_on_either_side(call, option, sides):
    answer = call("mix", "plan", "fit.json", "--train-tokens", "1M", option, "web")
    assert answer.code == 2
    assert f"must be {sides}, got 'web'" in answer.err
