"""The tool that measures where sketches are recovered, at a small size, and its figure and page."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from prunable.nets.archive import save_tensors
from prunable.numerics.randomness import rng
from prunable.report.figures import as_svg
from prunable.sketch.recovery.entries import Entries

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tool(tool):
    return tool("sketch_phase")


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


def test_lemma_5_1_is_its_formula(tool):
    found = tool.lemma_5_1((300, 784), 0.1, 4.0)
    assert found["bound"] == pytest.approx((3 * 4 * 784 * 0.1, 3 * 4 * 300 * 0.1))
    assert found["probability"] == pytest.approx(1 - 1 / 4 - 300 ** (-1 / 3) - 784 ** (-1 / 3))
    # d (e^2 / 27)^load <= d^(-1/3) with equality at the load that is needed
    for d, load in zip((300, 784), found["needed"], strict=True):
        assert d * (math.e**2 / 27) ** load == pytest.approx(d ** (-1 / 3))


def test_binomial_lines_hold_by_simulation(tool):
    """Independent weights: 400 draws; false alarm below 1e-6 if the bound holds exactly."""
    shape, chi = (60, 90), 0.05
    found = tool.lemma_5_1(shape, chi, 3.0)
    broken = 0
    for draw in range(400):
        kept = rng(0, "binomial", draw).random(shape) < chi
        fullest = Entries.of(kept.astype(np.uint8)).fullest
        broken += any(a > b for a, b in zip(fullest, found["binomial"], strict=True))
    assert broken <= stats.binom.isf(1e-6, 400, 1 - found["probability"])
    # and it is smaller than three times the mean with Markov's factor
    assert all(a < b for a, b in zip(found["binomial"], found["bound"], strict=True))


def test_three_times_a_small_mean_is_exceeded(tool):
    """Lemma E.1 outside its regime: 2,000 balls in 2,000 bins exceed 3 almost surely."""
    found = tool.lemma_5_1((2000, 2000), 1 / 2000)
    assert found["loads"][0] < found["needed"][0]
    loads = np.bincount(rng(0, "balls").integers(0, 2000, 2000))
    assert loads.max() > 3
    assert found["bound"][0] == pytest.approx(3.0)


def test_layers_of_a_checkpoint_are_measured(tool, tmp_path):
    g = torch.Generator().manual_seed(0)
    weights = {"1.weight": torch.randn(60, 80, generator=g), "1.bias": torch.zeros(60)}
    save_tensors(tmp_path / "w.safetensors", weights)
    rows = tool.layers(tmp_path / "w.safetensors")
    assert len(rows) == 6
    for row in rows:
        assert row["mean_row"] == row["kept"] / 60 <= row["j_r"]
        assert row["dense_count"] == 4800
        assert row["within"] <= (max(row["j_r"], row["j_c"]) <= row["bound"])
    assert rows[0]["kept"] == 800
    assert "## Layers of a trained" in tool.layer_tables(rows)


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
