"""Compression errors and kept shares against closed forms and quadrature."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from prunable.errors import InputError
from prunable.numerics.weights.compressibility import (
    Criterion,
    best_k_term_error,
    eps_from,
    kappa_curve,
    kappa_p,
    kept_counts,
    relative_error,
)


def test_pythagorean_triples_are_exact():
    assert best_k_term_error([3.0, 4.0], 1) == 0.6
    assert kappa_p([3.0, -4.0], 0.6) == 0.5
    assert kappa_p([3.0, -4.0], math.nextafter(0.6, 0)) == 1.0
    assert relative_error([3.0, -4.0], [True, False]) == 0.8


@pytest.mark.parametrize("p", [0.3, 1.0, 2.0, 3.0, 50.0, 800.0])
def test_equal_entries(p):
    w = np.full(100, -0.7)
    for k in (0, 1, 99, 100):
        expected = (1 - k / 100) ** (1 / p)
        assert best_k_term_error(w, k, p) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 4.0])
def test_uniform_grid_against_the_integral(p):
    """Of |w| uniform on (0, 1), pruning the share t leaves the error t^((p + 1) / p)."""
    w = (np.arange(1_000_000) + 0.5) / 1e6
    eps = np.array([0.01, 0.1, 0.5, 0.9])
    np.testing.assert_allclose(kappa_curve(w, eps, p), 1 - eps ** (p / (p + 1)), atol=2e-6)


def test_gaussian_quantiles_against_the_normal_law():
    """Pruning |x| < a costs the share E[x^2; |x| < a] of the squared norm."""
    n = 1_000_000
    w = scipy.stats.norm.ppf((np.arange(n) + 0.5) / n)

    def squared(a):
        return scipy.stats.chi2.cdf(a * a, 3)

    for eps in (0.05, 0.1, 0.4):
        a = scipy.optimize.brentq(lambda a, eps=eps: squared(a) - eps**2, 0, 10)
        assert kappa_p(w, eps) == pytest.approx(2 * scipy.stats.norm.sf(a), abs=1e-5)


def test_errors_too_small_for_powers():
    """(1e-200)^2 underflows; the error must not."""
    w = np.array([1.0, 1e-200, 1e-200, 0.0])
    assert best_k_term_error(w, 1) == pytest.approx(math.sqrt(2) * 1e-200, rel=1e-12)
    np.testing.assert_array_equal(kept_counts(w, [0.0, 1.1e-200, 1.5e-200]), [3, 2, 1])
    rest = np.array([1.0, 1e-3, 1e-3])
    assert best_k_term_error(rest, 1, 400.0) == pytest.approx(1e-3 * 2 ** (1 / 400), rel=1e-12)
    assert relative_error(rest, [True, False, True], 400.0) == pytest.approx(1e-3, rel=1e-12)


@pytest.mark.parametrize("factor", [2.0**-1000, 2.0**1000])
def test_scale_does_not_matter(factor):
    w = np.random.default_rng(0).standard_cauchy(500)
    eps = np.linspace(0, 1, 11)
    np.testing.assert_array_equal(kept_counts(w * factor, eps), kept_counts(w, eps))


def test_every_number_type():
    w = np.arange(-128, 128)
    expected = kept_counts(w.astype(np.float64), [0.1, 0.5])
    for dtype in (np.int8, np.float16, np.float32, np.longdouble):
        np.testing.assert_array_equal(kept_counts(w.astype(dtype), [0.1, 0.5]), expected)
    subnormal = (np.arange(1, 50) * 1e-44).astype(np.float32)
    np.testing.assert_array_equal(
        kept_counts(subnormal, [0.2, 0.6]), kept_counts(subnormal.astype(np.float64), [0.2, 0.6])
    )


def test_zero_vector_needs_nothing():
    w = np.zeros((3, 4), dtype=np.float32)
    assert kappa_p(w, 0.0) == 0.0
    assert best_k_term_error(w, 0) == 0.0
    assert relative_error(w, np.zeros((3, 4), dtype=bool)) == 0.0


def test_bounds_of_eps():
    w = np.array([0.0, 1.0, -2.0, 0.0])
    assert kappa_p(w, 0.0) == 0.5
    assert kappa_p(w, 1.0) == kappa_p(w, 7.0) == 0.0
    assert best_k_term_error(w, 0) == 1.0
    assert best_k_term_error(w, 4) == 0.0


def test_shapes_follow_eps():
    w = np.arange(1.0, 9.0).reshape(2, 4)
    assert kept_counts(w, 0.5).shape == ()
    assert kappa_curve(w, np.full((2, 3), 0.5)).shape == (2, 3)
    assert kept_counts(w, []).shape == (0,)
    assert type(kappa_p(w, 0.5)) is float


def test_pruning_nodes_is_pruning_their_norms():
    matrix = np.random.default_rng(1).standard_t(2, size=(40, 30))
    kept = np.arange(40) % 3 == 0
    pruned = np.where(kept[:, None], matrix, 0)
    for p in (1.0, 2.0, 3.5):
        norms = np.linalg.norm(matrix, ord=p, axis=1)
        expected = np.linalg.norm((pruned - matrix).ravel(), ord=p)
        expected /= np.linalg.norm(matrix.ravel(), ord=p)
        assert relative_error(norms, kept, p) == pytest.approx(expected, rel=1e-12)


def test_float32_is_exactly_its_float64():
    w = np.random.default_rng(2).standard_t(2, size=300).astype(np.float32)
    for p in (0.5, 2.0, 3.3, 2000.0):
        for k in range(300):
            assert best_k_term_error(w, k, p) == best_k_term_error(w.astype(np.float64), k, p)


def test_criteria():
    assert eps_from(Criterion.FROBENIUS, 0.1) == 0.1
    assert eps_from(Criterion.SQUARED, 0.09) == pytest.approx(0.3, rel=1e-15)
    assert eps_from("squared", 1) == 1.0
    assert [str(c) for c in Criterion] == ["frobenius", "squared"]
    for criterion, tolerance, culprit in (
        ("cubed", 0.1, "criterion"),
        (Criterion.SQUARED, -0.1, "tolerance"),
        (Criterion.SQUARED, math.nan, "tolerance"),
    ):
        with pytest.raises(InputError, match=f"`{culprit}` of `eps_from`"):
            eps_from(criterion, tolerance)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kappa_p([], 0.1), "`w` of `kept_counts` must be a non-empty array"),
        (lambda: kappa_p([1j], 0.1), "`w` of `kept_counts` must be a non-empty array"),
        (lambda: kappa_p([1, np.nan, -np.inf], 0.1), "finite; got 2 NaN or infinite values"),
        (lambda: kappa_p([1.0], -0.1), "`eps` of `kept_counts` must be finite and not negative"),
        (lambda: kappa_p([1.0], np.nan), "`eps` of `kept_counts`"),
        (lambda: kappa_p([1.0], np.inf), "`eps` of `kept_counts`"),
        (lambda: kappa_p([1.0], 0.1, p=0), "`p` of `kept_counts` must be positive and finite"),
        (lambda: kappa_p([1.0], 0.1, p=np.inf), "`p` of `kept_counts`"),
        (lambda: best_k_term_error([1.0], 2), "`k` of `best_k_term_error` must be an integer"),
        (lambda: best_k_term_error([np.nan], 1), "`w` of `best_k_term_error` must be finite"),
        (lambda: relative_error([1.0, 2.0], [True]), "`kept` of `relative_error` must be a bool"),
        (lambda: relative_error([1.0], [1]), "`kept` of `relative_error` must be a bool"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_input_is_not_modified():
    w = np.array([3.0, -1.0, 2.0])
    kappa_p(w, 0.1)
    relative_error(w, np.array([True, False, True]))
    np.testing.assert_array_equal(w, [3.0, -1.0, 2.0])
