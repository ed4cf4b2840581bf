"""Magnitudes of weights in order: sorted if they are few, binned by their bits if they are many.

The bits of a positive float grow with its value, so its leading bits number a bin without any
comparison. One pass counts the entries of each bin and adds up their powers; only the bins
that a question hits are then gathered and sorted. Nothing is copied but these.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.checks import check_order

FloatArray = NDArray[np.float64]
# Magnitudes keep the precision of the weights.
Values = NDArray[np.floating[Any]]

# So many are sorted at once; beyond, binning is faster.
SORTED_SIZE = 2**16
# Entries binned at a time: what the second-level cache holds.
CHUNK = 2**17
BLOCK = 2**12
# Leading bits of a magnitude, after the sign: 8 of exponent and 7 of mantissa in float32.
BIN_BITS = 15
BINS = 2**BIN_BITS
# Fourth powers of such magnitudes, and sums of them, are doubles.
SAFE_SMALL, SAFE_LARGE = 1e-30, 1e30
LARGEST_SAFE_P = 4.0


class Ordered(ABC):
    """Entries ready for questions about the order of their magnitudes; `top` is the largest."""

    top: float

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of entries, zeros included."""

    @property
    @abstractmethod
    def zeros(self) -> int:
        """Number of entries that are exactly zero."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type whose bits number the bins: float32 or float64."""

    @abstractmethod
    def binned_powers(self, p: float, unit: float) -> Histogram:
        """Counts and sums of p-th powers by leading bits, in one pass."""

    @abstractmethod
    def largest(self, k: int) -> Values:
        """Return the k largest magnitudes in increasing order, 0 <= k <= n."""

    @abstractmethod
    def kept_counts(self, eps: ArrayLike, p: float = 2.0) -> NDArray[np.int64]:
        """Smallest numbers of entries to keep for relative l_p errors >= 0 of any shape."""

    @abstractmethod
    def inside(self, bins: NDArray[np.int64]) -> tuple[FloatArray, NDArray[np.int64]]:
        """Magnitudes of bins of these numbers, in increasing order, and how often each."""

    @abstractmethod
    def bin_counts(self) -> NDArray[np.int64]:
        """How many entries each bin has, (BINS,)."""

    @abstractmethod
    def members(self, asked: NDArray[np.bool_]) -> tuple[Values, NDArray[np.int64] | None]:
        """Magnitudes of the bins asked, and how often each; None if each stands for itself."""

    @abstractmethod
    def around(self, threshold: float) -> tuple[int, int]:
        """How many magnitudes are larger than a threshold, and how many equal to it."""

    @abstractmethod
    def steps(self) -> tuple[FloatArray, NDArray[np.int64]]:
        """All distinct positive magnitudes in increasing order, and how many are at least such."""

    @cached_property
    def histogram(self) -> Histogram:
        """Counts and sums of squares by leading bits."""
        return self.binned_powers(2.0, self.usual_unit)

    @property
    def usual_unit(self) -> float:
        """1, or the largest magnitude where squares in other units would leave the doubles."""
        return 1.0 if SAFE_SMALL < self.top < SAFE_LARGE else self.top or 1.0

    def survival(self, points: int) -> tuple[FloatArray, NDArray[np.int64]]:
        """Count the entries of at least some magnitudes.

        Returns about `points` positive magnitudes in increasing order, evenly spread in the
        logarithm of the count, and the exact numbers of entries at least as large.
        """
        if self.size <= SORTED_SIZE:
            edges, above = self.steps()
        else:
            counts = self.histogram.counts
            above = np.cumsum(counts[::-1])[::-1]
            used = np.flatnonzero(counts)
            used = used[used > 0]  # the first bin holds the zeros
            edges, above = bin_edges(self.dtype)[used].astype(np.float64), above[used]
        if above.size == 0:
            return np.empty(0), np.empty(0, dtype=np.int64)
        wanted = np.geomspace(above[0], 1, points)
        places = np.unique(np.minimum(np.searchsorted(-above, -wanted), above.size - 1))
        return edges[places], above[places].astype(np.int64)

    def kept_shares(self, eps: ArrayLike, p: float = 2.0) -> FloatArray:
        """Shares to keep, to about 1e-5: for curves of many points.

        Of many entries interpolated inside bins, of few exact; else as `kept_counts`.
        """
        if p != 2 or not self.many(p):
            return np.asarray(self.kept_counts(eps, p) / self.size)
        sums = np.append(0.0, np.cumsum(self.histogram.sums))
        counts = np.append(0, np.cumsum(self.histogram.counts))
        pruned = np.interp(np.square(np.minimum(eps, 1.0)), sums / sums[-1], counts)
        return np.asarray(1 - pruned / self.size)

    def many(self, p: float) -> bool:
        """Whether there are so many entries, of such a range, that bins serve for this order."""
        return self.size > SORTED_SIZE and 0 < p < math.inf and self._powers_are_safe(p)

    def _powers_are_safe(self, p: float) -> bool:
        if not (p <= LARGEST_SAFE_P and SAFE_SMALL < self.top < SAFE_LARGE):
            return False
        counts = self.histogram.counts
        lowest = np.flatnonzero(counts[1:])
        # the first bin holds zeros and what is far below every safe magnitude
        only_zeros = int(counts[0]) == self.zeros
        smallest = bin_edges(self.dtype)[lowest[0] + 1] if lowest.size else self.top
        return only_zeros and float(smallest) > SAFE_SMALL


def error_bounds(eps: ArrayLike, p: float) -> FloatArray:
    """Relative errors as an array; InputError unless they are finite and >= 0, of a sound order."""
    bounds = np.asarray(eps, dtype=np.float64)
    # max() hands on a NaN, which fails the comparison
    if bounds.size and not (bounds.min() >= 0 and bounds.max() < math.inf):
        raise InputError.parameter("eps", "kept_counts", "finite and not negative", eps)
    check_order(p, "kept_counts")
    return bounds


@dataclass(frozen=True, eq=False)
class Magnitudes(Ordered):
    """Absolute values of an array, ready for questions about their order.

    `values` are the entries with their signs, shape (n,), float32 or float64, shared with the
    array; `top` is the largest magnitude.
    """

    values: Values
    top: float

    @classmethod
    def of(cls, w: ArrayLike | Magnitudes, *, where: str = "Magnitudes.of") -> Magnitudes:
        """Check an array of real, finite weights or norms, of any shape and unit, not empty."""
        if isinstance(w, Magnitudes):
            return w
        array = np.asarray(w)
        if array.dtype.kind not in "iuf" or array.size == 0:
            found = f"{array.dtype} of shape {array.shape}"
            raise InputError.parameter("w", where, "a non-empty array of real numbers", found)
        # |-128| is no int8, and half precision has no bits to spare
        exact = array.dtype in (np.float32, np.float64)
        dtype = np.float32 if array.dtype == np.float16 else np.float64
        values: Values = np.asarray(array if exact else array.astype(dtype)).ravel()
        top = max(float(values.max()), -float(values.min()))
        # max() hands on a NaN
        if not math.isfinite(top):
            bad = int((~np.isfinite(values)).sum())
            raise InputError.parameter("w", where, "finite", f"{bad} NaN or infinite values")
        return cls(values, top)

    @property
    def size(self) -> int:
        """Number of entries, zeros included."""
        return int(self.values.size)

    @cached_property
    def zeros(self) -> int:
        """Number of entries that are exactly zero."""
        return self.size - count_nonzero(self.values)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the values."""
        return self.values.dtype

    def binned_powers(self, p: float, unit: float) -> Histogram:
        """See `Ordered`."""
        counts, sums = np.zeros(BINS, dtype=np.int64), np.zeros(BINS)
        for chunk, bins in self.binned():
            counts += np.bincount(bins, minlength=BINS)
            powers = chunk.astype(np.float64)
            if unit != 1:
                powers /= unit
            powers = powers * powers if p == 2 else np.abs(powers) ** p
            sums += np.bincount(bins, weights=powers, minlength=BINS)
        return Histogram(p, counts, sums, unit)

    def largest(self, k: int) -> Values:
        """Return the k largest magnitudes in increasing order, 0 <= k <= n."""
        if self.size <= SORTED_SIZE:
            return self._sorted[self.size - k :]
        above = np.cumsum(self.histogram.counts[::-1])[::-1]
        first = int(np.searchsorted(-above, -k, side="right")) - 1 if k else BINS
        asked = np.arange(BINS) >= first
        found = np.sort(self.gather(asked))
        return found[found.size - k :]

    def steps(self) -> tuple[FloatArray, NDArray[np.int64]]:
        """See `Ordered`."""
        positive = self._sorted[self.zeros :]
        edges, first = np.unique(positive.astype(np.float64), return_index=True)
        return edges, positive.size - first

    def bin_counts(self) -> NDArray[np.int64]:
        """See `Ordered`."""
        counts = np.zeros(BINS, dtype=np.int64)
        for _, bins in self.binned():
            counts += np.bincount(bins, minlength=BINS)
        return counts

    def members(self, asked: NDArray[np.bool_]) -> tuple[Values, None]:
        """See `Ordered`."""
        return self.gather(asked), None

    def around(self, threshold: float) -> tuple[int, int]:
        """See `Ordered`."""
        sizes = np.abs(self.values)
        larger, equal = sizes > threshold, sizes == threshold
        return int(np.count_nonzero(larger)), int(np.count_nonzero(equal))

    def inside(self, bins: NDArray[np.int64]) -> tuple[FloatArray, NDArray[np.int64]]:
        """See `Ordered`."""
        gathered = np.sort(self.gather(marked(bins))).astype(np.float64)
        return gathered, np.ones(gathered.size, dtype=np.int64)

    def kept_counts(self, eps: ArrayLike, p: float = 2.0) -> NDArray[np.int64]:
        """Smallest numbers of entries to keep for relative l_p errors >= 0 of any shape."""
        bounds = error_bounds(eps, p)
        if not self.many(p):
            errors = self.errors(p)
            # errors[j] belongs to j pruned entries, and errors[0] = 0 is always allowed
            pruned = np.searchsorted(errors, bounds, side="right") - 1
        else:
            histogram = self.histogram if p == 2 else self.binned_powers(p, self.usual_unit)
            pruned = self._pruned_by_bins(histogram, bounds)
        return np.asarray(self.size - pruned, dtype=np.int64)

    def sums_are_safe(self, p: float) -> bool:
        """Whether there are many entries, and powers of all that matter are doubles."""
        return self.size > SORTED_SIZE and p == 2 and SAFE_SMALL < self.top < SAFE_LARGE

    def error_without(self, kept: NDArray[np.bool_]) -> float:
        """Relative l_2 error of zeroing what is not kept, where `sums_are_safe`; to 1e-12."""
        pruned = total = 0.0
        numbers, marks = np.empty(CHUNK), np.empty(CHUNK, dtype=np.bool_)
        for start in range(0, self.size, CHUNK):
            part = self.values[start : start + CHUNK]
            entries, lost = numbers[: part.size], marks[: part.size]
            entries[:] = part
            total += _sum_of_squares(entries)
            np.logical_not(kept[start : start + CHUNK], out=lost)
            pruned += _sum_of_squares(np.multiply(entries, lost, out=entries))
        return math.sqrt(pruned / total)

    def errors(self, p: float) -> FloatArray:
        """Compute the relative errors of pruning the 0, 1, ..., n smallest; shape (n + 1,)."""
        sums = PowerSums.of(self._sorted, p)
        prefixes = sums.of_prefixes(self._sorted)
        return sums.errors(prefixes, prefixes[-1])

    def gather(self, asked: NDArray[np.bool_]) -> Values:
        """Collect the magnitudes of the bins asked, (BINS,) bool, in their order in the array."""
        return np.concatenate([np.abs(chunk[asked[bins]]) for chunk, bins in self.binned()])

    def binned(self) -> Iterator[tuple[Values, NDArray[np.intp]]]:
        """Give the entries chunk by chunk with the numbers of their bins."""
        for start in range(0, self.size, CHUNK):
            chunk = self.values[start : start + CHUNK]
            yield chunk, bins_of(chunk)

    def sizes(self) -> Iterator[Values]:
        """Give the magnitudes chunk by chunk, each in the place of the one before."""
        buffer = np.empty(min(CHUNK, self.size), dtype=self.dtype)
        for start in range(0, self.size, CHUNK):
            chunk = self.values[start : start + CHUNK]
            yield np.abs(chunk, out=buffer[: chunk.size])

    @cached_property
    def _sorted(self) -> Values:
        return np.sort(np.abs(self.values))

    def _pruned_by_bins(self, histogram: Histogram, bounds: FloatArray) -> NDArray[np.int64]:
        counts = np.append(0, np.cumsum(histogram.counts))
        sums = np.append(0.0, np.cumsum(histogram.sums))
        ends = (sums / sums[-1]) ** (1 / histogram.p)
        # the first bin that ends above the bound; beyond the last one everything goes
        hit = np.searchsorted(ends, bounds.ravel(), side="right") - 1
        asked = np.zeros(BINS, dtype=np.bool_)
        asked[hit[hit < BINS]] = True
        gathered = np.sort(self.gather(asked)).astype(np.float64)
        starts = np.append(0, np.cumsum(np.where(asked, histogram.counts, 0)))
        pruned = np.full(hit.size, self.size, dtype=np.int64)
        for number in np.flatnonzero(asked):
            inside = gathered[starts[number] : starts[number + 1]]
            running = sums[number] + np.append(0.0, np.cumsum(inside**histogram.p))
            errors = (running / sums[-1]) ** (1 / histogram.p)
            here = hit == number
            found = np.searchsorted(errors, bounds.ravel()[here], side="right") - 1
            pruned[here] = counts[number] + np.clip(found, 0, inside.size)
        return pruned.reshape(bounds.shape)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts and sums of p-th powers of magnitudes by their leading bits, each of shape (BINS,).

    Sums are in p-th powers of `unit`, and what is 1e-150 times smaller counts as nothing; `unit`
    is 1, or the largest magnitude where squares in other units would leave the doubles.
    """

    p: float
    counts: NDArray[np.int64]
    sums: FloatArray
    unit: float


def count_nonzero(array: NDArray[Any]) -> int:
    """How many numbers of an array are not 0; several times faster than NumPy's own."""
    if not array.flags.c_contiguous:
        return int(np.count_nonzero(array))
    flat = array.reshape(-1)
    marks = np.empty(CHUNK, dtype=np.bool_)
    parts = (flat[start : start + CHUNK] for start in range(0, flat.size, CHUNK))
    return sum(
        int(np.count_nonzero(np.not_equal(part, 0, out=marks[: part.size]))) for part in parts
    )


def _sum_of_squares(values: FloatArray) -> float:
    """By blocks, each too small for BLAS to start threads on."""
    whole = values.size // BLOCK * BLOCK
    blocks, rest = values[:whole].reshape(-1, BLOCK), values[whole:]
    return float(np.vecdot(blocks, blocks).sum() + np.vecdot(rest, rest))


def bins_of(values: Values) -> NDArray[np.intp]:
    """Numbers of the bins of float32 or float64 values, contiguous, whatever their signs."""
    integers, sign = _integers(values.dtype)
    bits = values.view(integers) & integers(2**sign - 1)
    return np.asarray((bits >> integers(sign - BIN_BITS)).astype(np.intp))


def marked(bins: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which bins are among some numbers, (BINS,)."""
    found = np.zeros(BINS, dtype=np.bool_)
    found[bins] = True
    return found


def bin_edges(dtype: np.dtype[Any]) -> Values:
    """Smallest magnitude of each bin, infinite from infinity's on; shape (BINS,)."""
    integers, sign = _integers(dtype)
    bits = np.arange(BINS, dtype=integers) << integers(sign - BIN_BITS)
    edges: Values = bits.view(dtype)
    # patterns beyond infinity are NaN, and hold nothing
    return np.where(np.isnan(edges), np.inf, edges)


def _integers(dtype: np.dtype[Any]) -> tuple[Any, int]:
    """Unsigned type of a float type's width, and the place of its sign bit."""
    return (np.uint32, 31) if dtype == np.float32 else (np.uint64, 63)


@dataclass(frozen=True)
class PowerSums:
    """Sums of |w|^p relative to the largest |w|, `top`, or their logarithms.

    Logarithms only where powers would underflow (p = 2 and magnitudes 1e-154 apart, or a
    very large p), since they cost exactness in cases such as 3-4-5.
    """

    top: float
    p: float
    logs: bool

    @classmethod
    def of(cls, ascending: Values, p: float, where: str = "PowerSums.of") -> PowerSums:
        """Choose the form for magnitudes in increasing order."""
        check_order(p, where)
        top = float(ascending[-1])
        first = np.searchsorted(ascending, 0, side="right")
        smallest = float(ascending[first]) / top if top > 0 else 1.0
        return cls(top, float(p), smallest**p < np.finfo(np.float64).tiny)

    def of_prefixes(self, ascending: Values) -> FloatArray:
        """Sums of the first 0, 1, ..., n entries; shape (n + 1,)."""
        sums = np.zeros(ascending.size + 1)
        terms = sums[1:]
        if self.top == 0:
            return sums
        np.divide(ascending, self.top, out=terms, dtype=np.float64)
        if self.logs:
            sums[0] = -math.inf
            with np.errstate(divide="ignore"):
                np.log(terms, out=terms)
            terms *= self.p
            np.logaddexp.accumulate(terms, out=terms)
        else:
            terms **= self.p
            np.cumsum(terms, out=terms)
        return sums

    def errors(self, sums: FloatArray, total: float) -> FloatArray:
        """Relative errors (sum / total)^(1/p), same shape."""
        if self.top == 0:
            return sums
        if self.logs:
            return np.asarray(np.exp((sums - total) / self.p))
        return np.asarray((sums / total) ** (1 / self.p))
