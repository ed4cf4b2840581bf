"""Rendering of stored results: numbers, refusals, damaged documents, escaping, determinism."""

import copy
import io
import json

import pytest
from rich.console import Console

from prunable.errors import DataIntegrityError
from prunable.report.demo.html import render_report
from prunable.report.demo.results import Results, load_results
from prunable.report.demo.tables import COLUMNS, comparison_rows, render_console, to_markdown
from prunable.report.figures import FIGURES, as_svg, figure, save_figures


@pytest.fixture
def results(results_document):
    return Results.model_validate(results_document)


def test_document_is_read_back_whole(results_document, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results_document))
    assert load_results(path).model_dump() == results_document


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("spec_id"), "spec_id: Field required"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d["conditions"][0].update(n_runs="many"), r"conditions\.0\.n_runs"),
        (lambda d: d.update(schema_version=2), "schema_version"),
    ],
)
def test_damaged_document_names_file_and_key(results_document, tmp_path, damage, message):
    damage(results_document)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results_document))
    with pytest.raises(DataIntegrityError, match=rf"results\.json.*{message}"):
        load_results(path)


def test_rows_hold_our_numbers_and_the_papers(results):
    none, type1, type2 = comparison_rows(results)
    for row, condition in zip((none, type1, type2), results.conditions, strict=True):
        for cell, column in zip(row.cells, COLUMNS, strict=True):
            found = condition.summary[column.metric]
            if found is None:
                assert cell == "refused"
                continue
            factor, digits = (100, 1) if "ratio" in column.metric else (1, 3)
            if column.metric.startswith("alpha"):
                digits = 2
            assert cell == f"{factor * found.mean:.{digits}f} ± {factor * found.std:.{digits}f}"
    assert none.source == ""
    assert none.paper == ("",) * len(COLUMNS)
    assert "44.7 ± 5.4" in type1.paper
    assert "0.957" in type1.paper
    assert "1 of 3 failed" in type2.label


def test_console_and_markdown_show_every_cell(results):
    console = Console(width=100, record=True, file=io.StringIO())
    render_console(results, console)
    shown = console.export_text()
    markdown = to_markdown(results)
    for row in comparison_rows(results):
        for cell in filter(None, (*row.cells, *row.paper)):
            assert all(part in shown for part in cell.split(" ± "))
            assert cell in markdown
    widths = {line.count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert widths == {len(COLUMNS) + 2}


def test_figures_draw_the_stored_numbers(results):
    axes = figure("pruning_ratios", results).axes[0]
    drawn = {round(float(y), 6) for line in axes.lines for y in line.get_ydata()}
    for condition in results.conditions:
        found = condition.summary["pruning_ratio_squared"]
        assert {round(100 * value, 6) for value in (*found.values, found.mean)} <= drawn
    curves = figure("kappa_curves", results).axes[0]
    by_label = {line.get_label(): line for line in curves.lines}
    for condition in results.conditions:
        line = by_label[condition.label]
        assert list(line.get_xdata()) == condition.curves.eps
        assert list(line.get_ydata()) == condition.curves.kappa_mean
    outlines = figure("norm_histograms", results).axes[0].patches
    assert [list(patch.get_data().values) for patch in outlines] == [[5, 2]] * 3


def test_a_condition_without_any_finished_run_is_left_blank(results_document):
    document = copy.deepcopy(results_document)
    condition = document["conditions"][2]
    condition["summary"] = {}
    condition["curves"] |= {key: [] for key in condition["curves"] if "_m" in key}
    condition["norm_histogram"]["counts"] = []
    results = Results.model_validate(document)
    assert comparison_rows(results)[2].cells == ("refused",) * len(COLUMNS)
    for name in FIGURES:
        assert len(as_svg(figure(name, results))) > 1000


def test_equal_results_give_equal_bytes(results, tmp_path):
    for name in FIGURES:
        assert as_svg(figure(name, results)) == as_svg(figure(name, results))
    first = [p.read_bytes() for p in save_figures(results, tmp_path / "a")]
    assert first == [p.read_bytes() for p in save_figures(results, tmp_path / "b")]
    assert render_report(results) == render_report(results)


def test_what_comes_from_the_document_is_escaped(results):
    page = render_report(results)
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page
    assert "<b>chance</b>" not in page
    assert "<i>something</i>" not in page
    assert "A title &amp; more" in page
