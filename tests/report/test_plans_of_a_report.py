"""A report answers the plan of its file: one that no ratio keeps, and one under another learning rate."""

import json
import re

import pytest
from rated_logs import SIZE, TOKENS, largest_ratio, rated_log

import cmrplan as cp

ASKED = ("--model-params", SIZE, "--train-tokens", TOKENS)


@pytest.fixture(scope="module")
def rated_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("rated") / "fit.json"
    cp.write_fit(cp.fit(rated_log(lengths=(2e9, 4e9)), bootstrap=20), path)
    return path


def test_a_plan_that_no_ratio_keeps_is_answered_with_the_tolerance_that_one_would(
    rated_path, call, tmp_path
):
    plan_file = tmp_path / "plan.json"
    held = (
        "--max-general-rise",
        "0.001",
        "--min-ratio",
        "0.9",
        "--max-ratio",
        "0.95",
        "--rise-over",
        "replay",
    )
    assert call("plan", rated_path, *ASKED, *held, "--out", plan_file).code == 1
    plan = json.loads(plan_file.read_text())
    assert plan["domain_ratio"] is None
    out = tmp_path / "report.md"
    assert call("report", rated_path, "--plan", plan_file, "--quick", "--out", out).code == 0
    said = out.read_text()
    assert "**No domain ratio holds a rise of 0.001 nats over pure replay with 90 %" in said
    assert plan["least_tolerance"] in said
    assert f"At a domain ratio of {plan['evaluated_ratio']:.3f}, the least rise: of the" in said
    assert "| 90% | none |" in said
    assert "Give the domain" not in said
    assert "What holds the ratio back" not in said
    assert "Without any limit the ratio would be 1.000." in said
    assert not re.search(r"\bnan\b", said)
    # what each confidence would hold, and what to measure, as the plan's file has them
    assert {row["rise_over"] for row in plan["levels"]} == {"base", "replay"}
    for row in plan["levels"]:
        over = "the base" if row["rise_over"] == "base" else "pure replay"
        holds = "none" if row["domain_ratio"] is None else f"{row['domain_ratio']:.3f}"
        least = f"{row['least_tolerance']} | {row['least_rise_ratio']:.3f}"
        assert f"| {over} | {100 * row['confidence']:g} % | {holds} | {least} |" in said
    assert "What would change it:" in said
    assert not re.search(r"(\S+) to \1 parameters", said)


def test_a_report_is_of_the_learning_rate_of_its_plan(rated_path, call, tmp_path):
    limit = ("--max-general-rise", "0.05", "--schedule", "constant", "--peak-rate", "2e-4")
    plan_file, out = tmp_path / "plan.json", tmp_path / "report.json"
    assert call("plan", rated_path, *ASKED, *limit, "--out", plan_file).code == 0
    answer = call("report", rated_path, "--plan", plan_file, "--quick", "--out", out)
    assert answer.code == 0
    said = json.loads(out.read_text())
    truth = largest_ratio(0.05, course="constant", peak=2e-4)
    assert largest_ratio(0.05) - truth > 0.05  # what the log's own schedule would answer
    assert said["plan"]["domain_ratio"] == pytest.approx(truth, abs=0.04)
    assert said["plan"]["domain_ratio"] == json.loads(plan_file.read_text())["domain_ratio"]
    sentence = "The run has a constant schedule of the learning rate, with a peak of 0.0002."
    assert sentence in said["meaning"]


DOMAIN_ONLY = "data/published/cmr_table2_log.csv"


def test_a_log_without_general_losses_is_answered_and_drawn_from(call, tmp_path):
    """The page and the table of laws ended in an internal error, and pictures asked for a tolerance it cannot hold."""
    fit, page, picture = (tmp_path / name for name in ("fit.json", "page.md", "picture.png"))
    assert call("fit", DOMAIN_ONLY, "--bootstrap", "20", "--out", fit).code == 0
    assert call("report", fit, "--quick", "--out", page).code == 0
    said = page.read_text()
    assert "Give the domain 100% of the training tokens" in said
    assert "the lowest domain loss of the largest probed run, without any limit" in said
    assert "the log has no general loss." in said
    assert "Not shown: the general loss was not fitted" in said.split("## Frontier")[1]
    assert not re.search(r"\bnan\b|by how surely", said)
    asked = ("--model-params", "1B", "--general-weight", "0")
    panel = call("plan", fit, *asked, "--train-tokens", "20B", "--table", "panel")
    assert panel.code == 0
    assert "size_law" in panel.out
    for kind in ("ratio", "critical", "panel"):
        assert call("plot", fit, kind, *asked, "--out", picture, "--force").code == 0
    refused = call("plot", fit, "tradeoff", *asked, "--out", tmp_path / "none.png")
    assert refused.code == 1
    assert refused.err.startswith("error: the general loss was not fitted")
