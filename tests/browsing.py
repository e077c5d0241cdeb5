"""What tests in a real Chromium do with a page."""

import json
import time


def opened(browser, page):
    browser.get(page.as_uri())
    end = time.monotonic() + 30
    while browser.execute_script("return document.body.dataset.ready") != "yes":
        assert time.monotonic() < end, browser.get_log("browser")
        time.sleep(0.02)


def forget(browser):
    """Leave the page, and drop what the browser has noted of it."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")


def asked_for(browser):
    """Return the addresses that were asked for since the last look."""
    messages = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
    return {
        one["params"]["request"]["url"]
        for one in messages
        if one["method"] == "Network.requestWillBeSent"
    }
