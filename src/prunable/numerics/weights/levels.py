"""Weights that take few distinct values: all that depends on their order follows from counts.

Half precision has 65,536 bit patterns and eight bits have 256, so that how often each occurs is
an exact record of the sorted weights, whatever their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.numerics.weights.magnitudes import (
    BINS,
    LARGEST_SAFE_P,
    FloatArray,
    Histogram,
    Magnitudes,
    Ordered,
    Values,
    bins_of,
    error_bounds,
    marked,
)

# Ratios of magnitudes above this have powers up to `LARGEST_SAFE_P` that are doubles.
SMALLEST_RATIO = 1e-75


@dataclass(frozen=True, eq=False)
class Levels(Ordered):
    """Distinct magnitudes in increasing order, (m,), and how many entries have each."""

    values: Values
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: Values, counts: NDArray[np.int64]) -> Levels:
        """Finite numbers with their signs, in any order, and how often each occurs."""
        used = counts > 0
        magnitudes, places = np.unique(np.abs(values[used]), return_inverse=True)
        # counts below 2^53 are doubles
        found = np.bincount(places, weights=counts[used], minlength=magnitudes.size)
        return cls(magnitudes, found.astype(np.int64))

    @classmethod
    def counted(cls, values: Values) -> Levels:
        """Finite numbers with their signs, of any shape, each for itself."""
        return cls(*np.unique(np.abs(values), return_counts=True))

    @property
    def top(self) -> float:  # type: ignore[override]
        """The largest magnitude."""
        return float(self.values[-1])

    @cached_property
    def size(self) -> int:
        """Number of entries, zeros included."""
        return int(self.counts.sum())

    @property
    def zeros(self) -> int:
        """Number of entries that are exactly zero."""
        return int(self.counts[0]) if self.values[0] == 0 else 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the values."""
        return self.values.dtype

    def binned_powers(self, p: float, unit: float) -> Histogram:
        """See `Ordered`."""
        bins = bins_of(self.values)
        powers: FloatArray = (self.values.astype(np.float64) / unit) ** p * self.counts
        sums = np.bincount(bins, weights=powers, minlength=BINS).astype(np.float64)
        return Histogram(p, self.bin_counts(), sums, unit)

    def largest(self, k: int) -> Values:
        """See `Ordered`."""
        before = np.cumsum(self.counts[::-1]) - self.counts[::-1]
        taken = np.clip(k - before, 0, self.counts[::-1])[::-1]
        return np.repeat(self.values, taken)

    def inside(self, bins: NDArray[np.int64]) -> tuple[FloatArray, NDArray[np.int64]]:
        """See `Ordered`."""
        values, counts = self.members(marked(bins))
        return values.astype(np.float64), counts

    def bin_counts(self) -> NDArray[np.int64]:
        """See `Ordered`."""
        bins = bins_of(self.values)
        return np.bincount(bins, weights=self.counts, minlength=BINS).astype(np.int64)

    def members(self, asked: NDArray[np.bool_]) -> tuple[Values, NDArray[np.int64]]:
        """See `Ordered`."""
        found = asked[bins_of(self.values)]
        return self.values[found], self.counts[found]

    def around(self, threshold: float) -> tuple[int, int]:
        """See `Ordered`."""
        larger, equal = self.values > threshold, self.values == threshold
        return int(self.counts[larger].sum()), int(self.counts[equal].sum())

    def error_below(self, threshold: float, ties: int, p: float) -> float:
        """Relative l_p error of zeroing what is smaller than a threshold, and so many equal."""
        ratios = (self.values.astype(np.float64) / (self.top or 1.0)) ** p
        gone = np.where(self.values < threshold, self.counts, 0)
        gone[self.values == threshold] = ties
        total = float(ratios @ self.counts)
        return (float(ratios @ gone) / total) ** (1 / p) if total > 0 else 0.0

    def steps(self) -> tuple[FloatArray, NDArray[np.int64]]:
        """See `Ordered`."""
        above = np.cumsum(self.counts[::-1])[::-1]
        first = int(self.values[0] == 0)
        return self.values[first:].astype(np.float64), above[first:]

    def kept_counts(self, eps: ArrayLike, p: float = 2.0) -> NDArray[np.int64]:
        """See `Ordered`."""
        bounds = error_bounds(eps, p)
        ratios = self.values.astype(np.float64) / (self.top or 1.0)
        smallest = ratios[int(ratios[0] == 0) :].min(initial=1.0)
        if p > LARGEST_SAFE_P or smallest < SMALLEST_RATIO:
            whole = Magnitudes(np.repeat(self.values, self.counts), self.top)
            return whole.kept_counts(eps, p)
        powers = ratios**p
        before = np.append(0, np.cumsum(self.counts))
        running = np.append(0.0, np.cumsum(powers * self.counts))
        total = running[-1] or 1.0

        def pruned(bound: float) -> int:
            at = int(np.searchsorted((running / total) ** (1 / p), bound, side="right")) - 1
            if at == self.counts.size:
                return self.size
            # of equal entries as many as the bound allows, up to rounding
            last = int(self.counts[at]) - 1
            more = min(max(int((bound**p * total - running[at]) / powers[at]), 0), last)

            def allowed(count: int) -> bool:
                return bool(((running[at] + count * powers[at]) / total) ** (1 / p) <= bound)

            while more < last and allowed(more + 1):
                more += 1
            while more > 0 and not allowed(more):
                more -= 1
            return int(before[at]) + more

        found = [self.size - pruned(float(bound)) for bound in bounds.ravel()]
        return np.array(found, dtype=np.int64).reshape(bounds.shape)
