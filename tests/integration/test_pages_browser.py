"""Every kind of page on a phone, a tablet and a desk, light, dark and printed; by keyboard alone.

The axe-core that axe-playwright-python carries finds nothing to mend.
"""

from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from tests.measurement_document import measurement_document, measurement_of
from tests.reproduction_documents import figure_item, table_item

from prunable.forecast.document import write_page
from prunable.report.measure.html import write_measurement
from prunable.report.pages import PLOTLY_FILE
from prunable.report.reproduce.writing import write_index

pytestmark = pytest.mark.browser

N_LAYERS, MANY = 30, 210  # many are more than are shown at once
COMMAND = "prunable measure 'a b.safetensors' --report pages"
WIDTHS = (390, 800, 1400)
INK = {"light": "rgb(28, 33, 38)", "dark": "rgb(230, 233, 236)"}
PARTS = {"measure": "h2", "forecast": "table", "index": "article:not([hidden]) h3"}


def forecast_document():
    points = [
        {"kappa": k, "accuracy": 0.9 * k**0.2, "low": 0.85 * k**0.2, "high": 0.92 * k**0.2}
        | {"parameters": k, "loss": 0.1, "retention": k, "retention_low": k, "retention_high": k}
        for k in (0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1)
    ]
    ways = (("magnitude", "global"), ("magnitude", "lamp"), ("wanda", "layer"), ("unit", "layer"))
    return {
        "model": "net.safetensors",
        "accuracy": 0.9,
        "inputs": 300,
        "level": 0.9,
        "kind": "classification",
        "skipped": [],
        "curves": [{"method": m, "allocation": a, "points": points} for m, a in ways],
        "checks": [{"name": "enough inputs", "passed": True, "text": "300 inputs"}],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pages of each kind in one folder, which share the library of charts."""
    folder = tmp_path_factory.mktemp("pages")
    measured = measurement_of(measurement_document(N_LAYERS, against=True))
    measured = replace(measured, model="a b.safetensors")
    write_measurement(measured, folder / "measure.html", made_by=COMMAND, shared=True)
    write_measurement(measurement_of(measurement_document(MANY)), folder / "long.html", shared=True)
    write_index([figure_item(), table_item()], folder / "index.html", made_by=COMMAND, shared=True)
    write_page(forecast_document(), folder / "forecast.html", made_by=COMMAND)
    return folder


@pytest.fixture
def visit(browser, folder, set_width):
    """Open a page of the folder at a width; of the reproduced items, a figure's."""

    def opened(name, width=1400):
        set_width(width)
        browser.get("about:blank")
        address = "#barsbey2021-fig3" if name == "index" else ""
        browser.get((folder / f"{name}.html").as_uri() + address)

    return opened


def test_pages_share_one_library_and_are_small_with_it_in_them_too(folder, tmp_path):
    assert sorted(path.name for path in folder.iterdir()) == [
        "forecast.html",
        "index.html",
        "long.html",
        "measure.html",
        PLOTLY_FILE,
    ]
    for page in folder.glob("*.html"):
        assert page.stat().st_size < 1_500_000
        assert "unsafe-inline'; style" not in page.read_text()
    alone = tmp_path / "alone.html"
    write_measurement(measurement_of(measurement_document(MANY)), alone)
    assert 500_000 < alone.stat().st_size < 1_500_000


# Labels of one axis that cover each other; those that are turned need less room than their boxes.
COLLIDING = """
const clash = [];
for (const axis of document.querySelectorAll('.xaxislayer-above, .yaxislayer-above')) {
  const boxes = [...axis.querySelectorAll('text')]
    .filter(t => !/rotate\\(-?[1-9]/.test(t.getAttribute('transform')))
    .map(t => t.getBoundingClientRect()).filter(b => b.width && b.height);
  for (let i = 1; i < boxes.length; i++) {
    const [a, b] = [boxes[i - 1], boxes[i]];
    if (a.right > b.left + 1 && b.right > a.left + 1 && a.bottom > b.top + 3
        && b.bottom > a.top + 3) clash.push(axis.closest('.chart').id);
  }
}
return clash;
"""
# The size of the words of a drawing as they are seen; its own are of 10 points, its smallest of 9.
DRAWN = """
const svg = [...document.querySelectorAll('figure > svg')].find(s => s.checkVisibility());
if (!svg) return null;
const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
return [9 * scale, getComputedStyle(svg.querySelector('use')).fill];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["measure", "index", "forecast"])
def test_page_suits_every_screen(browser, visit, script, set_scheme, name, scheme):
    set_scheme(scheme)
    for width in WIDTHS:
        visit(name, width)
        assert script("return document.documentElement.scrollWidth") <= width
        assert script("return getComputedStyle(document.body).color") == INK[scheme]
        assert script("return document.querySelectorAll(arguments[0]).length", PARTS[name]) > 2 - (
            name == "forecast"
        )
        assert script(COLLIDING) == []
        drawn = script(DRAWN)
        if name == "forecast":
            assert drawn[0] >= 9
            assert drawn[1] == {"light": "rgb(0, 0, 0)", "dark": INK["dark"]}[scheme]
        else:
            assert script("return document.querySelectorAll('.chart .main-svg').length") > 3
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
@pytest.mark.parametrize("name", ["measure", "index", "forecast"])
def test_axe_finds_nothing_to_mend(browser, visit, set_scheme, name, scheme):
    set_scheme("light" if scheme == "print" else scheme)
    for width in WIDTHS:
        visit(name, width)
        if scheme == "print":
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert violations(browser) == [], width


def violations(browser):
    """What axe-core finds."""
    found = find_spec("axe_playwright_python")
    source = (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text()
    browser.execute_script(source)
    browser.set_script_timeout(300)
    return browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run({exclude: [['.main-svg']]})"
        ".then(r => done(r.violations.map(v => [v.id, v.nodes[0].html.slice(0, 200)])))"
    )


def test_layers_stand_in_25_whole_lines(visit, script):
    visit("measure")
    hidden, lines, high = script(
        "const region = document.querySelector('.tall'), box = region.getBoundingClientRect();"
        "const rows = [...document.querySelectorAll('#layer-table tbody tr')]"
        ".map(row => row.getBoundingClientRect());"
        "return [region.scrollWidth - region.clientWidth,"
        " rows.filter(row => row.bottom <= box.bottom).length, rows[0].height]"
    )
    assert hidden == 0
    assert lines >= 25
    assert high < 40  # one line each


@pytest.mark.parametrize("width", WIDTHS)
def test_names_and_verdicts_are_seen_at_any_width(visit, script, width):
    visit("measure", width)
    hidden, cut, gone = script(
        "const region = document.querySelector('.tall'), box = region.getBoundingClientRect();"
        "const rights = [...document.querySelectorAll('#layer-table tr > :nth-child(2)')]"
        ".map(cell => cell.getBoundingClientRect().right);"
        "const hidden = region.scrollWidth - region.clientWidth;"
        "region.scrollLeft = hidden;"
        "const lefts = [...document.querySelectorAll('#layer-table tr > :first-child')]"
        ".map(cell => cell.getBoundingClientRect().left);"
        "return [hidden, Math.max(...rights) > box.right, Math.min(...lefts) < box.left]"
    )
    assert not cut
    assert not gone
    assert hidden == 0 or width < 800


@pytest.mark.parametrize("name", ["long", "index", "forecast"])
def test_paper_has_charts_and_whole_tables_and_nothing_to_press(
    browser, visit, script, set_scheme, name
):
    set_scheme("dark")  # paper stays white
    visit(name)
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    script("dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    seen = "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())"
    assert script(f"{seen}.map(e => e.outerHTML)", ".controls, .skip, nav, p > button") == []
    hidden = "(e => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1)"
    assert script(f"{seen}.filter{hidden}.map(e => e.outerHTML.slice(0, 99))", ".tall") == []
    if name != "forecast":
        assert script("return getComputedStyle(document.body).color") == INK["light"]
        for left, right in script(
            f"{seen}.map(e => e.getBoundingClientRect()).map(b => [b.left, b.right])",
            ".chart .main-svg",
        ):
            assert 0 <= left < right <= 1024  # A4 across
    if name == "long":
        rows = "return document.querySelectorAll('#layer-table tbody tr').length"
        assert script(rows) == MANY
        script("dispatchEvent(new Event('afterprint'))")
        assert script(rows) < MANY


@pytest.mark.parametrize("name", ["measure", "index", "forecast"])
def test_the_command_is_there_to_copy(visit, script, name):
    visit(name)
    script("document.querySelector('header .command button').click()")
    assert script("return document.querySelector('header .command code').textContent") == COMMAND
    said = "return document.querySelector('header .command button').textContent"
    for _ in range(50):
        if script(said) == "Copied":
            break
    assert script(said) == "Copied"


def test_keys_go_through_the_page_in_its_order_and_past_the_table(browser, visit, script):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    visit("measure")
    assert script(
        "return document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length"
    ) == (script("return document.querySelectorAll('.main-svg [tabindex]').length"))
    tops = script(
        "return [...document.querySelectorAll('main h2, main input, main select, main .tall,"
        " main summary, main p > a')].filter(e => e.checkVisibility() && !e.matches('.skip'))"
        ".map(e => e.getBoundingClientRect()).map(b => [b.top, b.bottom])"
    )
    assert all(after[1] > before[0] for before, after in pairwise(tops))
    ActionChains(browser).send_keys(Keys.TAB).perform()
    assert script("return document.activeElement.className") == "skip"
    script("document.querySelector('a.skip[href=\"#one\"]').focus()")
    ActionChains(browser).send_keys(Keys.ENTER).send_keys(Keys.TAB).perform()
    assert script("return document.activeElement.id") == "layer-select"


def test_a_page_without_its_library_says_so(browser, folder, tmp_path, script):
    (tmp_path / "alone.html").write_text((folder / "measure.html").read_text())
    browser.get((tmp_path / "alone.html").as_uri())
    assert PLOTLY_FILE in script("return document.getElementById('curves').textContent")
    assert script("return document.querySelectorAll('#layer-table tbody tr').length") > 25
    browser.get_log("browser")
