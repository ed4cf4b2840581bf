"""The log-moment estimator: its formula, what it refuses, and extreme scales."""

import math

import numpy as np
import pytest
import scipy.stats

from prunable.errors import InputError
from prunable.numerics.tails import Estimator, Status, log_moment, log_moment_vectors


def cauchy(n: int, seed: int = 0) -> np.ndarray:
    return scipy.stats.cauchy.rvs(size=n, random_state=seed)


def published_formula(x: np.ndarray, k1: int) -> tuple[float, float]:
    """alpha and its standard error from appendix A.1, sum by sum, in Python floats."""
    contributions = []
    for start in range(0, len(x) - k1 + 1, k1):
        block = x[start : start + k1]
        total = math.hypot(*(math.fsum(column) for column in block.T))
        mean_log = math.fsum(math.log(math.hypot(*row)) for row in block) / k1
        contributions.append((math.log(total) - mean_log) / math.log(k1))
    k2 = len(contributions)
    inverse = math.fsum(contributions) / k2
    variance = math.fsum((z - inverse) ** 2 for z in contributions) / (k2 - 1)
    return 1 / inverse, math.sqrt(variance / k2) / inverse**2


@pytest.mark.parametrize(("n", "block_size"), [(1000, 25), (1000, 31), (5003, 2), (900, None)])
def test_agrees_with_the_published_formula(n, block_size):
    x = cauchy(n)
    alpha, stderr = published_formula(x[:, None], block_size or 30)
    found = log_moment(x, block_size=block_size)
    assert found.status is Status.OK
    assert found.alpha == pytest.approx(alpha, rel=1e-12)
    assert found.stderr == pytest.approx(stderr, rel=1e-10)
    k1 = block_size or 30
    assert (found.n, found.method, found.zeros_share) == (n // k1 * k1, "log_moment", 0)
    assert "Mohammadi" in found.source


def test_vectors_agree_with_the_published_formula():
    x = cauchy(4000).reshape(1000, 4)
    alpha, stderr = published_formula(x, 31)
    found = log_moment_vectors(x)
    assert found.alpha == pytest.approx(alpha, rel=1e-12)
    assert found.stderr == pytest.approx(stderr, rel=1e-10)
    assert (found.n, found.method) == (992, "log_moment_vectors")


def test_vectors_of_dimension_one_are_scalars():
    x = cauchy(2000)
    scalar, vector = log_moment(x), log_moment_vectors(x[:, None])
    # the two add up in different orders
    assert scalar.alpha == pytest.approx(vector.alpha, rel=1e-12)
    assert scalar.stderr == pytest.approx(vector.stderr, rel=1e-12)


@pytest.mark.parametrize("center", ["median", "mean"])
def test_coordinates_are_centred_separately(center):
    x = cauchy(3000).reshape(1000, 3)
    middle = getattr(np, center)(x, axis=0)
    expected = published_formula(x - middle, 31)[0]
    shifted = log_moment_vectors(x + np.array([5.0, -7.0, 0.0]), center=center)
    assert shifted.alpha == pytest.approx(expected, rel=1e-9)
    assert log_moment(x[:, 0] + 5, center=center).alpha == pytest.approx(
        published_formula((x - middle)[:, :1], 31)[0], rel=1e-9
    )


def test_the_observation_equal_to_the_median_is_left_out():
    x = cauchy(1001)
    others = np.delete(x, np.argsort(x)[500])
    expected = published_formula(others[:, None] - np.median(x), 31)[0]
    assert log_moment(x, center="median").alpha == pytest.approx(expected, rel=1e-10)


def test_zeros_are_dropped_and_reported():
    x = cauchy(1000)
    mixed = np.zeros(1250)
    mixed[np.arange(1250) % 5 != 2] = x
    found, expected = log_moment(mixed), log_moment(x)
    assert (found.alpha, found.stderr, found.n) == (expected.alpha, expected.stderr, expected.n)
    assert found.zeros_share == pytest.approx(0.2)
    rows = np.outer(mixed, [1.0, 0.0, -2.0])
    assert log_moment_vectors(rows).zeros_share == pytest.approx(0.2)
    assert log_moment_vectors(rows).alpha == pytest.approx(expected.alpha, rel=1e-12)


@pytest.mark.parametrize("factor", [2.0**-990, 2.0**990, -(2.0**7)])
def test_powers_of_two_change_nothing(factor):
    x = scipy.stats.norm.rvs(size=900, random_state=1)
    for estimate, data in ((log_moment, x), (log_moment_vectors, x.reshape(300, 3))):
        for center in (None, "median", "mean"):
            scaled, plain = (estimate(y, center=center) for y in (data * factor, data))
            assert scaled.alpha == pytest.approx(plain.alpha, rel=1e-12)
            assert scaled.status is Status.OK


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_extreme_float64_scales(scale):
    x = np.clip(cauchy(2000), -1e7, 1e7)
    assert log_moment(x * scale).alpha == pytest.approx(log_moment(x).alpha, rel=1e-9)


@pytest.mark.parametrize("center", [None, "median", "mean"])
def test_the_largest_floats_do_not_overflow(center):
    x = scipy.stats.norm.rvs(loc=3, size=2000, random_state=4)
    largest = x * (1.7e308 / np.abs(x).max())
    expected = log_moment(x, center=center)
    assert log_moment(largest, center=center).alpha == pytest.approx(expected.alpha, rel=1e-9)


def test_float32_subnormals_and_half_precision():
    tiny = (np.arange(1, 1001) * 1e-42).astype(np.float32)
    assert 0 < tiny.max() < np.finfo(np.float32).tiny
    for x in (tiny, scipy.stats.norm.rvs(size=1000, random_state=2).astype(np.float16)):
        found = log_moment(x)
        assert found.alpha == log_moment(x.astype(np.float64)).alpha
        assert found.status is Status.OK


def test_vectors_far_smaller_than_the_largest_do_not_vanish():
    x = scipy.stats.norm.rvs(size=(400, 2), random_state=3)
    x[::40] *= 1e-250
    expected = published_formula(x, 20)[0]
    assert log_moment_vectors(x).alpha == pytest.approx(expected, rel=1e-12)


def test_blocks_that_cancel_are_left_out():
    x = cauchy(400)
    cancelling = x.copy()
    cancelling[40:60] = [1.0, -1.0] * 10
    expected = published_formula(np.delete(x, np.s_[40:60])[:, None], 20)[0]
    found = log_moment(cancelling)
    assert found.alpha == pytest.approx(expected, rel=1e-12)
    assert found.n == 380


@pytest.mark.parametrize(
    ("x", "status"),
    [
        (cauchy(31), Status.TOO_FEW),
        (np.concatenate([cauchy(31), np.zeros(1000)]), Status.TOO_FEW),
        (np.tile([1.0, -1.0], 200), Status.TOO_FEW),
        (np.full(500, 3.5), Status.DEGENERATE),
        (np.zeros(500), Status.DEGENERATE),
        (np.tile([0.0, 2.0], 200), Status.DEGENERATE),
        # each block of 20 sums to one number far smaller than its terms
        (np.tile(np.r_[np.ones(10), -np.ones(9), -0.999], 20), Status.NOT_STABLE),
    ],
)
def test_data_without_a_tail_index_get_a_status(x, status):
    for found in (log_moment(x), log_moment_vectors(np.outer(x, [1.0, 2.0]))):
        assert found.status is status
        assert math.isnan(found.alpha)
        assert math.isnan(found.stderr)
        assert found.zeros_share == pytest.approx((x == 0).mean())


def test_few_blocks_are_too_few():
    assert log_moment(cauchy(400), block_size=50).status is Status.OK
    assert log_moment(cauchy(399), block_size=50).status is Status.TOO_FEW
    assert log_moment(cauchy(400), block_size=10**6).status is Status.TOO_FEW


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([1.0, np.nan] * 50, {}, "`x` of `log_moment` must be free of NaN; got 50 NaN"),
        ([1.0, np.inf] * 50, {}, "`x` of `log_moment` must be finite; got 50 infinite"),
        ([], {}, "`x` of `log_moment` must be a non-empty array of 1"),
        (np.ones((50, 2)), {}, "`x` of `log_moment` must be a non-empty array of 1"),
        (["a"], {}, "`x` of `log_moment` must be real numbers"),
        ([1.0], {"block_size": 1}, "`block_size` of `log_moment` must be an integer of at"),
        ([1.0], {"block_size": 2.5}, "`block_size` of `log_moment` must be an integer of at"),
        ([1.0], {"center": "mode"}, "`center` of `log_moment` must be None or one of"),
    ],
)
def test_callers_mistakes_raise(arguments, options, message):
    with pytest.raises(InputError, match=message):
        log_moment(arguments, **options)


def test_vectors_must_be_a_matrix():
    for bad in (np.ones(50), np.ones((5, 0))):
        with pytest.raises(InputError, match="`x` of `log_moment_vectors`"):
            log_moment_vectors(bad)


def test_input_is_not_modified():
    x = cauchy(100)
    before = x.copy()
    estimators: list[Estimator] = [log_moment]
    for estimate in estimators:
        estimate(x, center="median")
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("n", range(32, 70))
def test_the_default_block_size_leaves_enough_blocks_for_every_size(n):
    assert log_moment(cauchy(n)).status is Status.OK
