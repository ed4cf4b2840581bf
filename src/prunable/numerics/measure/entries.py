"""The entries of one weight matrix as `measure` meets them: plain floats, or codes with a table.

What is stored in 16 bits or less is never widened as a whole: codes are counted, and the few that
an estimator looks at are looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.numerics.arrays import FloatArray, medians
from prunable.numerics.tails.base import Repeated
from prunable.numerics.weights.levels import Levels
from prunable.numerics.weights.magnitudes import CHUNK, Magnitudes, Ordered

Matrix = NDArray[np.floating[Any]]
Codes = NDArray[np.unsignedinteger[Any]]

# Weights that the estimators see, a power of two; standard errors are then a few thousandths.
SAMPLE_SIZE = 2**20
# Weights that goodness of fit is tested on: departures of about one percent in the distribution
# function are seen.
TEST_SIZE = 2**15
# The number from which NumPy draws from urns no more.
MANY = 10**9
# A share of zeros above this marks a pruned layer, whose median lies at the edge of a gap.
PRUNED_SHARE = 0.01
# Entries after which pages of a mapped file are given back.
HELD = 2**25
# Codes counted at a time: each time takes a table of all.
COUNTED = 2**19


def _nothing() -> None:
    pass


@dataclass(frozen=True, eq=False)
class Drawn:
    """A random sample of weights that are not zero, less their median.

    `values` are in random order, or `Repeated` where there are few distinct numbers; `part` are at
    most `TEST_SIZE` of them.
    """

    values: Matrix | Repeated
    part: Matrix | Repeated

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.values.size

    def ordered(self) -> Ordered:
        """Magnitudes of the sample."""
        if isinstance(self.values, Repeated):
            return Levels.of(self.values.values, self.values.counts)
        return Magnitudes.of(self.values)


@dataclass(frozen=True, eq=False)
class Plain:
    """A matrix (out, in * taps) of floats."""

    raw: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.raw.shape[0], self.raw.shape[1]

    @cached_property
    def ordered(self) -> Magnitudes:
        """Magnitudes of all entries."""
        return Magnitudes.of(self.raw, where="measure_layer")

    def decode(self, raw: NDArray[Any]) -> Matrix:
        """Numbers of a part of `raw`."""
        return raw

    def powers(self, p: float, unit: float) -> Callable[[NDArray[Any]], FloatArray]:
        """Give what makes p-th powers, in a unit, of a part of `raw`."""
        return lambda raw: _powers(raw, p, unit)

    def release(self) -> None:
        """Nothing was mapped."""

    def scaled(self, exponent: int) -> Plain:
        """The same times a power of two, which changes no digit, as float64."""
        return Plain(np.ldexp(self.raw.astype(np.float64), exponent))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw at most `SAMPLE_SIZE` weights; see `Drawn`.

        A layer with more than one percent of zeros is not centred: pruning by magnitude leaves a
        gap, and the median at one of its edges.
        """
        magnitudes = self.ordered
        values = magnitudes.values
        pruned = magnitudes.zeros > PRUNED_SHARE * magnitudes.size
        if pruned:
            values = values[values != 0]
        if values.size > SAMPLE_SIZE:
            values = values[_places(values.size, rng)]
        # the order of a matrix would put dependent weights into one block of an estimator
        sample: Matrix = rng.permutation(values)
        sample = sample[sample != 0]
        if sample.size and not pruned:
            sample = sample - medians(sample)
            sample = sample[sample != 0]
        return Drawn(sample, sample[:TEST_SIZE])


@dataclass(frozen=True, eq=False)
class Coded:
    """A matrix of codes, each standing for a number of a table.

    Attributes
    ----------
    raw : (out, in * taps) unsigned integers of 8 or 16 bits; also of other shapes, until they are
        seen as a matrix. May be mapped from a file.
    table : (256,) or (65536,) float32 or float64 numbers that the codes stand for.
    leading : Whether codes are the leading bits of float32, as of bfloat16.
    release : Gives back the memory of what was read, where a file is mapped.
    """

    raw: Codes
    table: Matrix
    leading: bool = False
    release: Callable[[], None] = _nothing

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.raw.shape[0], self.raw.shape[1]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How often each code occurs."""
        counts = np.zeros(self.table.size, dtype=np.int64)
        for chunk in self.chunks(COUNTED):
            counts += np.bincount(chunk, minlength=self.table.size)
        return counts

    @cached_property
    def ordered(self) -> Levels:
        """Magnitudes of all entries."""
        return Levels.of(self.table, self.counts)

    @property
    def finite(self) -> bool:
        """Whether all entries are."""
        return bool(np.isfinite(self.table[self.counts > 0]).all())

    def decode(self, raw: NDArray[Any]) -> Matrix:
        """Numbers of a part of `raw`."""
        if self.leading:
            wide = raw.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        return np.asarray(np.take(self.table, raw))

    def powers(self, p: float, unit: float) -> Callable[[NDArray[Any]], FloatArray]:
        """Give what makes p-th powers, in a unit, of a part of `raw`."""
        if self.leading and p == 2:  # which takes less than a look into the table
            return lambda raw: _powers(self.decode(raw), p, unit)
        table = _powers(np.where(self.counts > 0, self.table, 0), p, unit)
        return lambda raw: np.take(table, raw)

    def scaled(self, exponent: int) -> Coded:
        """The same times a power of two, which changes no digit, as float64."""
        with np.errstate(invalid="ignore"):  # of codes that do not occur
            table = np.ldexp(self.table.astype(np.float64), exponent)
        return replace(self, table=table, leading=False)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw a sample of the law of that of `Plain.draw`, from counts: no weight is read."""
        size, zeros = self.ordered.size, self.ordered.zeros
        pruned = zeros > PRUNED_SHARE * size
        used = np.flatnonzero(self.counts * (self.table != 0) if pruned else self.counts)
        values, counts = self.table[used], _some(self.counts[used], SAMPLE_SIZE, rng)
        seeds = rng.integers(2**63, size=2)
        kept = (counts > 0) & (values != 0)
        values, counts = values[kept], counts[kept]
        if values.size and not pruned:
            values = values - _median(values, counts)
            values, counts = values[values != 0], counts[values != 0]
        some = _some(counts, TEST_SIZE, rng)
        return Drawn(
            Repeated(values, counts, int(seeds[0])),
            Repeated(values[some > 0], some[some > 0], int(seeds[1])),
        )

    def chunks(self, size: int = CHUNK) -> Iterator[Codes]:
        """All codes in their order, a few at a time."""
        flat = self.raw.reshape(-1)
        for start in range(0, flat.size, size):
            yield flat[start : start + size]
            if start % HELD == HELD - size:
                self.release()


Entries = Plain | Coded


def _powers(values: Matrix, p: float, unit: float) -> FloatArray:
    powers = values.astype(np.float64)
    if unit != 1:
        powers /= unit
    if p == 2:
        np.multiply(powers, powers, out=powers)
    else:
        np.power(np.abs(powers), p, out=powers)
    return powers


def _places(size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One place from each of equal strata: distinct, and increasing."""
    starts = np.arange(SAMPLE_SIZE) * size >> SAMPLE_SIZE.bit_length() - 1
    return np.asarray(starts + rng.integers(size // SAMPLE_SIZE, size=SAMPLE_SIZE))


def _some(counts: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each value occurs among at most `size` of so many, drawn without repetition."""
    total = int(counts.sum())
    if total <= size:
        return counts
    if total < MANY:
        return rng.multivariate_hypergeometric(counts, size, method="marginals")
    # to draw one of so many twice matters to nothing
    return rng.multinomial(size, counts / total)


def _median(values: Matrix, counts: NDArray[np.int64]) -> Any:
    """The median of numbers that occur so often, rounded as that of an array of them."""
    order = np.argsort(values)
    below = np.cumsum(counts[order])
    n = int(below[-1])
    middle = np.searchsorted(below, [(n - 1) // 2, n // 2], side="right")
    return np.median(values[order[middle]])
