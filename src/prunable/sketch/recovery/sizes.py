"""How large a sketch must be, and what else could be stored or counted instead."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from prunable.errors import check_at_least, require
from prunable.sketch.recovery.channels import TagLayout
from prunable.sketch.recovery.ensembles import Ensemble, delta_random, identity
from prunable.sketch.recovery.entries import Entries

# m = factor sqrt(n j) for n x n matrices of j entries a row: docs/sketch/phase.md
TAGGED_FACTOR, TAGGED_DELTA = 1.6, 3
VERIFICATION_FACTOR, VERIFICATION_DELTA = 2.5, 4
# beyond what the factor asks: small sketches fluctuate
MARGIN = 4
# measurements of one dimension for each entry of the fullest line
LINE_FACTOR = 2.0


@dataclass(frozen=True)
class SketchSize:
    """Sizes of A, (m1, p1) with delta1 ones a column, and of B, (m2, p2) with delta2.

    A dimension with m = p and delta = 1 is not sketched: its matrix is the identity.
    """

    m1: int
    m2: int
    delta1: int
    delta2: int

    @property
    def measurements(self) -> int:
        """Entries of Y."""
        return self.m1 * self.m2

    def ensembles(
        self,
        shape: tuple[int, int],
        left: np.random.Generator,
        right: np.random.Generator | None = None,
    ) -> tuple[Ensemble, Ensemble]:
        """Draw A, then B, for matrices of a shape; from one generator, or from two."""
        sides = (
            (shape[0], self.m1, self.delta1, left),
            (shape[1], self.m2, self.delta2, right or left),
        )
        a, b = (
            identity(n) if (m, delta) == (n, 1) else delta_random(n, m, delta, generator)
            for n, m, delta, generator in sides
        )
        return a, b


def sketch_size(
    entries: Entries,
    *,
    factor: float = TAGGED_FACTOR,
    delta: int = TAGGED_DELTA,
    line_factor: float = LINE_FACTOR,
) -> SketchSize:
    """Choose the size of a sketch that peeling decodes, of a matrix of S entries, (p1, p2).

    There are about factor^2 S measurements: (m1, m2) = factor sqrt(S) (sqrt(p1/p2), sqrt(p2/p1)),
    so that m = factor sqrt(n j) for n x n matrices of j entries a row, and at least `line_factor`
    measurements m2 (m1) for each entry of the fullest row (column): the entries of one row meet the
    same rows of Y, and only B keeps them apart. A column of A and B has `delta` ones, 2 or more.
    """
    factors = (factor, line_factor)
    positive = all(0 < value < math.inf for value in factors)
    require(positive, "factor", "sketch_size", "positive, like `line_factor`", factors)
    check_at_least(delta, 2, "delta", "sketch_size")
    p1, p2 = entries.shape
    fullest_row, fullest_col = entries.fullest
    total = factor**2 * entries.count

    def side(n: int, wanted: float, fullest: int) -> tuple[int, int]:
        m = math.ceil(max(wanted, line_factor * fullest)) + MARGIN
        # so many that distinct columns are found at once
        while math.comb(m, delta) < 4 * n:
            m += 1
        return (n, 1) if m >= n else (m, delta)

    square = math.sqrt(total)
    aspect = math.sqrt(max(p1, 1) / max(p2, 1))
    m1, delta1 = side(p1, square * aspect, fullest_col)
    m2, delta2 = side(p2, square / aspect, fullest_row)
    # a side longer than asked, or not sketched, leaves less to the other, or more
    if delta1 == 1 < delta2 or m1 * p2 >= m2 * p1:
        m2, delta2 = side(p2, total / max(m1 - MARGIN * (delta1 > 1), 1), fullest_row)
    else:
        m1, delta1 = side(p1, total / max(m2 - MARGIN * (delta2 > 1), 1), fullest_col)
    return SketchSize(m1, m2, delta1, delta2)


@dataclass(frozen=True)
class Sizes:
    """Bytes, or parameters, of one matrix in several descriptions.

    Counts are of real parameters of the reduced description: p1 p2, S, and the measurements.
    """

    dense: float  # p1 p2 numbers as they are
    bitmask: float  # a bit for each position and the values that are not 0
    # log2 C(p1 p2, S) bits for the positions, and for the values the fewer of their own bits and an
    # adaptive code of their alphabet
    entropy: float
    sketch: float  # values and tags of a decodable sketch
    dense_count: int
    nonzero_count: int
    sketch_count: int
    # max(p1 j_r, p2 j_c) ln(p)^2, theorem 5.1's number as reconstructed, with constant 1: j_r and
    # j_c the fullest row and column, p the larger side; j p ln(p)^2 for p x p
    theory_count: float
    code_count: float  # S ln(p)^2, which the paper's experiments evaluate


def compare_sizes(entries: Entries, size: SketchSize) -> Sizes:
    """Compare a sketch that decodes with plainer descriptions of the same bit patterns.

    `theory_count` is Theorem 5.1 of the 2023 paper, as reconstructed, and the count below it that
    of the released code for Theorem 5.2.
    """
    p1, p2 = entries.shape
    total, width = p1 * p2, entries.values.dtype.itemsize
    positions = float(gammaln(total + 1) - gammaln(entries.count + 1))
    positions = (positions - float(gammaln(total - entries.count + 1))) / math.log(2)
    values = min(8.0 * width * entries.count, _alphabet_bits(entries.values))
    p = max(p1, p2)
    fullest_row, fullest_col = entries.fullest
    logs = math.log(p) ** 2 if p else 0.0
    return Sizes(
        dense=total * width,
        bitmask=total / 8 + entries.count * width,
        entropy=(positions + values) / 8,
        sketch=size.measurements * (width + TagLayout.of(entries.shape).size),
        dense_count=total,
        nonzero_count=entries.count,
        sketch_count=size.measurements,
        theory_count=max(p1 * fullest_row, p2 * fullest_col) * logs,
        code_count=entries.count * logs,
    )


def _alphabet_bits(values: NDArray[np.unsignedinteger]) -> float:
    """Bits of the adaptive code of Krichevsky and Trofimov, with its alphabet sent plainly."""
    letters, counts = np.unique(values, return_counts=True)
    if not letters.size:
        return 0.0
    half = letters.size / 2
    # -ln of prod Gamma(n_k + 1/2) / Gamma(1/2) over Gamma(S + K/2) / Gamma(K/2)
    nats = float(gammaln(counts.sum() + half) - gammaln(half))
    nats -= float(np.sum(gammaln(counts + 0.5) - gammaln(0.5)))
    return nats / math.log(2) + float(letters.size * 8 * values.dtype.itemsize)
