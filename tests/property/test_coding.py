"""decode(encode(x)) == x, whatever x; and no other bytes are accepted for it."""

import contextlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from prunable.certify.code_file import decode_network, encode_network
from prunable.certify.coding.arithmetic import Encoder
from prunable.certify.coding.levels import code_levels, decode_exactly
from prunable.errors import DataIntegrityError

SHAPES = st.one_of(
    array_shapes(min_dims=4, max_dims=4, min_side=0, max_side=6),
    st.tuples(st.just(1), st.integers(0, 200), st.just(1), st.just(1)),
    st.tuples(st.integers(0, 200), st.just(1), st.just(1), st.just(1)),
)
SPARSE = st.one_of(st.just(0), st.just(0), st.integers(-2, 2))
VALUES = st.one_of(SPARSE, st.integers(-(1 << 10), 1 << 10), st.just(-7))


def encode(levels, largest):
    encoder = Encoder()
    code_levels(encoder, levels, levels.shape, largest)
    return encoder.finish()


def round_trip(levels, largest):
    """Through the bytes and back, which may hold nothing else."""
    return decode_exactly(
        encode(levels, largest),
        lambda coder: code_levels(coder, None, levels.shape, largest),
        lambda found: encode(found, largest),
    )


@given(SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=SPARSE)))
def test_small_integers_come_back(levels):
    found = round_trip(levels, 2)
    assert found.shape == levels.shape
    np.testing.assert_array_equal(found, levels)


@given(arrays(np.int64, array_shapes(min_dims=4, max_dims=4, max_side=3), elements=VALUES))
def test_large_and_repeated_integers_come_back(levels):
    np.testing.assert_array_equal(round_trip(levels, 1 << 10), levels)


@given(st.integers(1, 300), st.data())
def test_arrays_of_one_entry_come_back(size, data):
    levels = np.zeros((1, size, 1, 1), dtype=np.int64)
    levels[0, data.draw(st.integers(0, size - 1))] = data.draw(st.sampled_from([-5, 1]))
    np.testing.assert_array_equal(round_trip(levels, 5), levels)


@given(st.binary(max_size=12))
def test_any_bytes_are_a_network_of_their_own_or_refused(content):
    with contextlib.suppress(DataIntegrityError):
        assert encode_network(decode_network(content)) == content
