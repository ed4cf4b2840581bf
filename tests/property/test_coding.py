"""decode(encode(x)) == x, whatever x; and no other bytes are accepted for it."""

import contextlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from prunable.certify.coding import decode, decode_mask, encode, encode_mask
from prunable.errors import DataIntegrityError

SHAPES = st.one_of(
    array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
    st.tuples(st.just(1), st.integers(0, 200)),
    st.tuples(st.integers(0, 200), st.just(1)),
)
SPARSE = st.one_of(st.just(0), st.just(0), st.integers(-2, 2))
VALUES = st.one_of(SPARSE, st.integers(-(1 << 10), 1 << 10), st.just(-7))


@given(SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=SPARSE)))
def test_small_integers_come_back(levels):
    found = decode(encode(levels))
    assert found.shape == levels.shape
    np.testing.assert_array_equal(found, levels)


@given(arrays(np.int64, array_shapes(max_dims=4, max_side=3), elements=VALUES))
def test_large_and_repeated_integers_come_back(levels):
    np.testing.assert_array_equal(decode(encode(levels)), levels)


@given(st.integers(1, 300), st.data())
def test_arrays_of_one_entry_come_back(size, data):
    levels = np.zeros((1, size), dtype=np.int64)
    levels[0, data.draw(st.integers(0, size - 1))] = data.draw(st.sampled_from([-5, 1]))
    np.testing.assert_array_equal(decode(encode(levels)), levels)


@given(arrays(np.bool_, st.integers(0, 300)))
def test_masks_come_back(mask):
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), mask.size), mask)


@given(st.integers(0, 300), st.booleans())
def test_full_and_empty_masks_cost_their_count_only(size, full):
    mask = np.full(size, full)
    content = encode_mask(mask)
    assert len(content) <= 4
    np.testing.assert_array_equal(decode_mask(content, size), mask)


@given(st.binary(max_size=12))
def test_any_bytes_are_a_code_of_their_own_or_refused(content):
    with contextlib.suppress(DataIntegrityError):
        assert encode(decode(content)) == content
