"""Sizes of sketches and of other descriptions, against counting."""

import math
from itertools import pairwise

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.sketch.recovery.entries import Entries
from prunable.sketch.recovery.sizes import SketchSize, compare_sizes, sketch_size


def test_fullest_lines_are_those_of_definition_5_1():
    matrix = np.eye(4, 6)
    matrix[2, 3:] = 5
    assert Entries.of(matrix).fullest == (4, 2)
    assert Entries.of(np.zeros((0, 5))).fullest == (0, 0)


def uniform(shape, count, seed, values):
    keys = np.sort(rng(0, seed).choice(shape[0] * shape[1], count, replace=False))
    return Entries(shape, keys // shape[1], keys % shape[1], values)


def adaptive_bits(values):
    """Krichevsky and Trofimov's code, letter by letter."""
    letters = sorted(set(values))
    seen, bits = dict.fromkeys(letters, 0.5), 0.0
    for value in values:
        bits -= math.log2(seen[value] / sum(seen.values()))
        seen[value] += 1
    return bits + 8 * len(letters)


def test_sizes_count_what_they_say():
    values = rng(0, "values").choice(np.array([1, 2, 255], dtype=np.uint8), 90)
    entries = uniform((40, 50), 90, "sizes", values)
    size = SketchSize(12, 13, 3, 3)
    found = compare_sizes(entries, size)
    positions = math.log2(math.comb(2000, 90))
    assert found.entropy * 8 == pytest.approx(positions + adaptive_bits(values.tolist()))
    assert found.dense == 2000
    assert found.bitmask == 2000 / 8 + 90
    assert found.sketch == 12 * 13 * (1 + 4)  # 6 + 6 bits of indices and 20 of checksum
    assert (found.dense_count, found.nonzero_count, found.sketch_count) == (2000, 90, 156)
    row, column = np.bincount(entries.rows).max(), np.bincount(entries.cols).max()
    fullest = max(40 * row, 50 * column)
    assert found.theory_count == pytest.approx(fullest * math.log(50) ** 2)
    assert found.code_count == pytest.approx(90 * math.log(50) ** 2)


def test_distinct_values_cost_their_own_bits():
    values = np.arange(1, 91, dtype=np.uint16)
    found = compare_sizes(uniform((40, 50), 90, "own", values), SketchSize(9, 9, 3, 3))
    assert found.entropy * 8 == pytest.approx(math.log2(math.comb(2000, 90)) + 16 * 90)


def test_chosen_sizes_follow_shape_and_fullest_line():
    values = np.ones(1600, dtype=np.uint32)
    square = sketch_size(uniform((200, 200), 1600, "square", values))
    assert square.measurements == pytest.approx(1.6**2 * 1600, rel=0.15)
    assert abs(square.m1 - square.m2) <= 1
    wide = sketch_size(uniform((100, 400), 1600, "square", values))
    assert wide.m2 / wide.m1 == pytest.approx(4, rel=0.25)
    row = Entries((200, 200), np.full(100, 7), np.arange(100), np.ones(100, dtype=np.uint32))
    assert sketch_size(row).m2 >= 200
    # what is not sketched has the identity; a vector needs one measurement a row
    assert sketch_size(Entries.of(np.ones((1, 50), dtype=np.uint8))) == SketchSize(1, 50, 1, 1)
    counts = [
        sketch_size(uniform((500, 500), k, "n", np.ones(k, np.uint8))).measurements
        for k in (10, 100, 1000, 10_000)
    ]
    assert all(a <= b for a, b in pairwise(counts))
    assert counts[0] < counts[-1]


@pytest.mark.parametrize(
    "options", [{"factor": 0.0}, {"factor": math.nan}, {"line_factor": -1.0}, {"delta": 1}]
)
def test_bad_size_options_are_named(options):
    entries = Entries.of(np.ones((3, 3)))
    with pytest.raises(InputError, match="of `sketch_size`"):
        sketch_size(entries, **options)
