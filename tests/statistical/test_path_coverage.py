"""Certificates of paths hold for all networks at once in at least 1 - delta of the draws.

Each test makes 10,000 draws and fails if some bound failed in more than delta + 5 standard errors
of them; if that has probability delta exactly, the test fails with probability below 1e-6, and less
wherever the guarantee has room.
"""

import math

import numpy as np
import pytest

from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.bounds.path import coded_path_bounds, envelope_bounds
from prunable.numerics.randomness import rng

DRAWS, DELTA, N, SHARES = 10_000, 0.1, 120, 40
pytestmark = pytest.mark.statistical


def share_of_failures(failures):
    share = failures / DRAWS
    assert share <= DELTA + 5 * math.sqrt(DELTA * (1 - DELTA) / DRAWS)
    return share


@pytest.fixture(scope="module")
def path():
    """Kinds of examples: where on the path each is an error, not monotone, and how often it comes.

    The counts (draws, kinds) are those of independent samples of N examples.
    """
    g = rng(0, "path coverage")
    kinds = g.random((60, SHARES)) < np.linspace(0.02, 0.5, SHARES)
    law = g.dirichlet(np.ones(len(kinds)))
    return kinds, law, g.multinomial(N, law, DRAWS)


@pytest.mark.parametrize("candidates", [SHARES, 3 * SHARES])
def test_all_networks_of_a_path_are_below_their_bounds(path, candidates):
    """False alarm below 1e-6; three times as many networks may lie between those of the grid."""
    kinds, law, counts = path
    limits = np.array(
        [held_out_bound(k, N, DELTA, candidates=candidates).value for k in range(N + 1)]
    )
    risks = law @ kinds
    share_of_failures(int((limits[counts @ kinds] < risks).any(axis=1).sum()))


def test_the_envelope_bounds_all_shares_without_a_union(path):
    """False alarm below 1e-6."""
    kinds, law, counts = path
    risks, envelope = law @ kinds, np.logical_or.accumulate(kinds, axis=1)
    (bound,) = envelope_bounds(np.zeros((1, N), bool), DELTA)
    found = counts @ envelope / N + bound.value
    assert (law @ envelope >= risks - 1e-12).all()
    # stronger than what is said: the envelope itself is covered
    share = share_of_failures(int((found < law @ envelope).any(axis=1).sum()))
    assert share > 0.05 * DELTA  # the law of the first failure is not covered with ease either
    # a sample as the function takes it gives what the counts give
    wrong = np.repeat(kinds, counts[0], axis=0).T
    values = [b.value for b in envelope_bounds(wrong, DELTA)]
    assert values == pytest.approx(found[0])


def test_coded_paths_are_covered_for_the_worst_network_of_the_worst_path():
    """False alarm below 1e-6: 12 code files of 4 to 6 bits, 8 networks on the path of each."""
    g, distinct = rng(1, "coded paths"), 8
    lengths = np.repeat([4, 5, 6], [2, 4, 6])
    assert (2.0**-lengths).sum() <= 1
    limits = np.array(
        [
            [b.value for b in coded_path_bounds(range(N + 1), N, float(bits), DELTA, distinct)]
            for bits in lengths
        ]
    )
    # all of true risk 1/2 and independent, so that training overfits as much as it can
    errors = g.binomial(N, 0.5, (DRAWS, len(lengths), distinct))
    values = limits[np.arange(len(lengths))[None, :, None], errors]
    share_of_failures(int((values.min(axis=(1, 2)) < 0.5).sum()))


def test_a_path_without_its_price_is_caught(path):
    """The check can fail: one network's bound for all of a path."""
    kinds, law, counts = path
    limits = np.array([held_out_bound(k, N, DELTA).value for k in range(N + 1)])
    with pytest.raises(AssertionError):
        share_of_failures(int((limits[counts @ kinds] < law @ kinds).any(axis=1).sum()))
