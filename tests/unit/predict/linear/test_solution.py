"""Limits as n, p and s grow together: weighted spectra against quadrature and finite problems."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

from prunable.predict.linear.diagonal import Pruning
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Method
from prunable.predict.linear.presets import preset
from prunable.predict.linear.pruning import pruned_risk
from prunable.predict.linear.solution import Regime, Spectrum, solve


def atoms(variances, coefficients, weights, kappa, sigma):
    """A measure of variances and of coefficients times sqrt(p), with p / n = kappa."""
    values, beta, w = (np.asarray(x, float) for x in (variances, coefficients, weights))
    return Spectrum(values, beta, np.array([sigma**2]), np.array([1 / kappa]), w[None] / w.sum())


def independent(variance, coefficient, kappa, sigma):
    """A product measure at nodes of a trapezoid rule in a normal variable."""
    z = np.linspace(-8.2, 8.2, 96)
    w, nodes = scipy.stats.norm.pdf(z), scipy.stats.norm.cdf(z)
    upper = scipy.stats.norm.sf(z)
    values, beta = (np.where(z < 0, x.ppf(nodes), x.isf(upper)) for x in (variance, coefficient))
    pairs = np.repeat(values, z.size), np.tile(beta, z.size), np.outer(w, w).ravel()
    return atoms(*pairs, kappa, sigma)


@pytest.mark.parametrize("name", ["fig3a", "fig3b"])
def test_atoms_are_the_finite_problem(name):
    """Two atoms: the problem of p features is its own limit."""
    panel = preset(name)
    first, scaled = panel.problem.variances, panel.problem.coefficients * math.sqrt(1000)
    spectrum = atoms(first[[0, -1]], scaled[[0, -1]], [0.1, 0.9], 1 / 0.3, 0.0)
    limit, law = solve(spectrum), predict_law(panel.problem, 300)
    assert limit.gamma[0] == pytest.approx(law.gamma)
    assert limit.xi[0] == pytest.approx(law.xi)
    for method in Method:
        (risk,) = Pruning(spectrum, limit, np.array([0.1])).risk(method)
        assert risk == pytest.approx(pruned_risk(law, 100, method).value)
    samples = solve(atoms(first, scaled, np.ones(1000), 1 / 0.3, 0.0))
    assert samples.gamma[0] == pytest.approx(law.gamma)


def test_distributions_by_adaptive_quadrature():
    """Definition 3 integrated by scipy for uniform variances and Gaussian coefficients."""
    variance, kappa, sigma = scipy.stats.uniform(0.5, 2), 3.0, 0.5

    def mean(f):
        return scipy.integrate.quad(lambda x: f(x) * variance.pdf(x), 0.5, 2.5)[0]

    xi = scipy.optimize.brentq(lambda u: mean(lambda x: u * x / (1 + u * x)) - 1 / kappa, 1e-6, 1e3)
    bias = mean(lambda x: 4 * x / (1 + xi * x) ** 2)
    gamma = (sigma**2 + bias) / (1 - kappa * mean(lambda x: (xi * x / (1 + xi * x)) ** 2))
    limit = solve(independent(variance, scipy.stats.norm(0, 2), kappa, sigma))
    assert limit.xi[0] == pytest.approx(xi, rel=1e-9)
    assert limit.gamma[0] == pytest.approx(gamma, rel=1e-9)
    assert limit.residual[0] < 1e-12


def test_magnitude_pruning_of_distributions_by_quadrature():
    """Corollary 1: for Gaussian coefficients X is Gaussian given Lambda."""
    variance, kappa, sigma, alpha = scipy.stats.uniform(0.5, 2), 3.0, 0.5, 0.2
    spectrum = independent(variance, scipy.stats.norm(), kappa, sigma)
    limit = solve(spectrum)
    xi, gamma = float(limit.xi[0]), float(limit.gamma[0])

    def spread(x):
        h = xi * x / (1 + xi * x)
        return math.sqrt(h**2 + kappa * gamma * h**2 / x)

    def mean(f):
        return scipy.integrate.quad(lambda x: f(x) / 2, 0.5, 2.5)[0]

    t = scipy.optimize.brentq(
        lambda t: mean(lambda x: 2 * scipy.stats.norm.sf(t / spread(x))) - alpha, 1e-3, 50
    )

    def loss(x):
        # (B, X) is Gaussian: E[(B - X 1{|X| >= t})^2] from the energy kept
        z = t / spread(x)
        kept = 2 * (scipy.stats.norm.sf(z) + z * scipy.stats.norm.pdf(z)) * spread(x) ** 2
        h = xi * x / (1 + xi * x)
        return x * (1 - 2 * kept * h / spread(x) ** 2 + kept)

    (found,) = Pruning(spectrum, limit, np.array([alpha])).risk(Method.MAGNITUDE)
    assert found == pytest.approx(sigma**2 + mean(loss), rel=1e-7)


@pytest.mark.parametrize("kappa", [0.25, 0.8, 1.0])
def test_fewer_features_than_samples(kappa):
    """Equation (93), and the crossing."""
    spectrum = atoms([1, 4], [1, -1], [1, 1], kappa, 0.6)
    limit = solve(spectrum)
    if kappa == 1:
        assert limit.regimes() == (Regime.AT,)
        assert limit.gamma[0] == math.inf
        assert Pruning(spectrum, limit, np.array([0.5])).risk(Method.MAGNITUDE)[0] == math.inf
        return
    assert limit.gamma[0] == pytest.approx(0.36 / (1 - kappa))
    np.testing.assert_allclose(limit.means[0], [1, -1])
    np.testing.assert_allclose(limit.variances[0], 0.36 / (1 / kappa - 1) / np.array([1, 4]))
