"""The law of the dense solution against closed forms, and on hard spectra."""

import math
import time
import tracemalloc

import numpy as np
import pytest
import scipy.optimize

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.simulate import simulate_replica
from prunable.predict.linear.solution import Regime


def isotropic(p, sigma, energy=1.0):
    return LinearGaussianProblem.diagonal(1.0, np.full(p, math.sqrt(energy / p)), sigma)


@pytest.mark.parametrize("n", [30, 99, 101, 150, 400])
def test_identity_covariance(n):
    """Hastie et al. (2019), theorem 1: both sides of the interpolation threshold."""
    p, sigma, energy = 100, 0.7, 2.0
    law = predict_law(isotropic(p, sigma, energy), n)
    kappa = p / n
    if kappa > 1:
        risk = kappa / (kappa - 1) * (sigma**2 + (1 - 1 / kappa) ** 2 * energy)
        assert law.regime == Regime.OVER
        assert law.xi == pytest.approx(1 / (kappa - 1))
    else:
        risk = sigma**2 / (1 - kappa)
        assert (law.regime, law.xi) == (Regime.UNDER, math.inf)
    assert law.gamma == pytest.approx(risk, rel=1e-12)
    assert law.risk == law.gamma


def test_two_eigenvalues_by_a_quadratic():
    """With two eigenvalues equation (8) is a quadratic in xi."""
    a, b, p, n = 3.0, 0.2, 200, 70
    values = np.repeat([a, b], p // 2)
    beta = np.linspace(-1, 1, p)
    law = predict_law(LinearGaussianProblem.diagonal(values, beta, 0.5), n)
    # 100 x a / (1 + x a) + 100 x b / (1 + x b) = 70
    roots = np.roots([130 * a * b, 30 * (a + b), -70])
    assert law.xi == pytest.approx(roots[roots > 0][0], rel=1e-12)
    h = law.xi * values / (1 + law.xi * values)
    gamma = (0.25 + (values * beta**2 * (1 - h) ** 2).sum()) / (1 - (h**2).sum() / n)
    assert law.gamma == pytest.approx(gamma, rel=1e-12)
    np.testing.assert_allclose(law.means, h * beta)
    np.testing.assert_allclose(law.variances, gamma / n * h**2 / values)
    # gamma is the risk of the law itself
    own = 0.25 + (values * ((beta - law.means) ** 2 + law.variances)).sum()
    assert own == pytest.approx(gamma)


@pytest.mark.parametrize("n", [1, 50, 999, 1000, 1001, 5000])
@pytest.mark.parametrize(
    "values",
    [
        np.geomspace(1e-12, 1, 1000),
        np.repeat([1e-12, 1e-6, 1.0], [400, 300, 300]),
        np.append(np.full(999, 1e-12), 1.0),
        1 / np.arange(1, 1001.0) ** 3,
        np.exp(rng(0, "spread").standard_cauchy(1000).clip(-300, 300)),
    ],
    ids=["geometric", "repeated", "spike", "power", "cauchy"],
)
def test_hard_spectra_meet_their_equation(values, n):
    law = predict_law(LinearGaussianProblem.diagonal(values, np.ones(1000), 0.1), n)
    assert law.residual < 1e-12
    if law.regime == Regime.OVER:
        assert np.isfinite([law.xi, law.gamma, law.risk]).all()
        with np.errstate(over="ignore"):
            found = (1 / (1 + 1 / (law.xi * values))).sum()
        assert found == pytest.approx(n, rel=1e-10)
        assert law.gamma >= 0.01


def test_against_another_solver():
    g = rng(2, "law")
    values, beta = g.pareto(0.7, 300), g.standard_normal(300)
    law = predict_law(LinearGaussianProblem.diagonal(values, beta, 0.2), 120)

    def excess(log_xi):
        return float((1 / (1 + np.exp(-log_xi) / values)).sum() - 120)

    root = scipy.optimize.bisect(excess, -40, 40, xtol=1e-13)
    assert law.xi == pytest.approx(math.exp(root), rel=1e-10)


@pytest.mark.parametrize(("p", "n"), [(1000, 999), (1001, 1000), (999, 1000), (10001, 10000)])
def test_next_to_interpolation(p, n):
    law = predict_law(isotropic(p, 1.0), n)
    assert np.isfinite(law.risk)
    assert law.risk > 0.9 * min(n, p)


def test_interpolation_is_infinite_unless_noiseless():
    law = predict_law(isotropic(50, 1.0), 50)
    assert (law.regime, law.risk, law.exact_risk) == (Regime.AT, math.inf, math.inf)
    with pytest.raises(InputError, match="no finite variance"):
        law.sample(rng(0), 1)
    clean = predict_law(isotropic(50, 0.0), 50)
    assert (clean.regime, clean.risk) == (Regime.AT, 0.0)
    np.testing.assert_array_equal(clean.sample(rng(0), 2)[0], clean.problem.coefficients)


def test_directions_without_variance_do_not_count():
    values = np.append(np.ones(40), np.zeros(60))
    whole = predict_law(LinearGaussianProblem.diagonal(values, np.ones(100), 0.5), 60)
    part = predict_law(LinearGaussianProblem.diagonal(np.ones(40), np.ones(40), 0.5), 60)
    assert (whole.rank, whole.regime) == (40, Regime.UNDER)
    assert whole.risk == part.risk
    assert np.all(whole.means[40:] == 0)
    assert np.all(whole.variances[40:] == 0)
    over = predict_law(LinearGaussianProblem.diagonal(values, np.ones(100), 0.5), 30)
    assert over.regime == Regime.OVER
    assert np.all(over.variances[40:] == 0)
    np.testing.assert_allclose(over.means[:40], 30 / 40)
    nothing = predict_law(LinearGaussianProblem.diagonal(np.zeros(5), np.ones(5), 0.5), 3)
    assert nothing.risk == 0.25


def test_no_signal_is_all_variance():
    law = predict_law(LinearGaussianProblem.diagonal(1.0, np.zeros(300), 2.0), 100)
    assert law.risk == pytest.approx(4 * 3 / 2)
    assert np.all(law.means == 0)


def test_exact_expectations_at_small_n():
    """4,000 replicas: five standard errors, Student's t, false alarm below 1e-5 in all."""
    for p, n in ((4, 12), (24, 12)):
        problem = isotropic(p, 0.8)
        law = predict_law(problem, n, finite_n=True)
        risks = np.array(
            [
                simulate_replica(problem, n, p, seed=3, replica=i, retrain_by=())[0]["dense"]
                for i in range(4000)
            ]
        )
        assert law.risk == law.exact_risk
        assert abs(risks.mean() - law.risk) < 5 * risks.std() / math.sqrt(4000)
        # the variances of the law carry the same expectation
        own = 0.64 + ((problem.coefficients - law.means) ** 2 + law.variances).sum()
        assert own == pytest.approx(law.risk)


def test_exact_expectation_is_infinite_next_to_interpolation():
    assert predict_law(isotropic(9, 1.0), 10).exact_risk == math.inf
    assert predict_law(isotropic(11, 1.0), 10).exact_risk == math.inf
    assert predict_law(isotropic(9, 1.0), 10, finite_n=True).risk == math.inf
    uneven = LinearGaussianProblem.diagonal(np.arange(1, 30.0), np.ones(29), 1.0)
    assert predict_law(uneven, 10).exact_risk is None


def test_a_rotation_changes_nothing_but_the_basis():
    g = rng(4, "law")
    spectral = LinearGaussianProblem.spectral(np.geomspace(0.1, 2, 60), g.standard_normal(60), 0.3)
    dense = spectral.rotated(g)
    a, b = predict_law(spectral, 25), predict_law(dense, 25)
    assert a.risk == pytest.approx(b.risk)
    draws = b.sample(g, 4000)
    means, variances = b.feature_moments()
    np.testing.assert_allclose(draws.mean(axis=0), means, atol=6 * np.sqrt(variances.max() / 4000))
    np.testing.assert_allclose(draws.var(axis=0), variances, rtol=0.15)


@pytest.mark.parametrize("n", [0, -3, 2.5, "ten", True])
def test_samples_are_checked(n):
    with pytest.raises(InputError, match="`n` of `predict_law` must be a positive integer"):
        predict_law(isotropic(5, 1.0), n)


def test_a_million_features():
    """Memory linear in p: under 200 numbers a feature, where one matrix would need a million."""
    p = 1_000_000
    problem = LinearGaussianProblem.spectral(np.geomspace(1e-6, 1, p), np.full(p, 1e-3), 0.1)
    tracemalloc.start()
    started = time.perf_counter()
    law = predict_law(problem, 1000)
    elapsed = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert law.residual < 1e-12
    assert peak < 200 * 8 * p
    # twenty times the usual time: a guard against quadratic work, not a benchmark
    assert elapsed < 20
