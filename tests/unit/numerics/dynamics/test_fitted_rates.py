"""Fitted exponents, independence measures and compression laws."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from prunable.errors import InputError
from prunable.numerics.dynamics.compression import (
    asymptotic_errors,
    asymptotic_exponent,
    expected_maximum_bound,
    expected_maximum_limit,
    mean_limit_constant,
    printed_constant_holds,
    tail_supremum,
)
from prunable.numerics.dynamics.fitted_rates import Agreement, Claim, compare, fit_exponent
from prunable.numerics.dynamics.independence import distance_covariance, hsic
from prunable.numerics.stable import StableLaw, sample_symmetric
from prunable.numerics.weights.compressibility import best_k_term_error

SIZES = np.array([8, 16, 32, 64])


def rng(seed=0):
    return np.random.default_rng(seed)


def test_exact_power_law_is_found():
    found = fit_exponent(SIZES, [3.0 * SIZES**-0.7, 5.0 * SIZES**-0.7])
    assert found.exponent == pytest.approx(-0.7)
    assert found.high - found.low < 1e-12
    assert found.local_slopes == pytest.approx([-0.7] * 3)


def test_interval_covers_in_95_of_100():
    """Binomial(2000, 0.95): five standard deviations are 49 misses around 100."""
    source, misses = rng(1), 0
    for _ in range(2000):
        errors = SIZES**-0.5 * np.exp(0.3 * source.standard_normal((6, 4)))
        found = fit_exponent(SIZES, errors)
        misses += not found.low <= -0.5 <= found.high
    assert abs(misses - 100) < 49


def test_comparison_with_a_theorem():
    exact = np.ones((3, 1)) * SIZES**-1.0 * (1 + 1e-3 * rng().standard_normal((3, 4)))
    assert compare(fit_exponent(SIZES, exact), -1.0, Claim.EXACT) == Agreement.AGREES
    assert compare(fit_exponent(SIZES, exact), -0.5, Claim.UPPER_BOUND) == Agreement.WITHIN_BOUND
    assert compare(fit_exponent(SIZES, exact), -0.5, Claim.EXACT) in (
        Agreement.DIFFERS,
        Agreement.NOT_ASYMPTOTIC,
    )
    bending = exact * (1 + 3 / SIZES)  # slopes rise to -1 from below
    found = fit_exponent(SIZES, bending)
    assert found.high < -1
    assert compare(found, -1.0, Claim.EXACT) == Agreement.NOT_ASYMPTOTIC


@pytest.mark.parametrize(
    ("sizes", "errors"),
    [
        ([1.0], [[1.0], [1.0]]),
        ([2, 1], np.ones((2, 2))),
        ([1, 2], np.ones((1, 2))),
        ([1, 2], [[1, 0], [1, 1]]),
        ([1, 2], [[1, math.nan], [1, 1]]),
    ],
)
def test_bad_regressions_are_refused(sizes, errors):
    with pytest.raises(InputError, match="fit_exponent"):
        fit_exponent(sizes, errors)


@pytest.mark.parametrize("measure", [distance_covariance, hsic])
def test_dependence_is_found_and_independence_kept(measure):
    """Heavy-tailed samples; p-values of independent ones are uniform (KS, 1e-6)."""
    x = sample_symmetric((200, 2), 1.5, rng(0))
    y = np.abs(x) + 0.1 * rng(1).standard_normal((200, 2))
    found = measure(x, y, permutations=99, rng=rng(2))
    assert found.p_value == 0.01
    assert found.statistic > 10 * found.null_std
    p_values = [
        measure(
            sample_symmetric((40, 1), 1.5, rng(s)),
            sample_symmetric((40, 1), 1.5, rng(s + 1000)),
            permutations=49,
            rng=rng(s),
        ).p_value
        for s in range(150)
    ]
    dithered = np.array(p_values) - 0.02 * rng(5).uniform(size=150)
    assert stats.kstest(dithered, "uniform").pvalue > 1e-6


def test_unbiased_distance_covariance_against_its_definition():
    """Szekely and Rizzo's U-centring, entry by entry."""
    x, y = rng(0).standard_normal((7, 2)), rng(1).standard_normal((7, 3))

    def centred(z):
        n = len(z)
        d = np.array([[np.linalg.norm(a - b) for b in z] for a in z])
        out = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                if i != j:
                    out[i, j] = (
                        d[i, j]
                        - d[i].sum() / (n - 2)
                        - d[:, j].sum() / (n - 2)
                        + d.sum() / ((n - 1) * (n - 2))
                    )
        return out

    a, b = centred(x), centred(y)
    wanted = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
    assert distance_covariance(x, y, permutations=1, rng=rng()).statistic == pytest.approx(wanted)


def test_bad_samples_are_refused():
    x = np.ones((5, 1))
    with pytest.raises(InputError, match="samples that vary"):
        hsic(x, x, permutations=1, rng=rng())
    for y in (np.ones((4, 1)), np.ones(5), np.full((5, 1), math.inf), np.ones((2, 1))):
        with pytest.raises(InputError, match="distance_covariance"):
            distance_covariance(rng().standard_normal((5, 1)), y, permutations=1, rng=rng())
    with pytest.raises(InputError, match="permutations"):
        hsic(
            rng().standard_normal((5, 1)), rng().standard_normal((5, 1)), permutations=0, rng=rng()
        )


def simulated_errors(alpha, p, draws):
    """Relative l_p errors of keeping a tenth of 20,000 independent stable weights, one a draw."""
    generator, d = rng(1), 20_000
    return np.array(
        [best_k_term_error(sample_symmetric(d, alpha, generator), d // 10, p) for _ in range(draws)]
    )


@pytest.mark.parametrize(
    ("alpha", "p"), [(1.5, 2.0), (1.75, 2.0), (1.9, 2.0), (1.2, 1.7), (1.6, 1.0), (2.0, 2.0)]
)
def test_limit_law_describes_large_vectors(alpha, p):
    """Means of 120 draws of 20,000 weights within five standard errors and 1 %."""
    found = simulated_errors(alpha, p, 120)
    limit = asymptotic_errors(alpha, 20_000, 0.1, p, 20_000, rng=rng(2)).mean()
    assert abs(found.mean() - limit) < 5 * found.std() / math.sqrt(120) + 0.01 * limit


def test_errors_at_p_equal_alpha_fall_with_the_logarithm():
    """Five standard errors and 3 %."""
    found = simulated_errors(1.5, 1.5, 60)
    limit = asymptotic_errors(1.5, 20_000, 0.1, 1.5, 2000, rng=rng(2)).mean()
    assert abs(found.mean() - limit) < 5 * found.std() / math.sqrt(60) + 0.03 * limit


def test_mean_of_the_limit_law_is_its_closed_form():
    """Monte Carlo over 200,000 draws, 5 standard errors; d is large enough for the power law."""
    alpha, d = 1.5, 10**9
    draws = asymptotic_errors(alpha, d, 0.1, 2, 200_000, rng=rng(1)) * d ** (1 / 1.5 - 0.5)
    wanted = mean_limit_constant(alpha, 0.1, 2)
    assert abs(draws.mean() - wanted) < 5 * draws.std() / math.sqrt(200_000)
    assert asymptotic_exponent(alpha, 2) == pytest.approx(0.5 - 1 / 1.5)
    assert asymptotic_exponent(alpha, 1) == asymptotic_exponent(2.0, 2) == 0


@pytest.mark.parametrize("alpha", [1.3, 1.5, 1.75])
def test_expected_maximum(alpha):
    """E max by its integral of the distribution function."""
    n = 10_000
    law = StableLaw(alpha)
    t = np.geomspace(1e-3, 1e12, 60_001) * n ** (1 / alpha)
    tail = -np.expm1(n * np.log1p(-np.minimum(2 * law.sf(t), 1 - 1e-15)))
    exact = t[0] + np.trapezoid(tail, t)
    assert exact == pytest.approx(expected_maximum_limit(alpha, n), rel=0.03)
    assert exact < expected_maximum_bound(alpha, n)


def test_printed_constant_of_the_lemma_fails_near_1():
    # Gamma(1 - 1/alpha) grows without bound as alpha falls to 1; 8 C + 1 does not
    alpha = 1.05
    assert expected_maximum_limit(alpha, 1) > 8 * tail_supremum(alpha) + 1
    assert expected_maximum_limit(alpha, 1) < expected_maximum_bound(alpha, 1)


def mean_by_quadrature(alpha):
    """E |X| as the integral of P(|X| > t), in units of t^(1/2) and with the tail's power beyond."""
    law, top = StableLaw(alpha), 1e4
    t = np.linspace(0, math.sqrt(top), 20_001) ** 2
    body = float(integrate.simpson(2 * law.sf(t) * 2 * np.sqrt(t), x=np.sqrt(t)))
    return body + law.tail_constant * top ** (1 - alpha) / (alpha - 1)


@pytest.mark.parametrize("end", [0, 1])
def test_printed_constant_of_the_lemma_at_n_1(end):
    """It fails below 1.118 and above 1.983, by the mean as an integral of the law's tail."""
    edge = printed_constant_holds(1)[end]
    assert edge == pytest.approx((1.118, 1.983)[end], abs=6e-4)
    outside, inside = (edge - 0.01, edge + 0.01) if end == 0 else (edge + 0.005, edge - 0.005)
    assert mean_by_quadrature(outside) > 8 * StableLaw(outside).tail_constant + 1
    assert mean_by_quadrature(inside) < 8 * StableLaw(inside).tail_constant + 1


def test_printed_constant_of_the_lemma_as_n_grows():
    low, high = printed_constant_holds(None)
    assert low == pytest.approx(1.115, abs=6e-4)
    assert high == 2
    for alpha, fails in ((low - 0.01, True), (low + 0.01, False), (1.99, False)):
        limit = math.gamma(1 - 1 / alpha) * StableLaw(alpha).tail_constant ** (1 / alpha)
        assert (limit > 8 * StableLaw(alpha).tail_constant + 1) == fails


def test_bad_laws_are_refused():
    for call in (
        lambda: expected_maximum_limit(1.0, 5),
        lambda: expected_maximum_bound(2.0, 5),
        lambda: mean_limit_constant(1.5, 0.1, 1.0),
    ):
        with pytest.raises(InputError, match="must be"):
            call()
