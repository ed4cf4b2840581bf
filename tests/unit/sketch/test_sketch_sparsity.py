"""Definition 5.1 and Lemma 5.1 against simulation, and sizes against counting."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.sketch.recovery.entries import Entries
from prunable.sketch.recovery.sizes import SketchSize, compare_sizes, sketch_size
from prunable.sketch.recovery.sparsity import distributed_sparsity, sparsity_bound


def test_definition():
    matrix = np.eye(4, 6)
    matrix[2, 3:] = 5
    found = distributed_sparsity(Entries.of(matrix))
    assert (found.j_r, found.j_c, found.diagonal) == (4, 2, True)
    assert found.share == pytest.approx(7 / 24)
    assert (found.mean_row, found.mean_col) == (pytest.approx(7 / 4), pytest.approx(7 / 6))
    matrix[0, 0] = 0
    assert not distributed_sparsity(Entries.of(matrix)).diagonal
    empty = distributed_sparsity(Entries.of(np.zeros((0, 5))))
    assert (empty.j_r, empty.j_c, empty.share, empty.diagonal) == (0, 0, 0.0, True)


def test_lemma_5_1_is_its_formula():
    found = sparsity_bound((300, 784), 0.1, 4.0)
    assert found.j_r == pytest.approx(3 * 4 * 784 * 0.1)
    assert found.j_c == pytest.approx(3 * 4 * 300 * 0.1)
    assert found.probability == pytest.approx(1 - 1 / 4 - 300 ** (-1 / 3) - 784 ** (-1 / 3))
    # d (e^2 / 27)^load <= d^(-1/3) with equality at the load that is needed
    for d, load in zip((300, 784), found.needed, strict=True):
        assert d * (math.e**2 / 27) ** load == pytest.approx(d ** (-1 / 3))
    assert found.holds
    assert not sparsity_bound((300, 784), 0.001, 4.0).holds  # loads of 3 and 1
    assert not sparsity_bound((300, 784), 0.1, 1.0).holds  # no probability left


def test_binomial_lines_hold_by_simulation():
    """Independent weights: 400 draws; false alarm below 1e-6 if the bound holds exactly."""
    shape, chi, slack = (60, 90), 0.05, 3.0
    bound = sparsity_bound(shape, chi, slack)
    broken = 0
    for draw in range(400):
        kept = rng(0, "binomial", draw).random(shape) < chi
        found = distributed_sparsity(Entries.of(kept.astype(np.uint8)))
        broken += found.j_r > bound.j_r_binomial or found.j_c > bound.j_c_binomial
    assert broken <= stats.binom.isf(1e-6, 400, 1 - bound.probability)
    # and it is smaller than three times the mean with Markov's factor
    assert bound.j_r_binomial < bound.j_r
    assert bound.j_c_binomial < bound.j_c


def test_three_times_a_small_mean_is_exceeded():
    """Lemma E.1 outside its regime: 2,000 balls in 2,000 bins exceed 3 almost surely."""
    bound = sparsity_bound((2000, 2000), 1 / 2000, 1.0)
    assert not bound.holds
    loads = np.bincount(rng(0, "balls").integers(0, 2000, 2000))
    assert loads.max() > 3
    assert bound.j_r == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (((0, 5), 0.5, 2.0), "shape"),
        (((5, 5), 0.0, 2.0), "chi"),
        (((5, 5), math.nan, 2.0), "chi"),
        (((5, 5), 0.5, 0.5), "slack"),
        (((5, 5), 0.5, math.inf), "slack"),
    ],
)
def test_bad_arguments_are_named(arguments, culprit):
    with pytest.raises(InputError, match=f"`{culprit}` of `sparsity_bound`"):
        sparsity_bound(*arguments)


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
    fullest = max(np.bincount(entries.rows).max(), np.bincount(entries.cols).max())
    assert found.theory_count == pytest.approx(fullest * 50 * math.log(50) ** 2)
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
