"""Pruned risks: the published table, quadrature, draws of the law, ties and edges."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.linear.diagonal import Mixture, Threshold
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Method
from prunable.predict.linear.presets import preset
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.pruning import oracle_support, pruned_risk, survival, top_mask
from prunable.predict.linear.roots import Bracket, find_roots

WIDTHS = (100, 150, 250, 400, 500, 700, 1000)
# Section 5 of the 2020 paper with s / p = 0.1, n / p = 0.3, spike 25: computed by another
# implementation, to three decimals.
TABLE = {
    ("fig3a", "dense"): (1.350, 1.700, 4.500, 3.100, 2.410, 2.296, 2.380),
    ("fig3a", "magnitude"): (1.350, 1.826, 4.401, 3.064, 2.555, 2.566, 2.740),
    ("fig3a", "oracle"): (1.350, 1.467, 2.400, 1.638, 1.589, 1.857, 2.196),
    ("fig3b", "dense"): (1.350, 1.700, 4.500, 2.797, 1.738, 1.202, 0.977),
    ("fig3b", "magnitude"): (1.350, 2.349, 5.668, 4.274, 3.556, 2.902, 2.261),
    ("fig3b", "hessian"): (1.350, 1.826, 4.401, 2.619, 1.729, 1.330, 1.206),
    ("fig3b", "oracle"): (1.350, 1.467, 2.400, 1.798, 1.441, 1.259, 1.188),
}


@pytest.mark.parametrize(("name", "model"), TABLE)
def test_published_settings(name, model):
    panel = preset(name)
    for k, expected in zip(WIDTHS, TABLE[name, model], strict=True):
        law = predict_law(panel.problem.restricted(np.arange(k)), panel.n)
        risk = law.risk if model == "dense" else pruned_risk(law, panel.s, Method(model)).value
        assert risk == pytest.approx(expected, abs=6e-4)


def threshold(t):
    return Threshold(np.array([t]), ((np.array([t]), np.ones(1)),))


@pytest.mark.parametrize("seed", range(6))
def test_loss_of_one_coefficient_by_quadrature(seed):
    g = rng(seed, "loss")
    mean, target, t = g.normal(0, 2, 3)
    t, sd = abs(t), g.uniform(0.05, 1.5)

    def integrand(x):
        return (target - x * (abs(x) >= t)) ** 2 * scipy.stats.norm.pdf(x, mean, sd)

    edges = np.clip([mean - 12 * sd, -t, t, mean + 12 * sd], mean - 12 * sd, mean + 12 * sd)
    expected = sum(
        scipy.integrate.quad(integrand, a, b, epsabs=1e-12, limit=200)[0]
        for a, b in itertools.pairwise(edges)
    )
    mixture, level = Mixture(np.array([[mean]]), np.array([[sd**2]])), threshold(t)
    assert mixture.loss(np.array([target]), level)[0, 0] == pytest.approx(expected, abs=1e-10)
    kept = scipy.stats.norm.sf(t, mean, sd) + scipy.stats.norm.cdf(-t, mean, sd)
    assert mixture.survival(level)[0, 0] == pytest.approx(kept)


@pytest.mark.parametrize("method", [Method.MAGNITUDE, Method.HESSIAN])
def test_closed_form_meets_draws_of_the_law(method):
    """20,000 features drawn 20 times and cut by sorting; tolerance five standard errors."""
    g = rng(0, "draws")
    p, n, s = 20_000, 6_000, 3_000
    problem = LinearGaussianProblem.diagonal(
        g.gamma(1.0, size=p), g.standard_normal(p) / math.sqrt(p), 0.4
    )
    law = predict_law(problem, n)
    draws = law.sample(g, 20)
    unit = np.sqrt(problem.variances) if method == Method.HESSIAN else 1.0
    size = np.abs(draws * unit)
    cut = np.sort(size, axis=1)[:, p - s, None]
    risks = problem.risk_of(np.where(size >= cut, draws, 0.0))
    error = risks.std(ddof=1) / math.sqrt(20)
    assert abs(pruned_risk(law, s, method).value - risks.mean()) < 5 * error
    assert error < 2e-3
    kept = survival(law, s, method)
    assert kept.sum() == pytest.approx(s)
    frequency = (size >= cut).mean(axis=0)
    # binomial frequencies of 20: their mean over groups of 1,000 similar features
    order = np.argsort(kept)
    for group in np.split(order, 20):
        assert frequency[group].mean() == pytest.approx(kept[group].mean(), abs=0.025)


def test_dense_path_meets_the_diagonal_one():
    g = rng(1, "draws")
    values, beta = g.gamma(1.0, size=400), g.standard_normal(400) / 20
    closed = predict_law(LinearGaussianProblem.diagonal(values, beta, 0.3), 130)
    drawn = predict_law(LinearGaussianProblem.dense(np.diag(values), beta, 0.3), 130)
    for method in Method:
        a = pruned_risk(closed, 60, method)
        b = pruned_risk(drawn, 60, method, rng=g, draws=300)
        assert a.stderr == 0
        assert abs(a.value - b.value) < 5 * b.stderr + 2e-3
        np.testing.assert_allclose(
            np.sort(survival(closed, 60, method)), np.sort(survival(drawn, 60, method)), atol=1e-9
        )


def test_oracle_in_closed_form_for_correlated_features():
    g = rng(2, "draws")
    problem = LinearGaussianProblem.spectral(
        np.geomspace(0.1, 2, 80), g.standard_normal(80), 0.3
    ).rotated(g)
    law = predict_law(problem, 30)
    draws = law.sample(g, 20_000)
    risks = problem.risk_of(np.where(oracle_support(problem, 20), draws, 0.0))
    exact = pruned_risk(law, 20, Method.ORACLE)
    assert abs(exact.value - risks.mean()) < 5 * risks.std() / math.sqrt(20_000)
    assert exact.stderr == 0


def test_thresholds():
    """Equation (14), and magnitude pruning as the threshold that keeps s."""
    panel = preset("fig3b")
    law = predict_law(panel.problem, panel.n)
    mixture = Mixture(law.means[None, :], law.variances[None, :])

    def risk(level):
        loss = mixture.loss(panel.problem.coefficients, level)[0]
        return panel.problem.sigma**2 + float(panel.problem.covariance @ loss)

    assert risk(threshold(0.0)) == pytest.approx(law.risk)
    assert mixture.survival(threshold(0.0)).sum() == 1000
    assert risk(threshold(100.0)) == pytest.approx(panel.problem.signal)
    cut = threshold(float(mixture.threshold(np.array([100.0])).value[0]))
    assert mixture.survival(cut).sum() == pytest.approx(100)
    assert risk(cut) == pytest.approx(pruned_risk(law, 100).value)


def test_ties_and_zeros_are_shared():
    """Without noise and with n > p the coefficients are exact: equal ones are tied."""
    law = predict_law(LinearGaussianProblem.diagonal(1.0, np.ones(10), 0.0), 20)
    np.testing.assert_allclose(survival(law, 3), 0.3)
    assert pruned_risk(law, 3).value == pytest.approx(7.0)
    sparse = np.append(np.arange(1, 5.0), np.zeros(6))
    law = predict_law(LinearGaussianProblem.diagonal(1.0, sparse, 0.0), 20)
    np.testing.assert_allclose(survival(law, 2), [0, 0, 1, 1, *[0] * 6], atol=1e-12)
    assert pruned_risk(law, 2).value == pytest.approx(5.0)
    assert survival(law, 7).sum() == pytest.approx(7)
    assert pruned_risk(law, 7).value == pytest.approx(0.0, abs=1e-12)


def test_edges():
    law = predict_law(preset("fig3b", p=100).problem, 30)
    for method in Method:
        assert pruned_risk(law, 100, method).value == law.risk
        one = pruned_risk(law, 1, method).value
        assert law.risk < one < law.problem.signal * 1.2
    at = predict_law(LinearGaussianProblem.diagonal(1.0, np.ones(10), 1.0), 10)
    assert pruned_risk(at, 5).value == math.inf
    assert survival(at, 5).sum() == pytest.approx(5)


def test_hessian_is_magnitude_for_equal_variances():
    """A claim of section 3.1 of the 2020 paper, exact in the formulas."""
    panel = preset("fig3a")
    for k in WIDTHS:
        law = predict_law(panel.problem.restricted(np.arange(k)), panel.n)
        magnitude, hessian = (pruned_risk(law, 100, m).value for m in list(Method)[:2])
        assert hessian == pytest.approx(magnitude, rel=1e-12)


def test_bad_input_is_named():
    law = predict_law(preset("fig3a", p=20).problem, 6)
    for s in (0, 21, 1.5, True):
        with pytest.raises(InputError, match=r"`s` of `pruned_risk` must be an integer in \[1"):
            pruned_risk(law, s)
    dense = predict_law(LinearGaussianProblem.dense(np.eye(4) + 0.1, np.ones(4), 0.1), 2)
    with pytest.raises(InputError, match="`rng` of `pruned_risk`"):
        pruned_risk(dense, 2)


def test_top_mask_breaks_ties_by_index():
    found = top_mask(np.array([[1.0, 2, 2, 1], [0, 0, 0, 0]]), 2)
    np.testing.assert_array_equal(found, [[False, True, True, False], [True, True, False, False]])


def test_roots_of_many_functions():
    roots = np.array([-700.0, -3, 0.1, 2, 650])

    def function(x):
        with np.errstate(over="ignore"):
            return -np.tanh(x - roots) * np.exp(0.01 * x)

    bracket = Bracket.around(function, np.zeros(5), 0.1, -1e4)
    assert bracket.found.all()
    found, values = find_roots(function, bracket, 1e-12)
    np.testing.assert_allclose(found, roots, atol=1e-9)
    assert np.abs(values).max() < 1e-6
