"""The hundred hostile names in a real Chromium: nothing runs, nothing is asked for. Run by ``make browser``."""

import pytest
from browsing import asked_for, forget, opened
from hostile_names import FRAGMENTS, log_of, readable
from known_mixtures import world

import cmrplan as cp
from cmrplan.plots.figures import figure, write_figure
from cmrplan.report.page.formats import html_page
from cmrplan.report.page.mixtures import report_on_mixture
from cmrplan.report.page.two_corpora import report_on

pytestmark = pytest.mark.browser

ACTIVE = "img, iframe, object, embed, a[href^=java], [onload], [onerror]"


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    names = readable(tmp_path_factory.mktemp("names"))
    assert len(names) > 75
    return cp.fit(log_of(names), "dcpt", bootstrap=0)


def is_quiet(browser, path):
    """Tell that a page that was opened asked for itself alone, and that nothing of it went wrong or ran."""
    # This fails where an alert is open.
    assert browser.execute_script("return document.readyState") == "complete"
    assert browser.get_log("browser") == []
    assert asked_for(browser) == {path.as_uri()}
    return browser.execute_script(f"return document.querySelectorAll('{ACTIVE}').length") == 0


def test_an_alert_and_a_request_are_noticed(browser, tmp_path):
    from selenium.webdriver.support.expected_conditions import alert_is_present
    from selenium.webdriver.support.wait import WebDriverWait

    path = tmp_path / "page.html"
    path.write_text("<!doctype html><script>setTimeout(() => alert(1), 0)</script>")
    forget(browser)
    browser.get(path.as_uri())
    WebDriverWait(browser, 30).until(alert_is_present()).accept()
    path.write_text("<!doctype html><link rel=icon href=data:,><img src=x.png>")
    forget(browser)
    browser.get(path.as_uri())
    assert (tmp_path / "x.png").as_uri() in asked_for(browser)


def test_the_page_of_such_runs(browser, fit, tmp_path):
    asked = cp.PlanRequest(
        model_params=1e8, train_tokens=4e9, max_general_rise="5%", rise_over="replay", base_loss=2.5
    )
    path = tmp_path / "report.html"
    path.write_text(html_page(report_on(fit, asked, is_quick=True)), encoding="utf-8")
    forget(browser)
    opened(browser, path)
    browser.execute_script(
        "for (const one of document.querySelectorAll('details')) one.open = true;"
        "for (const one of document.querySelectorAll('input[type=range]')) {"
        " one.value = 1; one.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    assert is_quiet(browser, path)
    assert FRAGMENTS[10] in browser.execute_script("return document.body.textContent")


@pytest.mark.parametrize("kind", ["curves", "residuals", "ratio"])
def test_a_picture_of_such_runs(browser, fit, tmp_path, kind):
    path = tmp_path / f"{kind}.svg"
    options = {} if kind == "residuals" else {"model_params": 1e8, "train_tokens": 4e9}
    write_figure(figure(kind, fit, **options), path)
    forget(browser)
    browser.get(path.as_uri())
    assert browser.execute_script("return document.documentElement.tagName") == "svg"
    assert browser.execute_script("return document.querySelectorAll('script').length") == 0
    assert is_quiet(browser, path)


def test_the_page_of_such_corpora(browser, tmp_path):
    names = [name for name in FRAGMENTS if name[0] in '<"['][:4]
    log = world(4, 24).rename(
        columns={f"share_c{k}": f"share_{name}" for k, name in enumerate(names)}
    )
    log["eval_corpus"] = log["eval_corpus"].replace({f"c{k}": name for k, name in enumerate(names)})
    asked = cp.MixturePlanRequest(train_tokens=1e9)
    path = tmp_path / "mixture.html"
    content = report_on_mixture(cp.fit_mixture(log, "data_mixing", bootstrap=0), asked)
    path.write_text(html_page(content), encoding="utf-8")
    forget(browser)
    opened(browser, path)
    assert is_quiet(browser, path)
    assert names[0] in browser.execute_script("return document.body.textContent")
