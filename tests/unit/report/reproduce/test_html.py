"""Rendering of reproduced items: numbers, gaps, damaged documents, hostile words, figures."""

import copy
import io
import json
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from rich.console import Console
from tests.pages import Page, page_data
from tests.reproduction_documents import (
    HOSTILE,
    MARKUP,
    documents,
    figure_item,
    smoke_item,
    table_item,
)

from prunable.errors import DataIntegrityError
from prunable.experiments.reproduce.document import Column, as_document, in_order, load_documents
from prunable.report.reproduce import figures
from prunable.report.reproduce.figures import item_figure, item_svg
from prunable.report.reproduce.pages import item_markdown, render_console, summary_markdown
from prunable.report.reproduce.panels import item_views
from prunable.report.reproduce.words import SMOKE, as_text, shown
from prunable.report.reproduce.writing import render_index, write_index, write_item


def panel(series, **changes):
    """A document of one panel."""
    shown = {
        "title": "t",
        "x_label": "x",
        "y_label": "y",
        "x_log": False,
        "y_log": False,
        "colour_label": None,
        "series": series,
    }
    return as_document(figure_item() | {"panels": [shown | changes]})


def table_of(*rows, **column):
    """A document of one table: a name, and cells of one column."""
    columns = [{"key": "name", "label": "name"}, {"key": "v", "label": "v"} | column]
    cells = [[{"value": f"row {place}"}, cell] for place, cell in enumerate(rows)]
    table = {"title": "t", "columns": columns, "rows": cells}
    return as_document(table_item() | {"tables": [table]})


# --- documents -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [table_item, figure_item, smoke_item])
def test_document_is_read_back(make, tmp_path):
    document = make()
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "x.json").write_text(json.dumps(document))
    (read,) = load_documents(tmp_path)
    assert read.to_dict() == document
    assert read == as_document(document)
    assert as_document(read) is read


def test_folder_without_documents_is_an_empty_list(tmp_path):
    assert load_documents(tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("claim"), "claim: Field required"),
        (lambda d: d.update(scale="huge"), "scale"),
        (lambda d: d.update(item="../../outside"), "item"),
        (lambda d: d["verdict"].update(status="maybe"), r"verdict\.status"),
        (lambda d: d["tables"][0]["rows"][1].pop(), "every row must have 5 cells"),
        (lambda d: d["tables"][0]["rows"][0][2].update(std="wide"), r"rows\.0\.2\.std"),
    ],
)
def test_damaged_document_names_file_and_key(tmp_path, damage, message):
    document = table_item()
    damage(document)
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "broken.json").write_text(json.dumps(document))
    with pytest.raises(DataIntegrityError, match=rf"broken\.json.*{message}"):
        load_documents(tmp_path)


def test_series_of_unequal_lengths_are_refused_by_name():
    document = figure_item()
    document["panels"][0]["series"][1]["y"].pop()
    with pytest.raises(DataIntegrityError, match=r"barsbey2021-fig3.*one length"):
        as_document(document)


def test_items_stand_by_paper_and_number_the_largest_scale_first():
    found = [
        ("Table 10", "laptop"),
        ("Figure 2", "smoke"),
        ("Table 2", "laptop"),
        ("Figure 2", "paper"),
    ]
    docs = [as_document(table_item() | {"label": label, "scale": s}) for label, s in found]
    older = as_document(figure_item())
    assert [(d.label, d.scale) for d in in_order([*docs, older])] == [
        ("Figure 3", "laptop"),
        ("Figure 2", "paper"),
        ("Figure 2", "smoke"),
        ("Table 2", "laptop"),
        ("Table 10", "laptop"),
    ]


# --- numbers and tables --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "std", "column", "text"),
    [
        (None, None, {}, "–"),
        (None, 0.1, {}, "–"),
        ("diverged", 0.1, {}, "diverged"),
        (True, None, {}, "yes"),
        (0.94239, None, {}, "0.942"),
        (0.94239, 0.00312, {"digits": 2}, "0.94 ± 0.0031"),
        (0.4512, 0.0312, {"unit": "%", "digits": 1}, "45.1 ± 3.1"),
        (1, None, {"unit": "%", "digits": 0}, "100"),
        (2000, None, {}, "2,000"),
        (0.0, None, {}, "0.000"),
        (-0.0, None, {}, "0.000"),
        (3.21e-5, None, {}, "3.21e-05"),
        (-0.0004, None, {}, "-0.0004"),
        (1.5e300, None, {"digits": 2}, "1.5e+300"),
        (1.5e307, None, {"unit": "%"}, "1.5e+307"),
        (10**9, None, {"digits": 0}, "1e+09"),
    ],
)
def test_numbers_keep_their_leading_digits(value, std, column, text):
    assert as_text(value, Column(key="v", label="v", **column), std) == text


def test_the_papers_number_stands_right_of_ours():
    table = shown(as_document(table_item()).tables[0])
    rows = [list(row.cells) for row in table.rows]
    assert [column.title for column in table.columns] == [
        "noise",
        "alpha",
        "pruned, %",
        "paper",
        "test accuracy",
        "paper",
        "bound",
        "paper",
    ]
    assert rows[0] == [
        "none",
        "–",
        "11.4 ± 1.1",
        "11.2 ± 1.0",
        "0.963 ± 0.002",
        "0.957",
        "–",
        "1.2e+09",
    ]
    assert rows[1] == ["type I", "1.80", "45.1 ± 3.1", "44.7 ± 5.4", "0.961", "", "refused", ""]
    assert rows[2] == ["type I", "1.70", "–", "52.1", "–", "", "3.2e-05 ± 1e-07", "> 0"]


def cells_of(line):
    """Cells of a Markdown row: bars that are not escaped part them."""
    return [cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")]


def test_markdown_keeps_hostile_words_in_their_cells():
    doc = table_of({"value": MARKUP}, {"value": f"{HOSTILE}\n\n# not a title"}, label=MARKUP)
    text = shown(doc.tables[0]).markdown()
    lines = text.splitlines()
    assert len(lines) == 4
    assert {len(cells_of(line)) for line in lines} == {2}
    assert "\x1b" not in text
    assert "<script" not in text.replace("\\<", "")
    page = item_markdown(smoke_item() | {"verdict": {"status": "partly", "why": HOSTILE}})
    assert "<img" not in page.replace("\\<", "")


def test_page_in_markdown_tells_verdict_evidence_and_departures():
    page = item_markdown(table_item(), "figure.svg")
    for words in (
        "**reproduced** (laptop scale, authors-code convention)",
        "- **holds**: Accuracy falls by less than 2 points (not essential). 0.963 to 0.961",
        "(figure.svg)",
        "- 3 seeds instead of 10.",
        "- width: 2000",
        "- average: yes",
        "- 1 × diverged: the loss is nan at step 7",
        "| 45.1 ± 3.1 | 44.7 ± 5.4 |",
    ):
        assert words in page
    assert SMOKE not in page


@pytest.mark.parametrize("width", [72, 200])
def test_console_shows_every_number_and_no_control_character(width):
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    for document in documents():
        render_console(document, console)
    printed = console.export_text()
    assert "\x1b" not in printed
    assert "\\x1b[31m" in printed
    assert "[red]x[/red]" in printed
    words = " ".join(printed.split())
    for words_wanted in (
        "✓ reproduced",
        "◐ partly",
        "– not judged",
        SMOKE,
        "rank correlation 0.12",
    ):
        assert words_wanted in words
    for row in shown(as_document(table_item()).tables[0]).rows:
        for cell in row.cells:
            assert all(part in printed for part in cell.split(" ± "))


def test_smoke_run_says_so_wherever_it_is_shown():
    document = table_item() | {"scale": "smoke", "item": "wan2023-table9"}
    assert f"> **{SMOKE}.**" in item_markdown(document)
    assert "(smoke run)\n" in item_markdown(document)  # in the title of the table
    assert "**holds in the smoke run**" in item_markdown(document)
    assert "smoke run: says nothing about the paper" in summary_markdown([document])
    drawn = item_figure(as_document(document))
    assert drawn.get_suptitle() == SMOKE
    assert "ours" not in {
        series.label for view in item_views(as_document(document)) for series in view.series
    }
    page = render_index([document])
    assert page.count(f"<strong>{SMOKE}.</strong>") == 1
    assert "smoke-tag" in page
    assert item_figure(as_document(table_item())).get_suptitle() == ""
    assert f"{SMOKE}." not in render_index([table_item()])


def test_summary_has_a_row_an_item_with_the_check_that_tells_most():
    lines = summary_markdown(documents(), "items").splitlines()
    assert [len(cells_of(line)) for line in lines] == [5] * 5
    barsbey, smoke, wan = lines[2:]
    assert "[barsbey2021-fig3](items/barsbey2021-fig3--laptop--paper.md)" in barsbey
    assert "1 of 3 checks hold. It does so after retraining: rank correlation 0.12" in barsbey
    assert "◐ partly | laptop scale" in barsbey
    assert "smoke run" in smoke
    assert "✓ reproduced" in wan
    assert "(" not in summary_markdown([figure_item()]).splitlines()[2].split("|")[1]


# --- figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [table_item, smoke_item])
def test_equal_documents_give_equal_files_that_are_whole(make, tmp_path):
    stem = as_document(make()).stem
    for folder in ("a", "b"):
        write_item(make(), tmp_path / folder)
    for name in (f"{stem}.svg", f"{stem}.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    ET.parse(tmp_path / "a" / f"{stem}.svg")  # raises unless it is XML
    assert f"]({stem}.svg)" in (tmp_path / "a" / f"{stem}.md").read_text()


def test_a_figure_is_drawn_again_only_if_it_would_differ(tmp_path, monkeypatch):
    doc = as_document(table_item())
    picture = tmp_path / f"{doc.stem}.svg"
    write_item(doc, tmp_path)
    drawn = picture.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(figures, "item_figure", None)  # drawing would fail
        write_item(doc, tmp_path)
    assert picture.read_bytes() == drawn
    write_item(doc.model_copy(update={"panels": (), "tables": doc.tables[:1] * 2}), tmp_path)
    assert picture.read_bytes() != drawn
    picture.write_bytes(drawn[: len(drawn) // 2])
    write_item(doc, tmp_path)
    assert picture.read_bytes() == drawn


def test_equal_documents_give_an_equal_page(tmp_path):
    for name in ("a", "b"):
        write_index(documents(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_scales_do_not_overwrite_each_other(tmp_path):
    for scale in ("smoke", "laptop"):
        write_item(table_of({}).model_dump() | {"scale": scale}, tmp_path)
    assert len(list(tmp_path.glob("*.md"))) == 2


def test_figure_of_a_table_stands_ours_beside_the_papers():
    views = item_views(as_document(table_item()))
    assert [view.title for view in views] == ["pruned, %", "test accuracy", "bound"]
    assert views[0].rows == ("none", "type I, alpha 1.80", "type I, alpha 1.70")
    ours, paper = views[0].series
    assert ours.x == pytest.approx((11.39, 45.12))
    assert ours.y == (0, 1)
    assert ours.low == pytest.approx((11.39 - 1.1, 45.12 - 3.12))
    assert ours.runs[1] == tuple(one["id"] for one in table_item()["runs"][3:6])
    assert paper.style == "published"
    assert paper.x == pytest.approx((11.2, 44.7, 52.1))
    assert [round(y) for y in paper.y] == [0, 1, 2]
    assert paper.high == pytest.approx((12.16, 50.1, None))
    assert views[2].x_log  # 3.2e-5 beside 1.25e9
    drawn = item_figure(as_document(table_item()))
    marks = [line for line in drawn.axes[0].lines if line.get_marker() == "s"]
    assert [line.get_markerfacecolor() for line in marks] == ["none"]
    assert list(marks[0].get_xdata()) == pytest.approx([11.2, 44.7, 52.1])
    assert [text.get_text() for text in drawn.axes[0].get_yticklabels()] == list(views[0].rows)


def test_of_many_panels_those_beside_the_papers_numbers_are_drawn():
    (alone,) = table_of({"value": 0.5}).tables
    (beside,) = table_of({"value": 0.5, "published": 0.4}).tables
    for tables, drawn in (
        ([alone] * 3 + [beside], 4),
        ([alone] * 12 + [beside], 1),
        ([alone] * 13, 13),
    ):
        doc = as_document(table_item() | {"tables": tables})
        assert len(item_views(doc)) == drawn


def test_published_numbers_alone_are_drawn():
    views = item_views(table_of({"published": 0.5, "published_std": 0.1}, {"published": "n/a"}))
    (series,) = views[0].series
    assert (series.label, series.x, series.low) == ("paper", (0.5,), (0.4,))
    assert item_figure(table_of({"published": 0.5})) is not None


@pytest.mark.parametrize("cell", [{}, {"value": None}, {"value": "refused", "runs": ["a"]}])
def test_item_without_numbers_has_no_figure(cell, tmp_path):
    doc = table_of(cell)
    assert item_figure(doc) is None
    old = tmp_path / f"{doc.stem}.svg"
    old.write_text("of an earlier document")
    write_item(doc, tmp_path)
    assert not old.exists()
    assert "![" not in (tmp_path / f"{doc.stem}.md").read_text()
    assert "<h3>Figure</h3>" not in render_index([doc])


def test_logarithmic_axes_leave_zeros_out_and_say_so():
    series = {"label": "a", "x": [0, 1, 10], "y": [1, 0, 0.5], "y_std": [0.1, 0.1, 0.9]}
    doc = panel([series], x_log=True, y_log=True)
    (view,) = item_views(doc)
    assert view.left_out == 2
    assert view.series[0].y == (None, None, 0.5)
    assert 0 < view.series[0].low[2] < 0.5  # 0.5 - 0.9 would be below zero
    axes = item_figure(doc).axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert "2 points at or below 0 left out" in axes.get_xlabel()
    assert (
        "2 points at or below 0 left out"
        in page_data(render_index([doc]))["items"][0]["views"][0]["note"]
    )
    (whole,) = item_views(panel([series]))
    assert whole.left_out == 0
    assert whole.series[0].low[2] == pytest.approx(-0.4)


@pytest.mark.parametrize("end", [3e-4, 6e-4, 2.5e-3, 6e-3, 1.5e-2, 3e-2, 1.0])
def test_labels_of_a_logarithmic_axis_keep_apart(end):
    points = {"label": "a", "x": [2e-4, end], "y": [1, 2], "style": "points"}
    (one,) = panel([points], x_log=True).panels
    drawn = item_figure(as_document(figure_item() | {"panels": [one, one, one]}))
    drawn.canvas.draw()
    for axes in drawn.axes:
        labels = axes.xaxis.get_ticklabels(which="both")
        shown = [label.get_window_extent() for label in labels if label.get_text()]
        inside = axes.bbox.padded(1)
        boxes = sorted(
            (box.x0, box.x1) for box in shown if inside.x0 <= box.x0 + box.width / 2 <= inside.x1
        )
        assert len(boxes) > 1
        assert all(one[1] < other[0] for one, other in pairwise(boxes))


def test_nothing_but_zeros_on_a_logarithmic_axis_is_drawn_empty():
    doc = panel([{"label": "a", "x": [0, 0], "y": [0, 0], "y_std": [0, 0]}], x_log=True, y_log=True)
    assert len(item_svg(doc)) > 1000


def test_colour_bar_spans_the_values_and_lines_take_its_colours():
    values = (1.5, 1.7, 1.9)
    series = [{"label": str(v), "x": [0, 1], "y": [0, v], "colour_value": v} for v in values]
    plain = {"label": "mean", "x": [0, 1], "y": [0, 1]}
    doc = panel([*series, plain], colour_label="alpha")
    axes, bar = item_figure(doc).axes
    assert bar.get_ylabel() == "alpha"
    assert bar.get_ylim() == pytest.approx((1.5, 1.9))
    colours = [to_hex(line.get_color()) for line in axes.lines[:3]]
    assert len(set(colours)) == 3
    brightness = [
        np.dot([0.3, 0.6, 0.1], [int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in colours
    ]
    assert brightness == sorted(brightness)
    (legend,) = item_figure(doc).legends
    assert [text.get_text() for text in legend.get_texts()] == ["mean"]
    data = page_data(render_index([doc]))
    (view,) = data["items"][0]["views"]
    assert view["bar"] == ["alpha", 1.5, 1.9]
    assert [s["shade"] for s in view["series"]] == [0, pytest.approx(0.5), 1, None]
    assert data["shades"][0] == colours[0]
    assert data["shades"][-1] == colours[2]


def test_equal_colour_values_have_a_colour_bar_too():
    doc = panel([{"label": "a", "x": [0], "y": [0], "colour_value": 2.0, "style": "points"}])
    assert item_views(doc)[0].bar == ("", 2.0, 2.0)
    assert len(item_svg(doc)) > 1000


def test_equal_labels_look_alike_and_the_papers_share_the_colour():
    doc = as_document(figure_item())
    looks = {}
    for view in item_views(doc)[1:]:
        for series in view.series:
            looks.setdefault(series.label, set()).add(series.look)
    assert looks["SGD"] == looks["SGD (paper)"]
    assert {len(found) for found in looks.values()} == {1}
    assert looks["SGD"] != looks["heavy tails"]


def test_bars_stand_side_by_side_under_their_names():
    axes = item_figure(as_document(figure_item())).axes[2]
    lefts = [round(patch.get_x(), 3) for patch in axes.patches]
    assert len(lefts) == len(set(lefts)) == 6
    assert [text.get_text() for text in axes.get_xticklabels()] == ["first", "second", "third"]
    assert [patch.get_height() for patch in axes.patches] == [0.3, 0.4, 0.5, 0.6, 0.7, 0.75]


def test_at_most_two_panels_a_row():
    document = figure_item()
    document["panels"] = [document["panels"][1]] * 7
    drawn = item_figure(as_document(document))
    assert drawn.axes[0].get_gridspec().get_geometry() == (4, 2)
    assert sum(axes.axison for axes in drawn.axes) == 7


# --- the page ------------------------------------------------------------------------------


def test_words_cannot_become_elements():
    page = Page(render_index(documents()))
    clean = Page(render_index([table_item(), figure_item()]))
    assert "img" not in page.tags
    assert page.tags.count("script") == clean.tags.count("script")
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    links = [value for name, value in page.attributes if name in ("src", "href", "action", "data")]
    assert [link for link in links if not link.startswith("#")] == []


def test_page_holds_each_run_once_with_its_whole_specification():
    data = page_data(render_index([table_item(), table_item() | {"scale": "smoke"}]))
    runs = {one["id"]: one for one in table_item()["runs"]}
    assert [found["id"] for found in data["runs"]] == list(runs)
    for found in data["runs"]:
        told = ("id", "kind", "status", "reason", "spec")
        assert found == {key: runs[found["id"]][key] for key in told}
    places = [place for _, place in data["items"][0]["runs"]]
    assert [data["runs"][place]["id"] for place in places] == list(runs)


def test_address_is_short_unless_an_item_has_two_documents():
    def ids(docs):
        return [value for name, value in Page(render_index(docs)).attributes if name == "id"]

    assert "wan2023-table1" in ids([table_item()])
    both = ids([table_item(), table_item() | {"scale": "smoke"}])
    assert "wan2023-table1" not in both
    assert {"wan2023-table1--laptop--authors-code", "wan2023-table1--smoke--authors-code"} <= {
        *both
    }
    assert len(both) == len(set(both))


def test_a_study_reproduces_nothing_and_is_not_said_to():
    study = table_item() | {"paper": None, "paper_info": None}
    study["verdict"] = {"status": "incomplete", "why": "2 of 3 checks hold, 1 underpowered"}
    for text in (render_index([study]), item_markdown(study), summary_markdown([study])):
        assert "some checks undecided" in text
        assert "… incomplete" not in text
        assert "**incomplete" not in text


def test_page_without_items_is_shown():
    assert "0 of 0 items" in render_index([])


def test_documents_are_not_changed_by_rendering():
    given = documents()
    before = copy.deepcopy(given)
    render_index(given)
    summary_markdown(given)
    assert given == before


@pytest.mark.parametrize("panels", [1, 2, 3, 5])
def test_figures_can_be_read_at_700_pixels(panels):
    """Labels, ticks and legend at least 8 pixels high at the width that a page gives them."""
    document = figure_item()
    many = (document["panels"] * 2)[:panels]
    drawn = item_figure(as_document(document | {"panels": many}))
    drawn.set_dpi(700 / drawn.get_figwidth())
    words = [text for text in drawn.findobj(Text) if text.get_text()]
    assert words
    assert min(text.get_fontsize() for text in words) * drawn.dpi / 72 >= 8
