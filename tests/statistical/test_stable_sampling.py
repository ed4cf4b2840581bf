"""Draws of stable laws against their characteristic functions, tails and sums."""

import numpy as np
import pytest
import scipy.stats

from prunable.numerics.randomness import rng
from prunable.numerics.stable import (
    StableLaw,
    positive_transform,
    sample_isotropic,
    sample_symmetric,
)

pytestmark = pytest.mark.statistical

ALPHAS = [0.5, 1.0, 1.5, 1.8, 1.99, 2.0]
DRAWS = 400_000


def assert_mean(values: np.ndarray, expected: float) -> None:
    error = values.std() / np.sqrt(values.size)
    assert abs(values.mean() - expected) < 5 * error


@pytest.mark.parametrize("alpha", ALPHAS)
def test_characteristic_function(alpha):
    """5 standard errors at 10 points, real and imaginary part: false alarm < 1.2e-5."""
    law = StableLaw(alpha, scale=0.7)
    draws = law.sample(DRAWS, rng(1, "cf", str(alpha)))
    for t in np.geomspace(0.05, 5, 10):
        assert_mean(np.cos(t * draws), law.cf(t))
        assert_mean(np.sin(t * draws), 0.0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_isotropic_characteristic_function(alpha):
    """5 standard errors in 10 directions: false alarm < 1.2e-5 (two parts each)."""
    law = StableLaw(alpha, scale=1.3)
    draws = law.sample_isotropic(DRAWS, 3, rng(2, "isotropic", str(alpha)))
    directions = rng(2, "directions").standard_normal((10, 3))
    directions[0], directions[1] = [0.5, 0, 0], [0, 0, -1.5]
    for u in directions:
        assert_mean(np.cos(draws @ u), law.cf(np.linalg.norm(u)))
        assert_mean(np.sin(draws @ u), 0.0)


@pytest.mark.parametrize("alpha", [0.5, 0.95, 1.0, 1.05, 1.5, 1.8, 1.99, 2.0])
def test_exceedances_of_a_far_quantile(alpha):
    """Counts beyond both 1e-5 quantiles, 5 binomial errors about 40: false alarm < 7e-6.

    P(|N - 40| >= 32) = 3.4e-6 for each count, by the Poisson law.
    """
    law = StableLaw(alpha)
    n, tail = 4_000_000, 1e-5
    threshold = float(law.isf(tail))
    draws = law.sample(n, rng(3, "exceedances", str(alpha)))
    for count in (np.sum(draws > threshold), np.sum(draws < -threshold)):
        assert abs(count - n * tail) < 5 * np.sqrt(n * tail)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_draws_follow_the_distribution_function(alpha):
    """Kolmogorov-Smirnov; false alarm 1e-6."""
    law = StableLaw(alpha, scale=2.0)
    draws = law.sample(100_000, rng(4, "ks", str(alpha)))
    assert scipy.stats.kstest(draws, law.cdf).pvalue > 1e-6


@pytest.mark.parametrize("alpha", ALPHAS)
def test_sums_scale_with_the_power_one_over_alpha(alpha):
    """Sums of 10 draws over 10^(1/alpha) have the law itself; false alarm 1e-6."""
    law = StableLaw(alpha)
    sums = law.sample((50_000, 10), rng(5, "sums", str(alpha))).sum(axis=1)
    assert scipy.stats.kstest(sums / 10 ** (1 / alpha), law.cdf).pvalue > 1e-6
    wrong = sums / 10 ** (1 / (alpha * 0.9))
    assert scipy.stats.kstest(wrong, law.cdf).pvalue < 1e-6


def positive(n: int, a: float, seed: int) -> np.ndarray:
    generator = rng(seed, "positive", str(a))
    return positive_transform(1 - generator.random(n), 1 - generator.random(n), a)


def test_half_positive_is_levy():
    """Laplace transform exp(-sqrt(s)) is the Lévy law of scale 1/2; false alarm 1e-6."""
    draws = positive(100_000, 0.5, 6)
    assert scipy.stats.kstest(draws, scipy.stats.levy(scale=0.5).cdf).pvalue > 1e-6


@pytest.mark.parametrize("a", [0.25, 0.5, 0.75, 0.9, 0.995])
def test_positive_laplace_transform(a):
    """5 standard errors at 10 points: false alarm < 6e-6."""
    draws = positive(DRAWS, a, 7)
    for s in np.geomspace(0.05, 5, 10):
        assert_mean(np.exp(-s * draws), np.exp(-(s**a)))


def test_same_seed_same_numbers_and_a_shared_beginning():
    """No chance involved: equal generators give equal draws, across the chunk border too."""
    long = sample_symmetric(300_000, 1.5, rng(8))
    np.testing.assert_array_equal(long, sample_symmetric(300_000, 1.5, rng(8)))
    np.testing.assert_array_equal(long[:1000], sample_symmetric(1000, 1.5, rng(8)))
    matrix = sample_isotropic(300_000, 2, 1.5, rng(8))
    np.testing.assert_array_equal(matrix, sample_isotropic(300_000, 2, 1.5, rng(8)))
    assert not np.array_equal(long, sample_symmetric(300_000, 1.5, rng(9)))
