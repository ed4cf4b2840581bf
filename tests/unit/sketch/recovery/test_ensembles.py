"""Random bipartite graphs: what every draw must satisfy, and their law."""

import itertools

import numpy as np
import pytest
from scipy import stats

from prunable.errors import InputError
from prunable.sketch.recovery.ensembles import delta_random, identity


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("n", "m", "delta"), [(0, 3, 2), (1, 1, 1), (50, 12, 3), (2000, 60, 4), (9, 9, 1)]
)
def test_every_column_has_delta_ones_and_no_column_repeats(n, m, delta):
    drawn = delta_random(n, m, delta, generator(1))
    dense = drawn.matrix().toarray()
    assert dense.shape == (m, n)
    assert set(np.unique(dense)) <= {0.0, 1.0}
    assert (dense.sum(axis=0) == delta).all()
    assert len({tuple(column) for column in dense.T}) == n
    assert (np.diff(drawn.neighbours, axis=1) > 0).all()
    assert (drawn.m, drawn.n, drawn.delta) == (m, n, delta)


def test_readers_and_takes_are_the_matrix():
    drawn = delta_random(40, 11, 3, generator(2))
    dense = drawn.matrix().toarray() != 0
    starts, columns = drawn.readers
    for row in range(drawn.m):
        assert sorted(columns[starts[row] : starts[row + 1]]) == list(np.flatnonzero(dense[row]))
    row, column = np.indices(dense.shape)
    np.testing.assert_array_equal(drawn.takes(column, row), dense)


def test_subsets_are_uniform():
    """Chi-square over all 10 pairs of 5 rows; false alarm 1e-6."""
    counts = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    source = generator(3)
    for _ in range(5000):
        counts[tuple(delta_random(1, 5, 2, source).neighbours[0])] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6


def test_the_draw_is_defined_by_the_raw_words_of_its_generator():
    """Words modulo the rows left, counted among them: pins the meaning of stored seeds."""
    m, delta = 30, 3
    words = iter(generator(4).bit_generator.random_raw(10 * delta))
    expected = []
    for _ in range(10):
        left = list(range(m))
        expected.append(sorted(left.pop(int(next(words)) % len(left)) for _ in range(delta)))
    assert len({tuple(e) for e in expected}) == 10
    np.testing.assert_array_equal(delta_random(10, m, delta, generator(4)).neighbours, expected)


def test_full_house_of_columns_is_found():
    assert len(np.unique(delta_random(10, 5, 2, generator(5)).neighbours, axis=0)) == 10


def test_identity():
    np.testing.assert_array_equal(identity(4).matrix().toarray(), np.eye(4))


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [((-1, 5, 2), "n"), ((3, 5, 0), "delta"), ((3, 5, 6), "delta"), ((11, 5, 2), "m")],
)
def test_bad_arguments_are_named(arguments, culprit):
    with pytest.raises(InputError, match=f"`{culprit}` of `delta_random`"):
        delta_random(*arguments, generator(0))
