"""The command line: the flow, the JSON contract, and what users see of their mistakes."""

import json
import subprocess
import sys

import pytest

import cmrplan as cp

ASK = ("--model-params", "1e6", "--train-tokens", "1e6")


class TestContract:
    """Keys that the contract promises to other tools."""

    def test_fit(self, call, log_file, tmp_path):
        out = tmp_path / "fit.json"
        answer = call("fit", log_file, "--out", out, "--bootstrap", "20", "--json")
        assert answer.code == 0
        for corpus in ("general", "domain"):
            assert set(answer.json()[corpus]) >= {
                "law", "params", "stderr", "interval", "r2", "huber", "mae", "objective", "n_rows",
                "n_runs", "status", "unidentified", "warnings",
            }  # fmt: skip
            assert answer.json()[corpus]["n_rows"] == 2 * 7 * 2 * 8
            assert answer.json()[corpus]["n_runs"] == 2 * 7 * 2
        stored = json.loads(out.read_text())
        assert {key: stored[key] for key in answer.json()} == answer.json()

    def test_predict(self, call, fit_path):
        answer = call("predict", fit_path, *ASK, "--domain-ratio", "0.3", "--json").json()
        for corpus in ("general", "domain"):
            low, loss, high = (answer[f"{corpus}_loss{end}"] for end in ("_low", "", "_high"))
            assert low <= loss <= high
        assert isinstance(answer["warnings"], list)

    def test_plan(self, call, fit_path, tmp_path):
        out = tmp_path / "plan.json"
        arguments = ("plan", fit_path, *ASK, "--max-general-rise", "3%", "--out", out, "--json")
        answer = call(*arguments).json()
        assert set(answer) >= {
            "domain_ratio", "domain_ratio_low", "domain_ratio_high", "confidence", "general_loss",
            "general_loss_low", "general_loss_high", "domain_loss", "domain_loss_low",
            "domain_loss_high", "general_rise", "base_loss", "binding",
            "unconstrained_domain_ratio", "violation_probability", "domain_epochs", "law", "warnings",
        }  # fmt: skip
        assert answer["domain_ratio_low"] <= answer["domain_ratio"] <= answer["domain_ratio_high"]
        assert all(set(warning) == {"code", "message"} for warning in answer["warnings"])
        assert json.loads(out.read_text()) == answer

    def test_suffixes_mean_what_people_write(self, call, fit_path):
        plain = call("predict", fit_path, *ASK, "--domain-ratio", "0.3", "--json").json()
        short = call(
            "predict", fit_path, "--model-params", "1M", "--train-tokens", "1000K",
            "--domain-ratio", "0.3", "--json",
        ).json()  # fmt: skip
        assert plain == short

    def test_logs_check_says_how_mature_the_bases_are(self, call, log_file, tmp_path):
        log = cp.read_log(log_file)
        sizes = log["model_params"].unique()
        tokens = {size: 20 * size for size in sizes}
        cp.write_log(
            log.assign(base_tokens=log["model_params"].map(tokens)), tmp_path / "mature.csv"
        )
        answer = call("logs", "check", tmp_path / "mature.csv", "--json")
        bases = json.loads(answer.out)["base_maturity"]
        assert [base["model_params"] for base in bases] == sorted(sizes)
        assert [base["tokens_per_parameter"] for base in bases] == [20] * len(sizes)
        text = call("logs", "check", tmp_path / "mature.csv").out
        assert text.count("20 a parameter") == len(sizes)
        assert "base_maturity" not in call("logs", "check", log_file, "--json").out
        del tokens[sizes[0]]
        some = log.assign(base_tokens=log["model_params"].map(tokens))
        cp.write_log(some, tmp_path / "some.csv")
        text = call("logs", "check", tmp_path / "some.csv").out
        assert text.count("base_tokens is not filled in, so a fit leaves those of the") == 1

    def test_logs_check(self, call, log_file):
        answer = call("logs", "check", log_file, "--json")
        assert answer.code == 0
        assert all(finding["severity"] == "warning" for finding in answer.json()["findings"])

    @pytest.mark.parametrize("kind", [kind for kind in cp.plots.KINDS if kind != "panel"])
    def test_plot(self, call, fit_path, tmp_path, kind):
        out = tmp_path / f"{kind}.png"
        answer = call("plot", fit_path, kind, "--out", out, "--max-general-rise", "3%")
        assert answer.code == 0, answer.err
        assert out.read_bytes().startswith(b"\x89PNG")

    def test_same_log_and_seed_give_the_same_bytes(self, call, log_file, tmp_path):
        files = [tmp_path / name for name in ("one.json", "two.json")]
        for file in files:
            assert call("fit", log_file, "--out", file, "--bootstrap", "20").code == 0
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_every_command_has_help(self, call):
        for command in (
            [], ["quickstart"], ["probe"], ["probe", "design"], ["probe", "run"],
            ["probe", "status"], ["logs"], ["logs", "collect"], ["logs", "import"],
            ["logs", "check"], ["fit"],
            ["predict"], ["plan"], ["next"], ["plot"],
        ):  # fmt: skip
            answer = call(*command, "--help")
            assert answer.code == 0
            assert "Usage: cmrplan" in answer.out


def test_to_lmfit_is_at_the_same_optimum(log):
    fit = cp.fit(log, "dcpt_exp", bootstrap=0)
    result = fit.to_lmfit("general")
    figures = fit.summary()["general"]
    assert result.chisqr == pytest.approx(2 * figures["objective"], rel=1e-9)
    for name, value in figures["params"].items():
        assert result.params[name].value == pytest.approx(value, rel=1e-9)
    assert "[[Variables]]" in result.fit_report()
    with pytest.raises(cp.CmrplanError, match="CMR laws"):
        cp.fit(log, "cmr", bootstrap=0).to_lmfit("general")


class TestFitFile:
    def test_reads_back_to_the_last_digit(self, log, tmp_path):
        for law in ("dcpt", "dcpt_exp", "cmr"):
            fit = cp.fit(log, law, bootstrap=10)
            cp.write_fit(fit, tmp_path / "fit.json")
            again = cp.read_fit(tmp_path / "fit.json")
            where = {"model_params": 1e6, "train_tokens": 1e6, "domain_ratio": [0.1, 0.4]}
            for corpus in ("general", "domain"):
                first, second = (f.predict(corpus, **where) for f in (fit, again))
                assert (first.loss == second.loss).all()
                assert (first.draws == second.draws).all()
            assert cp.fit_report(fit) == cp.fit_report(again)


def test_the_library_never_imports_torch():
    code = "import cmrplan, cmrplan.cli, cmrplan.plots, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unexpected_error_is_one_line(call, fit_path, monkeypatch):
    monkeypatch.setattr("cmrplan.cli.schedule.read_fit", lambda path: 1 / 0)
    answer = call("plan", fit_path, *ASK, "--max-general-rise", "3%")
    assert answer.code == 1
    assert answer.err.startswith("error: internal error, ZeroDivisionError")
    assert answer.err.count("\n") == 1
