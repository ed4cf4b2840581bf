"""Ordered groups: against brute force over all orders, scipy, and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from prunable.experiments.reproduce import ordering
from prunable.experiments.reproduce.frame import Frame, Observation
from prunable.experiments.reproduce.published import Printed


def frame(*values):
    rows = (Observation("a", str(i), "m", value, f"run-{i}") for i, value in enumerate(values))
    return Frame(tuple(rows))


def test_chances_against_all_orders():
    sizes, values = (2, 3, 2), range(7)
    counts = np.zeros(17)
    for order in itertools.permutations(values):
        parts = order[:2], order[2:5], order[5:]
        counts[int(ordering.rising_pairs(parts))] += 1
    np.testing.assert_allclose(ordering.chances_of(sizes), counts / counts.sum(), atol=1e-12)


def test_two_groups_make_the_test_of_mann_and_whitney():
    rng = np.random.default_rng(1)
    for n, m in ((5, 5), (3, 7), (2, 4)):
        low, high = rng.normal(size=n), rng.normal(size=m)
        theirs = stats.mannwhitneyu(high, low, alternative="greater", method="exact").pvalue
        assert ordering.chance_of_rise([low, high]) == pytest.approx(theirs)


def test_many_runs_are_judged_by_the_normal_law():
    rng = np.random.default_rng(2)
    groups = [rng.normal(0.02 * place, 1, 27) for place in range(3)]  # 81 numbers
    exact = ordering.chances_of([27] * 3)[int(ordering.rising_pairs(groups)) :].sum()
    assert ordering.chance_of_rise(groups) == pytest.approx(exact, abs=2e-3)


def test_power_against_known_cases():
    # Two far groups of 5 always rise; of 2 nothing is significant (1 order in 6).
    far = [Printed(0.0, 0.1), Printed(10.0, 0.1)]
    assert ordering.power_of(far, [5, 5]) == 1.0
    assert ordering.power_of(far, [2, 2]) == 0.0
    # Without an effect power is the level that 5 and 5 runs reach: the exact tail below 5 %.
    tails = np.cumsum(ordering.chances_of([5, 5])[::-1])
    level = tails[tails < 0.05].max()
    same = [Printed(0.0, 1.0)] * 2
    # binomial of 2,000 draws; 5 standard errors
    assert ordering.power_of(same, [5, 5]) == pytest.approx(level, abs=5 * (level / 2000) ** 0.5)
    draws = np.random.default_rng(0).normal(0, 1, 5000)
    assert ordering.power_of([draws, draws + 10], [5, 5]) == 1.0


@pytest.mark.parametrize(
    ("groups", "expected", "outcome"),
    [
        ([(1, 2, 3, 4, 5), (6, 7, 8, 9, 10), (11, 12, 13, 14, 15)], (), "holds"),
        ([(11, 12, 13, 14, 15), (6, 7, 8, 9, 10), (1, 2, 3, 4, 5)], (), "contradicted"),
        # a trend, but two neighbours are turned around, and nothing could tell them apart
        ([(1, 2, 3, 4, 5), (6, 7.5, 8, 9.2, 10), (6.1, 7, 7.9, 9, 10.1)], (), "underpowered"),
        # two neighbours in the other order
        ([(1, 2, 3, 4, 5), (11, 12, 13, 14, 15), (6, 7, 8, 9, 10)], (), "contradicted"),
        # mixed, where a large effect is printed
        ([(1, 4), (2, 3)], [Printed(0.0, 0.1), Printed(9.0, 0.1)], "underpowered"),
        ([(1, 4, 5, 8, 9), (2, 3, 6, 7, 10)], [Printed(0.0, 0.1), Printed(9.0, 0.1)], "fails"),
    ],
)
def test_outcomes(groups, expected, outcome):
    named = {str(i): frame(*values) for i, values in enumerate(groups)}
    check = ordering.rises("s", named, expected=expected)
    assert check.outcome == outcome
    assert "power" in check.evidence
    assert ("seeds" in check.needs or "no effect" in check.needs) == (outcome == "underpowered")


def test_the_null_is_rejected_at_its_level():
    # 2,000 triples of 5 normal numbers: about 5 % at most; 5 standard errors above
    rng = np.random.default_rng(3)
    rejected = sum(
        ordering.chance_of_rise(rng.normal(size=(3, 5)).tolist()) < ordering.LEVEL
        for _ in range(2000)
    )
    assert rejected / 2000 < 0.05 + 5 * (0.05 * 0.95 / 2000) ** 0.5


def test_without_runs_nothing_is_said():
    assert ordering.rises("s", {"a": frame(1), "b": frame()}).outcome == "not applicable"
