"""The command in this process; a headless Chromium for tests that look at pages as readers do."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from prunable.cli.app import app


@pytest.fixture(scope="session")
def run():
    """Run `prunable` in this process: starting one takes seconds. Texts are split at spaces."""
    runner = CliRunner()

    def invoke(*arguments):
        parts = [a.split() if isinstance(a, str) else [str(a)] for a in arguments]
        done = runner.invoke(app, [part for several in parts for part in several])
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done

    return invoke


@pytest.fixture(scope="module")
def document_of(run):
    """What `run` of a file prints with --json where all is well: JSON alone, no infinities."""

    def document(*arguments):
        done = run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))

    return document


FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})

    class Chrome(webdriver.Chrome):
        def get(self, url):
            """Open a page, and wait until it has unpacked what it shows."""
            super().get(url)
            ready = (
                "!document.getElementById('data') || 'ready' in document.documentElement.dataset"
            )
            WebDriverWait(self, 30, 0.02).until(lambda _: self.execute_script(f"return {ready}"))

    opened = Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture
def script(browser):
    """Run a script in the page."""
    return browser.execute_script


@pytest.fixture
def texts(browser):
    """Texts of all elements that a selector finds."""
    return lambda selector: browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())",
        selector,
    )


@pytest.fixture
def set_width(browser):
    """Set the width of the window in CSS pixels, however narrow, for one test."""
    yield lambda width: browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture
def set_scheme(browser):
    """Set the colour scheme that the reader prefers, for one test."""
    yield lambda scheme: browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
