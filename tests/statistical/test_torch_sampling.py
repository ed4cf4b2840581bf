"""The torch sampler draws the laws it names.

Every test compares at 5 standard errors: a two-sided false alarm has probability 5.7e-7
per comparison under the normal approximation.
"""

import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch

from prunable.nets.train import sampling
from prunable.nets.train.sampling import sample_stable
from prunable.numerics.stable import StableLaw
from prunable.numerics.stable.sampling import symmetric_transform

pytestmark = pytest.mark.statistical

ALPHAS = (0.5, 1.0, 1.5, 1.8, 1.99, 2.0)
POINTS = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0])


def draw(shape, alpha, *, kind="iid", seed=0, dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return sample_stable(shape, alpha, scale=scale, kind=kind, generator=generator, dtype=dtype)


def assert_characteristic_function(projections, expected_at_points):
    """Compare mean cos(u x) with the real characteristic function, at 5 standard errors."""
    for point, expected in zip(POINTS, expected_at_points, strict=True):
        cosines = np.cos(point * projections)
        error = cosines.std() / math.sqrt(len(cosines))
        assert abs(cosines.mean() - expected) < 5 * error, f"at u = {point}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_iid_characteristic_function(alpha, dtype):
    """120 comparisons over all parameters: false alarm below 7e-5, at fixed seeds."""
    x = draw((1_000_000,), alpha, dtype=dtype, seed=17, scale=0.7).double().numpy()
    assert_characteristic_function(x, np.exp(-((0.7 * POINTS) ** alpha)))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.6, -0.8, 0.0), (1.0, 1.0, 1.0)])
def test_isotropic_characteristic_function(alpha, direction):
    """exp(-||u||^alpha) along three directions; 180 comparisons, false alarm below 1.1e-4."""
    x = draw((400_000, 3), alpha, kind="isotropic", seed=23).double().numpy()
    length = np.linalg.norm(direction)
    assert_characteristic_function(x @ np.array(direction), np.exp(-((length * POINTS) ** alpha)))


@pytest.mark.parametrize("alpha", [1.0, 1.8, 2.0])
def test_shared_characteristic_function(alpha):
    """exp(-|sum u_j|^alpha); 30 comparisons, false alarm below 2e-5."""
    x = draw((400_000, 3), alpha, kind="shared", seed=29).double().numpy()
    direction = np.array([0.5, 0.5, -0.2])
    expected = np.exp(-((abs(direction.sum()) * POINTS) ** alpha))
    assert_characteristic_function(x @ direction, expected)


@pytest.mark.parametrize("alpha", [1.5, 1.8, 1.99])
def test_variance_free_tail_beyond_the_hundred_thousandth(alpha):
    """Exceedances of the 1e-5 quantile in 1e7 draws: 100 expected, 5 standard errors = 50."""
    x = draw((10_000_000,), alpha, seed=31)
    level = StableLaw(alpha).isf(0.5e-5)
    assert abs(int((x.abs() > level).sum()) - 100) < 50


def test_hundred_million_float32_draws_are_finite_and_keep_the_tail():
    """1e8 draws at alpha 1.8: none NaN or infinite; 1e-6 exceedances within 5 s.e. of 100.

    The largest of n draws exceeds the level that is exceeded once in 100 n with probability
    0.01, and stays below the level exceeded 20 times in n with probability 2e-9.
    """
    law = StableLaw(1.8)
    level, chunk = law.isf(0.5e-6), 10_000_000
    exceedances, largest = 0, 0.0
    for seed in range(10):
        x = draw((chunk,), 1.8, seed=seed)
        assert torch.isfinite(x).all()
        exceedances += int((x.abs() > level).sum())
        largest = max(largest, float(x.abs().max()))
    assert abs(exceedances - 100) < 50
    assert largest > law.isf(10e-8)


@pytest.mark.parametrize("kind", ["iid", "isotropic"])
def test_gaussian_tail_goes_on_beyond_the_float32_normal(kind):
    """At alpha = 2, 5e-7 of 4e7 draws lie beyond 5.03 sd: 20 +- 5 s.e.; false alarm 6e-6.

    The level is the exact quantile of N(0, 2) for that probability.
    """
    x = torch.cat([draw((20_000, 1000), 2.0, kind=kind, seed=s).flatten() for s in (41, 43)])
    level = math.sqrt(2) * scipy.stats.norm.isf(2.5e-7)
    count = int((x.abs() > level).sum())
    assert abs(count - 20) < 5 * math.sqrt(20)
    assert abs(float(x.double().var()) - 2) < 5 * 2 * math.sqrt(2 / x.numel())


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 2.0])
def test_one_cell_of_the_grid_at_an_end_is_filled_uniformly(alpha, monkeypatch):
    """All 20,000 uniforms in one cell; Kolmogorov-Smirnov, 10 times: false alarm 1e-5.

    With 1 - t uniform in a cell of width h and w at the middle, the draw is proportional to 1 - t;
    with |w| = 1 - v and t at the middle, to E^(1 - 1/alpha), and E = -log(1 - v) for alpha > 1;
    with t uniform in a cell at the pole, to t^(-1/alpha) for alpha < 2.
    """
    n, last, middle, cell = 20_000, 2**31 - 1, 2**30, 2.0**-31
    transform = partial(sampling.symmetric_from_uniforms_, alpha=alpha)

    def drawn(t, w):
        whole = torch.tensor([[t], [w]], dtype=torch.int32).expand(2, n)
        source = sampling._Source(3)
        monkeypatch.setattr(source, "whole", lambda *_: whole)
        return sampling._transformed(n, torch.float32, source, transform).double().abs().numpy()

    def at(t, w):
        return symmetric_transform(np.array([t]), np.array([w]), alpha)[0]

    for t in (last, -last - 1):  # a cell reaches up: towards 1, and from -1 towards 0
        assert scipy.stats.kstest(drawn(t, middle) / at(1 - cell, 0.5), "uniform").pvalue > 1e-6
    if alpha < 2:
        pole = (drawn(0, middle) / at(cell, 0.5)) ** -alpha
        assert scipy.stats.kstest(pole, "uniform").pvalue > 1e-6
    if alpha > 1:
        x = drawn(middle, -last - 1)
        v = -np.expm1(-((x / at(0.5, math.exp(-1))) ** (alpha / (alpha - 1))))
        assert scipy.stats.kstest(v / cell, "uniform").pvalue > 1e-6


@pytest.mark.parametrize("kind", ["iid", "isotropic"])
@pytest.mark.parametrize("alpha", [1.0, 1.8, 2.0])
def test_small_draws_follow_the_density(alpha, kind):
    """P(|X| < d) = 2 f(0) d up to relative d^2, f(0) = Gamma(1 + 1/alpha) / pi, for 8e6 draws.

    Counts below 3e-3 and 3e-4 within 5 binomial errors: 12 comparisons, false alarm 7e-6; the
    smallest of n draws is above 0 and exceeds 30 / (2 f(0) n) with probability e^-30.
    """
    n, density = 8_000_000, math.gamma(1 + 1 / alpha) / math.pi
    x = draw((n // 4, 4), alpha, kind=kind, seed=53).abs().flatten()
    if kind == "isotropic" and alpha < 2:
        x = x.view(-1, 4)[:, 0]  # entries of a row depend on each other
    for level in (3e-3, 3e-4):
        expected = 2 * density * level * x.numel()
        assert abs(int((x < level).sum()) - expected) < 5 * math.sqrt(expected)
    assert 0 < float(x.min()) < 30 / (2 * density * x.numel())
