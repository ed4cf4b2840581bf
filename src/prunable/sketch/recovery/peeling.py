"""Verification decoding: equal measurements come from one entry.

Values of general position do not repeat and no two different sums of them agree, so several
measurements with one value hold the same entries. If exactly one position takes part in all of
them, and none of its other measurements is 0, that is the entry: it is decoded, subtracted from
its measurements, and what was hidden under it shows. Known as verification decoding, or parallel
l0 decoding (Zhang and Pfister 2012; Mendoza-Smith and Tanner 2017).

Quantised weights repeat, and are what this decoder cannot do: see `channels`.
"""

import numpy as np
from numpy.typing import NDArray

from prunable.errors import check_at_least
from prunable.sketch.recovery.core import real_core
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Decoded, Ending, Entries, IntArray, Triples, Values
from prunable.sketch.recovery.sketching import buckets, check_sketch

MOST_ROUNDS = 1_000
MOST_PAIRS = 256  # positions tried for one group of equal measurements
ROUNDING = 4 * np.finfo(np.float64).eps  # of one addition, with room

FloatArray = NDArray[np.float64]
Found = tuple[IntArray, IntArray, Values, FloatArray]


def peel(
    measured: Values,
    left: Ensemble,
    right: Ensemble,
    *,
    core: bool = True,
    max_rounds: int = MOST_ROUNDS,
) -> Decoded:
    """Decode Y = A X B^T, (m1, m2), by verification, then solve the small rest.

    Y is float64, or of unsigned integers, which are decoded modulo their power of 2. With `core`, a
    small rest of real numbers that peeling cannot enter is solved by least squares or l1.

    RECOVERED means that the sketch is explained: exactly for integers; for real numbers up to the
    rounding of the additions and subtractions, which is followed measurement by measurement.
    Integers are exact bit for bit, real numbers carry that rounding.
    """
    check_sketch(measured, left, right, "peel")
    check_at_least(max_rounds, 1, "max_rounds", "peel")
    real = measured.dtype.kind == "f"
    rest = measured.astype(np.float64 if real else measured.dtype).ravel()
    size = np.abs(rest) if real else rest
    # how far each measurement may be from exact arithmetic
    slack = ROUNDING * size if real else np.zeros(rest.size)
    found: list[Triples] = []

    def subtract(rows: IntArray, cols: IntArray, values: Values, doubt: FloatArray) -> None:
        places = buckets(left, right, rows, cols)
        np.subtract.at(rest, places, values[:, None])
        if real:
            np.add.at(slack, places, (doubt + ROUNDING * np.abs(values))[:, None])
        found.append((rows, cols, values))

    def alive() -> NDArray[np.bool_]:
        return np.asarray(np.abs(rest) > slack if real else rest != 0)

    rounds = 0
    while rounds < max_rounds and (open_ := alive()).any():
        single = _singles(rest, slack, open_, left, right)
        if not single[0].size:
            break
        rounds += 1
        subtract(*single)
    solved, unique = 0, True
    if core and real and rounds < max_rounds and alive().any():
        solution = real_core(rest, slack, left, right)
        if solution is not None:
            rows, cols, values, unique = solution
            solved = rows.size
            # least squares rounds relative to its largest value
            subtract(rows, cols, values, np.full(solved, 64 * ROUNDING * np.abs(values).max()))
    wrong = alive()
    explained = not wrong.any()
    if real:
        whole = float(np.linalg.norm(measured))
        residual = float(np.linalg.norm(rest)) / whole if whole > 0 else 0.0
    else:
        residual = np.count_nonzero(wrong) / max(wrong.size, 1)
    if explained:
        verdict = Ending.RECOVERED if unique else Ending.AMBIGUOUS
    else:
        verdict = Ending.CAPPED if rounds >= max_rounds else Ending.STUCK
    entries = Entries.gather((left.n, right.n), found, rest.dtype)
    return Decoded(entries, verdict, residual, rounds, solved)


def _singles(
    rest: Values, slack: FloatArray, alive: NDArray[np.bool_], left: Ensemble, right: Ensemble
) -> Found:
    """Entries that groups of equal measurements point at: rows, columns, values, their doubt."""
    places, starts, sizes = _equal_groups(rest, slack, np.flatnonzero(alive), left, right)
    above, below = places // right.m, places % right.m
    group_r, rows = _members(above, starts, sizes, left)
    group_c, cols = _members(below, starts, sizes, right)
    n_rows = np.bincount(group_r, minlength=sizes.size)
    n_cols = np.bincount(group_c, minlength=sizes.size)
    n_pairs = n_rows * n_cols
    n_pairs[n_pairs > MOST_PAIRS] = 0
    # all pairs of the rows and the columns of each group
    group, rank = _expanded(n_pairs)
    first_r, first_c = (np.cumsum(n) - n for n in (n_rows, n_cols))
    i = rows[first_r[group] + rank // np.maximum(n_cols[group], 1)]
    j = cols[first_c[group] + rank % np.maximum(n_cols[group], 1)]
    possible = np.ones(group.size, dtype=np.bool_)
    for a in range(left.delta):
        for b in range(right.delta):
            kept = np.flatnonzero(possible)
            where = left.neighbours[i[kept], a] * right.m + right.neighbours[j[kept], b]
            possible[kept] = alive[where]
    group, i, j = group[possible], i[possible], j[possible]
    alone = np.bincount(group, minlength=sizes.size)[group] == 1
    group, i, j = group[alone], i[alone], j[alone]
    # where two groups name one position, the larger is believed
    order = np.argsort(-sizes[group], kind="stable")
    group, i, j = group[order], i[order], j[order]
    _, first = np.unique(i * right.n + j, return_index=True)
    group, i, j = group[first], i[first], j[first]
    best = places[starts[group]]
    return i, j, rest[best], slack[best]


def _equal_groups(
    rest: Values, slack: FloatArray, alive: IntArray, left: Ensemble, right: Ensemble
) -> tuple[IntArray, IntArray, IntArray]:
    """Measurements with equal values, two or more, not more than one entry has.

    Returns the measurements group by group, the surest of each group first, and where groups
    start and how long they are.
    """
    order = alive[np.argsort(rest[alive], kind="stable")]
    values, doubts = rest[order], slack[order]
    new = np.ones(order.size, dtype=np.bool_)
    new[1:] = values[1:] - values[:-1] > doubts[1:] + doubts[:-1]
    group = np.cumsum(new) - 1
    sizes = np.bincount(group)
    fits = (sizes >= min(2, left.delta * right.delta)) & (sizes <= left.delta * right.delta)
    kept = fits[group]
    order, doubts, group = order[kept], doubts[kept], group[kept]
    by_doubt = np.lexsort((doubts, group))
    order, group = order[by_doubt], group[by_doubt]
    sizes = sizes[fits]
    return order, np.cumsum(sizes) - sizes, sizes


def _members(
    lines: IntArray, starts: IntArray, sizes: IntArray, ensemble: Ensemble
) -> tuple[IntArray, IntArray]:
    """Columns of an ensemble that have ones in all lines of a group: (group, column) pairs."""
    begin, columns = ensemble.readers
    if not sizes.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first = lines[starts]
    # one line that differs from the first rules most columns out
    other = np.maximum.reduceat(lines, starts)
    other = np.where(other == first, np.minimum.reduceat(lines, starts), other)
    group, rank = _expanded(begin[first + 1] - begin[first])
    column = columns[begin[first[group]] + rank]
    kept = ensemble.takes(column, other[group])
    group, column = group[kept], column[kept]
    pair, rank = _expanded(sizes[group])
    fits = ensemble.takes(column[pair], lines[starts[group[pair]] + rank])
    missing = np.bincount(pair[~fits], minlength=group.size)
    return group[missing == 0], column[missing == 0]


def _expanded(counts: IntArray) -> tuple[IntArray, IntArray]:
    """Owner and rank of each of sum(counts) items: (0, 0), (0, 1), ..., (1, 0), ..."""
    owner = np.repeat(np.arange(counts.size), counts)
    return owner, np.arange(owner.size) - (np.cumsum(counts) - counts)[owner]
