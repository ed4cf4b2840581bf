"""Figures of commands: few lines a panel, names that differ, words apart, dark schemes."""

import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from prunable.certify.figure import bounds_figure
from prunable.forecast.document import forecast_figure
from prunable.predict.figures import curve_figure
from prunable.report.figures import DARK, PALETTE, STYLE, as_svg, space_ticks
from prunable.report.prune.comparison import MOST_LINES, comparison_figure

PHONE = 358  # pixels of a figure on a screen of 390


def entries(strategies, retrained):
    dense = {"strategy": "dense", "kappa": 1.0, "accuracy": 0.9, "accuracy_retrained": None}
    found = [dense]
    for place in range(strategies):
        for kappa in (0.05, 0.1, 0.5):
            accuracy = 0.9 * kappa ** (0.1 + 0.02 * place)
            entry = {"strategy": f"strategy {place}", "kappa": kappa, "accuracy": accuracy}
            entry |= {f"accuracy_{end}": accuracy for end in ("min", "max")}
            again = accuracy + 0.01 if retrained else None
            names = ("accuracy_retrained", "accuracy_retrained_min", "accuracy_retrained_max")
            found.append(entry | dict.fromkeys(names, again))
    return found


def bound(name, about, log_value, *, certifies=False, status="holds"):
    return {
        "name": name,
        "about": about,
        "variant": "paper",
        "quantity": "risk",
        "value": None,
        "log_value": log_value,
        "certifies": certifies,
        "assumptions": [{"status": status}],
    }


def bounds():
    long = "of a network that was pruned, quantised and written to a code file of few bits"
    rows = [
        bound("held-out set", long, -3.0, certifies=True),
        bound("held-out set", f"{long}, less permutations", -2.9, certifies=True),
        bound("norms", "dense network", 80.0, status="violated"),
        bound("counting", "dense network", 3.0),
        bound("products", "dense network", None),
    ]
    return {"bounds": rows, "n": 1000, "delta": 0.05, "guessing": 0.9}


def curve(s):
    points = list(range(10, 200, 5))
    risk = {name: [1 + k / abs(k - 101.5) for k in points] for name in ("dense", "magnitude")}
    made = {"variable": "width", "points": points, "risk": risk}
    return {"curve": made, "settings": {"n": 100, "s": s}}


def forecast():
    points = [
        {"kappa": k, "accuracy": k, "low": k, "high": k}
        for k in (0.9, 0.8, 0.7, 0.6, 0.5, 0.2, 0.1)
    ]
    curves = [{"method": "wanda", "allocation": a, "points": points} for a in ("lamp", "layer")]
    return {"accuracy": 0.9, "inputs": 300, "kind": "classification", "curves": curves}


def texts(drawn):
    """Words of a figure with their boxes, as they are drawn."""
    with mpl.rc_context(STYLE):
        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
    found = [t for t in drawn.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = [(t, t.get_window_extent(canvas.get_renderer())) for t in found]
    return [(t, box) for t, box in boxes if box.width and box.height]


@pytest.mark.parametrize(
    "make",
    [
        lambda: comparison_figure(entries(14, True), "Strategies on digits"),
        lambda: bounds_figure(bounds()),
        lambda: curve_figure(curve(95), "risk after pruning"),
        lambda: curve_figure(curve(100), "risk after pruning"),
        lambda: forecast_figure(forecast(), width=4.0),
    ],
    ids=["strategies", "bounds", "widths", "equal widths", "forecast"],
)
def test_words_cover_no_other_and_are_legible_on_a_phone(make):
    drawn = make()
    found = texts(drawn)
    for (one, a), (other, b) in combinations(found, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (one.get_text(), other.get_text())
    width = drawn.get_figwidth() * 72  # points; a pixel of a phone is drawn for each
    smallest = min(text.get_fontsize() for text, _ in found)
    assert smallest * PHONE / width >= 7.5


def test_a_panel_has_at_most_eight_lines():
    for strategies, panels in ((3, 1), (7, 1), (8, 2), (14, 2), (15, 3)):
        drawn = comparison_figure(entries(strategies, False), "all")
        assert len(drawn.axes) == panels
        named = [line.get_label() for axes in drawn.axes for line in axes.lines]
        assert {f"strategy {place}" for place in range(strategies)} == set(named) - {"dense"}
        assert max(len(axes.lines) for axes in drawn.axes) <= MOST_LINES + 1 == 8
    assert len(comparison_figure(entries(8, True), "again").axes) == 4


def test_bounds_have_names_that_differ_and_a_legend_of_what_is_drawn():
    drawn = bounds_figure(bounds())
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert len(set(labels)) == len(labels) == 5
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [
        "infinite",
        "an assumption is violated",
        "vacuous",
        "certifies more than guessing",
        "guessing, 90% error",
    ]


def test_equal_widths_are_named_once():
    names = [text.get_text().strip() for text, _ in texts(curve_figure(curve(100), "risk"))]
    assert [name for name in names if name.startswith("k = ")] == ["k = n = s"]


@pytest.mark.parametrize("high", [1.5, 8, 90, 1e7])
def test_labels_of_logarithmic_axes_stand_apart(high):
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(4, 3), layout="constrained")
        axes = drawn.subplots()
        axes.plot(np.geomspace(1, high, 9), np.arange(9))
        axes.set_xscale("log")
        space_ticks(axes.xaxis)
    labels = set(axes.get_xticklabels(which="both"))
    boxes = sorted((box.x0, box.x1) for text, box in texts(drawn) if text in labels)
    assert len(boxes) >= 2
    assert all(end < start for (_, end), (start, _) in pairwise(boxes))


def test_drawings_know_both_schemes_and_are_xml():
    text = as_svg(bounds_figure(bounds()))
    assert text == as_svg(bounds_figure(bounds()))
    root = ET.fromstring(text.decode())
    assert root.get("class") == "drawn"
    style = root[0].text
    assert style.startswith("@media screen and (prefers-color-scheme: dark)")
    assert all(light in style and dark in style for light, dark in DARK.items())


def lab(colour: str) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour (IEC 61966-2-1, D65)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(to_xyz @ linear / [0.9505, 1.0, 1.089])  # none is dark enough for the line
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_are_told_apart_in_both_schemes(scheme):
    shown = [DARK.get(c, c) if scheme == "dark" else c for c in PALETTE[1:]]
    for one, other in combinations(shown, 2):
        assert np.linalg.norm(lab(one) - lab(other)) > 25
