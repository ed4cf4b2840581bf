"""Random bipartite graphs that say which measurements an index takes part in."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from prunable.errors import InputError, check_at_least, require
from prunable.sketch.recovery.entries import IntArray

MOST_REDRAWS = 100


@dataclass(frozen=True, eq=False)
class Ensemble:
    """A 0/1 matrix of shape (m, n) with the same number of ones in every column."""

    m: int
    neighbours: IntArray  # (n, delta): rows of the ones of each column, increasing

    @property
    def n(self) -> int:
        """Columns: the long dimension that is sketched."""
        return int(self.neighbours.shape[0])

    @property
    def delta(self) -> int:
        """Ones in a column."""
        return int(self.neighbours.shape[1])

    @cached_property
    def readers(self) -> tuple[IntArray, IntArray]:
        """Columns that have a one in each row: (starts (m + 1,), columns (n * delta,))."""
        flat = self.neighbours.ravel()
        order = np.argsort(flat, kind="stable")
        starts = np.append(0, np.cumsum(np.bincount(flat, minlength=self.m)))
        return starts, order // max(self.delta, 1)

    def takes(self, column: IntArray, row: IntArray) -> NDArray[np.bool_]:
        """Tell elementwise whether `column` has a one in `row`."""
        found = np.zeros(column.shape, dtype=np.bool_)
        for k in range(self.delta):
            found |= self.neighbours[column, k] == row
        return found

    def matrix(self) -> sparse.csr_array:
        """Return the matrix, float64, shape (m, n), sparse."""
        cols = np.repeat(np.arange(self.n), self.delta)
        ones = np.ones(cols.size)
        return sparse.csr_array((ones, (self.neighbours.ravel(), cols)), shape=(self.m, self.n))


def delta_random(n: int, m: int, delta: int, generator: np.random.Generator) -> Ensemble:
    """Draw a delta-random bipartite ensemble: each of n columns gets `delta` of m rows uniformly.

    No two columns are equal: a column that repeats an earlier one is drawn anew, since entries
    of one row in equal columns have the same sketch and nothing can part them.

    Definition E.1 of "Generalization Bounds for MBP via Sparse Matrix Sketching" (2023), after
    Dasarathy, Shah, Bhaskar, Nowak (2013). The text there speaks of at most delta ones in a
    row; it is the columns that must have few, of which there are many.

    `generator`: its raw 64-bit words are used, so the same bit generator gives the same ensemble
    under every version of NumPy.
    """
    check_at_least(n, 0, "n", "delta_random")
    where, wanted = "delta_random", f"between 1 and m = {m}"
    require(1 <= delta <= m, "delta", where, wanted, delta, "Measure more.")
    wanted = f"so large that {n} columns of {delta} ones can differ"
    mend = "Measure more, or another delta."
    require(math.comb(m, delta) >= n, "m", where, wanted, m, mend)
    neighbours = _subsets(n, m, delta, generator)
    for _ in range(MOST_REDRAWS):
        _, first = np.unique(neighbours, axis=0, return_index=True)
        if first.size == n:
            return Ensemble(m, neighbours)
        again = np.setdiff1d(np.arange(n), first)
        neighbours[again] = _subsets(again.size, m, delta, generator)
    wanted = f"so large that {n} random columns of {delta} ones differ"
    raise InputError.parameter("m", "delta_random", wanted, m, "Measure more.")


def identity(n: int) -> Ensemble:
    """Return the identity as an ensemble: a dimension that is not sketched."""
    return Ensemble(n, np.arange(n, dtype=np.int64)[:, None])


def _subsets(n: int, m: int, delta: int, generator: np.random.Generator) -> IntArray:
    """Uniform subsets of {0, ..., m - 1} without repetition, sorted, shape (n, delta)."""
    raw = np.asarray(generator.bit_generator.random_raw(n * delta), dtype=np.uint64)
    raw = raw.reshape(n, delta)
    chosen = np.empty((n, delta), dtype=np.int64)
    for k in range(delta):
        # the rank among the rows not chosen yet; the bias of the remainder is below m / 2^64
        pick = (raw[:, k] % np.uint64(m - k)).astype(np.int64)
        for other in range(k):
            pick += pick >= chosen[:, other]
        chosen[:, k] = pick
        chosen[:, : k + 1].sort(axis=1)
    return chosen
