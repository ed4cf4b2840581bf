"""Codes of integers: the mixture against exact fractions, masks against counting."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from prunable.certify.coding import (
    Meter,
    code_levels,
    decode,
    decode_mask,
    encode,
    encode_mask,
    enumerative_bits,
    ideal_bits,
    live_bits,
)
from prunable.certify.coding.enumerative import rank, unrank
from prunable.certify.coding.mixing import Mixture
from prunable.errors import DataIntegrityError, InputError
from prunable.numerics.randomness import rng


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
    assert adaptive < 0.8 * enumerative_bits(mask.size, int(mask.sum()))
    assert live_bits(mask != 0) < enumerative_bits(mask.size, int(mask.sum()))


def test_thousands_of_weights_come_back():
    g = rng(2, "many")
    levels = (g.random((300, 200)) < 0.05) * g.integers(-3, 4, (300, 200))
    content = encode(levels)
    np.testing.assert_array_equal(decode(content), levels)
    kept = int((levels != 0).sum())
    entropy = enumerative_bits(levels.size, kept) + kept * math.log2(6)
    assert 8 * len(content) == pytest.approx(entropy, rel=0.03)


def test_values_out_of_range_are_refused():
    with pytest.raises(InputError, match="within"):
        code_levels(Meter(), np.array([[[[3]]]]), (1, 1, 1, 1), 2)
    with pytest.raises(InputError, match="integers"):
        encode(np.array([0.5]))
    with pytest.raises(InputError, match="of shape"):
        code_levels(Meter(), np.zeros((1, 2, 1, 1), dtype=int), (2, 1, 1, 1), 1)
    with pytest.raises(InputError, match="at most 4 axes"):
        encode(np.zeros((1,) * 5, dtype=int))


def test_damaged_codes_are_refused():
    content = encode(rng(3, "damage").integers(-2, 3, (4, 3, 3, 3)))
    for damaged in (content[:-1], content[: len(content) // 2], b"", content + b"\0"):
        with pytest.raises(DataIntegrityError):
            decode(damaged)


def test_rank_counts_all_masks_once():
    for total in range(9):
        for kept in range(total + 1):
            masks = list(itertools.combinations(range(total), kept))
            places = set()
            for ones in masks:
                mask = np.zeros(total, dtype=bool)
                mask[list(ones)] = True
                assert rank(mask) == sum(math.comb(p, i) for i, p in enumerate(ones, start=1))
                places.add(rank(mask))
                np.testing.assert_array_equal(unrank(rank(mask), total, kept), mask)
            assert places == set(range(len(masks)))


def test_enumerative_code_has_the_length_of_counting():
    mask = rng(4, "mask").random(20_000) < 0.02
    content = encode_mask(mask)
    np.testing.assert_array_equal(decode_mask(content, mask.size), mask)
    kept = int(mask.sum())
    assert enumerative_bits(mask.size, kept) == pytest.approx(
        math.log2(math.comb(mask.size, kept)), rel=1e-9
    )
    assert 8 * len(content) <= enumerative_bits(mask.size, kept) + 2 * math.log2(kept + 1) + 11


def test_damaged_masks_are_refused():
    content = encode_mask(np.arange(50) % 3 == 0)
    with pytest.raises(DataIntegrityError):
        decode_mask(content[:-1], 50)
    with pytest.raises(DataIntegrityError, match="ones of 5"):
        decode_mask(content, 5)
    with pytest.raises(DataIntegrityError, match="no mask of 4"):
        unrank(6, 4, 2)
    with pytest.raises(InputError, match="in \\[0, 3\\]"):
        enumerative_bits(3, 4)
