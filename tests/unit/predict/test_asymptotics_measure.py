"""Limits for measures: atoms, samples and distributions, against quadrature and large problems."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

from prunable.errors import InputError
from prunable.predict.linear.law import Regime, predict_law
from prunable.predict.linear.measure import Measure, predict_limit
from prunable.predict.linear.methods import Method
from prunable.predict.linear.presets import preset
from prunable.predict.linear.pruning_risk import pruned_risk


@pytest.mark.parametrize("name", ["fig3a", "fig3b"])
def test_atoms_are_the_finite_problem(name):
    """Two atoms: the problem of p features is its own limit."""
    panel = preset(name)
    first, scaled = panel.problem.variances, panel.problem.coefficients * math.sqrt(1000)
    measure = Measure.atoms(first[[0, -1]], scaled[[0, -1]], [0.1, 0.9])
    limit = predict_limit(measure, 1 / 0.3, 0.0)
    law = predict_law(panel.problem, 300)
    assert (limit.gamma, limit.xi) == (pytest.approx(law.gamma), pytest.approx(law.xi))
    for method in Method:
        assert limit.pruned_risk(0.1, method) == pytest.approx(pruned_risk(law, 100, method).value)
    samples = predict_limit(Measure.atoms(first, scaled), 1 / 0.3, 0.0)
    assert samples.gamma == pytest.approx(law.gamma)


def test_distributions_by_adaptive_quadrature():
    """Definition 3 integrated by scipy for uniform variances and Gaussian coefficients."""
    variance, kappa, sigma = scipy.stats.uniform(0.5, 2), 3.0, 0.5

    def mean(f):
        return scipy.integrate.quad(lambda x: f(x) * variance.pdf(x), 0.5, 2.5)[0]

    xi = scipy.optimize.brentq(lambda u: mean(lambda x: u * x / (1 + u * x)) - 1 / kappa, 1e-6, 1e3)
    bias = mean(lambda x: 4 * x / (1 + xi * x) ** 2)
    gamma = (sigma**2 + bias) / (1 - kappa * mean(lambda x: (xi * x / (1 + xi * x)) ** 2))
    limit = predict_limit(Measure.independent(variance, scipy.stats.norm(0, 2)), kappa, sigma)
    assert limit.xi == pytest.approx(xi, rel=1e-9)
    assert limit.gamma == pytest.approx(gamma, rel=1e-9)
    assert limit.residual < 1e-12


def test_magnitude_pruning_of_distributions_by_quadrature():
    """Corollary 1: for Gaussian coefficients X is Gaussian given Lambda."""
    variance, kappa, sigma, alpha = scipy.stats.uniform(0.5, 2), 3.0, 0.5, 0.2
    limit = predict_limit(Measure.independent(variance, scipy.stats.norm()), kappa, sigma)
    xi, gamma = limit.xi, limit.gamma

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

    assert limit.pruned_risk(alpha) == pytest.approx(sigma**2 + mean(loss), rel=1e-7)


def test_discrete_distributions_and_numbers():
    measure = Measure.independent(scipy.stats.binom(3, 0.5), 2.0)
    np.testing.assert_array_equal(measure.variances, [0, 1, 2, 3])
    np.testing.assert_allclose(measure.weights, [1 / 8, 3 / 8, 3 / 8, 1 / 8])
    assert np.all(measure.coefficients == 2.0)


@pytest.mark.parametrize("kappa", [0.25, 0.8, 1.0])
def test_fewer_features_than_samples(kappa):
    """Equation (93), and the crossing."""
    limit = predict_limit(Measure.atoms([1, 4], [1, -1]), kappa, 0.6)
    if kappa == 1:
        assert (limit.regime, limit.gamma) == (Regime.AT, math.inf)
        assert limit.pruned_risk(0.5) == math.inf
        return
    assert limit.gamma == pytest.approx(0.36 / (1 - kappa))
    np.testing.assert_allclose(limit.means, [1, -1])
    np.testing.assert_allclose(limit.variances, 0.36 / (1 / kappa - 1) / np.array([1, 4]))


def test_heavy_tails_keep_their_digits():
    measure = Measure.independent(scipy.stats.pareto(1.5), scipy.stats.norm(), nodes=400)
    assert np.isfinite(measure.variances).all()
    tail = measure.weights[measure.variances > 100].sum()
    assert tail == pytest.approx(100**-1.5, rel=0.15)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Measure.atoms([-1], [1]), "`variances`"),
        (lambda: Measure.atoms([1], [np.nan]), "`coefficients`"),
        (lambda: Measure.atoms([1], [1], [-1]), "`weights`"),
        (lambda: Measure.atoms([1], [1], [0]), "`weights`"),
        (lambda: Measure.atoms([1, 2], [1]), "shapes"),
        (lambda: Measure.independent("gamma", 1.0), "`variance`"),
        (lambda: Measure.independent(scipy.stats.norm(), 1.0), "`variances`"),
        (lambda: Measure.independent(1.0, 1.0, nodes=2), "`nodes`"),
        (lambda: predict_limit(Measure.atoms([1], [1]), 0, 1), "`overparam_ratio`"),
        (lambda: predict_limit(Measure.atoms([1], [1]), 2, -1), "`sigma`"),
        (lambda: predict_limit(Measure.atoms([1], [1]), 2, 1).pruned_risk(0), "`alpha`"),
    ],
)
def test_bad_input_is_named(build, says):
    with pytest.raises(InputError, match=says):
        build()
