"""The command writes the format that its file's suffix says, for the plan that it is given."""

import json

import pytest

import cmrplan as cp
from cmrplan.files import sealed

ASKED = ("--model-params", "1e6", "--train-tokens", "1e6", "--max-general-rise", "5%")


@pytest.fixture
def plan_path(fit_path, tmp_path, call):
    assert call("plan", fit_path, *ASKED, "--out", tmp_path / "plan.json").code == 0
    return tmp_path / "plan.json"


def test_a_report_answers_the_plan_that_it_is_given(fit_path, plan_path, call, tmp_path):
    out = tmp_path / "report.json"
    answer = call("report", fit_path, "--plan", plan_path, "--quick", "--out", out, "--json")
    assert answer.code == 0
    plan = cp.plan(str(fit_path), model_params=1e6, train_tokens=1e6, max_general_rise="5%")
    said = json.loads(out.read_text())
    assert said["plan"]["domain_ratio"] == plan.domain_ratio
    assert answer.json()["answer"] == said["answer"]
    again = call("report", fit_path, "--plan", plan_path, "--quick", "--out", out)
    assert again.code == 0  # a report may be overwritten by another


def test_a_plan_of_another_kind_or_log_and_a_wrong_format_are_refused(
    fit_path, plan_path, call, tmp_path
):
    page = tmp_path / "r.html"
    other = json.loads(plan_path.read_text())
    del other["checksum"]
    other["provenance"]["log_fingerprint"] = "000000000000"
    (tmp_path / "other.json").write_text(json.dumps(other))
    refused = call("report", fit_path, "--plan", tmp_path / "other.json", "--out", page)
    assert refused.code == 2
    assert "its checksum is gone" in refused.err
    (tmp_path / "other.json").write_text(json.dumps(sealed(other)))
    refused = call("report", fit_path, "--plan", tmp_path / "other.json", "--out", page)
    assert refused.code == 2
    assert "a plan from another log" in refused.err
    refused = call("report", fit_path, "--plan", fit_path, "--out", page)
    assert refused.code == 2
    assert "is not a plan of this kind of fit" in refused.err
    refused = call("report", fit_path, "--format", "pdf", "--out", page)
    assert refused.code == 2
    assert "is not a .pdf file" in refused.err
    assert not page.exists()
    page.write_text("<html>my own</html>")
    refused = call("report", fit_path, "--plan", plan_path, "--out", page)
    assert refused.code == 2
    assert "is not a report of cmrplan" in refused.err
