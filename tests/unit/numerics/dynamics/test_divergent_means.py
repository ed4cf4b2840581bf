"""Lemma A.3: averages of variables with infinite mean, against closed forms and simulation."""

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.dynamics.divergent_means import (
    chance_of_small_average,
    cutoff_for,
    mean_of_minimum,
)
from prunable.numerics.stable import StableLaw, sample_symmetric


def pareto(alpha):
    return lambda x: 1.0 if x <= 1 else x**-alpha


@pytest.mark.parametrize("alpha", [0.5, 0.8])
def test_truncated_means_of_pareto_variables(alpha):
    for cutoff in (0.5, 1.0, 7.0, 1e6):
        # min(x, 1) + (x^(1 - alpha) - 1) / (1 - alpha)
        beyond = (max(cutoff, 1.0) ** (1 - alpha) - 1) / (1 - alpha)
        exact = min(cutoff, 1.0) + beyond
        assert mean_of_minimum(pareto(alpha), cutoff) == pytest.approx(exact, rel=1e-8)
    exact = (1 + (1 - alpha) * 5) ** (1 / (1 - alpha))
    assert cutoff_for(pareto(alpha), 6.0) == pytest.approx(exact, rel=1e-6)


def test_the_bound_covers_simulated_averages_and_tends_to_0():
    rng, level = np.random.default_rng(0), 3.0
    bounds = []
    for n in (50, 200, 800):
        draws = rng.random((4000, n)) ** (-1 / 0.8)
        share = float(np.mean(draws.mean(axis=1) <= level))
        bounds.append(chance_of_small_average(pareto(0.8), level, n))
        # 5 standard errors of a share of 4,000
        assert share <= bounds[-1] + 5 * 0.5 / np.sqrt(4000)
    assert bounds[-1] < bounds[0] / 10
    assert bounds == sorted(bounds, reverse=True)


def test_squared_stable_norms_outgrow_every_level():
    # as the squared column norms in the proof of theorem 3.1; E X^2 is infinite
    law, level, n = StableLaw(1.5), 4.0, 2000
    bound = chance_of_small_average(lambda x: float(2 * law.sf(np.sqrt(x))), level, n)
    squares = sample_symmetric(500 * n, 1.5, np.random.default_rng(1)).reshape(500, n) ** 2
    share = float(np.mean(squares.mean(axis=1) <= level))
    assert share <= bound + 5 * 0.5 / np.sqrt(500)
    assert bound < 0.2


def test_a_finite_mean_is_refused():
    # E X = 1: no cutoff has a mean of 2, and the maximum of the print has one for every cutoff
    with pytest.raises(InputError, match="infinite"):
        cutoff_for(lambda x: float(np.exp(-x)), 2.0)
