"""Shared: a quick fit with hostile names in it, a question, and the report on both."""

import shutil

import numpy as np
import pytest
from hostile_names import FOLDER, HOSTILE, RIGHT_TO_LEFT

import cmrplan as cp
from cmrplan.report.page.two_corpora import report_on


@pytest.fixture(scope="session")
def question():
    return cp.PlanRequest(
        model_params=3e6,
        train_tokens=4e6,
        max_general_rise="5%",
        rise_over="replay",
        domain_tokens=1e6,
        min_ratio=0.2,
    )


@pytest.fixture(scope="session")
def named_fit(log):
    """Return a fit of a log in which three runs have names that a page must not take as they are."""
    runs = log["run_id"].unique()
    hostile = dict(zip(runs, (HOSTILE, RIGHT_TO_LEFT, FOLDER), strict=False))
    named = log.assign(run_id=log["run_id"].replace(hostile))
    assert np.isin([HOSTILE, RIGHT_TO_LEFT, FOLDER], named["run_id"]).all()
    return cp.fit(named, law="dcpt", bootstrap=30)


@pytest.fixture(scope="session")
def content(named_fit, question):
    return report_on(named_fit, question, is_quick=True)


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(300)
    yield driver
    driver.quit()
