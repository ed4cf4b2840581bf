"""Coverage by simulation: every probabilistic bound holds in at least 1 - delta of the draws.

Each test makes 10,000 draws and fails if the bound failed in more than
delta + 5 sqrt(delta (1 - delta) / 10,000) of them. If the bound fails with probability delta
exactly, that happens with probability below 3e-7 by the normal law (below 1e-6 by the exact
binomial one); bounds that hold more often never get near.
"""

import math

import numpy as np
import pytest

from prunable.certify.bounds.binomial import binomial_upper
from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.bounds.occam import dense_through_compression, occam_bound
from prunable.certify.bounds.pac_bayes import catoni_grid_bound, maurer_bound, monte_carlo_gibbs
from prunable.numerics.randomness import rng

DRAWS = 10_000
pytestmark = pytest.mark.statistical


def check(failures, delta):
    share = failures / DRAWS
    assert share <= delta + 5 * math.sqrt(delta * (1 - delta) / DRAWS)
    return share


@pytest.mark.parametrize(("risk", "n", "delta"), [(0.02, 200, 0.05), (0.3, 60, 0.2)])
def test_held_out_bound_covers(risk, n, delta):
    """False alarm below 1e-6."""
    limits = np.array([held_out_bound(k, n, delta).value for k in range(n + 1)])
    errors = rng(0, "held-out", n).binomial(n, risk, DRAWS)
    share = check(int((limits[errors] < risk).sum()), delta)
    assert share > 0.2 * delta  # an exact bound is not far too large either


def test_path_covers_all_candidates_together():
    """False alarm below 1e-6."""
    delta, n = 0.1, 150
    risks = np.linspace(0.02, 0.4, 25)
    g = rng(1, "path")
    limits = np.array([held_out_bound(k, n, delta, candidates=25).value for k in range(n + 1)])
    # the candidates share their examples: one uniform number decides for all of them
    failures = 0
    for _ in range(DRAWS):
        hard = np.sort(g.random(n))
        errors = np.searchsorted(hard, risks, side="right")
        failures += bool((limits[errors] < risks).any())
    check(failures, delta)


def test_occam_covers_the_network_that_training_chooses():
    """False alarm below 1e-6."""
    delta, n = 0.1, 80
    # 64 hypotheses of code lengths 2 to 8 bits, all of true risk 1/2: training overfits
    lengths = np.repeat([2, 4, 6, 8], [1, 3, 15, 45])
    assert (2.0**-lengths).sum() <= 1
    limit = np.array(
        [[occam_bound(k, n, int(bits), delta).value for k in range(n + 1)] for bits in (2, 4, 6, 8)]
    )
    row = np.searchsorted([2, 4, 6, 8], lengths)
    g = rng(2, "occam")
    errors = g.binomial(n, 0.5, (DRAWS, len(lengths)))
    values = limit[row, errors]
    # the one with the smallest bound, and with the fewest errors
    check(int((values.min(axis=1) < 0.5).sum()), delta)
    best = errors.argmin(axis=1)
    check(int((values[np.arange(DRAWS), best] < 0.5).sum()), delta)


def test_dense_network_is_covered_through_its_compression():
    """False alarm below 1e-6."""
    delta, n, fresh, risk, apart = 0.1, 120, 100, 0.25, 0.1
    g = rng(3, "dense")
    errors, disagreements = g.binomial(n, risk, DRAWS), g.binomial(fresh, apart, DRAWS)
    compressed = [binomial_upper(k, n, math.log(delta / 2)) for k in range(n + 1)]
    between = [binomial_upper(k, fresh, math.log(delta / 2)) for k in range(fresh + 1)]
    values = np.array(compressed)[errors] + np.array(between)[disagreements]
    # the worst case: every disagreement is an error of the dense network
    check(int((values < risk + apart).sum()), delta)
    made = dense_through_compression(occam_bound(30, n, 0, delta / 2), 10, fresh, delta / 2)
    assert made.value == pytest.approx(compressed[30] + between[10])


@pytest.mark.parametrize("bound", [maurer_bound, catoni_grid_bound])
def test_pac_bayes_covers_a_posterior_chosen_by_the_data(bound):
    """False alarm below 1e-6."""
    delta, n, members = 0.1, 60, 8
    g = rng(4, "pac-bayes")
    risks = np.linspace(0.3, 0.5, members)
    failures = 0
    errors = g.binomial(n, risks, (DRAWS, members))
    for row in errors:
        # a Gibbs posterior, as sharp as overfitting wants
        weights = np.exp(-1.5 * (row - row.min()))
        weights /= weights.sum()
        divergence = float(sum(w * math.log(w * members) for w in weights if w > 0))
        gibbs = float(weights @ row) / n
        limit = bound(min(gibbs, 1.0), max(divergence, 0.0), n, delta).value
        failures += limit < float(weights @ risks)
    check(failures, delta)


def test_monte_carlo_limit_covers_the_posterior_error():
    """False alarm below 1e-6."""
    delta, draws = 0.05, 40
    g = rng(5, "monte-carlo")
    # errors on batches of 10 examples of networks whose own error differs
    own = g.beta(1, 9, (DRAWS, draws))
    risks = g.binomial(10, own) / 10
    failures = sum(monte_carlo_gibbs(list(row), delta) < 0.1 for row in risks)
    check(failures, delta)


def test_a_wrong_bound_is_caught():
    """The check can fail: the union over candidates left out, false alarm impossible."""
    delta, n = 0.1, 80
    limits = np.array([occam_bound(k, n, 0, delta).value for k in range(n + 1)])
    errors = rng(6, "wrong").binomial(n, 0.5, (DRAWS, 64))
    with pytest.raises(AssertionError):
        check(int((limits[errors].min(axis=1) < 0.5).sum()), delta)
