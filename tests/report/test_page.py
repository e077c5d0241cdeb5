"""The report says what the plan says, needs nothing from outside, and shows names as text."""

import base64
import csv
import io
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from hostile_names import FOLDER, HIDDEN, HOSTILE, RIGHT_TO_LEFT

import cmrplan as cp
from cmrplan.report.page.content import shown_rows, shown_text
from cmrplan.report.page.explorer import explorer_of
from cmrplan.report.page.formats import html_page, json_text, markdown_page, write_report


class _Elements(HTMLParser):
    """Collects what a page loads, its scripts, its text, and the levels of its headings."""

    def __init__(self, page):
        super().__init__()
        self.outside, self.scripts, self.levels, self.text = [], [], [], []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        if tag == "script":
            self.scripts.append(dict(attrs))
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        self.outside += [v for k, v in attrs if k in ("src", "href") and not v.startswith("#")]
        assert not [k for k, _ in attrs if k.startswith("on")]

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def page(content):
    return html_page(content)


def data_of(page):
    text = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S)[1]
    return json.loads(text)


def test_the_page_says_what_the_plan_says(named_fit, question, page, content):
    plan = cp.plan(named_fit, question)
    assert f"domain ratio of {plan.domain_ratio:.3f}" in page
    assert content.plan == plan.as_dict()
    for level in (0.5, 0.8, 0.9, 0.95):
        one = cp.plan(named_fit, replace(question, confidence=level))
        row = next(r for r in content.summary[0].rows if r[0] == f"{100 * level:g}%")
        assert row[1] == f"{one.domain_ratio:.3f}"
    assert len(content.cautions) <= 3


def test_the_page_asks_for_nothing_from_outside_and_runs_no_other_script(page):
    elements = _Elements(page)
    assert elements.outside == []
    assert [one.get("type") for one in elements.scripts] == ["application/json", None]
    assert "default-src 'none'" in page
    assert elements.levels[0] == 1
    assert elements.levels.count(1) == 1
    assert len(page.encode()) < 500_000


def test_names_are_text_and_no_folder_is_in_the_page(page, content):
    elements = _Elements(page)
    shown = "".join(elements.text)
    assert "alert(1)" in shown  # as text
    assert f"<bdi>{RIGHT_TO_LEFT}</bdi>" in page
    assert FOLDER not in page
    assert "/home/" not in page
    assert HOSTILE not in page
    for other in (markdown_page(content), json_text(content)):
        assert "/home/" not in other


def test_the_log_can_be_taken_out_of_the_page(page, named_fit):
    text = zlib.decompress(base64.b64decode(data_of(page)["log"])).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(named_fit.log)
    assert [float(row["loss"]) for row in rows] == named_fit.log["loss"].tolist()
    assert {row["run_id"] for row in rows} >= {"x1", RIGHT_TO_LEFT}


def test_what_hides_is_shown_and_runs_of_one_name_in_two_folders_stay_apart():
    assert shown_text(HIDDEN) == "a\\u202eb"
    log = pd.DataFrame({"run_id": ["/a/x", "/a/x", "/b/x"], "loss": [1.0, 2.0, 3.0]})
    assert shown_rows(log)["run_id"].tolist() == ["x (1)", "x (1)", "x (2)"]


def test_a_limit_that_nothing_keeps_is_answered_with_the_one_that_would(named_fit):
    from cmrplan.report.page.answer import confidence_table
    from cmrplan.report.page.two_corpora import _plan_or_refusal

    asked = cp.PlanRequest(model_params=1e6, train_tokens=1e6, max_general_rise="0.001%")
    plan, refusal = _plan_or_refusal(named_fit, asked)
    if plan is None:
        assert "smallest feasible tolerance" in refusal
        assert [row[1] for row in confidence_table(named_fit, asked).rows][-1] == "none"


def test_json_and_pdf_are_written(content, tmp_path):
    said = json.loads(json_text(content))
    assert said["plan"]["domain_ratio"] == content.plan["domain_ratio"]
    write_report(content, tmp_path / "r.pdf", "pdf")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")


def test_points_of_probes_that_repeated_other_data_say_how_many(log):
    """Where a log says what its domain corpus held, curves follow the supply without any passes allowed."""
    fit = cp.fit(log.assign(unique_domain_tokens=2e5), law="dcpt", bootstrap=0)
    request = cp.PlanRequest(model_params=1e6, train_tokens=1e6, max_general_rise="5%")
    explorer = explorer_of(fit, request)
    supplies = explorer["stops"]["domain_tokens"]
    assert supplies[-1] is None
    for words in explorer["measured_supply"]:
        assert words[-1] == ""
        for unique, said in zip(supplies[:-1], words[:-1], strict=True):
            assert said == ("" if unique == 2e5 else "U = 200k domain tokens")
