"""Sketches against dense products, and every decoder against the matrix it should find."""

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.sketch.recovery.channels import TaggedSketch, TagLayout, decode_tagged, tagged_sketch
from prunable.sketch.recovery.core import solve_modular
from prunable.sketch.recovery.douglas_rachford import decode_l1
from prunable.sketch.recovery.ensembles import Ensemble, delta_random, identity
from prunable.sketch.recovery.entries import Ending, Entries
from prunable.sketch.recovery.linear_program import decode_linear_program
from prunable.sketch.recovery.peeling import peel
from prunable.sketch.recovery.sizes import (
    VERIFICATION_DELTA,
    VERIFICATION_FACTOR,
    SketchSize,
    sketch_size,
)
from prunable.sketch.recovery.sketching import sketch

UNSIGNED = [np.uint8, np.uint16, np.uint32, np.uint64]


def sparse(shape, count, r, values=None):
    keys = np.sort(r.choice(shape[0] * shape[1], count, replace=False))
    values = r.standard_normal(count) if values is None else values
    return Entries(shape, keys // shape[1], keys % shape[1], values)


def real_case(shape, count, seed, values=None):
    r = rng(0, "case", seed)
    entries = sparse(shape, count, r, values)
    size = sketch_size(entries, factor=VERIFICATION_FACTOR, delta=VERIFICATION_DELTA)
    return entries, *size.ensembles(shape, r)


def assert_same(found, wanted, **tolerance):
    np.testing.assert_array_equal(found.rows, wanted.rows)
    np.testing.assert_array_equal(found.cols, wanted.cols)
    if tolerance:
        np.testing.assert_allclose(found.values, wanted.values, **tolerance)
    else:
        assert found.values.dtype == wanted.values.dtype
        np.testing.assert_array_equal(found.values, wanted.values)


def test_sketch_is_the_product_and_the_kronecker_form():
    r = rng(0, "product")
    entries = sparse((17, 23), 40, r)
    left, right = delta_random(17, 9, 3, r), delta_random(23, 11, 4, r)
    a, b = left.matrix().toarray(), right.matrix().toarray()
    measured = sketch(entries, left, right)
    np.testing.assert_allclose(measured, a @ entries.dense() @ b.T, atol=1e-13)
    by_kron = np.kron(a, b) @ entries.dense().ravel()
    np.testing.assert_allclose(measured.ravel(), by_kron, atol=1e-13)


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_integer_sketch_is_the_product_of_integers_modulo_a_power(dtype):
    r = rng(0, "integers")
    high = np.iinfo(dtype).max
    values = r.integers(high // 2, high, 60, dtype=dtype, endpoint=True)
    entries = sparse((17, 23), 60, r, values)
    left, right = delta_random(17, 9, 3, r), delta_random(23, 11, 4, r)
    a, b = (e.matrix().toarray().astype(int).astype(object) for e in (left, right))
    exact = (a @ entries.dense().astype(object) @ b.T) % (int(high) + 1)
    measured = sketch(entries, left, right)
    assert measured.dtype == dtype
    assert (measured.astype(object) == exact).all()


@pytest.mark.parametrize(
    ("shape", "count"), [((60, 60), 240), ((30, 90), 100), ((1, 200), 12), ((200, 1), 12)]
)
def test_real_decoders_find_the_matrix(shape, count):
    entries, left, right = real_case(shape, count, "all")
    measured = sketch(entries, left, right)
    for decoder in (peel, decode_l1):
        decoded = decoder(measured, left, right)
        assert decoded.verdict == Ending.RECOVERED
        assert_same(decoded.entries, entries, rtol=0, atol=1e-11)
        assert decoded.residual < 1e-11


def test_linear_programme_finds_the_same():
    entries, left, right = real_case((24, 20), 40, "lp")
    measured = sketch(entries, left, right)
    decoded = decode_linear_program(measured, left, right)
    assert decoded.verdict == Ending.RECOVERED
    assert_same(decoded.entries, entries, rtol=0, atol=1e-6)
    other = decode_l1(measured, left, right)
    assert_same(other.entries, decoded.entries, rtol=0, atol=1e-6)


def test_values_of_any_size_are_peeled():
    """Twelve decades: small values lose what large ones in their measurements round away."""
    r = rng(0, "decades")
    values = r.choice([-1.0, 1.0], 800) * 10 ** r.uniform(-6, 6, 800)
    entries, left, right = real_case((200, 200), 800, "decades", values)
    decoded = peel(sketch(entries, left, right), left, right)
    assert decoded.verdict == Ending.RECOVERED
    assert_same(decoded.entries, entries, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("dtype", UNSIGNED)
@pytest.mark.parametrize("levels", [1, 2, 7, None])
def test_tagged_sketch_finds_every_bit(dtype, levels):
    """Repeated values, values of all ones, every width."""
    r = rng(0, "tagged", np.dtype(dtype).name, levels or 0)
    high = np.iinfo(dtype).max
    values = r.integers(1, high, 700, dtype=dtype, endpoint=True)
    if levels:
        values = r.choice(np.append(values[: levels - 1], dtype(high)), 700)
    entries = sparse((150, 180), 700, r, values)
    left, right = sketch_size(entries, factor=1.8).ensembles(entries.shape, r)
    decoded = decode_tagged(tagged_sketch(entries, left, right), left, right)
    assert decoded.verdict == Ending.RECOVERED
    assert decoded.residual == 0
    assert_same(decoded.entries, entries)


def test_verification_decodes_distinct_integers_exactly():
    r = rng(0, "verification")
    values = r.integers(1, 2**63, 600, dtype=np.uint64)
    entries = sparse((120, 120), 600, r, values)
    size = sketch_size(entries, factor=VERIFICATION_FACTOR, delta=VERIFICATION_DELTA)
    left, right = size.ensembles(entries.shape, r)
    decoded = peel(sketch(entries, left, right), left, right)
    assert decoded.verdict == Ending.RECOVERED
    assert_same(decoded.entries, entries)


def test_verification_cannot_decode_quantised_weights_and_says_so():
    r = rng(0, "quantised")
    values = 0.07 * r.choice([-3, -2, -1, 1, 2, 3], 1600)
    entries, left, right = real_case((200, 200), 1600, "quantised", values)
    decoded = peel(sketch(entries, left, right), left, right)
    assert decoded.verdict == Ending.STUCK
    assert decoded.residual > 0.1


def test_too_few_measurements_are_reported_not_looped_over():
    r = rng(0, "few")
    entries = sparse((100, 100), 900, r)
    left, right = delta_random(100, 20, 3, r), delta_random(100, 20, 3, r)
    measured = sketch(entries, left, right)
    for decoded in (peel(measured, left, right), decode_l1(measured, left, right)):
        assert decoded.verdict in (Ending.STUCK, Ending.CAPPED)
        assert decoded.residual > 0
    bits = Entries(entries.shape, entries.rows, entries.cols, entries.values.view(np.uint64))
    decoded = decode_tagged(tagged_sketch(bits, left, right), left, right)
    assert decoded.verdict == Ending.STUCK
    assert decoded.residual > 0.5


def test_caps_are_kept_and_reported():
    entries, left, right = real_case((60, 60), 240, "cap")
    measured = sketch(entries, left, right)
    decoded = peel(measured, left, right, max_rounds=1)
    assert (decoded.verdict, decoded.rounds) == (Ending.CAPPED, 1)
    decoded = decode_l1(measured, left, right, max_iterations=3)
    assert (decoded.verdict, decoded.rounds) == (Ending.CAPPED, 3)
    assert decoded.residual > 0
    bits = Entries(entries.shape, entries.rows, entries.cols, entries.values.view(np.uint64))
    size = sketch_size(bits)
    left, right = size.ensembles(bits.shape, rng(0, "cap-tagged"))
    decoded = decode_tagged(tagged_sketch(bits, left, right), left, right, max_rounds=1)
    assert (decoded.verdict, decoded.rounds) == (Ending.CAPPED, 1)


def closed_core():
    """Four entries of one row, three to every measurement: nothing to peel, det = -3."""
    right = Ensemble(4, np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]))
    return identity(1), right


def test_core_is_solved_exactly_modulo_powers_of_two():
    left, right = closed_core()
    values = np.array([2**32 - 1, 7, 7, 2**31], dtype=np.uint32)
    entries = Entries((1, 4), np.zeros(4, dtype=np.int64), np.arange(4), values)
    measured = tagged_sketch(entries, left, right)
    assert decode_tagged(measured, left, right, core=False).verdict == Ending.STUCK
    decoded = decode_tagged(measured, left, right)
    assert (decoded.verdict, decoded.core) == (Ending.RECOVERED, 4)
    assert_same(decoded.entries, entries)


def test_core_of_reals_is_solved_by_least_squares():
    left, right = closed_core()
    values = np.array([1.5, -2.25, 0.3, 4.0])
    entries = Entries((1, 4), np.zeros(4, dtype=np.int64), np.arange(4), values)
    measured = sketch(entries, left, right)
    assert peel(measured, left, right, core=False).verdict == Ending.STUCK
    decoded = peel(measured, left, right)
    assert (decoded.verdict, decoded.core) == (Ending.RECOVERED, 4)
    assert_same(decoded.entries, entries, rtol=1e-12)


def test_a_core_with_two_solutions_is_called_ambiguous():
    """Columns 0 and 1 are the same: only their sum is measured."""
    left, right = identity(1), Ensemble(3, np.array([[0, 1], [0, 1], [1, 2]]))
    entries = Entries((1, 3), np.zeros(2, np.int64), np.array([0, 1]), np.array([1.0, 2.0]))
    decoded = peel(sketch(entries, left, right), left, right)
    assert decoded.verdict == Ending.AMBIGUOUS
    assert decoded.residual < 1e-12
    assert decoded.entries.values.sum() == pytest.approx(3.0)
    bits = Entries((1, 3), entries.rows, entries.cols, np.array([1, 2], dtype=np.uint8))
    assert decode_tagged(tagged_sketch(bits, left, right), left, right).verdict == Ending.STUCK


def test_one_full_row_defeats_a_small_sketch():
    """Distributed sparsity is needed: 30 entries in one row, m = 18, as few as 60 elsewhere."""
    entries = sparse((30, 30), 30, rng(0, "rest"))
    full = Entries((30, 30), np.full(30, 4), np.arange(30), entries.values)
    recovered = {"spread": 0, "full": 0}
    for draw in range(10):
        r = rng(0, "full-row", draw)
        left, right = SketchSize(18, 18, 4, 4).ensembles((30, 30), r)
        for name, matrix in (("spread", entries), ("full", full)):
            decoded = peel(sketch(matrix, left, right), left, right)
            recovered[name] += decoded.verdict == Ending.RECOVERED
    assert recovered == {"spread": 10, "full": 0}


def test_modular_elimination_is_that_of_python_integers():
    r = rng(0, "modular")
    matrix = r.integers(0, 2, (12, 5)).astype(np.uint64)
    matrix[:5] = np.tril(matrix[:5], -1) + np.eye(5, dtype=np.uint64)
    solution = r.integers(0, 2**63, (5, 2), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    right = (matrix.astype(object) @ solution.astype(object)) % 2**64
    shuffled = r.permutation(12)
    found = solve_modular(matrix[shuffled], right[shuffled].astype(np.uint64))
    np.testing.assert_array_equal(found, solution)
    assert solve_modular(np.full((3, 1), 2, np.uint64), np.full((3, 1), 4, np.uint64)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 4), (784, 300), (2**14, 2**14)])
def test_tags_hold_their_indices(shape):
    layout = TagLayout.of(shape)
    assert layout.check_bits >= 20
    assert layout.size <= 8
    rows = np.array([0, shape[0] - 1, shape[0] // 2])
    cols = np.array([shape[1] - 1, 0, shape[1] // 2])
    tags = layout.tags(rows, cols, np.array([1, 2, 3], dtype=np.uint64))
    assert (tags <= layout.mask).all()
    for found, wanted in zip(layout.indices(tags), (rows, cols), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_checksums_depend_on_row_column_and_value():
    """2,000 pairs that differ in one place; equal 20-bit sums: 0.002 expected, at most 1."""
    layout = TagLayout(11, 11, 20)
    n = np.arange(2000)
    one, words = np.zeros(2000, dtype=np.int64), n.astype(np.uint64)

    def checks(*place):
        return layout.tags(*place) >> np.uint64(22)

    base = checks(one, one, np.zeros(2000, dtype=np.uint64))
    for other in (
        checks(n + 1, one, np.zeros(2000, dtype=np.uint64)),
        checks(one, n + 1, np.zeros(2000, dtype=np.uint64)),
        checks(one, one, words + np.uint64(1)),
    ):
        assert (other == base).sum() <= 1
        assert np.unique(other).size > 1980  # 2000^2 / 2^21 = 1.9 collisions expected


def test_indices_without_room_for_a_checksum_are_refused():
    with pytest.raises(InputError, match=r"`shape` of `TagLayout\.of`"):
        TagLayout.of((2**30, 2**30))


def test_bad_arguments_are_named():
    entries, left, right = real_case((10, 12), 6, "bad")
    measured = sketch(entries, left, right)
    with pytest.raises(InputError, match="`measured` of `peel` must be of shape"):
        peel(measured[1:], left, right)
    with pytest.raises(InputError, match="`measured` of `decode_l1` must be finite"):
        decode_l1(measured * np.nan, left, right)
    with pytest.raises(InputError, match="`measured` of `peel` must be float64 or unsigned"):
        peel(measured.astype(np.int64), left, right)
    with pytest.raises(InputError, match="`left, right` of `sketch`"):
        sketch(entries, right, left)
    with pytest.raises(InputError, match="`entries` of `tagged_sketch`"):
        tagged_sketch(entries, left, right)
    with pytest.raises(InputError, match="`measured` of `decode_tagged`"):
        decode_tagged(
            TaggedSketch(np.zeros((1, 2), np.uint8), np.zeros((1, 2), np.uint64)), left, right
        )
    for decoder, cap in ((peel, "max_rounds"), (decode_l1, "max_iterations")):
        with pytest.raises(InputError, match=f"`{cap}`"):
            decoder(measured, left, right, **{cap: 0})
    with pytest.raises(InputError, match="`step`"):
        decode_l1(measured, left, right, step=0.0)
    with pytest.raises(InputError, match="p1 p2 <= 10000 unknowns"):
        decode_linear_program(np.zeros((101, 100)), identity(101), identity(100))
    with pytest.raises(InputError, match=r"`matrix` of `Entries\.of` must be finite"):
        Entries.of(np.array([[np.nan]]))
    with pytest.raises(InputError, match=r"`matrix` of `Entries\.of` must be two-dimensional"):
        Entries.of(np.zeros(3))
