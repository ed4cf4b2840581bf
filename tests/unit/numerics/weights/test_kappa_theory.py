"""Kept shares of theory against closed forms, quadrature and simulation."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.numerics.weights.compressibility import kappa_curve
from prunable.numerics.weights.kappa_theory import gaussian_kappa, stable_kappa

EPS = np.array([0.05, 0.1, 0.2, 0.4])


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0])
def test_gaussian_share_by_quadrature(p):
    for eps, kappa in zip(EPS, gaussian_kappa(EPS, p), strict=True):
        threshold = scipy.stats.norm.isf(kappa / 2)

        def moment(x):
            return x**p * math.exp(-x * x / 2)

        below = scipy.integrate.quad(moment, 0, threshold)[0]
        whole = scipy.integrate.quad(moment, 0, math.inf)[0]
        assert (below / whole) ** (1 / p) == pytest.approx(eps, rel=1e-6)
    assert list(gaussian_kappa([0.0, 1.0, 5.0])) == [1.0, 0.0, 0.0]


def test_gaussian_share_of_the_2021_paper():
    """Pruning ratio .266 at relative error 0.1, from a draw of 250,000."""
    assert 1 - gaussian_kappa(0.1) == pytest.approx(0.2653, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.7, 1.2, 1.75, 1.95, 2.0])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_band_covers_simulated_layers(alpha, p):
    """90 % bands and 80 layers: at least 80 % inside, false alarm about 1 %, seeds fixed."""
    n, layers = 20_000, 80
    band = stable_kappa(alpha, n, EPS, p, rng=rng(0))
    simulated = np.array(
        [
            kappa_curve(StableLaw(alpha).sample(n, rng(i, "band", repr(alpha))), EPS, p)
            for i in range(layers)
        ]
    )
    slack = 0.004  # fluctuation of the bulk, which the band leaves out
    inside = (simulated >= band.low - slack) & (simulated <= band.high + slack)
    assert inside.mean(axis=0).min() > 0.8
    median = np.median(simulated, axis=0)
    spread = (band.high - band.low) / 2 + 0.004
    assert np.all(np.abs(median - band.median) < spread)


def test_proposition_8_heavier_tails_keep_less():
    """For p below both tail indices; above, everything is decided by the largest weight."""
    for p in (0.3, 0.7, 1.0):
        shares = [
            float(stable_kappa(alpha, 10**6, [0.1], p, rng=rng(0)).median[0])
            for alpha in (1.1, 1.3, 1.5, 1.7, 1.9, 2.0)
        ]
        assert np.all(np.diff(shares) > 0)
        assert shares[-1] == pytest.approx(float(gaussian_kappa(0.1, p)), abs=2e-3)
    assert stable_kappa(1.5, 10**6, [0.1], 2.0, rng=rng(0)).median[0] < 0.1


def test_band_is_reproducible_and_ordered():
    a, b = (stable_kappa(1.7, 5000, EPS, rng=rng(3)) for _ in range(2))
    np.testing.assert_array_equal(a.median, b.median)
    assert np.all(a.low <= a.median)
    assert np.all(a.median <= a.high)
    assert np.all(np.diff(a.median) < 0)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: gaussian_kappa(0.1, 0), "p"),
        (lambda: stable_kappa(2.5, 100, EPS, rng=rng(0)), "alpha"),
        (lambda: stable_kappa(1.5, 1, EPS, rng=rng(0)), "n"),
        (lambda: stable_kappa(1.5, 100, EPS, -1, rng=rng(0)), "p"),
    ],
)
def test_mistakes_raise(call, name):
    with pytest.raises(InputError, match=f"`{name}`"):
        call()
