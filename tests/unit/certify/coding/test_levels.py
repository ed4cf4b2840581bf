"""Codes of integers: the mixture against exact fractions, layers against counting."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from prunable.certify.coding.arithmetic import Encoder, Meter
from prunable.certify.coding.levels import Mixture, code_levels, decode_exactly, ideal_bits
from prunable.errors import DataIntegrityError, InputError
from prunable.numerics.randomness import rng


def encode(levels, largest):
    encoder = Encoder()
    code_levels(encoder, levels, levels.shape, largest)
    return encoder.finish()


def decode(content, shape, largest):
    return decode_exactly(
        content,
        lambda coder: code_levels(coder, None, shape, largest),
        lambda levels: encode(levels, largest),
    )


def subset_bits(total, kept):
    return math.log2(math.comb(total, kept))


def kt(bits):
    """Probability of a sequence under the KT estimator, as a fraction."""
    ones = zeros = 0
    p = Fraction(1)
    for bit in bits:
        p *= Fraction(2 * (ones if bit else zeros) + 1, 2 * (ones + zeros + 1))
        ones, zeros = ones + bit, zeros + 1 - bit
    return p


@pytest.mark.parametrize("bits", [(0, 0, 1, 0, 1, 1, 0, 0, 0), (1,) * 9, (0, 1) * 5])
def test_mixture_is_the_mean_of_its_experts(bits):
    # one expert sees all decisions, the other those at even and odd places apart
    meter, mixture = Meter(), Mixture((1, 2))
    for place, bit in enumerate(bits):
        mixture.code(meter, bit, (0, place % 2))
    expected = (kt(bits) + kt(bits[::2]) * kt(bits[1::2])) / 2
    assert meter.bits == pytest.approx(-math.log2(expected), abs=1e-6)


def test_code_of_all_small_masks_is_a_probability():
    total = sum(
        2.0 ** -ideal_bits(np.array(bits).reshape(2, 4, 1, 1), 1)
        for bits in itertools.product((-1, 0, 1), repeat=8)
    )
    assert total == pytest.approx(1, abs=1e-6)


def test_code_does_not_see_the_order_of_units():
    levels = rng(0, "order").integers(-2, 3, (6, 5, 3, 3))
    expected = ideal_bits(levels, 2)
    for seed in range(3):
        order, inputs = rng(seed, "rows").permutation(6), rng(seed, "columns").permutation(5)
        assert ideal_bits(levels[order][:, inputs], 2) == pytest.approx(expected, abs=1e-5)


def test_rows_and_columns_that_differ_are_coded_shorter_than_by_one_density():
    g = rng(1, "density")
    density = np.where(np.arange(100)[:, None] < 10, 0.4, 0.002) * np.ones((100, 60))
    mask = (g.random((100, 60)) < density).astype(np.int64)
    adaptive = ideal_bits(mask[:, :, None, None], 1)
    assert adaptive < 0.8 * subset_bits(mask.size, int(mask.sum()))


def test_thousands_of_weights_come_back():
    g = rng(2, "many")
    shape = (300, 200, 1, 1)
    levels = (g.random(shape) < 0.05) * g.integers(-3, 4, shape)
    content = encode(levels, 3)
    np.testing.assert_array_equal(decode(content, shape, 3), levels)
    kept = int((levels != 0).sum())
    entropy = subset_bits(levels.size, kept) + kept * math.log2(6)
    assert 8 * len(content) == pytest.approx(entropy, rel=0.03)


def test_values_out_of_range_are_refused():
    with pytest.raises(InputError, match="within"):
        code_levels(Meter(), np.array([[[[3]]]]), (1, 1, 1, 1), 2)
    with pytest.raises(InputError, match="of shape"):
        code_levels(Meter(), np.zeros((1, 2, 1, 1), dtype=int), (2, 1, 1, 1), 1)


def test_damaged_codes_are_refused():
    content = encode(rng(3, "damage").integers(-2, 3, (4, 3, 3, 3)), 2)
    for damaged in (content[:-1], content[: len(content) // 2], b"", content + b"\0"):
        with pytest.raises(DataIntegrityError):
            decode(damaged, (4, 3, 3, 3), 2)
