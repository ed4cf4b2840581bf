"""Counts of weights by the formulas of the papers, written out where nothing is cut off."""

import numpy as np
import pytest
from scipy.special import erfc

from prunable.numerics.randomness import rng
from prunable.numerics.weights.shares import (
    outlier_share,
    scaled_counts,
    shifted_counts,
    spectral_exponent,
    spread_over,
    whole_counts,
)

SIZES = [1000] * 5


def test_shifted_shares_of_equal_layers_are_the_mean_plus_what_sets_them_apart():
    """Yin et al. (2024): s - mean(s) + kappa, for layers of one size."""
    offsets = np.array([0.02, 0.0, 0.16, 0.05, 0.1])
    expected = 1000 * (offsets - offsets.mean() + 0.3)
    assert shifted_counts(offsets, SIZES, 1500) == list(np.round(expected))


def test_scaled_shares_of_equal_layers_are_proportional():
    """Lu et al. (2024): eta times the proportion, with the mean as asked for."""
    pruned = np.array([0.7, 0.9, 1.0, 1.1, 1.3])
    expected = 1000 - 1000 * 0.6 * pruned / pruned.mean()
    assert scaled_counts(pruned, SIZES, 2000) == list(np.round(expected))


@pytest.mark.parametrize("counts_of", [shifted_counts, scaled_counts])
@pytest.mark.parametrize("k", [0, 1, 2, 3, 57, 400, 1102, 1103])
def test_every_total_is_met_and_no_layer_ends_empty_without_need(counts_of, k):
    sizes = [3, 100, 1000]
    counts = counts_of(np.array([0.2, 1.9, 0.6]), sizes, k)
    assert sum(counts) == k
    assert all(0 <= n <= size for n, size in zip(counts, sizes, strict=True))
    assert k < 3 or min(counts) > 0


def test_counts_grow_with_the_total():
    before = [0, 0, 0]
    for k in range(0, 1104, 13):
        counts = shifted_counts(np.array([0.0, 0.3, 0.1]), [3, 100, 1000], k)
        # one weight may move by rounding
        assert all(now >= was - 1 for now, was in zip(counts, before, strict=True))
        before = counts


def test_spread_and_rounding():
    np.testing.assert_allclose(spread_over(np.array([3.0, 1.0, 2.0]), 0.1), [0.1, 0.0, 0.05])
    assert not spread_over(np.array([2.0, 2.0]), 0.1).any()
    assert whole_counts(np.array([1.6, 1.6, 0.8]), np.array([1, 2, 9]), 4) == [1, 2, 1]


def test_outliers_of_a_normal_law():
    """P(|z| > 3 sqrt(2/pi)) = erfc(3 / sqrt(pi)) within 5 standard errors; false alarm 6e-7."""
    n = 200_000
    expected = float(erfc(3 / np.sqrt(np.pi)))
    found = outlier_share(rng(0).standard_normal((400, 500)), 3.0)
    # the mean that it is compared with varies too, by far less
    assert abs(found - expected) < 5 * np.sqrt(expected / n)


def test_spectral_exponent_of_a_power_law():
    """Eigenvalues x^-a in density have the exponent a: Hill's standard error is (a - 1) / sqrt(n).

    At 5 of these, with 500 eigenvalues above the median; false alarm 6e-7.
    """
    uniform = rng(1).random(1000)
    eigenvalues = uniform ** (-1 / 1.5)  # P(x > t) = t^-1.5, density t^-2.5
    found = spectral_exponent(np.diag(np.sqrt(eigenvalues))[:, rng(2).permutation(1000)])
    assert abs(found - 2.5) < 5 * 1.5 / np.sqrt(500)


def test_spectral_exponent_of_taps_is_of_all_their_matrices_together():
    kernel = rng(3).standard_normal((6, 4, 9))
    values = np.concatenate([np.linalg.svd(kernel[:, :, t])[1] for t in range(9)]) ** 2
    upper = np.sort(values)[18:]
    expected = 1 + 18 / np.log(upper / upper[0]).sum()
    assert spectral_exponent(kernel.reshape(6, 36), 9) == pytest.approx(expected)
    assert spectral_exponent(1e-30 * kernel.reshape(6, 36), 9) == pytest.approx(expected)


@pytest.mark.parametrize("matrix", [np.zeros((3, 4)), np.ones((1, 1)), np.eye(4)])
def test_spectra_without_a_tail(matrix):
    assert spectral_exponent(matrix) == np.inf
