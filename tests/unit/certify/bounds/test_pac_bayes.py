"""PAC-Bayes bounds: identities between them, and integrals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from prunable.certify.bounds.base import combine
from prunable.certify.bounds.binomial import kl_bernoulli, kl_upper
from prunable.certify.bounds.occam import occam_bound
from prunable.certify.bounds.pac_bayes import (
    catoni_grid_bound,
    gaussian_divergence,
    maurer_bound,
    monte_carlo_gibbs,
)
from prunable.errors import InputError

CASES = [(0.03, 2_000.0, 60_000, 0.05), (0.3, 50.0, 500, 0.01), (0.0, 10.0, 100, 0.2)]
ARGUMENTS = (st.floats(0, 0.95), st.floats(0, 1e4), st.integers(8, 100_000), st.floats(1e-6, 0.9))


def nats_of(divergence, n, delta):
    return divergence + math.log(2 * math.sqrt(n) / delta)


def mcallester(gibbs, divergence, n, delta):
    """McAllester 1999, with Maurer's constant."""
    return gibbs + math.sqrt(nats_of(divergence, n, delta) / (2 * n))


def quadratic(gibbs, divergence, n, delta):
    """Rivasplata 2019."""
    c = nats_of(divergence, n, delta) / (2 * n)
    return (math.sqrt(gibbs + c) + math.sqrt(c)) ** 2


def thiemann(gibbs, divergence, n, delta):
    """Thiemann, Igel, Wintenberger, Seldin 2017, theorem 3, at its best lambda in (0, 2)."""
    nats = nats_of(divergence, n, delta)
    best = 2 / (math.sqrt(2 * n * gibbs / nats + 1) + 1)
    return gibbs / (1 - best / 2) + nats / (n * best * (1 - best / 2))


def test_divergence_is_the_integral():
    means, s, p = np.array([0.3, -1.2, 0.0]), 0.4, 0.9

    def density(x, mean):
        return norm.pdf(x, mean, s) * (norm.logpdf(x, mean, s) - norm.logpdf(x, 0, p))

    integral = sum(quad(density, mean - 12 * s, mean + 12 * s, args=(mean,))[0] for mean in means)
    assert gaussian_divergence(means, s, p) == pytest.approx(integral, rel=1e-7)
    assert gaussian_divergence(np.zeros(3), 0.5, 0.5) == 0


@pytest.mark.parametrize("case", CASES)
def test_maurer_meets_its_equation(case):
    gibbs, divergence, n, delta = case
    bound = maurer_bound(*case)
    budget = (divergence + math.log(2 * math.sqrt(n) / delta)) / n
    assert kl_bernoulli(gibbs, bound.value) == pytest.approx(budget, rel=1e-8)
    assert combine(bound.terms, bound.rule) == bound.log_value


@given(*ARGUMENTS)
def test_relaxations_are_never_smaller(gibbs, divergence, n, delta):
    tight = maurer_bound(gibbs, divergence, n, delta).value
    for relaxed in (mcallester, quadratic, thiemann):
        assert min(relaxed(gibbs, divergence, n, delta), 1) >= tight - 1e-9


@pytest.mark.parametrize("case", CASES[:2])
def test_catoni_at_its_constant_is_its_formula(case):
    """The grid's value at its own constant and place, and the kl inversion that it approaches."""
    gibbs, _, n, _ = case
    bound = catoni_grid_bound(*case)
    c, paid = bound.term("C").value, bound.term("c").value
    assert bound.value == pytest.approx(
        -math.expm1(-c * gibbs - paid / n) / -math.expm1(-c), rel=1e-9
    )
    best = minimize_scalar(
        lambda x: math.expm1(-math.exp(x) * gibbs - paid / n) / math.expm1(-math.exp(x)),
        bounds=(-12, 4),
        options={"xatol": 1e-12},
    )
    assert best.fun == pytest.approx(kl_upper(gibbs, paid / n), rel=1e-6)


@pytest.mark.parametrize(
    ("errors", "n", "bits"), [(1_152, 60_000, 3_688), (0, 500, 40), (30, 90, 20)]
)
def test_catoni_at_its_best_constant_is_occam_s_chernoff_form(errors, n, bits):
    """For one decoded network no union over C is needed: kl^-1(r, (L ln 2 + ln(1/delta)) / n).

    So it holds whenever the binomial tail of Occam's bound does, which is below it.
    """
    r, delta = errors / n, 0.05
    budget = (bits * math.log(2) - math.log(delta)) / n
    best = minimize_scalar(
        lambda x: math.expm1(-math.exp(x) * r - budget) / math.expm1(-math.exp(x)),
        bounds=(-12, 6),
        options={"xatol": 1e-12},
    )
    assert best.fun == pytest.approx(kl_upper(r, budget), rel=1e-6)
    assert occam_bound(errors, n, bits, delta).value <= best.fun


@pytest.mark.parametrize("case", CASES)
def test_catoni_grid_pays_for_its_choice(case):
    gibbs, divergence, n, delta = case
    bound = catoni_grid_bound(*case)
    assert combine(bound.terms, bound.rule) == bound.log_value
    free = kl_upper(gibbs, (divergence - math.log(delta)) / n)
    assert bound.value > free
    # at most the nats of its place, and a little for the step of the grid
    paid = bound.term("c").value
    assert paid > divergence - math.log(delta)
    assert bound.value <= 1.02 * kl_upper(gibbs, paid / n)


def test_weights_of_the_grid_add_up_to_one():
    j = np.arange(1, 1_000_000)
    assert float((1 / (j * (j + 1.0))).sum()) == pytest.approx(1, abs=2e-6)


@given(*ARGUMENTS)
def test_bounds_are_monotone(gibbs, divergence, n, delta):
    for bound in (maurer_bound, catoni_grid_bound):
        value = bound(gibbs, divergence, n, delta).value
        assert bound(gibbs, divergence + 5, n, delta).value >= value - 1e-12
        assert bound(gibbs, divergence, n, delta / 2).value >= value - 1e-12
        assert bound(gibbs, divergence, 2 * n, delta).value <= value + 1e-9
        assert bound(gibbs, divergence, n, delta).value >= min(gibbs, 1) - 1e-12


def test_monte_carlo_divides_by_the_number_of_draws():
    risks = [0.1, 0.2, 0.3, 0.2]
    assert monte_carlo_gibbs(risks, 0.01) == kl_upper(0.2, math.log(200) / 4)
    assert monte_carlo_gibbs(risks * 1_000, 0.01) < monte_carlo_gibbs(risks * 100, 0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: maurer_bound(0.1, 1.0, 7, 0.05), "at least 8"),
        (lambda: maurer_bound(1.1, 1.0, 70, 0.05), "between 0 and 1"),
        (lambda: maurer_bound(0.1, -1.0, 70, 0.05), "finite and at least 0"),
        (lambda: maurer_bound(0.1, math.inf, 70, 0.05), "finite and at least 0"),
        (lambda: maurer_bound(0.1, 1.0, 0, 0.05), "must not be empty"),
        (lambda: catoni_grid_bound(0.1, math.nan, 70, 0.05), "finite and at least 0"),
        (lambda: catoni_grid_bound(0.1, 1.0, 70, 0.05, ratio=1.0), "above 1"),
        (lambda: catoni_grid_bound(0.1, 1.0, 70, 2.0), "\\(0, 1\\)"),
        (lambda: monte_carlo_gibbs([], 0.05), "at least one draw"),
        (lambda: monte_carlo_gibbs([math.nan], 0.05), "between 0 and 1"),
        (lambda: gaussian_divergence(np.ones(2), 0.0, 1.0), "positive"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
