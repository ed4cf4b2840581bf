"""What rows and columns share, against SciPy's analysis of variance and closed forms."""

import math

import numpy as np
import pytest
import scipy.stats

from prunable.numerics.measure.dependence import Regime, dependence
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw

SIDE = 400


def synthetic(law, alpha, seed=0):
    """The three laws of appendix A.6.1 of the 2021 paper."""
    stable, r = StableLaw(alpha), rng(seed, law, repr(alpha))
    return {
        "independent": lambda: stable.sample((SIDE, SIDE), r),
        "columns": lambda: stable.sample_isotropic(SIDE, SIDE, r).T,
        "rows": lambda: stable.sample_isotropic(SIDE, SIDE, r),
        "layer": lambda: stable.sample_isotropic(1, SIDE * SIDE, r).reshape(SIDE, SIDE),
    }[law]()


@pytest.mark.parametrize("alpha", [1.2, 1.75, 1.9])
@pytest.mark.parametrize(
    ("law", "regime"),
    [
        ("independent", Regime.INDEPENDENT),
        ("columns", Regime.COLUMNS),
        ("rows", Regime.ROWS),
        ("layer", Regime.INDEPENDENT),
    ],
)
def test_three_laws_are_told_apart(law, alpha, regime):
    """Independent laws fail with probability 2e-6 each."""
    found = dependence(synthetic(law, alpha), rng(1))
    assert found.regime is regime
    if law in ("columns", "rows"):
        shared = found.columns if law == "columns" else found.rows
        expected = 1 - (math.pi**2 / 8) / (math.pi**2 / 6 * (1 / alpha**2 + 0.5))
        # the correlation of 400 lines has a relative error of about 0.1
        assert shared.intraclass_correlation == pytest.approx(expected, rel=0.5)


def test_both_ways():
    r = rng(0, "both")
    w = r.standard_normal((300, 200)) * np.exp(r.standard_normal((300, 1)))
    w *= np.exp(r.standard_normal((1, 200)))
    assert dependence(w, rng(0)).regime is Regime.BOTH


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_variance_ratio_is_scipys(share):
    """With zeros the layout is unbalanced."""
    r = rng(2, repr(share))
    w = r.standard_normal((60, 35)) * np.exp(0.1 * r.standard_normal((1, 35)))
    w[r.random(w.shape) < share] = 0
    found = dependence(w, rng(0))
    for shared, lines in ((found.columns, w.T), (found.rows, w)):
        groups = [np.log(np.abs(line[line != 0])) for line in lines if line.any()]
        expected = scipy.stats.f_oneway(*groups)
        assert shared.f == pytest.approx(expected.statistic, rel=1e-9)
        assert shared.p_value == pytest.approx(expected.pvalue, rel=1e-6)


def test_p_values_of_independent_weights_are_uniform():
    """Kolmogorov-Smirnov at 1e-6 over 300 layers."""
    p = [
        dependence(StableLaw(1.5).sample((40, 50), rng(i, "null")), rng(i)).columns.p_value
        for i in range(300)
    ]
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-6


def test_splits_are_two_sample_tests():
    r = rng(0, "splits")
    w = r.standard_normal((50, 60))
    w[:, 1::2] *= 3
    found = dependence(w, rng(0)).splits
    expected = scipy.stats.ks_2samp(w[:, 0::2].ravel(), w[:, 1::2].ravel(), method="asymp")
    assert found["columns"].ks == pytest.approx(expected.statistic, rel=1e-9)
    assert found["columns"].p_value < 1e-6
    assert found["random"].p_value > 1e-6
    assert found["rows"].p_value > 1e-6


def test_large_matrices_are_sampled():
    w = rng(0, "large").standard_normal((3000, 40)).astype(np.float32)
    w *= np.exp(rng(1).standard_normal((3000, 1))).astype(np.float32)
    found = dependence(w, rng(0))
    assert found.regime is Regime.ROWS
    assert dependence(w, rng(0)).rows == found.rows


@pytest.mark.parametrize("w", [np.zeros((20, 20)), np.ones((1, 1)), np.eye(3)])
def test_too_little_to_say(w):
    found = dependence(w, rng(0))
    assert found.regime is Regime.UNKNOWN
    assert found.rows is found.columns is None
