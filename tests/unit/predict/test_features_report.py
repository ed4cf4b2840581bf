"""The committed study of features, its tables and its figures."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from prunable.predict.features.console import SPREAD, print_estimate, print_points
from prunable.predict.features.figures import LABELS, risk_figure, save_feature_figures
from prunable.predict.features.tables import to_markdown

STUDY = Path(__file__).parents[3] / "docs" / "predict"


@pytest.fixture(scope="module")
def document():
    return json.loads((STUDY / "features.json").read_text())


def row(width, s, **risks):
    risk = dict.fromkeys(LABELS, 1.0) | risks
    measured = {"measured": risk, "measured_stderr": dict.fromkeys(LABELS, 0.1)}
    return {"width": width, "n": 30, "s": s, "spread": 0.1, "risk": risk, **measured}


def test_page_is_that_of_the_numbers(document):
    assert (STUDY / "features.md").read_text() == to_markdown(document)


def test_figures(document, tmp_path):
    paths = save_feature_figures(document, tmp_path)
    assert {path.name for path in paths} <= {path.name for path in STUDY.iterdir()}
    for path in paths:
        assert path.read_bytes().startswith(b"<?xml")


def test_packaged_table_is_that_of_the_study(document):
    from prunable.predict.linear.validity import table

    measured = {(c["d"], c["n"], c["p_over_n"], c["s_over_n"]): c for c in document["cells"]}
    cells = table()["cells"]
    assert len(cells) == len(measured)
    for cell in cells:
        twin = measured[cell["d"], cell["n"], cell["p_over_n"], cell["s_over_n"]]
        assert cell["error_percent"] == twin["error_percent"]


def test_what_the_documentation_says(document):
    """Numbers of docs/predict-features.md."""
    cells = document["cells"]

    def errors(model, **where):
        chosen = [c for c in cells if all(c[key] in value for key, value in where.items())]
        return np.abs([c["error_percent"][model] for c in chosen])

    assert np.median(errors("dense", d=(20, 50, 100))) < np.median(errors("dense", d=(5,)))
    real = document["real"]
    assert real["mnist"]["errors"]["dense"]["median_absolute"] < 5
    assert real["ecg5000"]["errors"]["dense"]["median_absolute"] > 20
    assert max(real["mnist"]["spreads"]) < SPREAD < min(real["ecg5000"]["spreads"])


def test_panels_and_axes():
    curve = risk_figure([row(10, 5), row(20, 5), row(20, 15)], "title")
    assert [ax.get_title(loc="left") for ax in curve.axes] == ["5 kept", "15 kept"]
    single = risk_figure([row(10, 5), row(10, 8)], "title")
    assert len(single.axes) == 1
    assert single.axes[0].get_xlabel() == "features kept"
    assert len(single.axes[0].get_legend().get_texts()) == len(LABELS)
    gaps = risk_figure([row(30, 5, dense=None)], "title")
    assert len(gaps.axes) == 1


def printed(function, *arguments):
    console = Console(file=io.StringIO(), width=100)
    function(*arguments, console)
    return " ".join(console.file.getvalue().split())


def test_console_says_what_to_beware_of():
    points = [row(30, 5, dense=None)]
    text = printed(print_points, points, "title", "held out")
    assert "no finite mean" in text
    assert "held out" in text
    points[0]["spread"] = 2.0
    estimate = {
        "n_examples": 70,
        "n_test": 30,
        "shrinkage_share": 0.1,
        "noise": [0.1],
        "null_risk": [1.0],
        "n_zero_features": 3,
        "n_floored": 2,
    }
    text = printed(print_estimate, {"estimate": estimate, "points": points, "errors": {}})
    assert "very unequal size" in text
    assert "3 features are 0" in text
    assert "2 directions" in text
