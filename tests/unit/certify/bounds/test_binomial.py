"""Binomial tails, Occam's and held-out bounds: against scipy, exact fractions, known figures."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from prunable.certify.bounds.base import combine
from prunable.certify.bounds.binomial import (
    binomial_upper,
    kl_bernoulli,
    kl_upper,
    log_binomial_cdf,
)
from prunable.certify.bounds.held_out import held_out_bound, held_out_path
from prunable.certify.bounds.occam import (
    bits_allowed,
    dense_through_compression,
    examples_needed,
    occam_bound,
    permutation_saving,
)
from prunable.errors import InputError


def exact_cdf(k, n, p):
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


@pytest.mark.parametrize("n", [1, 2, 7, 300])
@pytest.mark.parametrize("p", ["1/1000", "1/7", "1/2", "9/10", "999/1000"])
def test_tail_is_the_exact_sum(n, p):
    p = Fraction(p)
    for k in {0, 1, n // 3, n // 2, n - 1, n}:
        exact = exact_cdf(k, n, p)
        log = math.log(exact.numerator) - math.log(exact.denominator)
        assert log_binomial_cdf(k, n, float(p)) == pytest.approx(log, rel=1e-9, abs=1e-12)


def test_tail_far_below_the_doubles():
    # 2^-8329 and beyond: one term carries the sum, P = (1 - p)^n for k = 0
    assert log_binomial_cdf(0, 60_000, 0.5) == pytest.approx(60_000 * math.log(0.5), rel=1e-12)
    exact = exact_cdf(100, 2_000, Fraction(4, 5))
    log = math.log(exact.numerator) - math.log(exact.denominator)
    assert log < -2_000
    assert log_binomial_cdf(100, 2_000, 0.8) == pytest.approx(log, rel=1e-11)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 10), (3, 10), (9, 10), (300, 10_000)])
@pytest.mark.parametrize("delta", [0.5, 0.05, 1e-6])
def test_inversion_is_clopper_pearson(k, n, delta):
    expected = beta.ppf(1 - delta, k + 1, n - k)
    assert binomial_upper(k, n, math.log(delta)) == pytest.approx(expected, rel=1e-9)


def test_only_errors_certify_nothing():
    assert binomial_upper(10, 10, math.log(0.05)) == 1
    assert kl_upper(1.0, 0.1) == 1
    assert occam_bound(5, 5, 100, 0.05).value == 1


@given(st.integers(1, 2_000), st.floats(0, 1), st.floats(0.001, 2_000))
def test_chernoff_is_never_below_the_exact_inversion(n, share, nats):
    k = int(share * n)
    assert kl_upper(k / n, nats / n) >= binomial_upper(k, n, -nats) - 1e-12


@given(st.floats(0, 1), st.floats(0, 30))
def test_kl_inversion_inverts(q, budget):
    p = kl_upper(q, budget)
    assert q <= p <= 1
    if p < 1 - 1e-9 and p - q > 1e-9:
        assert kl_bernoulli(q, p) == pytest.approx(budget, rel=1e-6, abs=1e-9)


def test_kl_has_its_closed_forms():
    assert kl_bernoulli(0, 0.25) == pytest.approx(-math.log(0.75))
    assert kl_bernoulli(1, 0.25) == pytest.approx(math.log(4))
    assert kl_bernoulli(0.5, 0) == math.inf
    assert kl_upper(0, 0.7) == pytest.approx(1 - math.exp(-0.7))


@given(st.integers(2, 500), st.floats(0, 0.9), st.floats(0, 5_000), st.floats(0.001, 0.5))
def test_occam_is_monotone(n, share, bits, delta):
    k = int(share * n)
    value = occam_bound(k, n, bits, delta).value
    assert value >= k / n
    assert occam_bound(k, n, bits, delta * 1.5).value <= value + 1e-12
    assert occam_bound(k, n, bits + 10, delta).value >= value - 1e-12
    assert occam_bound(2 * k, 2 * n, bits, delta).value <= value + 1e-12


@pytest.mark.parametrize(
    ("rate", "bits", "percent"),
    [(0.0755, 8_329, 24.3), (0.0353, 5_790, 14.5), (0.024, 6_670, 13.6), (0.1686, 4_577, 31.1)],
)
def test_occam_gives_figures_computed_elsewhere(rate, bits, percent):
    value = occam_bound(round(rate * 60_000), 60_000, bits, 0.05).value
    assert 100 * value == pytest.approx(percent, abs=0.06)


@pytest.mark.parametrize(
    ("n", "candidates", "percent"),
    [
        (10_000, 1, 3.3),
        (10_000, 100, 3.6),
        (10_000, 10_000, 3.8),
        (1_000, 1, 4.1),
        (1_000, 100, 5.2),
        (1_000, 10_000, 6.1),
    ],
)
def test_path_gives_figures_computed_elsewhere(n, candidates, percent):
    bound = held_out_bound(round(0.03 * n), n, 0.05, candidates=candidates)
    assert 100 * bound.value == pytest.approx(percent, abs=0.06)


def test_path_is_as_many_bounds_at_a_part_of_delta():
    path = held_out_path([3, 50, 7], 1_000, 0.06)
    assert [b.value for b in path] == [held_out_bound(k, 1_000, 0.02).value for k in (3, 50, 7)]
    assert path[0].delta == 0.06


def test_terms_make_the_value():
    compressed = occam_bound(900, 60_000, 4_000, 0.025)
    for bound in (
        compressed,
        occam_bound(900, 60_000, 4_000, 0.05, form="kl"),
        held_out_bound(20, 1_000, 0.05, candidates=7),
        dense_through_compression(compressed, 12, 10_000, 0.025),
    ):
        assert combine(bound.terms, bound.rule) == bound.log_value
        assert bound.value == pytest.approx(math.exp(bound.log_value))
        assert bound.to_dict()["value"] == bound.value
    assert compressed.term("L").value == pytest.approx(4_000)


def test_dense_network_is_its_compression_and_their_disagreement():
    compressed = occam_bound(900, 60_000, 4_000, 0.025)
    dense = dense_through_compression(compressed, 12, 10_000, 0.025)
    apart = beta.ppf(1 - 0.025, 13, 10_000 - 12)
    assert dense.value == pytest.approx(compressed.value + apart, rel=1e-9)
    assert dense.delta == 0.05


def test_permutations_count_orders_of_distinct_units():
    assert permutation_saving([[1] * 5, [1, 1]]) == pytest.approx(math.log2(120 * 2))
    assert permutation_saving([[2, 1]]) == pytest.approx(math.log2(3))
    assert permutation_saving([[4]]) == pytest.approx(0, abs=1e-12)
    saved = occam_bound(900, 60_000, 4_000, 0.05, saving=100)
    assert saved.value == occam_bound(900, 60_000, 3_900, 0.05).value


def test_advice_is_exact():
    bits = bits_allowed(1_800, 60_000, 0.05, 0.12)
    assert occam_bound(1_800, 60_000, bits, 0.05).value == pytest.approx(0.12, rel=1e-6)
    n = examples_needed(0.03, 4_000, 0.05, 0.1)
    assert occam_bound(math.ceil(0.03 * n), n, 4_000, 0.05).value <= 0.1
    assert occam_bound(math.ceil(0.03 * (n - 200)), n - 200, 4_000, 0.05).value > 0.1
    assert examples_needed(0.2, 100, 0.05, 0.1) is None
    assert bits_allowed(1_800, 60_000, 0.05, 0.0301) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 10, 0.05), "must not be empty"),
        ((11, 10, 10, 0.05), "between 0 and n = 10"),
        ((1, 10, -1, 0.05), "finite and at least 0"),
        ((1, 10, math.nan, 0.05), "finite and at least 0"),
        ((1, 10, 10, 0), "inside \\(0, 1\\)"),
        ((1, 10, 10, 1), "inside \\(0, 1\\)"),
        ((1, 10, 10, math.nan), "inside \\(0, 1\\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        occam_bound(*arguments)


def test_other_bad_arguments_are_named():
    with pytest.raises(InputError, match="at least one candidate"):
        held_out_path([], 10, 0.05)
    with pytest.raises(InputError, match="finite and negative"):
        binomial_upper(1, 10, 0.0)
    with pytest.raises(InputError, match=r"one of \('binomial', 'kl'\)"):
        occam_bound(1, 10, 1, 0.05, form="other")
    with pytest.raises(InputError, match="a risk in"):
        bits_allowed(1, 10, 0.05, 1.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        kl_upper(1.2, 0.1)
    with pytest.raises(InputError, match="at least 0"):
        kl_upper(0.2, math.nan)
