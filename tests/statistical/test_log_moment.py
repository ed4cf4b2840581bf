"""The log-moment estimator on stable draws of SciPy: values and stated standard errors."""

import numpy as np
import pytest
import scipy.stats

from prunable.numerics.tails import Repeated, Status, log_moment, log_moment_vectors
from prunable.numerics.tails.log_moment import DEALT

pytestmark = pytest.mark.statistical

ALPHAS = [1.0, 1.5, 1.8, 2.0]


def stable(alpha: float, size, seed: int) -> np.ndarray:
    """Symmetric draws with characteristic function exp(-|t|^alpha)."""
    generator = np.random.default_rng([seed, round(1000 * alpha)])
    if alpha == 1:
        return scipy.stats.cauchy.rvs(size=size, random_state=generator)
    if alpha == 2:
        return scipy.stats.norm.rvs(scale=np.sqrt(2), size=size, random_state=generator)
    return scipy.stats.levy_stable.rvs(alpha, 0, size=size, random_state=generator)


def elliptic(alpha: float, n: int, dim: int, seed: int) -> np.ndarray:
    """Rotation-invariant rows exp(-||u||^alpha): Gaussian rows of stable variance."""
    generator = np.random.default_rng([seed, round(1000 * alpha), 1])
    normal = generator.standard_normal((n, dim))
    if alpha == 2:
        return np.sqrt(2) * normal
    scale = 2 * np.cos(np.pi * alpha / 4) ** (2 / alpha)
    variance = scipy.stats.levy_stable.rvs(
        alpha / 2, 1, scale=scale, size=n, random_state=generator
    )
    return np.sqrt(variance)[:, None] * normal


@pytest.mark.parametrize("alpha", ALPHAS)
def test_recovers_alpha(alpha):
    """5 standard errors, three block sizes: false alarm < 2e-6 (normal law)."""
    x = stable(alpha, 1_000_000, 1)
    for block_size in (None, 10, 3000):
        found = log_moment(x, block_size=block_size)
        assert found.status is Status.OK
        assert abs(found.alpha - alpha) < 5 * found.stderr
        assert found.stderr < 0.15


@pytest.mark.parametrize("alpha", ALPHAS)
def test_recovers_alpha_of_shifted_vectors(alpha):
    """5 standard errors, elliptic and independent rows: false alarm < 2e-6."""
    shift = np.array([5.0, -3.0, 0.0, 100.0])
    for x in (elliptic(alpha, 300_000, 4, 2), stable(alpha, (300_000, 4), 3)):
        found = log_moment_vectors(x + shift, center="median")
        assert found.status is Status.OK
        assert abs(found.alpha - alpha) < 5 * found.stderr
        assert found.stderr < 0.1


def test_without_centring_a_shift_is_seen():
    """No chance to speak of: a shift makes sums grow with the number of terms, alpha = 1."""
    assert log_moment(stable(1.8, 100_000, 4) + 100).alpha < 1.05


def z_scores(alpha: float, estimates) -> np.ndarray:
    return np.array([(e.alpha - alpha) / e.stderr for e in estimates])


def assert_calibrated(z: np.ndarray) -> None:
    """The z-scores have nearly mean 0 and standard deviation 1.

    2,000 z-scores of kurtosis 3.4 have a mean with standard error 0.0225 and a standard
    deviation with standard error 0.0175. With 400 blocks 1/x and the skewness of a logarithm
    move them to between -0.095 and -0.035, and between 0.99 and 1.02, measured on other
    seeds; the bounds are five standard errors wider: false alarm < 6e-7 each.
    """
    assert 0.9 < z.std() < 1.11
    assert -0.21 < z.mean() < 0.08


@pytest.mark.parametrize("alpha", ALPHAS)
def test_stated_error_is_the_real_one(alpha):
    """2,000 samples of 400 blocks; false alarm < 2e-6, see `assert_calibrated`."""
    samples = stable(alpha, (2000, 4000), 5)
    assert_calibrated(z_scores(alpha, (log_moment(x, block_size=10) for x in samples)))


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_stated_error_is_the_real_one_where_observations_are_dealt_to_blocks(alpha):
    """2,000 samples of 400 blocks of about 41; false alarm < 2e-6, see `assert_calibrated`."""
    samples = stable(alpha, (2000, DEALT + 16), 7)
    once = np.ones(DEALT + 16, dtype=np.int64)
    found = [log_moment(Repeated(x, once, seed), block_size=41) for seed, x in enumerate(samples)]
    assert all(one.n == once.size for one in found)  # no block of fewer than two
    assert_calibrated(z_scores(alpha, found))


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_stated_error_is_the_real_one_for_vectors(alpha):
    """2,000 samples of 400 blocks of rows; false alarm < 2e-6, see `assert_calibrated`."""
    samples = elliptic(alpha, 2000 * 4000, 2, 6).reshape(2000, 4000, 2)
    assert_calibrated(z_scores(alpha, (log_moment_vectors(x, block_size=10) for x in samples)))
