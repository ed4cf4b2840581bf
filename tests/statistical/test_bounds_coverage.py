"""Statements that may fail with probability delta fail at most so often over 10,000 draws.

A statement that fails with probability delta exactly exceeds its allowance of 5 standard errors
once in 3.5 million runs; most fail far less often.
"""

import math

import numpy as np
import pytest
from scipy.stats import norm

from prunable.certify.bounds.counting import counting_bound
from prunable.certify.bounds.distributed_sparsity import line_counts, max_load
from prunable.certify.bounds.matrix_facts import network_facts
from prunable.certify.bounds.naive_counting import most_kept
from prunable.certify.bounds.of_network import COVER, FROBENIUS
from prunable.certify.bounds.pruning_moments import layer_error

pytestmark = pytest.mark.statistical
DRAWS = 10_000


def assert_rare(failures, delta):
    allowed = delta + 5 * math.sqrt(delta * (1 - delta) / DRAWS)
    assert failures <= allowed


def pruned(shape, d, rng):
    """Gaussian matrices, one a draw, and which of their weights go."""
    a = rng.standard_normal((DRAWS, *shape))
    gone = rng.random(a.shape) < np.exp(-(a**2) / d)
    diagonal = np.arange(min(shape))
    gone[:, diagonal, diagonal] = False
    return a, gone


def test_counting_of_hypotheses():
    """Theorem D.1: the worst of 50 hypotheses, some of them alike, on samples of 60."""
    rng = np.random.default_rng(0)
    n, delta = 60, 0.2
    risks = np.linspace(0.3, 0.6, 50)
    empirical = rng.binomial(n, risks, (DRAWS, 50)) / n
    slack = counting_bound(np.ones(n), math.log(50), delta=delta).term("complexity").value
    assert_rare(np.mean((risks > empirical + slack).any(axis=1)), delta)


def test_counting_of_one_hypothesis_is_not_far_from_its_delta():
    """With one hypothesis Hoeffding's inequality is all there is, and fails now and then."""
    rng = np.random.default_rng(1)
    n, delta = 60, 0.2
    empirical = rng.binomial(n, 0.5, DRAWS) / n
    slack = counting_bound(np.ones(n), 0.0, delta=delta).term("complexity").value
    failures = np.mean(empirical + slack < 0.5)
    assert_rare(failures, delta)
    assert failures > 0.01


@pytest.mark.parametrize("markov", [1.5, 3.0])
def test_error_of_a_pruned_layer(markov):
    """Lemma 4.2 with C = 1."""
    rng = np.random.default_rng(2)
    a, gone = pruned((8, 12), 1.0, rng)
    bound = layer_error((8, 12), 1.0, 1.0, markov=markov)
    norms = np.linalg.norm(np.where(gone, a, 0.0), ord=2, axis=(1, 2))
    assert_rare(np.mean(norms > bound.value), bound.delta)


def test_weights_in_rows_and_columns():
    """Lemma 5.1 in its regime."""
    rng = np.random.default_rng(3)
    _, gone = pruned((20, 24), 0.2, rng)
    bound = line_counts((20, 24), 0.2)
    lines = np.maximum((~gone).sum(axis=1).max(axis=1), (~gone).sum(axis=2).max(axis=1))
    assert_rare(np.mean(lines > bound.value), min(bound.delta, 1.0))


@pytest.mark.parametrize("bins", [8, 64])
def test_fullest_bin(bins):
    """Lemma E.1 at the edge of its regime, 1.03 ln(n) balls a bin."""
    rng = np.random.default_rng(4)
    balls = math.ceil(1.03 * math.log(bins) * bins)
    bound = max_load(balls, bins)
    assert bound.assumptions[0].status == "holds"
    loads = rng.multinomial(balls, np.full(bins, 1 / bins), size=DRAWS).max(axis=1)
    assert_rare(np.mean(loads > bound.value), bound.delta)


def test_weights_that_pruning_leaves():
    """Lemmas D.2 and D.3 at their best share."""
    rng = np.random.default_rng(5)
    size, d, delta = 200, 3.0, 0.1
    bound = most_kept(size, d, delta)
    w = rng.standard_normal((DRAWS, size))
    kept = (rng.random(w.shape) >= np.exp(-(w**2) / d)).sum(axis=1)
    assert_rare(np.mean(kept > bound.value), delta)


def test_trained_classifiers():
    """Bounds of linear classifiers trained on 250 examples, against their true risk.

    Inputs are (s, 0) plus Gaussian noise for classes s = +-1; a classifier w of difference
    direction v errs with probability Phi(-v_1 / ||v||).
    """
    rng = np.random.default_rng(6)
    n, delta = 250, 0.05
    failures = {"spectral": 0, "frobenius": 0}
    informative = 0
    draws = 2_000  # each is a training
    for _ in range(draws):
        labels = rng.integers(0, 2, n)
        signs = 2.0 * labels - 1
        x = rng.standard_normal((n, 2))
        x[:, 0] += 2 * signs
        v = np.linalg.lstsq(x, signs, rcond=None)[0]
        weights = np.array([-v, v])
        margins = 2 * signs * (x @ v)
        risk = norm.cdf(-2 * v[0] / np.linalg.norm(v))
        facts = network_facts([weights], margins, x, input_bound=20.0)
        gamma = 0.5
        cover = COVER.bound(facts, gamma=gamma, delta=delta).value
        informative += cover < 1
        failures["spectral"] += risk > cover
        failures["frobenius"] += risk > FROBENIUS.bound(facts, gamma=gamma, delta=delta).value
    assert informative == draws
    for count in failures.values():
        assert count / draws <= delta
