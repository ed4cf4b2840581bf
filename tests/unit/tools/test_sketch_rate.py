"""The tool that measures how rare failures of sketching become, and its committed table."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from prunable.numerics.randomness import rng
from prunable.sketch.recovery.ensembles import delta_random

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tool(tool):
    return tool("sketch_rate")


def test_the_exponent_is_found_again(tool):
    """Binomial counts of 3 p^-1.5: of 60 fits the mean is within 5 standard errors of 1.5."""
    sides, draws, generator = (24, 48, 96, 192), 4000, np.random.default_rng(2)
    found = [
        tool.fit(sides, [generator.binomial(draws, 3 * p**-1.5) for p in sides], draws)
        for _ in range(60)
    ]
    c, errors = np.array(found).T
    # the likelihood's estimate is biased by far less than its standard error
    assert abs(c.mean() - 1.5) < 5 * c.std() / math.sqrt(60) + 0.1 * errors.mean()
    assert errors.mean() == pytest.approx(c.std(), rel=0.35)
    assert all(math.isnan(x) for x in tool.fit((24, 48), (0, 0), 10))
    # what fails always says nothing of the power
    assert tool.fit((10, *sides), [draws, 90, 33, 11, 4], draws)[0] == pytest.approx(
        tool.fit(sides, [90, 33, 11, 4], draws)[0]
    )


def test_equal_columns_by_simulation(tool):
    """Plain draws of 12 columns of 2 of 9 rows; 5 standard errors."""
    p, m, delta, draws = 12, 9, 2, 4000
    generator, equal = np.random.default_rng(3), 0
    for _ in range(draws):
        columns = [
            [tuple(sorted(generator.choice(m, delta, replace=False))) for _ in range(p)]
            for _ in range(2)
        ]
        equal += any(len(set(one)) < p for one in columns)
    expected = tool.equal_columns(p, m, delta)
    assert abs(equal / draws - expected) < 5 * math.sqrt(expected * (1 - expected) / draws)
    assert len(np.unique(delta_random(12, 9, 2, rng(0)).neighbours, axis=0)) == 12


def test_failures_become_rarer_with_the_size(tool):
    few, many = tool.failures(24, 0.6, 12), tool.failures(54, 0.6, 12)
    assert few > many
    assert tool.failures(24, 2.0, 12) == 0


def test_the_committed_table_is_the_tool_s(tool):
    found = json.loads((ROOT / "docs/sketch/rate.json").read_text())
    assert (ROOT / "docs/sketch/rate.md").read_text() == tool.page(found)
    assert {row["p"] for row in found["rows"]} == set(tool.SIDES)
    for one in found["fits"]:
        rows = [row for row in found["rows"] if row["factor"] == one["factor"]]
        c, error = tool.fit(tool.SIDES, [row["lost"] for row in rows], tool.DRAWS)
        assert (one["c"], one["stderr"]) == (pytest.approx(c), pytest.approx(error))
    first = found["rows"][0]
    assert (first["m"], first["delta"]) == tool.size(first["p"], first["factor"])
