"""How evenly pruning leaves weights in rows and columns: lemmas E.1 and 5.1, definition 5.1.

Guha, Dubey and Huo (2023), both lemmas as reconstructed (see `reconstruction`). Sketching needs
every row and column to hold few weights.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.certify.bounds.assumptions import Assumption, at_least
from prunable.certify.bounds.base import PRODUCT, BoundResult, Term
from prunable.certify.bounds.checks import check_finite
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.pruning_moments import GAUSSIAN, SOURCE, kept_share
from prunable.certify.bounds.reconstruction import rebuilt
from prunable.errors import check_at_least, require

# n (e^2 / 27)^(N/n) <= n^(-1/3) from this many balls a bin on, in units of log n.
LOAD_REGIME = (4 / 3) / (math.log(27) - 2)


def max_load(balls: float, bins: int) -> BoundResult:
    """Bound the fullest of n equally likely bins, 3 N / n but for probability n^(-1/3): lemma E.1.

    The lemma is reconstructed: neither number could be read. The number N of balls may be one in
    the mean, or a bound of it. By a Chernoff bound the statement holds for N / n >= 1.03 log n; for
    fewer balls it need not.
    """
    check_finite(balls, "balls", "max_load")
    check_at_least(bins, 1, "bins", "max_load")
    return BoundResult(
        "fullest bin",
        (
            Term.of("3", 3.0, "constant of the lemma"),
            Term.of("N/n", balls / bins, "balls a bin in the mean"),
        ),
        PRODUCT,
        (_load_regime(balls, bins, "balls a bin"), rebuilt("lemma E.1")),
        f"{SOURCE}, lemma E.1",
        delta=bins ** (-1 / 3),
        quantity="count",
    )


def _load_regime(balls: float, bins: int, what: str) -> Assumption:
    needed = LOAD_REGIME * math.log(bins) if bins > 1 else 0.0
    return at_least(
        "balls-in-bins regime: N/n >= 1.03 log(n)", safe_log(balls / bins), safe_log(needed), what
    )


def line_counts(
    shape: tuple[int, int], d: float, *, markov: float = 1.0, pruned_diagonal: bool = False
) -> BoundResult:
    """Bound the weights left in any row or column at strength `d` of the pruning: lemma 5.1.

    3 lambda_l max(d1, d2) chi, but for probability 1/lambda_l + d1^(-1/3) + d2^(-1/3), as
    reconstructed, in which the count of all weights fails with probability 1 / lambda_l, `markov`
    >= 1; a row holds at most 3 lambda_l d2 chi, a column 3 lambda_l d1 chi. Weights at (i, i)
    are the paper's, protected, and their number is checked to be small, unless `pruned_diagonal`.
    """
    d1, d2 = shape
    require(min(shape) >= 1, "shape", "line_counts", "positive", shape)
    check_at_least(markov, 1, "markov", "line_counts")
    chi = kept_share(d)
    total = markov * d1 * d2 * chi
    assumptions = [
        _load_regime(total, d1, f"weights a row, {d1} rows"),
        _load_regime(total, d2, f"weights a column, {d2} columns"),
        GAUSSIAN,
    ]
    if not pruned_diagonal:
        extra, allowed = min(d1, d2) * (1 - chi), 0.01 * total
        small = Assumption.decided(
            extra <= allowed,
            "the protected diagonal is negligible",
            f"{extra:.4g} weights beside {total:.4g}, at most 1 % needed",
            safe_log(extra / allowed) if total > 0 else math.inf,
            "factor",
        )
        assumptions.append(small)
    assumptions.append(rebuilt("lemma 5.1"))
    return BoundResult(
        "weights in a row or column",
        (
            Term.of("3", 3.0, "constant of lemma E.1"),
            Term.of("lambda_l", markov, "Markov's inequality"),
            Term.of("max(d1,d2)", max(d1, d2), "larger side of the layer"),
            Term.of("chi", chi, f"expected kept share at d = {d:g}", "lemma 4.1"),
        ),
        PRODUCT,
        tuple(assumptions),
        f"{SOURCE}, lemma 5.1",
        delta=1 / markov + d1 ** (-1 / 3) + d2 ** (-1 / 3),
        quantity="count",
    )


def sketched_entries(shape: tuple[int, int], row: float, column: float) -> float:
    """max(d1 j_r, d2 j_c), which ln^2(p) times is the count of a sketch: theorem 5.1.

    (d1, d2) is the shape, j_r = `row` and j_c = `column` the most non-zeros in one. The form for
    matrices that are not square is reconstructed; for p x p it is j p. It is at most d1 d2.

    >>> sketched_entries((10, 784), 784, 10)
    7840
    """
    return max(shape[0] * row, shape[1] * column)


def measured_counts(matrix: NDArray[Any]) -> tuple[int, int]:
    """Largest number of non-zeros in a row and in a column: (j_r, j_c) of definition 5.1."""
    full = matrix.ndim == 2 and matrix.size > 0
    require(full, "matrix", "measured_counts", "a matrix", f"{matrix.shape}")
    rows, columns = (int(np.count_nonzero(matrix, axis=axis).max()) for axis in (1, 0))
    return rows, columns
