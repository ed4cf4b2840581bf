"""The tool that measures where sketches are recovered, at a small size, and its figure and page."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from prunable.report.figures import as_svg

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tool():
    found = spec_from_file_location("sketch_phase", ROOT / "tools" / "sketch_phase.py")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def panel(lines):
    return {
        "title": "a title",
        "n": 50,
        "j": [1, 2, 4],
        "factors": [1.0, 2.0],
        "lines": lines,
        "share": [[0.0, 0.25, None], [1.0, 1.0, 0.75]],
    }


def test_cells_lines_and_axes(tool):
    figure = tool.phase_figure([panel({"paper": [9.0, 12.0, 18.0]}), panel({})])
    first, second, bar = figure.axes
    mesh = first.collections[0]
    shown = np.ma.filled(mesh.get_array().astype(float), -1).reshape(2, 3)
    np.testing.assert_array_equal(shown, [[0.0, 0.25, -1], [1.0, 1.0, 0.75]])
    # the corners of a cell surround m = factor sqrt(n j)
    corners = mesh.get_coordinates()
    assert corners[0, 0, 0] < 1 < corners[0, 1, 0]
    below, above = corners[0, 0, 1], corners[1, 0, 1]
    assert below < np.sqrt(50 * corners[0, 0, 0]) < above
    (line,) = first.lines
    np.testing.assert_array_equal(line.get_ydata(), [9.0, 12.0, 18.0])
    assert not second.lines
    assert (first.get_xscale(), first.get_yscale()) == ("log", "log")
    assert bar.get_ylabel() == "share recovered"
    assert first.get_title(loc="left") == "a title"


def test_one_panel_of_one_column_is_drawn(tool):
    single = {
        "title": "",
        "n": 9,
        "j": [3],
        "factors": [1.0, 2.0, 3.0],
        "lines": {},
        "share": [[0.1], [0.5], [1.0]],
    }
    content = as_svg(tool.phase_figure([single]))
    assert content == as_svg(tool.phase_figure([single]))
    assert b"<svg" in content


def test_more_measurements_recover_more(tool, monkeypatch):
    monkeypatch.setattr(tool, "FACTORS", [0.4, 0.8, 2.5])
    monkeypatch.setitem(tool.PHASE_J, "tagged", [2, 4])
    monkeypatch.setitem(tool.PHASE_N, "tagged", 60)
    monkeypatch.setitem(tool.PHASE_DRAWS, "tagged", 3)
    found = tool.phase("tagged")
    # with the fewest no 60 columns could differ
    assert [row[1] for row in found["share"]] == [None, 0.0, 1.0]
    assert found["lines"]["sketch_size"][0] == pytest.approx(1.6 * np.sqrt(120) + 4, abs=2)
    assert found["recovered"][2] == [3, 3]


def test_documented_sizes_suffice(tool, monkeypatch):
    monkeypatch.setattr(tool, "DRAWS", 3)
    tagged, verification = tool.SETTINGS[0], tool.SETTINGS[8]
    for setting in (tagged, verification):
        found = tool.success(setting)
        assert (found["recovered"], found["wrongly_called_recovered"]) == (3, 0)
        assert 0 < found["lower"] < 1


def test_the_page_is_that_of_the_committed_numbers(tool):
    document = json.loads((ROOT / "docs/sketch/phase.json").read_text())
    assert tool.page(document) == (ROOT / "docs/sketch/phase.md").read_text()
