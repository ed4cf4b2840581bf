"""How evenly pruning leaves weights in rows and columns: lemmas E.1 and 5.1, definition 5.1.

Guha, Dubey and Huo (2023). Sketching needs every row and column to hold few weights.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.certify.bounds.base import PRODUCT, Assumption, BoundResult, Term, at_least, safe_log
from prunable.certify.bounds.pruning_moments import SOURCE, kept_share
from prunable.errors import InputError

# n (e^2 / 27)^(N/n) <= n^(-1/3) from this many balls a bin on, in units of log n.
LOAD_REGIME = (4 / 3) / (math.log(27) - 2)


def max_load(balls: float, bins: int) -> BoundResult:
    """Bound the fullest of equally likely bins: lemma E.1.

    Parameters
    ----------
    balls : float
        N, >= 0; a number of entries in the mean or a bound of it.
    bins : int
        n, >= 1.

    Returns
    -------
    BoundResult
        3 N / n, but for probability n^(-1/3).

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    By a Chernoff bound the statement needs N / n >= 1.03 log n; the paper does not say so, and
    for fewer balls it is false.
    """
    if not 0 <= balls < math.inf:
        raise InputError.parameter("balls", "max_load", "finite and >= 0", balls)
    if bins < 1:
        raise InputError.parameter("bins", "max_load", ">= 1", bins)
    terms = (
        Term.of("3", 3.0, "constant of the lemma"),
        Term.of("N/n", balls / bins, "balls a bin in the mean"),
    )
    return BoundResult(
        "fullest bin",
        terms,
        PRODUCT,
        (load_regime(balls, bins),),
        f"{SOURCE}, lemma E.1",
        delta=bins ** (-1 / 3),
        quantity="count",
    )


def load_regime(balls: float, bins: int, what: str = "balls a bin") -> Assumption:
    """Whether there are balls enough for lemma E.1."""
    needed = LOAD_REGIME * math.log(bins) if bins > 1 else 0.0
    return at_least(
        "balls-in-bins regime: N/n >= 1.03 log(n)", safe_log(balls / bins), safe_log(needed), what
    )


def line_counts(
    shape: tuple[int, int], d: float, *, markov: float = 1.0, pruned_diagonal: bool = False
) -> BoundResult:
    """Bound the weights left in any row or column: lemma 5.1.

    Parameters
    ----------
    shape : tuple of int
        (d1, d2) of the layer.
    d : float
        Strength of the pruning.
    markov : float
        lambda_l >= 1: the count of all weights fails with probability 1 / lambda_l.
    pruned_diagonal : bool
        Whether weights at (i, i) are pruned like others; if not, they are the paper's, and
        their number is checked to be small.

    Returns
    -------
    BoundResult
        3 lambda_l max(d1, d2) chi, but for probability 1/lambda_l + d1^(-1/3) + d2^(-1/3).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    d1, d2 = shape
    if d1 < 1 or d2 < 1:
        raise InputError.parameter("shape", "line_counts", "positive", shape)
    if not markov >= 1:
        raise InputError.parameter("markov", "line_counts", ">= 1", markov)
    chi = kept_share(d)
    total = markov * d1 * d2 * chi
    terms = (
        Term.of("3", 3.0, "constant of lemma E.1"),
        Term.of("lambda_l", markov, "Markov's inequality"),
        Term.of("max(d1,d2)", max(d1, d2), "larger side of the layer"),
        Term.of("chi", chi, f"expected kept share at d = {d:g}", "lemma 4.1"),
    )
    assumptions = [
        load_regime(total, d1, f"weights a row, {d1} rows"),
        load_regime(total, d2, f"weights a column, {d2} columns"),
        Assumption("weights are independent centred Gaussians", "unchecked", "assumption 3.1"),
    ]
    if not pruned_diagonal:
        extra = min(d1, d2) * (1 - chi)
        assumptions.append(
            Assumption(
                "the protected diagonal is negligible",
                "holds" if extra <= 0.01 * total else "violated",
                f"{extra:.4g} weights beside {total:.4g}, at most 1 % needed",
                None
                if extra <= 0.01 * total
                else math.log(extra / (0.01 * total))
                if total > 0
                else math.inf,
                "factor",
            )
        )
    return BoundResult(
        "weights in a row or column",
        terms,
        PRODUCT,
        tuple(assumptions),
        f"{SOURCE}, lemma 5.1",
        delta=1 / markov + d1 ** (-1 / 3) + d2 ** (-1 / 3),
        quantity="count",
    )


def measured_counts(matrix: NDArray[Any]) -> tuple[int, int]:
    """Largest number of non-zeros in a row and in a column: (j_r, j_c) of definition 5.1.

    Raises
    ------
    InputError
        If `matrix` is empty or not 2-d.
    """
    if matrix.ndim != 2 or matrix.size == 0:
        raise InputError.parameter("matrix", "measured_counts", "a matrix", f"{matrix.shape}")
    return (
        int(np.count_nonzero(matrix, axis=1).max()),
        int(np.count_nonzero(matrix, axis=0).max()),
    )
