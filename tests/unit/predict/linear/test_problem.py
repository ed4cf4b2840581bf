"""Linear Gaussian problems: restriction against linear algebra, and bad input by name."""

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.linear.problem import LinearGaussianProblem


def dense(p=12, sigma=0.4, rank=None):
    g = rng(0, "problem", p)
    A = g.standard_normal((p, rank or p))
    return LinearGaussianProblem.dense(A @ A.T / p, g.standard_normal(p), sigma)


@pytest.mark.parametrize("rank", [None, 5])
def test_restriction_is_the_best_linear_prediction(rank):
    """By the pseudoinverse of the whole moment matrix of (x, y)."""
    problem = dense(rank=rank)
    chosen = np.array([7, 2, 3, 11, 0, 9])
    inner = problem.restricted(chosen)
    sigma_i = problem.covariance[np.ix_(chosen, chosen)]
    b = (problem.covariance @ problem.coefficients)[chosen]
    second = problem.coefficients @ problem.covariance @ problem.coefficients + 0.4**2
    np.testing.assert_allclose(inner.covariance, sigma_i)
    np.testing.assert_allclose(inner.coefficients, np.linalg.pinv(sigma_i) @ b, atol=1e-8)
    assert inner.sigma**2 == pytest.approx(second - b @ np.linalg.pinv(sigma_i) @ b)


def test_diagonal_and_dense_agree():
    g = rng(1, "problem")
    values, beta = g.exponential(size=9), g.standard_normal(9)
    values[4] = 0.0
    a = LinearGaussianProblem.diagonal(values, beta, 0.3)
    b = LinearGaussianProblem.dense(np.diag(values), beta, 0.3)
    mask = np.array([True, False, True, True, True, False, False, True, False])
    assert a.restricted(mask).sigma == pytest.approx(b.restricted(mask).sigma)
    model = g.standard_normal((3, 9))
    np.testing.assert_allclose(a.risk_of(model), b.risk_of(model))
    assert a.signal == pytest.approx(b.signal)
    np.testing.assert_allclose(np.sort(a.eigenvalues), np.sort(b.eigenvalues), atol=1e-14)
    assert np.count_nonzero(b.eigenvalues) == 8


def test_risk_of_the_truth_is_the_noise():
    problem = dense()
    assert problem.risk_of(problem.coefficients) == pytest.approx(0.16)
    assert problem.risk_of(np.zeros(12)) == pytest.approx(0.16 + problem.signal)
    np.testing.assert_allclose(
        problem.to_features(problem.eigen_coefficients), problem.coefficients
    )


def test_other_noise_keeps_the_decomposition():
    problem = dense()
    before = problem.eigenvalues
    other = problem.with_sigma(2.0)
    assert other.eigenvalues is before
    assert (other.sigma, problem.sigma) == (2.0, 0.4)


def test_rotated_has_the_spectrum():
    values = np.array([0.0, 0.5, 0.5, 3.0])
    problem = LinearGaussianProblem.spectral(values, [1.0, -1, 2, 0], 0.1)
    turned = problem.rotated(rng(0))
    np.testing.assert_allclose(turned.eigenvalues, values, atol=1e-12)
    assert turned.signal == pytest.approx(problem.signal)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: LinearGaussianProblem.diagonal([1, -1], [1, 1], 0), "`variances`"),
        (lambda: LinearGaussianProblem.diagonal([1, np.nan], [1, 1], 0), "`variances`"),
        (lambda: LinearGaussianProblem.diagonal([1, 1], [1, np.inf], 0), "`coefficients`"),
        (lambda: LinearGaussianProblem.diagonal([1, 1, 1], [1, 1], 0), "`variances`"),
        (lambda: LinearGaussianProblem.diagonal([], [], 0), "`coefficients`"),
        (lambda: LinearGaussianProblem.diagonal("ab", [1], 0), "`variances`"),
        (lambda: LinearGaussianProblem.diagonal([1], [[1]], 0), "`coefficients`"),
        (lambda: LinearGaussianProblem.diagonal([1], [1], -1), "`sigma`"),
        (lambda: LinearGaussianProblem.diagonal([1], [1], np.nan), "`sigma`"),
        (lambda: LinearGaussianProblem.spectral([-1], [1], 0), "`eigenvalues`"),
        (lambda: LinearGaussianProblem.dense(np.eye(3), [1, 1], 0), "`covariance`"),
        (lambda: LinearGaussianProblem.dense([[1, 2], [0, 1]], [1, 1], 0), "symmetric"),
        (lambda: LinearGaussianProblem.dense([[1, 2], [2, 1]], [1, 1], 0).eigenvalues, "positive"),
        (lambda: LinearGaussianProblem.dense([[-1, 0], [0, 1]], [1, 1], 0), "diagonal"),
        (lambda: dense().restricted([]), "`features`"),
        (lambda: dense().restricted([1, 1]), "`features`"),
        (lambda: dense().restricted([12]), "`features`"),
        (lambda: dense().restricted(np.ones(3, bool)), "`features`"),
        (lambda: LinearGaussianProblem.spectral([1], [1], 0).restricted([0]), "spectrum"),
    ],
)
def test_bad_input_is_named(build, says):
    with pytest.raises(InputError, match=says):
        build()
