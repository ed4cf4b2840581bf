"""The distribution of coefficients and the survival of features."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.numerics.weights.selection import top_k_mask
from prunable.predict.linear.coefficients import Coefficients
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Method
from prunable.predict.linear.presets import preset
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.simulate import draw_data, least_squares


@pytest.fixture(scope="module")
def panel():
    return preset("fig3b")


def test_density_distribution_and_quantiles_agree(panel):
    found = Coefficients(predict_law(panel.problem, panel.n))
    x = np.linspace(-0.2, 0.2, 9)
    for a, b in itertools.pairwise(x):
        mass = scipy.integrate.quad(lambda v: float(found.pdf(v)), a, b, epsabs=1e-10)[0]
        assert float(found.cdf(b) - found.cdf(a)) == pytest.approx(mass, abs=1e-8)
    q = np.array([1e-6, 0.01, 0.5, 0.9, 1 - 1e-6])
    np.testing.assert_allclose(found.cdf(found.ppf(q)), q, rtol=1e-9)


def test_simulated_coefficients_follow_the_law(panel):
    """One fit of 1,000 coefficients: Kolmogorov distance, p-value above 1e-6."""
    found = Coefficients(predict_law(panel.problem, panel.n))
    X, y = draw_data(panel.problem, panel.n, rng(3, "fit"))
    b = least_squares(X, y)
    assert scipy.stats.kstest(b, found.cdf).pvalue > 1e-6


def test_survival_by_simulation(panel):
    """30 fits: the share of salient features kept, five standard errors."""
    found = Coefficients(predict_law(panel.problem, panel.n))
    shares = []
    for i in range(30):
        X, y = draw_data(panel.problem, panel.n, rng(i, "survival"))
        shares.append(top_k_mask(np.abs(least_squares(X, y)), 100)[:100].mean())
    predicted = found.recovery(100)
    assert found.survival(100)[:100].mean() == pytest.approx(predicted)
    error = np.std(shares, ddof=1) / math.sqrt(30)
    assert abs(np.mean(shares) - predicted) < max(5 * error, 0.02 * predicted)
    assert found.recovery(100, Method.ORACLE) == 1
    assert predicted < 0.5 < 0.8 < found.recovery(100, Method.HESSIAN)


def test_atoms_and_spectra():
    exact = Coefficients(predict_law(LinearGaussianProblem.diagonal(1, [1.0, 2, 2], 0.0), 9))
    np.testing.assert_allclose(exact.cdf([0.5, 1.0, 1.5, 2.0]), [0, 1 / 3, 1 / 3, 1])
    assert np.all(exact.pdf([1.0, 3.0]) == 0)
    spectral = LinearGaussianProblem.spectral(np.ones(50), np.ones(50), 0.5)
    law = predict_law(spectral, 20)
    found = Coefficients(law)
    energy = (law.means**2 + law.variances).sum() / 50
    assert float(found.pdf(0.0)) == pytest.approx(1 / math.sqrt(2 * math.pi * energy))
    np.testing.assert_array_equal(found.survival(10), 0.2)


def test_bad_input_is_named(panel):
    found = Coefficients(predict_law(panel.problem, panel.n))
    with pytest.raises(InputError, match="`q` of `Coefficients"):
        found.ppf(1.0)
    with pytest.raises(InputError, match="`law` of `Coefficients`"):
        Coefficients(predict_law(LinearGaussianProblem.diagonal(1, np.ones(4), 1.0), 4))


def test_distance_is_the_wasserstein_distance():
    """Order 1 against scipy's, with a large sample of the law in the place of the law."""
    problem = LinearGaussianProblem.diagonal(np.geomspace(0.2, 3, 40), np.linspace(-1, 1, 40), 0.5)
    law = predict_law(problem, 25)
    coefficients = Coefficients(law)
    generator = np.random.default_rng(0)
    rows = law.sample(generator, 3) + np.array([[0.0], [0.3], [-1.0]])
    reference = law.sample(generator, 20_000).ravel()
    expected = [scipy.stats.wasserstein_distance(row, reference) for row in rows]
    found = coefficients.distances(rows, order=1, points=2000)
    np.testing.assert_allclose(found, expected, rtol=0.05)
    assert (coefficients.distances(rows) >= coefficients.distances(rows, order=1) - 1e-12).all()
    with pytest.raises(InputError, match="`order`"):
        coefficients.distances(rows, order=0.5)


def test_data_sets_draw_near_to_their_law():
    """Theorem 1: at 16 times the size the distance is about a quarter; not of other data."""
    means, other = [], []
    for p in (50, 800):
        problem, n = preset("fig7a", p=p, sigma=0.5).problem, 3 * p // 10
        generator = np.random.default_rng(p)
        rows = [least_squares(*draw_data(problem, n, generator)) for _ in range(6)]
        law = predict_law(problem, n)
        means.append(math.sqrt(p) * Coefficients(law).distances(rows).mean())
        wrong = predict_law(problem.with_sigma(2.0), n)
        other.append(math.sqrt(p) * Coefficients(wrong).distances(rows).mean())
    assert 0.15 < means[1] / means[0] < 0.45
    assert other[1] > 5 * means[1]
