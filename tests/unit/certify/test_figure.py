"""The figure of all bounds: who certifies, who is vacuous, who misses a condition."""

import math

import pytest

from prunable.certify.figure import bounds_figure, write_bounds_figure


def bound(name, value, status="holds", quantity="risk"):
    log = math.log(value) if math.isfinite(value) else None
    return {
        "name": name,
        "variant": "paper",
        "about": "",
        "quantity": quantity,
        "value": value,
        "log_value": log,
        "certifies": value < 0.9 and status == "holds",
        "assumptions": [{"status": status}],
    }


DOCUMENT = {
    "n": 60_000,
    "delta": 0.05,
    "guessing": 0.9,
    "bounds": [
        bound("good", 0.1),
        bound("vacuous", 1e6),
        bound("violated", 0.2, "violated"),
        bound("capacity", 1e9, quantity="capacity"),
        bound("infinite", math.inf),
    ],
}


def test_every_risk_has_one_point_where_its_value_is():
    (axes,) = bounds_figure(DOCUMENT).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert set(labels) == {"good", "vacuous", "violated", "infinite"}
    points = dict(zip(labels, axes.lines, strict=False))
    assert points["good"].get_xdata()[0] == pytest.approx(-1)
    assert points["good"].get_markerfacecolor() != "white"
    assert points["vacuous"].get_markerfacecolor() == "white"
    assert points["violated"].get_marker() == "X"


def test_the_file_is_the_same_for_the_same_document(tmp_path):
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    write_bounds_figure(DOCUMENT, first)
    write_bounds_figure(DOCUMENT, second)
    assert first.read_bytes() == second.read_bytes()
