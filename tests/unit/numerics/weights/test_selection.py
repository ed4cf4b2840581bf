"""Exact top-k selection and the rounding of shares to counts."""

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.arrays import Lazy
from prunable.numerics.weights import selection
from prunable.numerics.weights.magnitudes import Magnitudes
from prunable.numerics.weights.selection import kept_count, top_k_counts, top_k_mask, top_k_masks


def by_sorting(scores: np.ndarray, k: int) -> np.ndarray:
    """A stable sort of the negated scores puts the lower of equal scores first."""
    mask = np.zeros(scores.size, dtype=bool)
    mask[np.argsort(-scores.ravel().astype(np.float64), kind="stable")[:k]] = True
    return mask.reshape(scores.shape)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.int64])
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_agrees_with_a_stable_sort(dtype, levels):
    generator = np.random.default_rng(0)
    scores = (generator.integers(-levels, levels, size=200) / 2).astype(dtype)
    for k in range(201):
        np.testing.assert_array_equal(top_k_mask(scores, k), by_sorting(scores, k))


def test_ties_go_to_the_lower_index():
    np.testing.assert_array_equal(
        top_k_mask(np.array([1.0, 2.0, 1.0, -0.0, 0.0, 1.0]), 3), [1, 1, 1, 0, 0, 0]
    )
    np.testing.assert_array_equal(top_k_mask(np.array([-0.0, 0.0, -0.0]), 1), [1, 0, 0])


def test_matrices_and_infinities():
    scores = np.array([[0.0, np.inf], [-np.inf, 1.0]], order="F")
    np.testing.assert_array_equal(top_k_mask(scores, 2), [[0, 1], [0, 1]])
    np.testing.assert_array_equal(top_k_mask(scores, 3), [[1, 1], [0, 1]])
    assert top_k_mask(np.empty((0, 3)), 0).shape == (0, 3)


@pytest.mark.parametrize("k", [-1, 4, 1.0, "2", None])
def test_bad_k_is_named(k):
    with pytest.raises(InputError, match="`k` of `top_k_mask` must be an integer between 0 and 3"):
        top_k_mask([1.0, 2.0, 3.0], k)


def test_bad_scores_are_named():
    with pytest.raises(InputError, match="`scores` of `top_k_mask` must be free of NaN; got 2 NaN"):
        top_k_mask([np.nan, 1.0, np.nan], 1)
    with pytest.raises(InputError, match="real numbers"):
        top_k_mask([1j], 1)


@pytest.mark.parametrize("rounding", ["ceil", "floor"])
def test_shares_that_mean_whole_numbers(rounding):
    assert kept_count(0.1, 30, rounding) == 3
    assert kept_count(1 - 0.9, 30, rounding) == 3
    assert kept_count(1 - 0.7, 10, rounding) == 3
    assert kept_count(0.0, 7, rounding) == 0
    assert kept_count(1.0, 7, rounding) == 7
    assert kept_count(0.5, 0, rounding) == 0


@pytest.mark.parametrize("rounding", ["ceil", "floor"])
@pytest.mark.parametrize("total", [1, 3, 7, 30, 997, 1000])
def test_share_of_a_count_gives_the_count_back(rounding, total):
    for k in range(total + 1):
        assert kept_count(k / total, total, rounding) == k
        assert kept_count(1 - (1 - k / total), total, rounding) == k


def test_fractions_are_rounded_as_asked():
    assert kept_count(0.5, 5) == kept_count(0.5, 5, "ceil") == 3
    assert kept_count(0.5, 5, "floor") == 2
    assert kept_count(1e-9, 1000) == 1
    assert kept_count(1 - 1e-9, 1000, "floor") == 999


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ((-0.1, 5), "kappa"),
        ((1.1, 5), "kappa"),
        ((np.nan, 5), "kappa"),
        ((0.5, -1), "total"),
        ((0.5, 5, "round"), "rounding"),
    ],
)
def test_bad_arguments_are_named(arguments, culprit):
    with pytest.raises(InputError, match=f"`{culprit}` of `kept_count`"):
        kept_count(*arguments)


@pytest.mark.parametrize("dtypes", [(np.float32, np.float32), (np.float32, np.float64)])
def test_top_k_of_several_arrays(dtypes):
    r = np.random.default_rng(0)
    arrays = [
        np.round(r.standard_normal(shape), 1).astype(dtype)
        for shape, dtype in zip([(70, 300), (5,)], dtypes, strict=True)
    ]
    joined = np.concatenate([np.abs(a).astype(np.float64).ravel() for a in arrays])
    for k in (0, 1, 17, 5000, joined.size - 1, joined.size):
        masks = top_k_masks(arrays, k)
        assert [m.shape for m in masks] == [a.shape for a in arrays]
        np.testing.assert_array_equal(
            np.concatenate([m.ravel() for m in masks]), top_k_mask(joined, k)
        )


def test_few_are_put_in_order_to_what_bins_come_to(monkeypatch):
    r = np.random.default_rng(2)
    for _ in range(20):
        arrays = [r.normal(size=n).round(1) for n in r.integers(1, 50, r.integers(1, 5))]
        k = int(r.integers(0, sum(a.size for a in arrays) + 1))
        found = []
        for most in (2**20, 0):
            monkeypatch.setattr(selection, "GATHERED", most)
            found.append(np.concatenate(top_k_masks(arrays, k)))
        np.testing.assert_array_equal(*found)


def test_top_k_of_several_large_arrays():
    r = np.random.default_rng(1)
    arrays = [r.standard_cauchy(200_000).astype(np.float32), np.zeros(300_000, np.float32)]
    for k in (1, 150_000, 200_000, 250_000, 500_000):
        first, second = top_k_masks(arrays, k)
        assert first.sum() == min(k, 200_000)
        assert second.sum() == max(0, k - 200_000)
        assert second[: second.sum()].all()
        if k < 200_000:
            assert np.abs(arrays[0][first]).min() > np.abs(arrays[0][~first]).max()


def _many(kind):
    r = np.random.default_rng(3)
    size = selection.GATHERED + 12_345
    step = (size + 5000) // selection.SAMPLED
    values = {
        "normal": lambda: r.standard_normal(size),
        "few levels": lambda: r.integers(-3, 4, size),
        "hundred levels": lambda: r.standard_normal(size).round(2),
        "in order": lambda: np.sort(r.standard_normal(size)),
        # the sample sees the small ones alone
        "misleading": lambda: np.where(np.arange(size) % step, 5.0, 1.0) * r.random(size),
    }[kind]()
    return [values.astype(np.float32), r.standard_normal((50, 100)).astype(np.float32)]


@pytest.mark.parametrize(
    "kind", ["normal", "few levels", "hundred levels", "in order", "misleading"]
)
def test_top_k_of_many_is_exact_whatever_a_sample_says(kind):
    arrays = _many(kind)
    joined = np.concatenate([np.abs(a).ravel() for a in arrays])
    for share in (0.001, 0.02, 0.5, 0.9, 0.999):
        k = round(share * joined.size)
        found = np.concatenate([m.ravel() for m in top_k_masks(arrays, k)])
        np.testing.assert_array_equal(found, top_k_mask(joined, k))


def test_a_sample_tells_the_threshold_of_normal_weights_and_not_of_misleading_ones():
    for kind, told in (("normal", True), ("misleading", False), ("few levels", False)):
        parts = [Magnitudes.of(a) for a in _many(kind)]
        assert (selection._masks_near_sample(parts, 500_000) is not None) == told


def test_magnitudes_stand_for_their_arrays():
    single, double = np.float32([[0.5, -2.0], [3.0, 0.0]]), np.array([1.0, -0.25])
    expected = top_k_masks([single.ravel(), double], 3)
    found = top_k_masks([Magnitudes.of(single), double], 3)
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))
    assert np.concatenate(found).tolist() == [False, True, True, False, True, False]


def test_top_k_of_several_refuses_mistakes():
    with pytest.raises(InputError, match="`k`"):
        top_k_masks([np.ones(3)], 4)
    with pytest.raises(InputError, match="`w` of `top_k_masks`"):
        top_k_masks([np.array([np.nan])], 1)


@pytest.mark.parametrize("gathered", [0, 7, 2**20])
@pytest.mark.parametrize("levels", [1, 3, 10**9])
def test_counts_are_those_of_the_masks(monkeypatch, gathered, levels):
    monkeypatch.setattr(selection, "GATHERED", gathered)
    generator = np.random.default_rng(levels)
    arrays = [
        (generator.integers(-levels, levels, size=(n, 3)) / 7).astype(dtype)
        for n, dtype in ((4, np.float32), (1, np.float64), (9, np.float64), (2, np.float32))
    ]
    lazy = Lazy(4, lambda i: arrays[i])
    for k in range(49):
        expected = [int(mask.sum()) for mask in top_k_masks(arrays, k)]
        assert top_k_counts(lazy, k) == expected
    with pytest.raises(InputError, match="`k` of `top_k_counts`"):
        top_k_counts(lazy, 49)
    with pytest.raises(InputError, match="NaN or infinite"):
        top_k_counts([np.array([1.0, np.nan])], 1)
