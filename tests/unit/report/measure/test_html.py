"""Rendering of a measurement: numbers, refusals, hostile names, many layers."""

import copy
import io
import math

import pytest
from markupsafe import escape
from rich.console import Console
from tests.measurement_document import (
    EPS,
    HOSTILE,
    MARKUP,
    measurement_document,
    measurement_of,
    trajectory_document,
    trajectory_of,
)
from tests.pages import Page, page_data, unpacked

from prunable.report.measure import html
from prunable.report.measure.advice import advice
from prunable.report.measure.html import render_measurement, render_trajectory, write_measurement
from prunable.report.measure.tables import layer_table, print_result
from prunable.report.tables import as_count


@pytest.fixture
def document():
    return measurement_document(against=True)


def titles_and_rows(shown):
    return [column.title for column in shown.columns], [row.cells for row in shown.rows]


def console_text(document, width):
    console = Console(width=width, record=True, file=io.StringIO())
    print_result(document, console)
    return console.export_text()


# --- the documents ---------------------------------------------------------------------------


def test_results_are_their_documents(document):
    assert measurement_of(document).to_dict() == document | {
        "settings": document["settings"] | {"spectrum": "auto", "authors": False}
    }
    assert trajectory_of(trajectory_document()).to_dict() == trajectory_document()


# --- the tables ------------------------------------------------------------------------------


def test_layer_table_holds_the_numbers_of_the_document(document):
    titles, rows = titles_and_rows(layer_table(measurement_of(document)))
    assert titles == [
        "layer",
        "n",
        "verdict",
        "alpha",
        "weights 0.05",
        "weights 0.1",
        "weights 0.2",
        "nodes 0.1",
        "units 0.1",
        "kernels 0.1",
        "singular values 0.1",
    ]
    for row, layer in zip(rows, document["layers"], strict=True):
        cells = dict(zip(titles, row, strict=True))
        assert cells["n"] == f"{layer['n']:,}"
        assert cells["verdict"] == layer["verdict"]
        if layer["alpha"] is not None:
            assert cells["alpha"] == f"{layer['alpha']:.2f} ± 0.04"
            for eps in EPS:
                kappa = layer["kappa"]["weight"][eps]
                assert float(cells[f"weights {eps}"]) == pytest.approx(100 * kappa, rel=5e-3)
            assert float(cells["nodes 0.1"]) == pytest.approx(
                100 * layer["kappa"]["node"]["0.1"], rel=5e-3
            )
    assert rows[2][0] == HOSTILE  # refused throughout
    assert rows[2][3:] == ("–",) * (len(titles) - 3)


@pytest.mark.parametrize("width", [80, 140])
def test_console_shows_every_number_and_no_control_character(document, width):
    shown = console_text(measurement_of(document), width)
    for cells in titles_and_rows(layer_table(measurement_of(document), short=width == 80))[1]:
        assert cells[2] in shown  # verdicts are whole
        for cell in cells[3:] if width == 140 else ():
            assert all(part in shown for part in cell.split(" ± "))
    lines = [line for line in shown.splitlines() if not line.startswith("Next: ")]
    assert max(map(len, lines)) <= width
    unbroken = "".join(line.split("  ")[0].strip() for line in shown.splitlines())
    for name in (HOSTILE, MARKUP.replace("\x1b", "\\x1b")):
        whole = name.replace(" ", "") in unbroken.replace(" ", "")
        assert whole or (name[:8] in shown and name[-8:] in shown)
    assert "\x1b" not in shown
    assert "3 tensors skipped: 2 one-dimensional; 1 integers." in shown
    assert "Only in this network: only<here>." in shown
    assert "Kendall's tau 0.6" in shown
    for number in ("90.0", "75.0", "0.06", "20.0", "31.2"):  # of the whole network
        assert number in shown
    pair = document["comparison"]["layers"][0]
    assert f"{pair['z']:+.2f}" in shown


def test_trajectory_table_shows_every_checkpoint():
    document = trajectory_document()
    shown = console_text(trajectory_of(document), 80)
    lines = [line.split() for line in shown.splitlines() if "safetensors" in line]
    for line, point in zip(lines, document["trajectory"], strict=True):
        mean = "–" if point["alpha_mean"] is None else f"{point['alpha_mean']:.2f}"
        assert line[:4] == [str(point["step"]), point["model"], str(len(point["layers"])), mean]
        assert [float(cell) for cell in line[5:]] == pytest.approx(
            [100 * point["kappa"][eps] for eps in EPS], rel=5e-3
        )


def test_several_checkpoints_end_with_what_changed_and_what_to_type(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    document = trajectory_document()
    begin, end = document["trajectory"][0], document["trajectory"][-1]
    for after in ("", f"Next: prunable measure '{end['model']}'"):
        shown = console_text(trajectory_of(document), 200)
        assert "keeps 80.0 % of its weights at step 0 and 60.0 % at step 400" in shown
        changes = {
            name: abs(layer["kappa_weight"]["0.1"] - begin["layers"][name]["kappa_weight"]["0.1"])
            for name, layer in end["layers"].items()
            if name in begin["layers"]
        }
        assert f"Layers that changed most: {max(changes, key=changes.get)} (" in shown
        assert after in shown
        assert ("Next:" in shown) == bool(after)
        (tmp_path / end["model"]).touch()  # only what is there can be measured


def test_page_says_what_the_terminal_does(document):
    text = render_measurement(measurement_of(document))
    for line in advice(measurement_of(document)):
        assert str(escape(line)) in text or line.startswith("Next: ")


def test_markdown_keeps_hostile_names_in_one_cell(document):
    lines = layer_table(measurement_of(document)).markdown().splitlines()
    titles, rows = titles_and_rows(layer_table(measurement_of(document)))
    assert len(lines) == len(rows) + 2
    for line in lines:
        assert line.replace("\\|", "").count("|") == len(titles) + 1
    assert f"| `{HOSTILE}` |" in lines[4]
    assert "| ``[red]x[/red]\\|`y`\\x1b[31m{{7*7}}`` |" in lines[5]


@pytest.mark.parametrize(
    ("count", "text"),
    [(8, "8"), (999, "999"), (1728, "1.73k"), (24_576_000, "24.6M"), (10**11, "100G")],
)
def test_counts_are_short(count, text):
    assert as_count(count) == text


# --- the page --------------------------------------------------------------------------------


@pytest.mark.parametrize("against", [False, True])
def test_names_cannot_become_elements(against):
    document = measurement_document(against=against)
    page = Page(render_measurement(measurement_of(document)))
    assert page.tags.count("script") == len(page.scripts) == 3
    assert not {"img", "b", "i", "u", "iframe", "link"} & set(page.tags)
    assert page.handlers == []
    names = [
        layer["name"] for layer in page_data(render_measurement(measurement_of(document)))["layers"]
    ]
    assert names == [layer["name"] for layer in document["layers"]]


def test_trajectory_names_cannot_become_elements():
    text = render_trajectory(trajectory_of(trajectory_document()))
    page = Page(text)
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    assert "step&lt;0&gt;.safetensors" in text


def test_page_is_whole_and_asks_nobody(document):
    text = render_measurement(measurement_of(document))
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert "plotly.js (basic" in unpacked(text, "library")
    assert "default-src 'none'" in text
    assert "@import" not in text


def test_page_holds_the_numbers_of_the_document(document):
    data = page_data(render_measurement(measurement_of(document)))
    for found, layer in zip(data["layers"], document["layers"], strict=True):
        alpha = layer["alpha"]
        assert found.get("alpha") == (alpha and pytest.approx(alpha, rel=1e-4))
        kappa = found["kappa"].get("weight")
        if kappa:
            assert kappa == [
                value if value is None else pytest.approx(value, rel=1e-4)
                for value in layer["kappa"]["weight"].values()
            ]
        if layer["curves"]:
            for name, values in layer["curves"].items():
                assert found["curves"][name] == pytest.approx(values, rel=1e-4, abs=1e-12)
        assert found["allocation"]["best"] == [0.2] * 3
    pair = data["comparison"]["layers"][0]
    assert pair["kappa_weight"][0] == pytest.approx(
        document["comparison"]["layers"][0]["kappa_weight"]["0.05"], rel=1e-4
    )


def test_steps_are_not_rounded():
    document = trajectory_document()
    document["trajectory"][-1]["step"] = 1_234_567
    data = page_data(render_trajectory(trajectory_of(document)))
    assert data["steps"] == [0, 100, 200, 300, 1_234_567]
    hostile = next(layer for layer in data["layers"] if layer["name"] == HOSTILE)
    assert hostile["alpha"][0] is None
    expected = [
        point["layers"][HOSTILE]["kappa_weight"]["0.1"] for point in document["trajectory"][1:]
    ]
    assert hostile["kappa"][1][1:] == pytest.approx(expected, rel=1e-4)


def emptied(document):
    document = copy.deepcopy(document)
    document["overall"] |= {
        "alpha_mean": math.nan,
        "alpha_median": math.nan,
        "ordering": None,
        "allocation": {},
        "verdicts": {},
        "kappa": {"common_eps": {}, "global_threshold": {}},
    }
    document |= {"layers": [], "skipped": []}
    return document


def refused_throughout(document):
    document = copy.deepcopy(document)
    document["layers"] = [document["layers"][2]]
    return document


@pytest.mark.parametrize("shape", [emptied, refused_throughout])
def test_documents_without_numbers_are_shown(shape):
    document = measurement_of(shape(measurement_document()))
    assert len(page_data(render_measurement(document))["layers"]) == len(document.layers)
    assert "weights in" in console_text(document, 100)
    assert layer_table(document).markdown().count("\n") == len(document.layers) + 2


def test_empty_trajectory_is_shown():
    document = trajectory_of({"estimator": "ecf_regression", "trajectory": []})
    assert page_data(render_trajectory(document))["layers"] == []
    assert "step" in console_text(document, 100)


@pytest.mark.timeout(120)
def test_curves_of_few_layers_are_whole(document):
    layer = document["layers"][0]
    n = html.CURVE_POINTS
    x = list(range(1, n + 1))
    layer["tail_plot"] = {"x": x, "survival": [1 / k for k in x], "stable": None, "gaussian": None}
    data = page_data(render_measurement(measurement_of(document)))
    assert data["layers"][0]["tail_plot"]["x"] == x


def test_equal_documents_give_equal_bytes(document, tmp_path):
    write_measurement(measurement_of(document), tmp_path / "a.html")
    write_measurement(measurement_of(copy.deepcopy(document)), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    several = trajectory_of(trajectory_document())
    write_measurement(several, tmp_path / "c.html")
    assert (tmp_path / "c.html").read_text() == render_trajectory(several)
