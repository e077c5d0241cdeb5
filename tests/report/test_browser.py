"""The page in a real Chromium: its sliders show the library's numbers. Run by ``make browser``."""

from dataclasses import replace

import numpy as np
import pytest
from browsing import asked_for, forget, opened

import cmrplan as cp
from cmrplan.errors import CmrplanError
from cmrplan.plan.loss_curves import survey_at
from cmrplan.plan.questions.slider_stops import slider_stops
from cmrplan.report.page.formats import html_page
from cmrplan.report.page.two_corpora import report_on

pytestmark = pytest.mark.browser

NUM_SETTINGS = 200
AT_A_TIME = 10  # a call may not take longer than the driver waits
SLIDERS = (
    "model_params",
    "train_tokens",
    "tolerance",
    "confidence",
    "domain_tokens",
    "domain_ratio",
)
MOVE = """
const [names, settings, done] = arguments;
const frame = () => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
(async () => {
  const seen = [];
  for (const stops of settings) {
    names.forEach((name, k) => {
      const input = document.getElementById(name);
      input.value = stops[k];
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    await frame();
    const rows = {};
    for (const row of document.querySelectorAll("#live-table tbody tr")) {
      rows[row.id] = [...row.querySelectorAll("td")].map((cell) =>
        cell.dataset.number === undefined ? null : Number(cell.dataset.number));
    }
    rows.answer = document.getElementById("live-answer").textContent;
    seen.push(rows);
  }
  done(seen);
})();
"""


@pytest.fixture(scope="module")
def page(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html_page(content), encoding="utf-8")
    return path


def expected_rows(fit, question, stops, setting):
    """Return what the library says of a setting, by the row of the page."""
    n, d, k, c, u, r = setting
    size, tokens, level = stops.model_params[n], stops.train_tokens[d], stops.confidences[c]
    ratio = float(stops.domain_ratio[r])
    rows = {}
    request = replace(
        question,
        model_params=size,
        train_tokens=tokens,
        max_general_rise=stops.tolerances[k],
        confidence=level,
        domain_tokens=stops.domain_tokens[u],
    )
    try:
        plan = cp.plan(fit, request)
    except CmrplanError:
        rows["row-recommended-ratio"] = [None]
    else:
        best = plan.ratio
        rows |= {
            "row-recommended-ratio": [plan.domain_ratio],
            "row-best-ratio": [best.estimate, best.low, best.high],
            "row-recommended-violation": [plan.violation_probability],
            "row-base-loss": [plan.base_loss],
            "row-limit": [plan.general_loss_limit],
            "row-replay-loss": [plan.replay_loss],
        }
        for name, interval in (
            ("general", plan.general_loss),
            ("rise", plan.general_rise),
            ("domain", plan.domain_loss),
        ):
            rows[f"row-recommended-{name}"] = [interval.estimate, interval.low, interval.high]
        if not plan.is_feasible:  # nothing is recommended, so nothing is said of it
            recommended = [name for name in rows if name.startswith("row-recommended-")]
            rows |= {name: [None] * len(rows[name]) for name in recommended}
    if question.max_epochs > 1:
        try:
            own = survey_at(fit, request, np.array([ratio]))
        except CmrplanError:
            return rows
        for name, loss in (("general", own.general_of_run), ("domain", own.domain)):
            bounds = loss.interval(level)
            rows[f"row-own-{name}"] = [loss.loss[0], *(bound[0] for bound in bounds)]
        return rows
    domain = fit.predict("domain", model_params=size, train_tokens=tokens, domain_ratio=ratio)
    rows["row-own-domain"] = [domain.loss[0], *(bound[0] for bound in domain.interval(level))]
    if size in fit.sizes and tokens <= fit.probed.token_range[1]:
        general = fit.predict("general", model_params=size, train_tokens=tokens, domain_ratio=ratio)
        bounds = general.interval(level)
        rows["row-own-general"] = [general.loss[0], *(bound[0] for bound in bounds)]
    return rows


@pytest.mark.parametrize("passes", [1, 4])
def test_the_numbers_are_those_of_the_library_at_random_settings(
    browser, named_fit, question, passes, tmp_path
):
    """Domain data may be passed over four times too: then both losses follow the slider of their tokens."""
    question = replace(question, max_epochs=passes)
    page = tmp_path / "report.html"
    text = html_page(report_on(named_fit, question, is_quick=True))
    assert len(text.encode()) < 500_000
    page.write_text(text, encoding="utf-8")
    opened(browser, page)
    stops = slider_stops(named_fit, question)
    lengths = [
        len(values)
        for values in (
            *(stops.model_params, stops.train_tokens, stops.tolerances, stops.confidences),
            *(stops.domain_tokens, stops.domain_ratio),
        )
    ]
    settings = np.random.default_rng(3).integers(0, lengths, size=(NUM_SETTINGS, 6)).tolist()
    seen = []
    for first in range(0, NUM_SETTINGS, AT_A_TIME):
        some = settings[first : first + AT_A_TIME]
        seen += browser.execute_async_script(MOVE, list(SLIDERS), some)
    answered = 0
    for setting, rows in zip(settings, seen, strict=True):
        for name, values in expected_rows(named_fit, question, stops, setting).items():
            for value, shown in zip(values, rows[name], strict=False):
                if value is None or np.isnan(value):
                    assert shown is None, (setting, name)
                else:
                    assert shown == pytest.approx(value, abs=1e-6), (setting, name)
        if rows["row-recommended-ratio"][0] is None:
            assert rows["answer"].startswith("No ")
        else:
            answered += 1
            assert rows["answer"].startswith("Recommended: ")
    assert NUM_SETTINGS / 4 < answered < NUM_SETTINGS


def test_points_of_other_domain_data_than_the_curve_are_hollow_and_say_so(
    browser, named_fit, question, tmp_path
):
    """The probes passed over their domain data once; the run passes over a twentieth of it at the lowest stop."""
    question = replace(question, max_epochs=100, domain_tokens=question.train_tokens / 20)
    page = tmp_path / "report.html"
    page.write_text(html_page(report_on(named_fit, question, is_quick=True)), encoding="utf-8")
    opened(browser, page)
    stops = slider_stops(named_fit, question)
    size, tokens = (stops.model_params.index(1e6), stops.train_tokens.index(1e6))
    for supply, words in ((0, "measured, one pass or less"), (-1, "measured")):
        position = supply % len(stops.domain_tokens)
        setting = [size, tokens, 0, 0, position, 0]
        browser.execute_async_script(MOVE, list(SLIDERS), [setting])
        shown = browser.execute_script(
            "const box = document.querySelector('#live-charts figure');"
            "return [[...box.querySelectorAll('.legend bdi')].map((one) => one.textContent),"
            " box.querySelectorAll('svg[role=img] .hollow').length]"
        )
        assert words in shown[0]
        assert (shown[1] > 0) is (supply == 0)


def test_it_opens_within_a_second_without_an_error_or_a_request(browser, page):
    forget(browser)
    opened(browser, page)
    opened(browser, page)  # the first load starts the renderer
    timing = browser.execute_script(
        "const [n] = performance.getEntriesByType('navigation'); return n.loadEventEnd"
    )
    assert timing < 1000
    assert browser.get_log("browser") == []
    assert asked_for(browser) == {page.as_uri()}


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(browser, page, width, scheme):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    opened(browser, page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    colors = browser.execute_script(
        "const s = getComputedStyle(document.documentElement); return [s.backgroundColor, s.color]"
    )
    assert (contrast(*colors) >= 7) is True  # level AAA of WCAG 2.2


def contrast(one, other):
    """Return the contrast of two colors as WCAG 2.2 defines it."""
    levels = sorted(luminance(color) for color in (one, other))
    return (levels[1] + 0.05) / (levels[0] + 0.05)


def luminance(color):
    parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_sliders_move_by_the_keyboard_and_every_picture_has_words(browser, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    for name in SLIDERS:
        slider = browser.find_element(By.ID, name)
        before = slider.get_attribute("value")
        slider.send_keys(Keys.HOME)
        slider.send_keys(Keys.ARROW_RIGHT)
        assert slider.get_attribute("value") == "1" or before == "1"
        assert slider.get_attribute("aria-valuetext")
        assert slider.accessible_name
    pictures = browser.find_elements(By.CSS_SELECTOR, "figure svg[role=img]")
    assert len(pictures) > 6
    assert all(len(picture.get_attribute("aria-label")) > 20 for picture in pictures)
    hidden = browser.find_elements(By.CSS_SELECTOR, "svg:not([role=img]):not([aria-hidden])")
    assert hidden == []
