"""A sparse matrix as three arrays, and what every decoder returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError

IntArray = NDArray[np.int64]
# float64 for the paper's sketch of real numbers; an unsigned type for exact sketches of bits
Values = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Entries:
    """The nonzero entries of a matrix, in C order, no position twice.

    Attributes
    ----------
    shape : tuple of (int, int)
        p1 rows and p2 columns.
    rows, cols : ndarray of int64, shape (S,)
    values : ndarray, shape (S,)
        float64, or an unsigned integer type.
    """

    shape: tuple[int, int]
    rows: IntArray
    cols: IntArray
    values: Values

    @classmethod
    def of(cls, matrix: NDArray[Any]) -> Entries:
        """Gather the entries of a dense matrix that are not 0.

        Parameters
        ----------
        matrix : ndarray, shape (p1, p2)
            Real numbers, which become float64, or unsigned integers, which stay as they are.

        Returns
        -------
        Entries

        Raises
        ------
        InputError
            If it is no matrix, or holds NaN or infinities.
        """
        matrix = np.asarray(matrix)
        if matrix.ndim != 2:
            raise InputError.parameter("matrix", "Entries.of", "two-dimensional", matrix.shape)
        if matrix.dtype.kind != "u":
            matrix = matrix.astype(np.float64)
            if not np.isfinite(matrix).all():
                raise InputError.parameter(
                    "matrix",
                    "Entries.of",
                    "finite",
                    "NaN or infinity",
                    "Sketch the bit patterns (an unsigned view) instead; they may be anything.",
                )
        rows, cols = np.nonzero(matrix)
        shape = (int(matrix.shape[0]), int(matrix.shape[1]))
        return cls(shape, rows.astype(np.int64), cols.astype(np.int64), matrix[rows, cols])

    @classmethod
    def gather(
        cls, shape: tuple[int, int], rows: IntArray, cols: IntArray, values: Values
    ) -> Entries:
        """Sort entries into C order; equal positions are added up, zeros left out.

        Parameters
        ----------
        shape : tuple of (int, int)
        rows, cols : ndarray of int64, shape (K,)
        values : ndarray, shape (K,)

        Returns
        -------
        Entries
        """
        keys, place = np.unique(rows * shape[1] + cols, return_inverse=True)
        total = np.zeros(keys.size, values.dtype)
        np.add.at(total, place, values)
        keys, total = keys[total != 0], total[total != 0]
        return cls(shape, keys // max(shape[1], 1), keys % max(shape[1], 1), total)

    @property
    def count(self) -> int:
        """Entries that are not 0."""
        return int(self.rows.size)

    def dense(self) -> Values:
        """Return the whole matrix, shape (p1, p2)."""
        matrix = np.zeros(self.shape, self.values.dtype)
        matrix[self.rows, self.cols] = self.values
        return matrix


class Verdict(StrEnum):
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
    """What a decoder found, and whether it explains the sketch.

    Attributes
    ----------
    entries : Entries
        Best account of the matrix; the truth only under `Verdict.RECOVERED`, and then up to the
        chance that another sparse matrix has the same sketch.
    verdict : Verdict
    residual : float
        ||Y - A X B^T|| / ||Y|| in Frobenius norm, 0 for a sketch of zeros; for integers, which
        have no size modulo a power of 2, the share of measurements that differ.
    rounds : int
        Iterations used.
    core : int
        Entries that only the linear solver of `core` found.
    """

    entries: Entries
    verdict: Verdict
    residual: float
    rounds: int
    core: int = 0
