"""Limits of compressibility of a mixture: against quadrature of quantiles, and drawn vectors."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from prunable.errors import InputError
from prunable.numerics.weights.compressibility import best_k_term_error, kappa_p
from prunable.numerics.weights.mixture import ParetoMixture

LAWS = (ParetoMixture(1.9), ParetoMixture(1.2, share=1e-3), ParetoMixture(2.5, 0.3, 0.5))


def quantile(law, u):
    """By hand: the law's probability below x, inverted."""

    def below(x):
        low, high = 1 - law.half_width, 1 + law.half_width
        body = min(max((x - low) / (high - low), 0.0), 1.0)
        return (1 - law.share) * body + law.share * (1 - x**-law.alpha if x > 1 else 0.0)

    return brentq(lambda x: below(x) - u, 1e-9, 1e40, xtol=1e-13, rtol=1e-13, maxiter=500)


def moment(law, low, high, p):
    """The integral of the p-th power of the quantile function, its end in the tail in closed form.

    Beyond the body, u = 1 - share x^-alpha.
    """
    edge = 1 - law.share * (1 + law.half_width) ** -law.alpha
    inside = min(high, edge)
    value = quad(lambda u: quantile(law, u) ** p, low, inside, limit=200)[0] if inside > low else 0
    if high > edge:
        a = 1 - p / law.alpha
        powers = ((1 - max(low, edge)) ** a - (1 - high) ** a) / a
        value += law.share ** (p / law.alpha) * powers
    return value


@pytest.mark.parametrize("law", LAWS)
def test_limits_are_integrals_of_quantiles(law):
    p, kappa, eps = 1.0, 0.5, 0.1
    whole = moment(law, 0.0, 1.0, p)
    assert law.limit_error(kappa, p) == pytest.approx(
        moment(law, 0, 1 - kappa, p) / whole, rel=1e-6
    )
    share = brentq(lambda s: moment(law, 0.0, s, p) / whole - eps, 1e-6, 0.9)
    assert law.limit_kappa(eps, p) == pytest.approx(1 - share, abs=1e-6)


def test_a_heavier_tail_can_compress_worse():
    """Proposition 8 of Barsbey et al. (2021) is false of arbitrary laws: Pareto in closed form."""
    light, heavy = LAWS[:2]
    assert light.limit_error(0.5, 1.0) == pytest.approx(1 - 0.5 ** (1 - 1 / 1.9), rel=1e-9)
    assert light.limit_kappa(0.1, 1.0) == pytest.approx(0.9 ** (1 / (1 - 1 / 1.9)), rel=1e-9)
    assert heavy.alpha < light.alpha
    assert heavy.limit_error(0.5, 1.0) > 1.6 * light.limit_error(0.5, 1.0)
    assert heavy.limit_kappa(0.1, 1.0) > light.limit_kappa(0.1, 1.0) + 0.08
    # rounded as anyone can check by hand: .280, .473, .801, .890
    assert [round(law.limit_error(0.5, 1.0), 3) for law in (light, heavy)] == [0.28, 0.473]
    assert [round(law.limit_kappa(0.1, 1.0), 2) for law in (light, heavy)] == [0.8, 0.89]


@pytest.mark.statistical
@pytest.mark.parametrize("law", LAWS)
def test_limits_are_those_of_drawn_vectors(law):
    """At 5 standard errors of 40 vectors, and the finite size's bias; false alarms below 1e-5."""
    rng, size = np.random.default_rng(3), 50_000
    errors, kappas = [], []
    for _ in range(40):
        w = law.sample(size, rng)
        errors.append(best_k_term_error(w, size // 2, 1.0))
        kappas.append(kappa_p(w, 0.1, 1.0))
    for found, limit in ((errors, law.limit_error(0.5, 1.0)), (kappas, law.limit_kappa(0.1, 1.0))):
        stderr = np.std(found, ddof=1) / math.sqrt(len(found))
        assert abs(np.mean(found) - limit) < 5 * stderr + 5e-3


def test_wrong_laws_are_refused():
    with pytest.raises(InputError, match="share"):
        ParetoMixture(1.5, share=0.0)
    with pytest.raises(InputError, match="`p` of `limit_error`"):
        ParetoMixture(1.2).limit_error(0.5, 2.0)
