"""Whether weights are independent of each other, as the compression theorems need.

Heavy tails help only where the weights are independent: a column of weights that shares one
heavy-tailed scale is heavy-tailed in law, and no more compressible than Gaussian weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, kolmogorov

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]

# At most this many rows and columns are looked at.
SIDE = 512
# Values of a two-sample comparison.
SPLIT_SIZE = 2**13
# A dependence is told apart from chance at this level, and from a trifle by this share.
LEVEL = 1e-6
TRIFLE = 0.01


class Regime(StrEnum):
    """Which weights share a scale."""

    INDEPENDENT = "independent"
    ROWS = "dependent in rows"
    COLUMNS = "dependent in columns"
    BOTH = "dependent in rows and columns"
    UNKNOWN = "unknown"


# Whether rows, and whether columns, share a scale.
REGIMES = {
    (False, False): Regime.INDEPENDENT,
    (True, False): Regime.ROWS,
    (False, True): Regime.COLUMNS,
    (True, True): Regime.BOTH,
}


@dataclass(frozen=True)
class SharedScale:
    """Analysis of variance of log|w| between lines (rows or columns) of a matrix.

    `intraclass_correlation` is the share of the variance that lies between lines, about 0 if
    the entries are independent; `f` the variance ratio, about 1 then; `p_value` that of a larger
    ratio for independent entries.
    """

    intraclass_correlation: float
    f: float
    p_value: float


@dataclass(frozen=True)
class Split:
    """Kolmogorov-Smirnov distance of two parts of a matrix, and the p-value of a larger one."""

    ks: float
    p_value: float


@dataclass(frozen=True)
class Dependence:
    """What speaks against independent, identically distributed weights.

    `regime` names the lines whose shared scale is beyond chance and explains at least one percent
    of the variance of log|w|; UNKNOWN for matrices too small. `splits`: "random", a random
    partition of the entries, which has equal laws whatever the weights; "rows" and "columns",
    alternate rows, or columns.
    """

    regime: Regime
    rows: SharedScale | None
    columns: SharedScale | None
    splits: dict[str, Split]


def dependence(
    matrix: NDArray[Any], rng: np.random.Generator, decode: Callable[[Any], Matrix] | None = None
) -> Dependence:
    """Measure what rows and columns of a matrix of finite weights share; zeros are left out.

    `rng` chooses rows and columns of large matrices, and the random partition; `decode` gives the
    weights of a part of the matrix, if it holds codes.

    Notes
    -----
    If w_ij = s_j g_ij with a scale s_j per column, log|w_ij| = log s_j + log|g_ij| is a
    one-way layout. For columns drawn from an elliptically contoured stable law the
    intraclass correlation is 1 - (pi^2/8) / ((pi^2/6)(1/alpha^2 + 1/2)): 0.093 at
    alpha = 1.75, 0 at 2. The three laws are those of appendix A.6.1 of Barsbey et al. (2021);
    the random partition is that of their figure 2.
    """
    part: Matrix = _corner(matrix, rng)
    part = part if decode is None else decode(part)
    kept = part != 0
    logs = np.log(np.abs(np.where(kept, part, 1))).astype(np.float64)
    logs -= logs.sum() / max(np.count_nonzero(kept), 1)
    logs[~kept] = 0.0
    squares = float((logs**2).sum())
    rows, columns = (
        _shared_scale(logs.sum(axis=axis), kept.sum(axis=axis), squares) for axis in (1, 0)
    )
    regime = REGIMES[_matters(rows), _matters(columns)]
    if rows is None and columns is None:
        regime = Regime.UNKNOWN
    flat = part[kept]
    two = rng.choice(flat, min(2 * SPLIT_SIZE, flat.size), replace=False)
    splits = {
        "random": _split(two[0::2], two[1::2], rng),
        "rows": _split(part[0::2].ravel(), part[1::2].ravel(), rng),
        "columns": _split(part[:, 0::2].ravel(), part[:, 1::2].ravel(), rng),
    }
    return Dependence(regime, rows, columns, {k: v for k, v in splits.items() if v is not None})


def _corner(matrix: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """At most SIDE random rows and columns, in order."""
    m, n = matrix.shape
    # a matrix with a short side may keep more of the long one
    rows = min(m, max(SIDE, SIDE * SIDE // n))
    columns = min(n, max(SIDE, SIDE * SIDE // m))
    return matrix[np.ix_(_some(m, rows, rng), _some(n, columns, rng))]


def _some(size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random places below `size` in increasing order, all if there are no more."""
    return np.sort(rng.choice(size, count, replace=False)) if count < size else np.arange(size)


def _shared_scale(
    sums: FloatArray, counts: NDArray[np.integer[Any]], squares: float
) -> SharedScale | None:
    """One-way analysis of variance from sums and counts per line, and the sum of squares."""
    used = counts > 0
    sums, counts = sums[used], counts[used]
    lines, total = sums.size, int(counts.sum())
    if lines < 2 or total - lines < 8:
        return None
    between = float((sums**2 / counts).sum() - sums.sum() ** 2 / total)
    within = squares - float((sums**2 / counts).sum())
    if within <= 0:
        return None
    mean_between, mean_within = between / (lines - 1), within / (total - lines)
    f = mean_between / mean_within
    size = (total - float((counts**2).sum()) / total) / (lines - 1)
    correlation = (f - 1) / (f - 1 + size)
    return SharedScale(correlation, f, float(fdtrc(lines - 1, total - lines, f)))


def _matters(shared: SharedScale | None) -> bool:
    return shared is not None and shared.p_value < LEVEL and shared.intraclass_correlation > TRIFLE


def _split(a: Matrix, b: Matrix, rng: np.random.Generator) -> Split | None:
    a, b = a[a != 0], b[b != 0]
    if min(a.size, b.size) < 8:
        return None
    a, b = (
        rng.choice(part, SPLIT_SIZE, replace=False, shuffle=False)
        if part.size > SPLIT_SIZE
        else part
        for part in (a, b)
    )
    both = np.concatenate([a, b])
    order = np.argsort(both)
    of_a = np.cumsum(order < a.size)
    last = np.append(np.flatnonzero(np.diff(both[order])), both.size - 1)  # of equal ones
    below_a, below_b = of_a[last] / a.size, (last + 1 - of_a[last]) / b.size
    distance = float(np.abs(below_a - below_b).max())
    effective = a.size * b.size / (a.size + b.size)
    return Split(distance, float(kolmogorov(math.sqrt(effective) * distance)))
