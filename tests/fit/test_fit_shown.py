"""How a fit shows itself: short, as a text, as a table, for LaTeX, and as plain values."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.files import sealed
from cmrplan.mixture.file import read_mixture_fit

ROOT = Path(__file__).parents[2]
LOG = ROOT / "data/published/dcpt_usage1_log.csv"


@pytest.fixture(scope="module")
def fit():
    return cp.fit(cp.read_log(LOG), law="dcpt", bootstrap=20)


@pytest.fixture(scope="module")
def mixture():
    return read_mixture_fit(ROOT / "tests/reference/fits/0.2.0/mixture.json")


@pytest.fixture(scope="module")
def cmr():
    return cp.fit(ROOT / "data/published/cmr_table2_log.csv", law="cmr", bootstrap=20)


@pytest.fixture(scope="module", params=["fit", "mixture", "cmr"])
def any_fit(request):
    return request.getfixturevalue(request.param)


class TestShort:
    def test_a_fit_is_short_in_a_terminal(self, fit):
        lines = repr(fit).splitlines()
        # the log has 7 ratios of each loss after a base row, at one size
        assert lines[0] == "Fit of 14 rows of 8 runs, size 1.8B"
        assert re.fullmatch(r"  general +dcpt, R² 0.9999, .* nats, converged", lines[1])
        assert lines[2].endswith(", at_bound")
        assert "few_sizes" in lines[-1]

    def test_a_prediction_is_its_table_and_not_its_draws(self, any_fit, fit):
        asked = {
            "model_params": 1.8e9,
            "train_tokens": 1e10,
            "domain_ratio": np.linspace(0.1, 0.9, 50),
        }
        lines = repr(fit.predict("general", **asked)).splitlines()
        assert lines[0] == "Prediction, 50 rows"
        assert lines[1].split()[-3:] == ["loss", "loss_low", "loss_high"]
        assert len(lines) < 15

    def test_every_fit_is_short(self, any_fit):
        assert len(repr(any_fit).splitlines()) < 15

    def test_many_sizes_are_named_by_the_first_and_the_last(self, cmr):
        assert repr(cmr).splitlines()[0].endswith("16 runs, sizes 460M, 940M, 1.6B, 3.1B")
        many = cmr.log.assign(model_params=np.geomspace(1e6, 1e9, len(cmr.log)).round())
        assert "16 sizes from 1M to 1B" in repr(replace(cmr, log=many))

    def test_a_loss_that_never_changes_has_no_r_squared(self):
        log = cp.read_log(LOG).assign(loss=2.0)
        flat = cp.fit(log, law="dcpt", bootstrap=0)
        assert "R² not defined" in repr(flat)
        assert re.search("R-squared += not defined", flat.report())

    def test_notebooks_get_the_short_text_and_the_table(self, any_fit):
        shown = any_fit._repr_html_()
        assert shown.startswith(f"<pre>{repr(any_fit).splitlines()[0]}")
        assert shown.count("<tr") == len(any_fit.table()) + 1


class TestTable:
    def test_the_columns(self, any_fit):
        assert any_fit.table().columns.tolist() == [
            *("corpus", "law", "model_params", "train_tokens", "parameter"),
            *("estimate", "stderr", "low", "high", "status"),
        ]

    def test_a_row_has_the_figures_of_its_parameter(self, fit):
        table = fit.table()
        figures = fit.summary()["general"]
        one = table[(table["corpus"] == "general") & (table["parameter"] == "E")].iloc[0]
        assert one["estimate"] == figures["params"]["E"]
        assert one["stderr"] == figures["stderr"]["E"]
        assert [one["low"], one["high"]] == figures["interval"]["E"]
        assert one[["model_params", "train_tokens"]].isna().all()
        assert set(table["corpus"]) == {"general", "domain"}

    def test_the_status_is_what_the_fit_knows(self, fit, mixture):
        for one in (fit, mixture):
            table = one.table()
            for corpus, figures in one.summary().items():
                rows = table[table["corpus"] == corpus].set_index("parameter")["status"]
                assert set(rows[rows == "held"].index) == set(figures["held"])
                assert set(rows[rows == "at a bound"].index) == set(figures["at_bound"])
                assert set(rows[rows == "not identified"].index) <= set(figures["unidentified"])
                assert rows.isin(["free", "held", "at a bound", "not identified"]).all()
        assert set(fit.table()["status"]) == {"free", "at a bound", "not identified"}
        assert "held" in set(mixture.table()["status"])

    def test_numbers_that_mean_nothing_are_left_out(self, fit):
        """A report had standard errors of 28880 for what is not identified, and intervals from 0 to 0."""
        for corpus, figures in fit.summary().items():
            rows = fit.table().query(f"corpus == '{corpus}'").set_index("parameter")
            untold = rows.loc[figures["unidentified"], ["stderr", "low", "high"]]
            assert len(untold)
            assert untold.isna().all(axis=None)
            assert not (rows["low"] == rows["high"]).any()
            assert rows.drop(figures["unidentified"])["stderr"].notna().all()

    def test_the_cmr_laws_have_a_row_a_size_and_budget(self, cmr):
        table = cmr.table()
        assert table["model_params"].unique().tolist() == [4.6e8, 9.4e8, 1.6e9, 3.1e9]
        assert table["train_tokens"].unique().tolist() == [2e10]
        assert (
            table.groupby("model_params")["parameter"].apply(list).tolist()
            == [["alpha", "beta", "s"]] * 4
        )
        point = cmr.model_of("domain").ratio_fit(1.6e9, 2e10)
        own = table[table["model_params"] == 1.6e9].set_index("parameter")["estimate"]
        assert own.to_dict() == point.fit.params

    def test_the_table_names_the_law_whose_parameters_it_shows(self):
        averaged = cp.fit(LOG, bootstrap=0)
        assert averaged.law.startswith("average(")
        assert set(averaged.table()["law"]) <= {"dcpt", "dcpt_exp", "dcpt_product_exp"}
        assert averaged.table()[["stderr", "low", "high"]].isna().all(axis=None)


class TestReport:
    def test_the_statistics_come_first(self, fit):
        lines = fit.report().splitlines()
        assert lines[0] == "[[Fit Statistics]]"
        named = dict(re.findall(r"    (.+?) += (.*)", fit.report().split("[[general]]")[0]))
        assert named == {
            "law": "dcpt",
            "rows": "14",
            "runs": "8",
            "sizes": "1.8B",
            "objective": "huber of log residuals, equal weights",
            "first tokens": "0",
            "resamples": "20, intervals at 90 %",
        }

    def test_a_corpus_has_its_law_and_quality(self, fit):
        figures = fit.summary()["domain"]
        block = fit.report().split("[[domain]]\n")[1].split("[[")[0]
        assert dict(re.findall(r"    (.+?) += (.*)", block)) == {
            "law": "dcpt",
            "formula": figures["formula"],
            "reference": figures["reference"],
            "rows": "7 of 7 runs",
            "objective": f"{figures['objective']:.6g} (Huber, delta {figures['delta']:.3g})",
            "R-squared": f"{figures['r2']:.4f}",
            "mean abs. error": f"{figures['mae']:.4g} nats per token",
            "status": "at_bound",
        }

    def test_a_parameter_has_its_error_percent_interval_and_status(self, fit):
        figures = fit.summary()["domain"]
        block = fit.report().split("[[Variables of domain]]\n")[1].split("[[")[0]
        lines = dict(re.findall(r"    (\w+): +(.*)", block))
        assert list(lines) == list(figures["params"])
        value = figures["params"]["gamma"]
        # an error and an interval around a bound would say nothing
        assert lines["gamma"] == f"{value:.7g}  at a bound"
        assert lines["E"].endswith("]")

    def test_every_corpus_and_parameter_is_there(self, any_fit):
        report = any_fit.report()
        for row in any_fit.table().itertuples():
            assert re.search(rf"\[\[Variables of {row.corpus}\b", report)
            assert re.search(rf"    {row.parameter}: +{row.estimate:.7g}\b", report)
        for finding in any_fit.warnings:
            assert f"    {finding.code}: {finding.message}" in report

    def test_the_cmr_laws_are_reported_at_each_size(self, cmr):
        blocks = re.findall(r"\[\[(domain, .*)\]\]", cmr.report())
        assert blocks == [
            f"domain, {size} parameters, 20B tokens" for size in ("460M", "940M", "1.6B", "3.1B")
        ]
        assert cmr.report().count("rows             = 4 of 4 runs") == 4

    def test_the_weights_of_averaged_laws(self):
        report = cp.fit(LOG, bootstrap=0).report()
        assert re.search(r"weights += dcpt\w* \d+ %, .*; what follows is of the first", report)
        assert "+/-" not in report


class TestLatex:
    def test_the_table_with_rules_and_escapes(self, fit, cmr, mixture):
        shown = fit.to_latex(caption="Both losses", label="tab:fit")
        for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{Both losses}"):
            assert part in shown
        assert r"ratio\_offset" in shown
        assert r"model\_params" in cmr.to_latex()
        assert r" & 460M & 20B & alpha & " in cmr.to_latex()
        assert r"data\_mixing & t\_law" in mixture.to_latex()

    def test_a_row_a_parameter_and_no_bare_underscore(self, any_fit):
        shown = any_fit.to_latex()
        assert shown.count(r"\\") == len(any_fit.table()) + 1
        assert not re.search(r"(?<!\\)_", shown)
        assert "nan" not in shown.lower()
        # sizes and budgets only where a law belongs to one
        assert (r"train\_tokens" in shown) == any_fit.table()["train_tokens"].notna().any()


class TestPlainValues:
    def test_they_are_what_the_file_holds(self, any_fit, tmp_path):
        path = tmp_path / "fit.json"
        kind = any_fit.as_dict()["kind"]
        write = cp.write_mixture_fit if kind == "mixture" else cp.write_fit
        write(any_fit, path)
        stored = json.loads(path.read_text())
        assert stored.pop("checksum").startswith("sha256:")
        assert stored == any_fit.as_dict()

    def test_a_file_of_them_with_their_checksum_is_read(self, any_fit, tmp_path):
        values = any_fit.as_dict()
        path = tmp_path / "fit.json"
        path.write_text(json.dumps(sealed(values)))
        read = cp.read_mixture_fit if values["kind"] == "mixture" else cp.read_fit
        pd.testing.assert_frame_equal(read(path).table(), any_fit.table())

    def test_the_figures_are_those_without_the_state(self, fit):
        assert cp.fit_report(fit) == {k: v for k, v in fit.as_dict().items() if k != "state"}


def test_a_path_may_stand_for_a_log(fit):
    again = cp.fit(LOG, law="dcpt", bootstrap=20)
    assert again.table().equals(fit.table())


def test_the_templates_of_latex_are_loaded_when_they_are_needed():
    code = "import sys, cmrplan as cp; cp.fit, cp.fit_mixture; print('jinja2' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
