"""The report as a reader sees it, in headless Chromium."""

import pytest

from prunable.report.demo.html import write_report
from prunable.report.demo.results import Results
from prunable.report.demo.tables import COLUMNS, comparison_rows

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser, results_document, tmp_path):
    path = tmp_path / "report.html"
    results = Results.model_validate(results_document)
    write_report(results, path)
    browser.set_window_size(1280, 900)
    browser.get(path.as_uri())
    return results


def test_tables_show_the_document(texts, page):
    rows = comparison_rows(page)
    expected = [cell for row in rows for cell in (*row.cells, *(row.paper if row.source else ()))]
    assert texts("#comparison-table tbody td") == expected
    assert len(texts("#run-table tbody tr")) == len(page.runs)
    assert "diverged: the loss is nan at step 7" in texts("#run-table td.bad")
    assert texts("#difference-table td.text") == ["<b>chance</b>"]
    assert len(texts("#control-table tbody tr")) == 1
    assert len(texts("#comparison-table thead th")) == len(COLUMNS) + 1


def test_pictures_are_drawn(browser, page):
    sizes = browser.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth, i.alt])"
    )
    assert page is not None
    assert len(sizes) == 4
    for complete, natural, shown, alt in sizes:
        assert complete
        assert natural > 300
        assert shown > 300
        assert len(alt) > 20


def test_nothing_comes_from_elsewhere_and_nothing_fails(browser, page):
    assert page is not None
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_page_does_not_scroll_sideways(browser, page, set_width, width):
    assert page is not None
    set_width(width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(browser, page, set_scheme, scheme):
    assert page is not None
    set_scheme(scheme)
    ink, paper = browser.execute_script(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    )
    lights = [sum(map(int, c.strip("rgb()").split(","))) for c in (ink, paper)]
    assert (lights[0] < lights[1]) == (scheme == "light")
    assert abs(lights[0] - lights[1]) > 400
