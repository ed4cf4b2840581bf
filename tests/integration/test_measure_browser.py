"""The page of a measurement as a reader sees and uses it, in headless Chromium."""

import json

import pytest
from tests.measurement_document import (
    HOSTILE,
    measurement_document,
    measurement_of,
    trajectory_document,
    trajectory_of,
)

from prunable.report.measure.html import METHODS, write_measurement
from prunable.report.measure.tables import overall_table

pytestmark = pytest.mark.browser

CHARTS = ("alpha-overview", "kappa-overview", "curves", "tail", "estimators", "hill", "dumbbells")
LAYER_CHARTS = ("curves", "tail", "estimators", "hill")
COURSES = ("alpha-course", "kappa-course")


@pytest.fixture
def show(browser, tmp_path):
    """Write the page of a document, and open it from its file."""

    def opened(document):
        make = trajectory_of if "trajectory" in document else measurement_of
        path = tmp_path / "measure.html"
        write_measurement(make(document), path)
        browser.set_window_size(1280, 900)
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(path.as_uri())
        return document

    return opened


@pytest.fixture
def document(show):
    return show(measurement_document(against=True))


@pytest.fixture
def trajectory(show):
    return show(trajectory_document())


@pytest.fixture
def click(browser):
    """Click the middle of the n-th element found, as a reader would."""

    def clicked(selector, place=0):
        browser.find_elements("css selector", selector)[place].click()

    return clicked


@pytest.fixture
def traces(script):
    """Points of a chart by the names of its traces."""
    return lambda chart: script(
        "return Object.fromEntries((document.getElementById(arguments[0]).data || [])"
        ".map(t => [t.name, {x: t.x, y: t.y}]))",
        chart,
    )


def drawn(script, chart):
    """How many marks and lines of a chart have a size on the screen."""
    return script(
        "return [...document.querySelectorAll(`#${arguments[0]} .scatterlayer path`)]"
        ".filter(path => path.getBoundingClientRect().width > 0).length",
        chart,
    )


def by_name(document, name):
    return next(layer for layer in document["layers"] if layer["name"] == name)


# --- what is shown ---------------------------------------------------------------------------


def test_every_chart_is_drawn_from_the_document(document, script, traces):
    for chart in CHARTS:
        assert drawn(script, chart) > 0, chart
    layer = document["layers"][0]
    curves = traces("curves")
    for name, key in (
        ("weights", "weight"),
        ("nodes", "node"),
        ("units", "unit"),
        ("kernels", "kernel"),
        ("singular values", "singular_value"),
        ("Gaussian law", "gaussian"),
        ("stable law", "stable_median"),
        ("low", "stable_low"),
        ("high", "stable_high"),
    ):
        assert curves[name]["x"] == pytest.approx(layer["curves"]["eps"], rel=1e-4)
        assert curves[name]["y"] == pytest.approx(layer["curves"][key], rel=1e-4, abs=1e-12)
    assert traces("tail")["weights"]["y"] == pytest.approx(layer["tail_plot"]["survival"], rel=1e-4)
    assert traces("hill")["Hill"]["y"] == pytest.approx(layer["hill_plot"]["alpha"], rel=1e-4)
    kappa = [layer["kappa"].get("node") for layer in document["layers"]]
    assert traces("kappa-overview")["nodes"]["y"] == [
        k and pytest.approx(k["0.1"], rel=1e-4) for k in kappa
    ]


def test_estimators_stand_beside_each_other(document, script):
    estimators = document["layers"][0]["estimators"]
    points, bars, labels, shapes = script(
        "const chart = document.getElementById('estimators'), t = chart.data[0];"
        "return [t.x, t.error_x.array, chart.layout.yaxis.ticktext,"
        " chart.layout.shapes.map(s => s.x0)]"
    )
    found = [e for e in estimators.values() if e["alpha"] is not None]
    assert points == pytest.approx([e["alpha"] for e in found], rel=1e-4)
    assert bars == [e["stderr"] and pytest.approx(2 * e["stderr"]) for e in found]
    assert labels[:5] == [METHODS[method] for method in list(estimators)[:5]]
    assert labels[5] == "Hill (not stable)"
    assert labels[-1] == "paper authors' code (degenerate)"
    assert shapes == [2, pytest.approx(document["layers"][0]["alpha"], rel=1e-4)]


def test_shaded_plateau_lies_where_the_document_says(document, script):
    left, right = script(
        "const box = document.querySelector('#hill .shapelayer [data-index=\"1\"]')"
        ".getBoundingClientRect(), chart = document.getElementById('hill'),"
        " axis = chart._fullLayout.xaxis, start = chart.getBoundingClientRect().left;"
        "return [box.left, box.right].map(x => axis.p2d(x - start - axis._offset))"
    )
    assert [left, right] == pytest.approx(document["layers"][0]["hill_plot"]["plateau"], rel=0.05)


def test_tables_show_the_document(document, texts):
    overall = overall_table(measurement_of(document))
    assert texts("#overall-table thead th") == [column.title for column in overall.columns]
    cells = [cell for row in overall.rows for cell in row.cells]
    assert texts("#overall-table tbody td") == cells
    assert texts("#layer-table tbody th") == [layer["name"] for layer in document["layers"]]
    assert texts("#layer-table tbody .badge") == [layer["verdict"] for layer in document["layers"]]
    assert "1.65 ± 0.04" in texts("#layer-table tbody tr:first-child td")
    cells = texts("#layer-table tbody tr:nth-child(3) td")
    assert {*cells[1:7], *cells[-2:]} == {"–"}  # alpha and shares; dependence, spectral_alpha
    assert len(texts("#comparison-table tbody tr")) == len(document["comparison"]["layers"])
    assert texts("#left-out ~ ul li") == ["2 × one-dimensional", "1 × integers"]
    assert "bn.<u>: one-dimensional" in texts("#skipped li")
    assert "pruning_ratio" in texts("#glossary dt")


def test_comparison_is_drawn_largest_difference_first(document, traces):
    pairs = [pair for pair in document["comparison"]["layers"] if pair["alpha"][0] is not None]
    pairs.sort(key=lambda pair: -abs(pair["alpha"][0] - pair["alpha"][1]))
    for i, name in enumerate("AB"):
        assert traces("dumbbells")[name]["x"] == pytest.approx(
            [pair["alpha"][i] for pair in pairs], rel=1e-4
        )


# --- what a reader does ----------------------------------------------------------------------


def test_clicking_a_row_shows_that_layer(document, script, click, traces, texts):
    name = "embedding.weight"
    place = [layer["name"] for layer in document["layers"]].index(name)
    click("#layer-table tbody tr", place)
    assert texts("#layer-name") == [name]
    assert texts("#layer-select option:checked") == [name]
    assert texts("#layer-table tr[aria-current=true] th") == [name]
    layer = by_name(document, name)
    assert texts("#layer-reason") == [f"{layer['verdict']} {layer['reason']}"]
    assert traces("hill")["Hill"]["y"] == pytest.approx(layer["hill_plot"]["alpha"], rel=1e-4)
    assert "kernels" not in traces("curves")
    assert script("return document.getElementById('alpha-overview').layout.shapes[1].x0") == place


def test_refused_layer_says_so_and_the_next_is_drawn_again(document, script, click, texts):
    place = [layer["name"] for layer in document["layers"]].index(HOSTILE)
    script(f"const s = document.getElementById('layer-select'); s.value = {place}; s.onchange()")
    assert texts("#layer-name") == [HOSTILE]
    for chart in LAYER_CHARTS:
        assert texts(f"#{chart}") == ["not available"]
    assert "not available" in texts("#facts dd")
    click("#next")
    assert texts("#layer-name") == [document["layers"][place + 1]["name"]]
    for chart in LAYER_CHARTS:
        assert drawn(script, chart) > 0
        assert "not available" not in texts(f"#{chart}")[0]
    click("#previous")
    assert texts("#layer-name") == [HOSTILE]


def test_keyboard_alone_selects_and_sorts(browser, document, script, texts):
    from selenium.webdriver.common.keys import Keys

    buttons = browser.find_elements("css selector", "#layer-table tbody button")
    buttons[4].send_keys(Keys.ENTER)
    assert texts("#layer-name") == [document["layers"][4]["name"]]
    browser.find_elements("css selector", "#layer-table thead button")[0].send_keys(Keys.ENTER)
    names = texts("#layer-table tbody th")
    assert names == script("return arguments[0].sort((a, b) => a.localeCompare(b))", names[::-1])
    unreachable = script(
        "return [...document.querySelectorAll('button, select, input, a, summary')]"
        ".filter(e => e.tabIndex < 0).length"
    )
    assert unreachable == 0


def test_clicking_a_heading_sorts_with_missing_numbers_last(document, click, texts):
    alphas = {layer["name"]: layer["alpha"] for layer in document["layers"]}
    known = sorted((alpha, name) for name, alpha in alphas.items() if alpha is not None)
    click("#layer-table thead button", 2)
    assert texts("#layer-table thead th[aria-sort=ascending]") == ["alpha"]
    assert texts("#layer-table tbody th") == [name for _, name in known] + [HOSTILE]
    click("#layer-table thead button", 2)
    assert texts("#layer-table thead th[aria-sort=descending]") == ["alpha"]
    assert texts("#layer-table tbody th") == [name for _, name in known[::-1]] + [HOSTILE]


@pytest.mark.usefixtures("document")
def test_filters_leave_the_matching_layers(browser, script, texts):
    box = browser.find_element("css selector", "#filter")
    box.send_keys("EMBED")
    assert texts("#layer-table tbody th") == ["embedding.weight"]
    assert texts("#layer-table-count") == ["1 of 1 matching layers shown, 6 in all"]
    box.clear()
    box.send_keys("attention")  # a kind
    assert len(texts("#layer-table tbody th")) == 1
    script("document.getElementById('filter').value = ''")
    script("const s = document.getElementById('verdict'); s.value = 'light-tailed'; s.onchange()")
    assert texts("#layer-table tbody th") == ["head.weight"]
    box.send_keys("nothing like it")
    assert texts("#layer-table tbody th") == []


def test_overview_shows_the_layers_that_pass_the_filters(document, script, traces):
    from selenium.webdriver.support.wait import WebDriverWait

    script("const s = document.getElementById('verdict'); s.value = 'stable'; s.onchange()")
    kappa = document["layers"][0]["kappa"]["weight"]["0.1"]
    expected = {"x": [0], "y": [pytest.approx(kappa, rel=1e-4)]}
    WebDriverWait(None, 10).until(lambda _: traces("kappa-overview").get("weights") == expected)
    script("const s = document.getElementById('filter'); s.value = 'none such'; s.oninput()")
    WebDriverWait(None, 10).until(lambda _: not traces("kappa-overview"))
    script("const s = document.getElementById('filter'); s.value = ''; s.oninput()")
    WebDriverWait(None, 10).until(lambda _: traces("kappa-overview").get("weights") == expected)


def test_another_eps_changes_table_and_chart(document, script, traces, texts):
    script("const s = document.getElementById('eps'); s.value = 2; s.onchange()")
    kappa = document["layers"][0]["kappa"]["node"]["0.2"]
    assert traces("kappa-overview")["nodes"]["y"][0] == pytest.approx(kappa, rel=1e-4)
    shown = texts("#layer-table tbody tr:first-child td")[3]
    assert float(shown) == pytest.approx(100 * kappa, rel=5e-3)


def test_clicking_a_point_selects_its_layer(browser, document, texts):
    from selenium.webdriver.common.action_chains import ActionChains

    # the last group of marks holds one layer, the light-tailed one
    points = browser.find_elements("css selector", "#alpha-overview .points path.point")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", points[-1])
    ActionChains(browser).move_to_element(points[-1]).pause(0.2).click().perform()
    assert texts("#layer-name") == [document["layers"][-1]["name"]]


# --- what every page must keep ---------------------------------------------------------------


def requests(browser):
    """Addresses that the page asked for since it was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


@pytest.mark.parametrize("make", [lambda: measurement_document(against=True), trajectory_document])
def test_nothing_comes_from_elsewhere_and_nothing_fails(browser, show, script, click, texts, make):
    show(make())
    for place in range(len(texts("#layer-table tbody tr"))):
        click("#layer-table tbody tr", place)
    asked = requests(browser)
    assert len(asked) >= 1  # the page itself: the log works
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert script("return performance.getEntriesByType('resource').length") == 0
    assert script("return window.hit ?? null") is None
    assert browser.get_log("browser") == []


@pytest.mark.usefixtures("document")
def test_charts_offer_no_upload(script):
    titles = script(
        "return [...document.querySelectorAll('#curves .modebar-btn')].map(b => b.dataset.title)"
    )
    assert len(titles) == 6
    assert not [title for title in titles if "hare" in title or "loud" in title]


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("make", [lambda: measurement_document(against=True), trajectory_document])
def test_page_does_not_scroll_sideways(show, script, set_width, make, width):
    set_width(width)
    document = show(make())
    assert script("return document.documentElement.scrollWidth") <= width
    for chart in COURSES if "trajectory" in document else CHARTS:
        inside = script(
            "const chart = document.querySelector(`#${arguments[0]} .main-svg`)"
            ".getBoundingClientRect(); return [chart.left, chart.right]",
            chart,
        )
        assert 0 <= inside[0] < inside[1] <= width


def lightness(script, expression):
    """Sum of the channels of a CSS colour, 0 to 765."""
    return sum(
        script(
            "const c = document.createElement('canvas').getContext('2d');"
            f"c.fillStyle = {expression}; c.fillRect(0, 0, 1, 1);"
            "return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3)"
        )
    )


@pytest.mark.usefixtures("document")
def test_both_schemes_are_readable_and_charts_follow_a_change(script, set_scheme):
    for scheme in ("light", "dark", "light"):
        set_scheme(scheme)
        paper = lightness(script, "getComputedStyle(document.body).backgroundColor")
        card = lightness(
            script, "getComputedStyle(document.querySelector('figure')).backgroundColor"
        )
        assert (paper > 380) == (card > 380) == (scheme == "light")
        texts = [
            "getComputedStyle(document.body).color",
            "getComputedStyle(document.querySelector('#layer-table tbody button')).color",
            *(
                f"getComputedStyle(document.querySelector('#{chart} .ytick text')).fill"
                for chart in CHARTS
            ),
        ]
        for text in texts[:1] + texts[2:]:
            assert abs(lightness(script, text) - card) > 400, text
        assert abs(lightness(script, texts[1]) - card) > 250


# --- other documents -------------------------------------------------------------------------


def test_thousands_of_layers_stay_usable(show, script, click, texts, browser):
    document = show(measurement_document(5000))
    assert len(texts("#layer-table tbody tr")) == 200
    click("#layer-table-more")
    assert len(texts("#layer-table tbody tr")) == 400
    assert script(
        "return document.querySelectorAll('#alpha-overview .points path.point').length"
    ) == len(document["layers"])
    browser.find_element("css selector", "#filter").send_keys("blocks.4321.")
    click("#layer-table tbody tr")
    assert texts("#layer-name") == ["blocks.4321.weight"]
    assert drawn(script, "curves") > 0
    assert browser.get_log("browser") == []


def test_document_without_layers_is_shown(browser, show, texts):
    document = measurement_document()
    document["layers"] = []
    show(document)
    assert texts("#layer-table-count") == ["0 of 0 matching layers shown, 0 in all"]
    assert browser.get_log("browser") == []


def test_trajectory_is_drawn_and_highlights_a_layer(trajectory, script, click, traces, texts):
    points = trajectory["trajectory"]
    for chart in COURSES:
        assert drawn(script, chart) > 0
    assert traces("alpha-course")["mean"] == {
        "x": [point["step"] for point in points],
        "y": [point["alpha_mean"] and pytest.approx(point["alpha_mean"]) for point in points],
    }
    assert traces("kappa-course")["mean"]["y"] == pytest.approx(
        [point["kappa"]["0.1"] for point in points]
    )
    assert len(texts("#checkpoint-table tbody tr")) == len(points)
    names = texts("#layer-table tbody th")
    click("#layer-table tbody tr", names.index("head.weight"))
    assert texts("#layer-select option:checked") == ["head.weight"]
    assert traces("kappa-course")["head.weight"]["y"] == pytest.approx(
        [point["layers"]["head.weight"]["kappa_weight"]["0.1"] for point in points], rel=1e-4
    )
    script("const s = document.getElementById('eps'); s.value = 0; s.onchange()")
    assert traces("kappa-course")["mean"]["y"] == pytest.approx(
        [point["kappa"]["0.05"] for point in points]
    )
