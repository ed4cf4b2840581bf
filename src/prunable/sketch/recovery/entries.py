"""A sparse matrix as three arrays, and what every decoder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from prunable.errors import require

IntArray = NDArray[np.int64]
# float64 for the paper's sketch of real numbers; an unsigned type for exact sketches of bits
Values = NDArray[Any]
Triples = tuple[IntArray, IntArray, Values]


@dataclass(frozen=True, eq=False)
class Entries:
    """The nonzero entries of a (p1, p2) matrix, in C order, no position twice.

    Values are float64, or of an unsigned integer type.
    """

    shape: tuple[int, int]
    rows: IntArray
    cols: IntArray
    values: Values

    @classmethod
    def of(cls, matrix: NDArray[Any]) -> Entries:
        """Gather the entries of a dense matrix that are not 0.

        Real numbers, which must be finite, become float64; unsigned integers stay as they are.
        """
        matrix = np.asarray(matrix)
        require(matrix.ndim == 2, "matrix", "Entries.of", "two-dimensional", matrix.shape)
        if matrix.dtype.kind != "u":
            matrix = matrix.astype(np.float64)
            mend = "Sketch the bit patterns (an unsigned view) instead; they may be anything."
            found = "NaN or infinity"
            require(np.isfinite(matrix).all(), "matrix", "Entries.of", "finite", found, mend)
        rows, cols = np.nonzero(matrix)
        shape = (int(matrix.shape[0]), int(matrix.shape[1]))
        return cls(shape, rows.astype(np.int64), cols.astype(np.int64), matrix[rows, cols])

    @classmethod
    def gather(
        cls, shape: tuple[int, int], parts: Sequence[Triples], dtype: DTypeLike = np.float64
    ) -> Entries:
        """Sort parts of entries into C order; equal positions are added up, zeros left out."""
        if not parts:
            none = np.empty(0, dtype=np.int64)
            return cls(shape, none, none, np.empty(0, dtype))
        rows, cols, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        keys, place = np.unique(rows * shape[1] + cols, return_inverse=True)
        total = np.zeros(keys.size, values.dtype)
        np.add.at(total, place, values)
        keys, total = keys[total != 0], total[total != 0]
        return cls(shape, keys // max(shape[1], 1), keys % max(shape[1], 1), total)

    @property
    def count(self) -> int:
        """Entries that are not 0."""
        return int(self.rows.size)

    @property
    def fullest(self) -> tuple[int, int]:
        """Entries in the fullest row, and in the fullest column."""
        rows, cols = (int(np.bincount(lines).max(initial=0)) for lines in (self.rows, self.cols))
        return rows, cols

    def dense(self) -> Values:
        """Return the whole matrix, shape (p1, p2)."""
        matrix = np.zeros(self.shape, self.values.dtype)
        matrix[self.rows, self.cols] = self.values
        return matrix

    def equals(self, other: Entries) -> bool:
        """Whether both are the same matrix, value for value."""
        return all(
            np.array_equal(getattr(self, part), getattr(other, part))
            for part in ("rows", "cols", "values")
        )


class Ending(StrEnum):
    """How a decoder ended."""

    # the decoded matrix has the given sketch: exactly for integers, to rounding for reals
    RECOVERED = "recovered"
    # it has the given sketch, but other matrices on the same few positions have it too
    AMBIGUOUS = "explained, not uniquely"
    # nothing more can be decoded, and the sketch is not explained
    STUCK = "stuck"
    # the cap of iterations came first
    CAPPED = "iteration cap reached"


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a decoder found, and whether it explains the sketch."""

    # best account of the matrix; the truth only under `Ending.RECOVERED`, and then up to the chance
    # that another sparse matrix has the same sketch
    entries: Entries
    verdict: Ending
    # ||Y - A X B^T|| / ||Y|| in Frobenius norm, 0 for a sketch of zeros; for integers, which have
    # no size modulo a power of 2, the share of measurements that differ
    residual: float
    rounds: int  # iterations used
    core: int = 0  # entries that only the linear solver of `core` found
