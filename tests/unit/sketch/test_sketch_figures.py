"""The phase diagram shows the numbers it is given."""

import numpy as np

from prunable.report.figures import as_svg
from prunable.sketch.figures import phase_figure


def panel(lines):
    return {
        "title": "a title",
        "n": 50,
        "j": [1, 2, 4],
        "factors": [1.0, 2.0],
        "lines": lines,
        "share": [[0.0, 0.25, None], [1.0, 1.0, 0.75]],
    }


def test_cells_lines_and_axes():
    figure = phase_figure([panel({"paper": [9.0, 12.0, 18.0]}), panel({})])
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


def test_one_panel_of_one_column_is_drawn():
    single = {
        "title": "",
        "n": 9,
        "j": [3],
        "factors": [1.0, 2.0, 3.0],
        "lines": {},
        "share": [[0.1], [0.5], [1.0]],
    }
    content = as_svg(phase_figure([single]))
    assert content == as_svg(phase_figure([single]))
    assert b"<svg" in content
