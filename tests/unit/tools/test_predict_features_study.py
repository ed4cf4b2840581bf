"""The committed study of features: its page, its figures, and a small run of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from prunable.numerics.randomness import rng
from prunable.predict.features.random_features import validity_table
from prunable.predict.tables import SPREAD

ROOT = Path(__file__).parents[3]
STUDY = ROOT / "docs" / "predict"


@pytest.fixture(scope="module")
def document():
    return json.loads((STUDY / "features.json").read_text())


@pytest.fixture
def page(tool):
    return tool("predict_features_page")


@pytest.fixture
def study(tool, monkeypatch):
    found = tool("predict_features_study")
    monkeypatch.setattr(found, "REPEATS", 1)
    monkeypatch.setattr(found, "draws", lambda _: 2)
    return found


def test_page_is_that_of_the_numbers(document, page):
    assert (STUDY / "features.md").read_text() == page.to_markdown(document)


def test_figures(document, page, tmp_path):
    paths = page.save_figures(document, tmp_path)
    assert {path.name for path in paths} <= {path.name for path in STUDY.iterdir()}
    for path in paths:
        assert path.read_bytes().startswith(b"<?xml")


def test_packaged_table_is_that_of_the_study(document):
    measured = {(c["d"], c["n"], c["p_over_n"], c["s_over_n"]): c for c in document["cells"]}
    cells = validity_table()["cells"]
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


def test_a_small_study_of_random_features(study, tmp_path):
    (cell,) = study.kept_out(tmp_path / "cell.json", lambda: study.cells(4, 20, 0.2))["cells"]
    assert set(cell["error_percent"]) == set(cell["stderr_percent"])
    assert (cell["d"], cell["n"], cell["p_over_n"], cell["s_over_n"]) == (4, 20, 0.2, 0.1)
    # what is finished is read, not made again
    again = study.kept_out(tmp_path / "cell.json", lambda: pytest.fail("made again"))
    assert again["cells"] == [cell]


def test_a_small_study_of_given_features(study):
    g = rng(0, "small study")
    labels = g.integers(0, 2, 120)
    found = study.real("two classes", g.standard_normal((120, 6)), labels, 15, kept=[3])
    assert (found["examples"], found["features"], found["targets"]) == (120, 6, 2)
    assert set(found["errors"]) == set(found["points"][0]["risk"])
