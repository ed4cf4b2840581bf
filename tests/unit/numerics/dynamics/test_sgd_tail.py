"""Exact tail index of SGD on a linear regression, against closed forms and another method."""

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from prunable.errors import InputError
from prunable.numerics.dynamics.sgd_chain import (
    hill_index,
    monte_carlo_index,
    simulate_norms,
    stationary_steps,
)
from prunable.numerics.dynamics.sgd_tail import (
    LinearRegressionSgd,
    critical_step,
    log_moment_function,
    lyapunov_exponent,
    tail_index,
)

SHAPES = [(1, 1), (1, 2), (2, 3), (5, 10), (10, 1), (20, 100)]


@pytest.mark.parametrize(("batch", "dim"), SHAPES)
def test_index_is_2_where_the_variance_becomes_infinite(batch, dim):
    # h(2) = 1 - 2 eta + eta^2 (b + d + 1)/b
    model = LinearRegressionSgd(2 * batch / (batch + dim + 1), batch, dim)
    assert model.infinite_variance_step == pytest.approx(model.eta)
    assert tail_index(model) == pytest.approx(2, abs=1e-8)


def test_index_is_4_where_the_fourth_moment_becomes_infinite():
    # b = d = 1: E(1 - eta g^2)^4 = 1 - 4 eta + 18 eta^2 - 60 eta^3 + 105 eta^4
    eta = float(np.real(next(r for r in np.roots([105, -60, 18, -4]) if abs(r.imag) < 1e-12)))
    assert tail_index(LinearRegressionSgd(eta)) == pytest.approx(4, abs=1e-8)


@pytest.mark.parametrize("r", [0.3, 1.0, 1.7, 3.3])
@pytest.mark.parametrize("eta", [0.4, 1.0, 2.0])
def test_moments_in_dimension_1_against_adaptive_quadrature(eta, r):
    batch, kink = 3, 3 / eta
    pieces = [
        integrate.quad(
            lambda x: abs(1 - eta / batch * x) ** r * stats.chi2.pdf(x, batch),
            low,
            high,
            epsabs=1e-12,
            epsrel=1e-11,
            limit=400,
        )[0]
        for low, high in ((0, kink), (kink, kink + 60))
    ]
    found = log_moment_function(LinearRegressionSgd(eta, batch), r)
    assert found == pytest.approx(math.log(sum(pieces)), abs=1e-8)


@pytest.mark.parametrize("r", [0.4, 1.3, 3.0])
@pytest.mark.parametrize("batch", [1, 4])
def test_moments_in_dimension_3_against_incomplete_gamma_functions(batch, r):
    # chi-square with d - 1 = 2 degrees is exponential: the inner integral is a Gamma(q + 1, x)
    eta, q = 0.5, r / 2
    c = eta / batch

    def given(z):
        left, factor = (1 - c * z * z) ** 2, c * c * z * z
        x = left / (2 * factor)
        if x > 300:
            inner = left**q * (1 + q / x + q * (q - 1) / x**2 + q * (q - 1) * (q - 2) / x**3)
        else:
            tail = special.gammaincc(q + 1, x) * special.gamma(q + 1)
            inner = (2 * factor) ** q * math.exp(x) * tail
        return inner * stats.chi.pdf(z, batch)

    kink = c**-0.5
    pieces = [
        integrate.quad(given, low, high, limit=200, epsabs=1e-12)[0]
        for low, high in ((1e-12, kink), (kink, kink + 14))
    ]
    found = log_moment_function(LinearRegressionSgd(eta, batch, 3), r)
    assert found == pytest.approx(math.log(sum(pieces)), abs=1e-8)


def test_lyapunov_exponent_against_quadrature():
    eta = 1.3
    pieces = [
        integrate.quad(
            lambda z: 2 * math.log(abs(1 - eta * z * z)) * stats.norm.pdf(z), low, high, limit=400
        )[0]
        for low, high in ((0, eta**-0.5), (eta**-0.5, 12))
    ]
    assert lyapunov_exponent(LinearRegressionSgd(eta)) == pytest.approx(sum(pieces), abs=1e-7)


@pytest.mark.parametrize(("batch", "dim"), SHAPES[:5])
def test_index_falls_with_the_step_and_rises_with_the_batch(batch, dim):
    top = critical_step(batch, dim)
    etas = np.array([0.7, 0.8, 0.9, 0.97]) * top
    alphas = [tail_index(LinearRegressionSgd(eta, batch, dim)) for eta in etas]
    assert all(np.diff(alphas) < 0)
    assert tail_index(LinearRegressionSgd(etas[1], batch + 1, dim)) > alphas[1]


def test_input_scale_enters_through_the_step():
    model = LinearRegressionSgd(0.3, 2, 3, input_std=1.4)
    same = LinearRegressionSgd(0.3 * 1.4**2, 2, 3)
    assert tail_index(model) == pytest.approx(tail_index(same), rel=1e-12)


def test_critical_step_is_where_products_stop_shrinking():
    eta = critical_step(2, 3)
    assert abs(lyapunov_exponent(LinearRegressionSgd(eta, 2, 3))) < 1e-8
    assert tail_index(LinearRegressionSgd(0.99 * eta, 2, 3)) < 0.3
    with pytest.raises(InputError, match="stationary law"):
        tail_index(LinearRegressionSgd(1.01 * eta, 2, 3))
    with pytest.raises(InputError, match="stationary law"):
        stationary_steps(LinearRegressionSgd(1.01 * eta, 2, 3))


def test_chain_of_norms_has_the_law_of_full_chains():
    """Two-sample Kolmogorov-Smirnov; false alarm below 1e-6."""
    eta, batch, dim, chains, steps = 0.4, 3, 4, 4000, 12
    source = np.random.default_rng(3)
    x = np.zeros((chains, dim))
    for _ in range(steps):
        a = source.standard_normal((chains, batch, dim))
        labels = source.standard_normal((chains, batch))
        residual = np.einsum("kbd,kd->kb", a, x) - labels
        x -= eta / batch * np.einsum("kbd,kb->kd", a, residual)
    model = LinearRegressionSgd(eta, batch, dim)
    found = simulate_norms(model, chains, steps, rng=np.random.default_rng(4))
    assert stats.ks_2samp(found, np.linalg.norm(x, axis=1)).pvalue > 1e-6


def test_hill_index_of_pareto_draws():
    """Five standard errors: false alarm below 1e-6."""
    values = np.random.default_rng(0).pareto(1.7, 100_000) + 1
    found = hill_index(values, 0.01)
    assert found.n == 1000
    assert abs(found.alpha - 1.7) < 5 * found.stderr


@pytest.mark.parametrize("field", ["eta", "input_std"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_bad_numbers_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        LinearRegressionSgd(**{"eta": 0.1, field: value})


def test_bad_counts_are_refused():
    model = LinearRegressionSgd(0.5)
    for bad in ({"batch": 0}, {"dim": 1.5}, {"dim": True}):
        with pytest.raises(InputError, match="count above 0"):
            LinearRegressionSgd(0.1, **bad)
    with pytest.raises(InputError, match="chains"):
        simulate_norms(model, 0, 1, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="label_noise"):
        simulate_norms(model, 1, 1, rng=np.random.default_rng(0), label_noise=0.0)
    with pytest.raises(InputError, match="share"):
        hill_index(np.ones(100), 0.01)
    with pytest.raises(InputError, match="draws"):
        monte_carlo_index(model, 5, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="raise eta"):
        tail_index(LinearRegressionSgd(0.001))
    with pytest.raises(InputError, match="`r`"):
        log_moment_function(model, -1.0)
