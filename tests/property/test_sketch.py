"""Sketching and decoding is the identity, whatever the matrix; every decoder ends."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prunable.numerics.randomness import rng
from prunable.sketch.recovery.channels import TaggedSketch, decode_tagged, tagged_sketch
from prunable.sketch.recovery.douglas_rachford import decode_l1
from prunable.sketch.recovery.ensembles import delta_random
from prunable.sketch.recovery.entries import Ending, Entries
from prunable.sketch.recovery.peeling import peel
from prunable.sketch.recovery.sizes import sketch_size
from prunable.sketch.recovery.sketching import sketch

SIZES = st.integers(0, 24)
SHAPES = st.one_of(
    st.tuples(SIZES, SIZES),
    st.tuples(st.just(1), st.integers(1, 60)),
    st.tuples(st.integers(1, 60), st.just(1)),
)
DTYPES = st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64])
SEEDS = st.integers(0, 50)


@st.composite
def matrices(draw):
    """Any share of zeros, from none to all; values of any bits, often repeated."""
    shape, dtype = draw(SHAPES), draw(DTYPES)
    levels = draw(st.sampled_from([1, 3, None]))
    high = np.iinfo(dtype).max
    elements = st.integers(1, high) if levels is None else st.integers(high - levels + 1, high)
    values = draw(arrays(dtype, shape, elements=elements, fill=elements))
    share = draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]))
    return values * (rng(draw(SEEDS), "mask").random(shape) < share).astype(dtype)


@given(matrices(), SEEDS)
@example(np.zeros((7, 9), dtype=np.uint32), 0)  # empty
@example(np.full((12, 15), 3, dtype=np.uint8), 0)  # full, one value
@example(np.eye(1, 40, 17, dtype=np.uint64), 0)  # 1 x N, a single entry
@example(np.eye(40, 1, -39, dtype=np.uint16), 0)
@example(np.full((1, 1), 255, dtype=np.uint8), 0)
@example(np.zeros((0, 5), dtype=np.uint8), 0)
def test_decode_of_encode_is_the_identity(matrix, seed):
    """With up to six draws, as files are made; one draw fails in about 1 of 200 at most."""
    entries = Entries.of(matrix)
    for attempt in range(6):
        growth = 1.1**attempt
        size = sketch_size(entries, factor=1.6 * growth, line_factor=2.0 * growth)
        left, right = size.ensembles(entries.shape, rng(seed, attempt))
        decoded = decode_tagged(tagged_sketch(entries, left, right), left, right)
        if decoded.verdict == Ending.RECOVERED:
            break
    assert decoded.verdict == Ending.RECOVERED
    np.testing.assert_array_equal(decoded.entries.dense(), matrix)
    assert decoded.entries.values.dtype == matrix.dtype


@given(matrices(), matrices(), SEEDS)
def test_integer_sketches_are_linear(first, second, seed):
    first, second = Entries.of(first), Entries.of(second.astype(first.dtype))
    if first.shape != second.shape:
        return
    left, right = (delta_random(n, n + 5, 2, rng(seed, i)) for i, n in enumerate(first.shape))
    total = Entries.of(first.dense() + second.dense())
    np.testing.assert_array_equal(
        sketch(first, left, right) + sketch(second, left, right), sketch(total, left, right)
    )


@given(
    arrays(np.uint8, st.tuples(st.integers(3, 9), st.integers(3, 9))),
    st.sampled_from([np.uint8, np.uint32]),
    st.integers(3, 30),
    SEEDS,
)
def test_decoders_of_anything_end_with_a_true_verdict(noise, dtype, n, seed):
    """Sketches that are no sketches: RECOVERED is said only of what explains them."""
    left, right = (delta_random(min(n, m), m, 2, rng(seed, i)) for i, m in enumerate(noise.shape))
    values = noise.astype(dtype)
    tags = rng(seed, "tags").integers(0, 2**32, noise.shape, dtype=np.uint64) * (noise % 2)
    decoded = decode_tagged(TaggedSketch(values, tags.astype(np.uint64)), left, right)
    explained = np.array_equal(sketch(decoded.entries, left, right), values)
    assert explained or decoded.verdict != Ending.RECOVERED
    for found in (
        peel(values, left, right),
        peel(noise.astype(np.float64), left, right),
        decode_l1(noise.astype(np.float64), left, right, max_iterations=50),
    ):
        assert found.verdict in Ending
        again = sketch(found.entries, left, right)
        if found.verdict == Ending.RECOVERED:
            np.testing.assert_allclose(again, noise, atol=1e-8)


@given(matrices())
def test_no_line_is_fuller_than_the_fullest(matrix):
    fullest = Entries.of(matrix).fullest
    counts = (matrix != 0).sum(axis=1), (matrix != 0).sum(axis=0)
    assert fullest == tuple(int(c.max(initial=0)) for c in counts)
    assert fullest[0] * matrix.shape[0] >= np.count_nonzero(matrix)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (20, 20)])
@given(st.integers(0, 6), SEEDS)
def test_real_sketches_of_few_values_are_peeled(shape, count, seed):
    """Distinct values: verification needs them."""
    r = rng(seed, "real")
    keys = np.sort(r.choice(shape[0] * shape[1], count, replace=False))
    values = r.standard_normal(count)
    entries = Entries(shape, keys // shape[1], keys % shape[1], values)
    left, right = sketch_size(entries, factor=4.0, delta=4, line_factor=4.0).ensembles(shape, r)
    decoded = peel(sketch(entries, left, right), left, right)
    assert decoded.verdict == Ending.RECOVERED
    np.testing.assert_allclose(decoded.entries.dense(), entries.dense(), atol=1e-13)
