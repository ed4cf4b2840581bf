"""Bounds of all networks of a pruning path at once, at any share that it keeps.

A path removes the weights of one network in an order fixed before the examples that bound it.
There are no more networks on it than weights that it can remove, and one, so a union over them
speaks of every share, asked for beforehand or not. Errors need not grow as weights go; the
envelope does, which says of an example whether it is an error at this share or a larger one of the
grid. So the law of the share at which examples first fail is bounded uniformly, without a union, by
the inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990, corollary 1).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prunable.certify.bounds.base import SUM, BoundResult, Term, powers
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.held_out import FRESH, held_out_bound
from prunable.certify.bounds.occam import occam_bound
from prunable.errors import check_at_least, require

Wrong = NDArray[np.bool_]


def grid_bounds(wrong: Wrong, delta: float) -> tuple[BoundResult, ...]:
    """Bound the networks of a grid of shares together: a union over the grid.

    `wrong` (shares, n) says which held-out examples each network errs on.
    """
    counts, n = _counted(wrong)
    return tuple(held_out_bound(k, n, delta, candidates=len(counts)) for k in counts)


def anywhere_bounds(wrong: Wrong, delta: float, distinct: int) -> tuple[BoundResult, ...]:
    """Bound networks of a path of which so many are `distinct`, whichever are asked for.

    It holds for all networks of the path at once; those of `wrong` may be chosen after the
    held-out examples were seen.
    """
    counts, n = _counted(wrong)
    check_at_least(distinct, 1, "distinct", "anywhere_bounds")
    return tuple(
        replace(held_out_bound(k, n, delta, candidates=distinct), name="held-out set, whole path")
        for k in counts
    )


def envelope_bounds(wrong: Wrong, delta: float) -> tuple[BoundResult, ...]:
    """Bound the networks of a grid together by their envelope, at a price free of the grid's size.

    Rows of `wrong` go from the largest share kept to the smallest.
    """
    _counted(wrong)
    check_delta(delta, "envelope_bounds")
    n, nats = wrong.shape[1], max(math.log(2), -math.log(delta))
    price = Term.made(
        "price",
        powers(0.5, -0.5),
        "uniform distance of an empirical law",
        Term.of("ln(1/delta)", nats, "confidence, nats, at least ln 2"),
        Term.of("2n", 2 * n, "held-out examples"),
    )
    shares = np.logical_or.accumulate(wrong, axis=0).mean(axis=1)
    meaning = "share of examples that are errors at this share or a larger one"
    return tuple(
        BoundResult(
            "held-out set, envelope",
            (Term.of("R^", float(share), meaning), price),
            SUM,
            (FRESH,),
            "Massart 1990, corollary 1",
            n=n,
            delta=delta,
        )
        for share in shares
    )


def coded_path_bounds(
    errors: Sequence[int], n: int, bits: float, delta: float, distinct: int
) -> tuple[BoundResult, ...]:
    """Bound networks of a coded path by training errors: Occam's bound with log2 of their number.

    A code file of `bits` bits names a network and, by the sizes of its integers and their order,
    all `distinct` networks of its path, which share its mass equally. It holds for every network of
    every path at once, so that path and share may be chosen by the training examples.
    """
    check_at_least(distinct, 1, "distinct", "coded_path_bounds")
    total = bits + math.log2(distinct)
    return tuple(
        replace(occam_bound(k, n, total, delta), name="Occam, code length of a path")
        for k in errors
    )


def _counted(wrong: Wrong) -> tuple[list[int], int]:
    shown = getattr(wrong, "shape", None)
    valid = wrong.ndim == 2 and wrong.dtype == np.bool_ and wrong.size > 0
    require(valid, "wrong", "path bounds", "of booleans (shares, examples)", shown)
    return [int(k) for k in wrong.sum(axis=1)], wrong.shape[1]
