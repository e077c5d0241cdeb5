"""A report on several corpora says what their plan says."""

import json

import pytest
from known_mixtures import ASKED, world

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.files import sealed, write_json
from cmrplan.report.page.formats import html_page
from cmrplan.report.page.mixtures import read_mixture_request, report_on_mixture


@pytest.fixture(scope="module")
def three():
    return cp.fit_mixture(world(3, 24), bootstrap=20)


def test_the_page_says_what_the_plan_says(three, tmp_path):
    plan = cp.plan_mixture(three, **ASKED)
    write_json(tmp_path / "plan.json", sealed(plan.as_dict()))
    asked = read_mixture_request(tmp_path / "plan.json", three)
    content = report_on_mixture(three, asked)
    assert content.plan == json.loads(json.dumps(plan.as_dict()))
    shares = {row[0]: row[1] for row in content.summary[0].rows}
    assert shares == {name: f"{share:.4g}" for name, share in plan.shares.items()}
    page = html_page(content)
    assert 'id="sliders"' not in page
    assert "Recommended and natural shares" in page


def test_a_lower_weighted_loss_that_breaks_a_limit_is_told(three):
    plan = cp.plan_mixture(three, **ASKED)
    content = report_on_mixture(three, plan.asked)
    (section,) = (one for one in content.sections if one.title == "Other mixtures")
    (table,) = section.tables
    assert table.columns[-1] == "breaks the limit of"
    told = {row[0]: row[-1] for row in table.rows}
    assert len(told) == len(plan.candidates)
    assert told["without limits"] == ", ".join(plan.candidates["unconstrained"].breaks) != ""
    free = cp.plan_mixture(three, train_tokens=ASKED["train_tokens"]).asked
    sections = report_on_mixture(three, free).sections
    (table,) = next(one.tables for one in sections if one.title == "Other mixtures")
    assert "breaks the limit of" not in table.columns


def test_a_plan_of_another_log_is_refused(three, tmp_path):
    plan = cp.plan_mixture(three, **ASKED).as_dict()
    plan["provenance"] = plan["provenance"] | {"log_fingerprint": "000000000000"}
    write_json(tmp_path / "plan.json", sealed(plan))
    with pytest.raises(InputError, match="from another log"):
        read_mixture_request(tmp_path / "plan.json", three)
