"""Binned magnitudes against plain sorting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.numerics.weights import magnitudes as module
from prunable.numerics.weights.magnitudes import SORTED_SIZE, Magnitudes, bin_edges

N = SORTED_SIZE + 12_345


def samples():
    r = rng(0, "magnitudes")
    normal = r.standard_normal(N)
    return {
        "float64": normal,
        "float32": normal.astype(np.float32),
        "cauchy": r.standard_cauchy(N),
        "zeros": normal * (r.random(N) > 0.9),
        "few values": np.round(normal).astype(np.float32),
        "wide": normal * 10.0 ** r.uniform(-25, 25, N),
        "too wide": normal * 10.0 ** r.uniform(-200, 200, N),
        "subnormal": (normal * 1e-42).astype(np.float32),
        "integers": r.integers(-100, 100, N),
        "all zero": np.zeros(N),
    }


def brute_counts(w, eps, p):
    a = np.sort(np.abs(w.astype(np.longdouble)))
    if a[-1] == 0:
        return np.zeros(len(eps), dtype=int)
    sums = np.append(0, np.cumsum((a / a[-1]) ** p))
    errors = (sums / sums[-1]) ** (1 / np.longdouble(p))
    return len(a) - (np.searchsorted(errors, np.array(eps, np.longdouble), side="right") - 1)


@pytest.mark.parametrize("name", list(samples()))
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0])
def test_counts_are_those_of_sorting(name, p):
    w = samples()[name]
    eps = [0.0, 1e-3, 0.05, 0.1, 0.3, 0.9, 1.0, 2.0]
    if name == "too wide":
        eps[0] = 1e-60  # errors below the smallest double are 0
    found = Magnitudes.of(w).kept_counts(eps, p)
    expected = brute_counts(w, eps, p)
    # sums in another order differ by 1e-15: at most a few entries of a plateau
    assert np.abs(found - expected).max() <= (0 if name != "few values" else 1)


@pytest.mark.parametrize("name", ["float64", "float32", "cauchy", "zeros", "wide", "all zero"])
def test_shares_for_curves_are_close(name):
    magnitudes = Magnitudes.of(samples()[name])
    eps = np.geomspace(0.01, 1, 40)
    exact = magnitudes.kept_counts(eps) / N
    # the bin of an entry is 1/128 or 1/16 wide, and so is the step of a very heavy tail
    np.testing.assert_allclose(magnitudes.kept_shares(eps), exact, atol=1e-3)


@given(
    arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(0, 1.2),
    st.sampled_from([1.0, 2.0]),
)
def test_binned_and_sorted_agree_on_anything(w, eps, p):
    """Both paths on small arrays: errors just below and above decide the same."""
    by_sorting = int(Magnitudes.of(w).kept_counts(eps, p))
    before = module.SORTED_SIZE
    module.SORTED_SIZE = 0
    try:
        by_bins = int(Magnitudes.of(w).kept_counts(eps, p))
    finally:
        module.SORTED_SIZE = before
    errors = Magnitudes.of(w).errors(p)
    low, high = sorted((by_sorting, by_bins))
    # equal, or between them the error equals eps up to rounding
    assert low == high or np.allclose(errors[w.size - high : w.size - low + 1], eps, rtol=1e-12)


@pytest.mark.parametrize("name", ["float32", "zeros", "few values", "cauchy", "all zero"])
def test_largest(name):
    w = samples()[name]
    ascending = np.sort(np.abs(w))
    for k in (0, 1, 7, 1000, N):
        found = Magnitudes.of(w).largest(k)
        np.testing.assert_array_equal(found, ascending[N - k :])


@pytest.mark.parametrize("name", ["float32", "zeros", "few values", "cauchy"])
@pytest.mark.parametrize("size", [300, N])
def test_survival_counts_are_exact(name, size):
    w = samples()[name][:size]
    edges, above = Magnitudes.of(w).survival(40)
    magnitudes = np.abs(w)
    assert 3 <= len(edges) <= 60
    assert np.all(np.diff(edges) > 0)
    for edge, count in zip(edges, above, strict=True):
        assert count == np.count_nonzero(magnitudes >= edge)


def test_survival_of_nothing():
    for size in (5, N):
        edges, above = Magnitudes.of(np.zeros(size)).survival(10)
        assert len(edges) == len(above) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges_are_where_bins_begin(dtype):
    edges = bin_edges(np.dtype(dtype))
    finite = edges[np.isfinite(edges)]
    assert edges[0] == 0
    assert np.all(np.diff(finite) > 0)
    at, before = Magnitudes.of(finite), Magnitudes.of(np.nextafter(finite[1:], 0, dtype=dtype))
    np.testing.assert_array_equal(np.concatenate([b for _, b in at.binned()]), range(len(finite)))
    np.testing.assert_array_equal(
        np.concatenate([b for _, b in before.binned()]), range(len(finite) - 1)
    )


def test_nothing_is_copied():
    w = samples()["float32"]
    assert np.shares_memory(Magnitudes.of(w).values, w)
    assert np.shares_memory(Magnitudes.of(w.reshape(1, -1)).values, w)


@pytest.mark.parametrize("bad", [[], [np.nan], [np.inf, 1], ["a"]])
def test_mistakes_raise(bad):
    with pytest.raises(InputError, match="`w`"):
        Magnitudes.of(np.array(bad))
    with pytest.raises(InputError, match="`eps`"):
        Magnitudes.of([1.0]).kept_counts([-1])
    with pytest.raises(InputError, match="`p`"):
        Magnitudes.of([1.0]).kept_counts([0.1], 0)
