"""Goodness of fit against SciPy, and the size of the tests by simulation."""

import math

import numpy as np
import pytest
import scipy.stats

from prunable.numerics.measure.goodness import (
    anderson_darling,
    far_p_value,
    gaussian_goodness,
    stable_goodness,
    stable_tail,
)
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.numerics.tails import fit_stable
from prunable.numerics.weights.calibration import p_value


def test_statistics_are_the_formulas():
    x = np.sort(rng(0, "ad").random(200))
    statistic, distance = anderson_darling(x, 1 - x)
    n = len(x)
    terms = [(2 * i - 1) * (math.log(x[i - 1]) + math.log(1 - x[n - i])) for i in range(1, n + 1)]
    assert statistic == pytest.approx(-n - sum(terms) / n)
    assert distance == pytest.approx(scipy.stats.kstest(x, "uniform").statistic)


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.75, 1.9, 1.96, 2.0])
def test_p_values_are_uniform_when_the_law_is_right(alpha):
    """300 samples of another size than the table's; Kolmogorov-Smirnov at 1e-5."""
    p = [
        stable_goodness(StableLaw(alpha).sample(2500, rng(i, "size", repr(alpha)))).p_value
        for i in range(300)
    ]
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-5


def test_gaussian_p_values_are_uniform():
    p = [gaussian_goodness(rng(i, "g").standard_normal(2500)).p_value for i in range(500)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-5


def test_wrong_laws_are_refused():
    r = rng(0, "wrong")
    for x in (r.standard_t(3, 20_000), r.laplace(size=20_000), r.uniform(-1, 1, 20_000)):
        assert stable_goodness(x).p_value < 1e-4
        assert gaussian_goodness(x).p_value < 1e-4
    assert gaussian_goodness(StableLaw(1.95).sample(20_000, r)).p_value < 1e-4


def test_fits_report_the_law():
    x = 0.02 * StableLaw(1.6).sample(30_000, rng(1))
    found = stable_goodness(x)
    assert found.scale == pytest.approx(0.02, rel=0.05)
    assert found.alpha == pytest.approx(1.6, abs=0.05)
    assert found.ks < 0.01
    assert found.n == 30_000
    normal = gaussian_goodness(3 * rng(2).standard_normal(30_000))
    assert normal.scale * math.sqrt(2) == pytest.approx(3, rel=0.02)


def test_p_value_falls_with_the_statistic():
    for alpha in (None, 0.4, 1.0, 1.77, 2.0):
        p = [p_value(a, alpha) for a in (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 50.0, 5000.0)]
        assert p[0] == 1
        assert np.all(np.diff(p) < 0)
        assert p[-1] > 0


def test_tail_of_a_right_law_is_accepted_and_that_of_a_peaked_one_is_not():
    """300 right samples at 1e-5 each, three comparisons each: false alarm below 1 %."""
    for alpha in (1.3, 1.8, 1.97):
        for i in range(100):
            x = StableLaw(alpha).sample(20_000, rng(i, "tail", repr(alpha)))
            p, ratio = stable_tail(np.sort(np.abs(x)), fit_stable(x), x.size)
            assert p > 1e-5
            assert 0.2 < ratio < 3
    r = rng(0, "peaked")
    x = r.standard_normal(100_000) * np.exp(0.15 * r.standard_normal(100_000))
    p, ratio = stable_tail(np.sort(np.abs(x)), fit_stable(x), x.size)
    assert p < 1e-10
    assert ratio < 0.5


def test_far_weights_are_a_poisson_tail():
    n, deviation = 10**6, 2.0
    expected = n * 2 * scipy.stats.norm.sf(6)
    largest = np.array([5.0, 11.9, 12.1, 13.0])
    assert far_p_value(largest, deviation, n) == pytest.approx(
        scipy.stats.poisson.sf(1, expected), rel=1e-6
    )
    assert far_p_value(largest[:2], deviation, n) == 1
