"""Invariants of compression errors and kept shares, and brute force on small arrays."""

import itertools
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prunable.numerics.weights.compressibility import (
    best_k_term_error,
    kappa_curve,
    kappa_p,
    kept_counts,
    relative_error,
)
from prunable.numerics.weights.selection import kept_count, top_k_mask

# Small whole numbers make ties and exact boundaries likely; the others do not.
ENTRIES = st.one_of(
    st.integers(-4, 4).map(float), st.floats(-1e3, 1e3, allow_subnormal=False, width=32)
)
FLOAT_TYPES = st.sampled_from([np.float32, np.float64])
EXTREME = st.floats(-1e308, 1e308, allow_nan=False)
ORDERS = st.sampled_from([0.4, 1.0, 1.3, 2.0, 7.0, 300.0])
EPS = st.floats(0, 1.5)


def vectors(entries=ENTRIES, max_size=40):
    shapes = hnp.array_shapes(max_dims=2, max_side=max_size)
    return (
        FLOAT_TYPES.flatmap(lambda t: hnp.arrays(t, shapes, elements=entries))
        if (entries is ENTRIES)
        else hnp.arrays(np.float64, shapes, elements=entries)
    )


def exact_powers(w: np.ndarray, p: int) -> list[Fraction]:
    return [Fraction(float(abs(x))) ** p for x in w.ravel()]


@given(vectors(max_size=3), EPS, st.sampled_from([1, 2, 3]))
def test_no_set_of_fewer_entries_does(w, eps, p):
    """All subsets, in exact arithmetic; the two rounding errors are allowed for."""
    powers = exact_powers(w, p)
    total = sum(powers)
    count = int(kept_counts(w, eps, float(p)))

    def least_lost(k: int) -> Fraction:
        return min(total - sum(kept) for kept in itertools.combinations(powers, k))

    bound = Fraction(eps) ** p * total
    noise = Fraction(1, 10**14)
    assert least_lost(count) <= bound * (1 + noise)
    assert count == 0 or least_lost(count - 1) > bound * (1 - noise)


@given(vectors(EXTREME), EPS, ORDERS)
def test_promised_error_is_kept_and_tight(w, eps, p):
    k = int(kept_counts(w, eps, p))
    kept = top_k_mask(np.abs(w), k)
    assert relative_error(w, kept, p) <= eps
    assert relative_error(w, kept, p) == best_k_term_error(w, k, p)
    if k > 0:
        assert relative_error(w, top_k_mask(np.abs(w), k - 1), p) > eps
    assert kappa_p(w, eps, p) == k / w.size


@given(vectors(), ORDERS, st.data())
def test_realised_error_asks_for_no_more_entries(w, p, data):
    k = data.draw(st.integers(0, w.size))
    assert kept_counts(w, best_k_term_error(w, k, p), p) <= k


@given(vectors(EXTREME), st.lists(EPS, min_size=1, max_size=8), ORDERS)
def test_shares_fall_with_eps_and_stay_in_range(w, eps, p):
    curve = kappa_curve(w, np.sort(eps), p)
    assert ((curve >= 0) & (curve <= 1)).all()
    assert (np.diff(curve) <= 0).all()
    singles = [kappa_p(w, e, p) for e in np.sort(eps)]
    np.testing.assert_array_equal(curve, singles)


@given(vectors(), EPS, ORDERS, st.integers(-60, 60), st.randoms(use_true_random=False))
def test_scale_sign_and_order_do_not_matter(w, eps, p, exponent, random):
    flat = w.ravel().tolist()
    random.shuffle(flat)
    signs = [random.choice((-1, 1)) for _ in flat]
    changed = np.array(flat) * signs * 2.0**exponent
    assert kept_counts(changed, eps, p) == kept_counts(w.astype(np.float64), eps, p)


@given(vectors(), EPS, ORDERS, st.integers(1, 20))
def test_zeros_cost_nothing(w, eps, p, zeros):
    longer = np.concatenate([w.ravel(), np.zeros(zeros, dtype=w.dtype)])
    assert kept_counts(longer, eps, p) == kept_counts(w, eps, p)


@given(vectors(), ORDERS)
def test_errors_fall_from_one_to_zero(w, p):
    errors = [best_k_term_error(w, k, p) for k in range(w.size + 1)]
    assert errors[0] == (1.0 if w.any() else 0.0)
    assert errors[-1] == 0
    assert (np.diff(errors) <= 0).all()


@given(st.integers(0, 10**7), st.data(), st.sampled_from(["ceil", "floor"]))
def test_share_of_a_count_gives_the_count_back(total, data, rounding):
    k = data.draw(st.integers(0, total))
    share = k / total if total else 0.0
    assert kept_count(share, total, rounding) == k
    assert kept_count(1 - (1 - share), total, rounding) == k
