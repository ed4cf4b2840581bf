"""The page of reproduced items as a reader sees and uses it, in headless Chromium."""

import json
from itertools import pairwise

import pytest
from tests.reproduction_documents import HOSTILE, documents, figure_item, table_item

from prunable.experiments.reproduce.document import as_document
from prunable.report.reproduce.words import SMOKE
from prunable.report.reproduce.writing import write_index

pytestmark = pytest.mark.browser

NAMES = ["barsbey2021-fig3", "wan2023-fig2", "wan2023-table1"]  # as the page orders them


@pytest.fixture
def show(browser, tmp_path):
    """Write the page of documents, and open it from its file, at an item if one is named."""

    def opened(docs, address=""):
        path = tmp_path / "index.html"
        write_index(docs, path)
        browser.set_window_size(1280, 900)
        browser.get("about:blank")  # a change of the hash alone would not load the page again
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(path.as_uri() + address)

    return opened


@pytest.fixture
def show_words(show, monkeypatch):
    """The same without the library of charts, which takes seconds to load."""
    monkeypatch.setattr("prunable.report.pages.plotly_source", lambda: "/* none */")
    return show


@pytest.fixture
def page(show_words):
    show_words(documents())


VISIBLE = (
    "const found = [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility());"
)


@pytest.fixture
def click(script):
    """Click the n-th visible element found, as a reader would."""
    return lambda selector, place=0: script(
        f"{VISIBLE} return found[arguments[1]]", selector, place
    ).click()


@pytest.fixture
def seen(script):
    """Texts of the visible elements that a selector finds."""
    return lambda selector: script(
        f"{VISIBLE} return found.map(e => (e.innerText ?? e.textContent).trim())", selector
    )


def wait(condition):
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(None, 10, 0.1).until(lambda _: condition())


def choose(script, name, value):
    script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


# --- the list of items -----------------------------------------------------------------------


@pytest.mark.usefixtures("page")
def test_index_shows_every_item_with_verdict_scale_and_claim(seen, texts):
    assert seen("#all h3") == ["Barsbey et al. 2021", "Wan et al. 2023"]
    assert seen(".card code") == NAMES
    words = [text.split() for text in texts(".card .badges")]
    assert [" ".join(found) for found in words] == [
        "◐ partly laptop scale",
        "– not judged smoke run",
        "✓ reproduced laptop scale, authors-code convention",
    ]
    assert figure_item()["claim"] in seen(".card p")
    assert seen("#all > .smoke") == [
        "1 of 3 items is a smoke run. It says nothing about the paper."
    ]
    assert seen("article") == []


@pytest.mark.usefixtures("page")
def test_filters_leave_the_matching_items(browser, script, seen):
    choose(script, "verdict", "partly")
    assert seen(".card code") == NAMES[:1]
    assert seen("#all h3") == ["Barsbey et al. 2021"]
    assert seen("#count") == ["1 of 3 items"]
    choose(script, "verdict", "")
    choose(script, "paper", "wan2023")
    assert seen(".card code") == NAMES[1:]
    box = browser.find_element("css selector", "#text")
    box.send_keys("TYPE I")
    assert seen(".card code") == NAMES[2:]
    box.clear()
    box.send_keys("smoke run")
    assert seen(".card code") == NAMES[1:2]
    choose(script, "verdict", "reproduced")
    assert seen(".card code") == []
    assert seen("#count") == ["0 of 3 items"]


# --- one item --------------------------------------------------------------------------------


@pytest.mark.usefixtures("page")
def test_clicking_an_item_shows_its_table_and_figure_and_the_way_back(browser, script, click, seen):
    click(".card a", 2)
    wait(lambda: seen("article h2") == ["Table 1: Pruned share under noise of type I"])
    assert seen("#all") == []
    assert script("return document.activeElement.textContent").startswith("Table 1")
    assert "Table 1" in script("return document.title")
    assert seen("article tbody th") == ["none", "type I", "type I"]
    assert {"11.4 ± 1.1", "11.2 ± 1.0", "0.957", "52.1", "> 0"} <= set(seen("article td"))
    assert seen("article thead tr:nth-child(2) th") == ["ours", "paper"] * 3
    assert seen(".evidence") == ["45.1 % against 11.4 %", "0.963 to 0.961"]
    for words in ("3 seeds instead of 10.", "1 × diverged: the loss is nan at step 7"):
        assert words in seen("article li")
    assert seen("article figure h4") == ["pruned, %", "test accuracy", "bound"]
    click("article nav a", 1)
    wait(lambda: seen("article h2")[0].startswith("Figure 2"))
    browser.back()
    wait(lambda: seen("article h2")[0].startswith("Table 1"))
    click("article nav a")
    wait(lambda: seen(".card code") == NAMES)
    assert seen("article") == []


def test_addresses_of_items_open_them(show_words, seen):
    both = [table_item(), table_item() | {"scale": "smoke"}]
    for docs, address, badge in (
        (documents(), "#wan2023-table1", "laptop scale"),
        (documents(), "#wan2023-table1--laptop--authors-code", "laptop scale"),
        (both, "#wan2023-table1", "laptop scale"),  # the larger scale
        (both, "#wan2023-table1--smoke--authors-code", "SMOKE RUN"),
    ):
        show_words(docs, address)
        assert seen("article .scale")[0].startswith(badge), address
    show_words(documents(), "#nothing-like-it%E0")
    assert seen(".card code") == NAMES


def test_smoke_run_cannot_be_taken_for_the_papers(show, script, seen):
    show([table_item() | {"scale": "smoke"}], "#wan2023-table1")
    (banner,) = seen("article .smoke")
    assert banner.startswith(f"{SMOKE}.")
    assert script(
        "return getComputedStyle(document.querySelector('article .smoke')).backgroundColor"
    ) == ("rgb(255, 217, 77)")
    assert seen("article thead tr:nth-child(2) th") == ["smoke run", "paper"] * 3
    assert seen(".checks .badge") == ["holds in the smoke run"] * 2
    notes, names = script(
        "const c = document.querySelector('.chart');"
        "return [c.layout.annotations.map(a => a.text), c.data.map(t => t.name)]"
    )
    assert notes == ["smoke run"]
    assert names == ["smoke run", "paper"]


def test_figure_of_a_table_draws_ours_beside_the_papers(show, script):
    show([table_item()], "#wan2023-table1")
    drawn = script(
        "return document.querySelector('.chart').data.map(t => [t.name, t.x, t.marker.symbol])"
    )
    assert drawn == [
        ["ours", [pytest.approx(11.39), pytest.approx(45.12)], "circle"],
        ["paper", [pytest.approx(11.2), pytest.approx(44.7), pytest.approx(52.1)], "square-open"],
    ]


def test_figure_draws_the_document(show, script, seen):
    show([figure_item()], "#barsbey2021-fig3")
    document = figure_item()
    assert seen("article figure h4") == [panel["title"] for panel in document["panels"]]
    curves, errors, bars, points = script(
        "return [...document.querySelectorAll('.chart')].map(c => c.data.map(t => ({name: t.name,"
        " x: t.x, y: t.y, type: t.type, bar: !!t.marker?.showscale, line: t.line?.color,"
        " up: t.error_y?.array, down: t.error_y?.arrayminus})))"
    )
    for drawn, series in zip(curves, document["panels"][0]["series"], strict=False):
        assert drawn["y"] == pytest.approx(series["y"], rel=1e-5)
    assert len({drawn["line"] for drawn in curves[:5]}) == 5
    assert [drawn["bar"] for drawn in curves] == [False] * 5 + [True]
    assert seen(".chart .cbtitle") == ["alpha"]
    sgd = next(drawn for drawn in errors if drawn["name"] == "SGD")
    assert sgd["y"] == [None, 0.3, 0.05, None]
    assert sgd["up"][1:3] == [pytest.approx(0.1), pytest.approx(0.08)]
    assert 0 < sgd["down"][2] < 0.05  # the bar ends above zero
    assert "2 points at or below 0 left out: logarithmic axis" in seen("figcaption")
    assert [drawn["type"] for drawn in bars] == ["bar", "bar"]
    assert points[0]["up"] == pytest.approx([0.05, 0.04, 0.06])
    assert {"first", "second", "third"} <= set(seen(".chart .xtick"))
    shapes = script(
        "return [...document.querySelectorAll('.chart')].map(c => "
        "[...c.querySelectorAll('.scatterlayer path, .barlayer path')]"
        ".filter(p => p.getBoundingClientRect().width > 0).length)"
    )
    assert all(count > 0 for count in shapes)


# --- runs behind numbers ---------------------------------------------------------------------


def test_clicking_a_number_opens_the_specifications_of_its_runs(
    show_words, browser, script, click, seen
):
    show_words(documents(), "#wan2023-table1")
    click("article .number", 2)  # type I, pruned
    wait(lambda: seen("dialog pre"))
    assert seen("#dialog-title") == ["pruned, %: 45.1 ± 3.1 (3 runs)"]
    wanted = table_item()["runs"][3:6]
    assert [text.split(" · ")[0] for text in seen("dialog summary")] == [r["key"] for r in wanted]
    assert [text.split(" · ")[1] for text in seen("dialog summary")] == [r["id"] for r in wanted]
    assert seen("dialog summary")[2].endswith("diverged")
    assert json.loads(seen("dialog pre")[0]) == wanted[0]["spec"]
    click("dialog summary", 2)
    wait(lambda: len(seen("dialog pre")) == 2)
    assert json.loads(seen("dialog pre")[1]) == wanted[2]["spec"]
    assert "the loss is nan at step 7" in seen("dialog p")
    script(
        "window.copied = null; Object.defineProperty(navigator, 'clipboard',"
        "{value: {writeText: async text => { window.copied = text; }}})"
    )
    click("dialog .run button", 1)
    wait(lambda: script("return window.copied"))
    assert json.loads(script("return window.copied")) == wanted[2]["spec"]
    assert "Copied" in seen("dialog .run button")
    click("dialog form button")
    wait(lambda: seen("dialog") == [])
    assert browser.get_log("browser") == []


def test_copying_works_where_the_clipboard_is_closed(show_words, script, click, seen):
    show_words([table_item()], "#wan2023-table1")
    click("article .number")
    wait(lambda: seen("dialog pre"))
    script(
        "document.addEventListener('copy', () => { window.copied = String(getSelection()); });"
        "Object.defineProperty(navigator, 'clipboard',"
        "{value: {writeText: async () => { throw new Error('not allowed'); }}})"
    )
    click("dialog .run button")
    wait(lambda: script("return window.copied"))
    assert json.loads(script("return window.copied")) == table_item()["runs"][0]["spec"]


def test_clicking_a_point_opens_its_runs(show, browser, seen):
    from selenium.webdriver.common.action_chains import ActionChains

    show([figure_item()], "#barsbey2021-fig3")
    points = browser.find_elements("css selector", ".charts figure:nth-child(4) path.point")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", points[0])
    ActionChains(browser).move_to_element(points[0]).pause(0.3).click().perform()
    wait(lambda: seen("#dialog-title") == ["networks (5 runs)"])


def test_numbers_of_the_figure_and_all_runs_are_folded_out(show_words, click, seen):
    show_words([figure_item()], "#barsbey2021-fig3")
    click("details.values summary")
    panels = [as_document(figure_item()).panels[i] for i in range(4)]
    wait(lambda: seen("details.values caption") == [panel.title for panel in panels])
    rows = seen("details.values tbody tr")
    assert len(rows) == sum(len(series.x) for panel in panels for series in panel.series)
    assert "networks\t1 (a)\t1.9 ± 0.05" in rows
    click("details.values .number")
    wait(lambda: seen("#dialog-title") == ["run 0: 0.0275 (1 run)"])
    click("dialog form button")
    click("details.runs summary")
    wait(lambda: len(seen("details.runs .run")) == 5)


def test_keyboard_alone_reaches_a_specification_and_comes_back(show_words, browser, script, seen):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    show_words(documents())
    browser.find_elements("css selector", ".card a")[2].send_keys(Keys.ENTER)
    wait(lambda: seen("article h2"))
    number = browser.find_elements("css selector", "article:not([hidden]) .number")[0]
    number.send_keys(Keys.ENTER)
    wait(lambda: seen("dialog pre"))
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    wait(lambda: seen("dialog") == [])
    assert script("return document.activeElement === arguments[0]", number)
    levels = script("return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_run_that_only_another_builds_on_is_named(show_words, click, seen):
    document = table_item()
    document["tables"][0]["rows"][0][2]["runs"] = ["train-elsewhere"]
    show_words([document], "#wan2023-table1")
    click("article .number")
    wait(lambda: seen("dialog summary") == ["train-elsewhere · input of another run"])


# --- what every page must keep ---------------------------------------------------------------


def test_nothing_comes_from_elsewhere_and_nothing_fails(browser, show, script, click, seen):
    show(documents())
    for name in NAMES:
        script("location.hash = arguments[0]", name)
        wait(lambda: seen("article .chart .main-svg"))
        for summary in ("details.values summary", "details.runs summary"):
            if seen(summary):
                click(summary)
        click("article .number")
        if name == "wan2023-fig2":
            wait(lambda: HOSTILE in seen("dialog .run")[0])
        click("dialog form button")
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"
    ]
    assert len(asked) >= 1  # the page itself: the log works
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert script("return window.hit ?? null") is None
    assert browser.get_log("browser") == []


def test_page_does_not_scroll_sideways(show, script, click, set_width, seen):
    show(documents())
    for width in (1280, 768, 360):  # charts drawn wide must shrink when they are shown again
        set_width(width)
        for name in ("all", *NAMES):
            script("location.hash = arguments[0]", name)
            wait(lambda name=name: bool(seen("#all")) == (name == "all"))
            script(f"{VISIBLE} for (const e of found) e.open = true", "article > details")
            wait(
                lambda: script(
                    f"{VISIBLE} return found.every(e => e.children.length > 1)", "article > details"
                )
            )
            assert script("return document.documentElement.scrollWidth") <= width, name
            for left, right in boxes(script, ".chart .main-svg"):
                assert 0 <= left < right <= width
        click(".number")
        ((left, right),) = boxes(script, "dialog")
        assert 0 <= left < right <= width
        click("dialog form button")


def boxes(script, selector):
    """Left and right ends of the visible elements that a selector finds."""
    return script(
        f"{VISIBLE} return found.map(e => e.getBoundingClientRect()).map(b => [b.left, b.right])",
        selector,
    )


def contrast(script, front, back):
    """Contrast of two colours of the page's palette, as WCAG 2 defines it."""

    def luminance(name):
        red, green, blue = script(
            "const c = document.createElement('canvas').getContext('2d');"
            "const root = getComputedStyle(document.documentElement);"
            "c.fillStyle = root.getPropertyValue(arguments[0]);"
            "c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3)",
            name,
        )
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in (red / 255, green / 255, blue / 255)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lights = sorted((luminance(front), luminance(back)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.usefixtures("page")
def test_text_is_readable_in_both_schemes(script, set_scheme, scheme):
    set_scheme(scheme)
    for back in ("--paper", "--card"):
        for front in ("--ink", "--soft", "--accent"):
            assert contrast(script, front, back) >= 4.5, (front, back)
        for tone in ("--good", "--half", "--bad", "--other", "--open"):
            assert contrast(script, tone, back) >= 3, (tone, back)


def test_charts_follow_a_change_of_scheme(show, script, set_scheme):
    show([figure_item()], "#barsbey2021-fig3")
    chart = "document.querySelector('.chart')"
    colours = set()
    for scheme, ink in (("light", "#1c2126"), ("dark", "#e6e9ec")):
        set_scheme(scheme)
        wait(lambda ink=ink: script(f"return {chart}.layout.font.color") == ink)
        colours.add(script(f"return {chart}.data[4].line.color"))  # the darkest on white
    assert len(colours) == 2


def test_charts_follow_the_width_of_the_window(show, script, set_width):
    show([figure_item()], "#barsbey2021-fig3")
    for width in (800, 400):
        set_width(width)
        wait(
            lambda width=width: (
                boxes(script, ".chart .main-svg")[0][1] <= width
                and script("return document.documentElement.scrollWidth") <= width
            )
        )


def test_page_of_one_item_opens_on_it(show_words, script, seen):
    show_words([figure_item()])
    assert seen("article h2") == [
        script("return document.querySelector('h2[id^=title]').textContent")
    ]
    assert seen("#all, nav") == []


def test_page_without_items_is_shown(show_words, browser, seen):
    show_words([])
    assert seen("#count") == ["0 of 0 items"]
    assert browser.get_log("browser") == []
