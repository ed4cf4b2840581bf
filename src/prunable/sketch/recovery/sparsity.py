"""Distributed sparsity: how full the fullest row and column are, and what theory expects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from prunable.errors import InputError
from prunable.sketch.recovery.entries import Entries

# of Lemma E.1: (e^2 / 27)^mu is Chernoff's bound for three times a mean load mu
CHERNOFF = math.log(27) - 2


@dataclass(frozen=True)
class DistributedSparsity:
    """The smallest (j_r, j_c) for which a matrix is (j_r, j_c)-distributed sparse.

    j_r and j_c are the entries that are not 0 in the fullest row and column, `share` is
    S / (p1 p2), and `diagonal` says whether no diagonal entry is 0, which Definition 5.1 asks
    for and recovery does not need.
    """

    j_r: int
    j_c: int
    mean_row: float
    mean_col: float
    share: float
    diagonal: bool


def distributed_sparsity(entries: Entries) -> DistributedSparsity:
    """Measure how evenly the entries of a matrix are spread.

    Definition 5.1 of "Generalization Bounds for MBP via Sparse Matrix Sketching" (2023).
    """
    p1, p2 = entries.shape
    total, (j_r, j_c) = p1 * p2, entries.fullest
    return DistributedSparsity(
        j_r=j_r,
        j_c=j_c,
        mean_row=entries.count / p1 if p1 else 0.0,
        mean_col=entries.count / p2 if p2 else 0.0,
        share=entries.count / total if total else 0.0,
        diagonal=int(np.count_nonzero(entries.rows == entries.cols)) == min(p1, p2),
    )


@dataclass(frozen=True)
class SparsityBound:
    """Lemma 5.1 for one layer, and whether its conditions hold.

    Attributes
    ----------
    j_r, j_c : float
        Bounds of the fullest row, 3 lambda d2 chi, and column, 3 lambda d1 chi.
    probability : float
        1 - 1/lambda - d1^(-1/3) - d2^(-1/3); at or below 0 the lemma says nothing.
    loads, needed : (float, float)
        Mean loads lambda d2 chi and lambda d1 chi of the rows and columns, and those from which
        Lemma E.1 holds: 4 ln(d) / (3 ln(27 / e^2)), about 1.03 ln(d), for d1 rows and d2 columns.
    j_r_binomial, j_c_binomial : int
        Smallest numbers exceeded with probability at most 1 - probability, split evenly, if
        every weight is kept independently with probability chi: exact binomial tails and a
        union over lines, in place of a factor of 3 lambda.
    """

    j_r: float
    j_c: float
    probability: float
    loads: tuple[float, float]
    needed: tuple[float, float]
    holds: bool
    j_r_binomial: int
    j_c_binomial: int


def sparsity_bound(shape: tuple[int, int], chi: float, slack: float) -> SparsityBound:
    """Bound the fullest row and column of a randomly pruned layer of d1 rows and d2 columns.

    Parameters
    ----------
    chi : float
        Probability that a weight is kept, 0 < chi <= 1; (sqrt(d+2) - sqrt(d)) / sqrt(d+2) for
        randomised magnitude pruning of strength d on Gaussian weights (Lemma 4.1).
    slack : float
        lambda >= 1: factor of Markov's inequality on the number kept.

    Notes
    -----
    Lemma 5.1 of the 2023 paper, whose proof throws lambda d1 d2 chi balls into bins and bounds
    the fullest by three times the mean (Lemma E.1). The lemma is stated for any load, but three
    times the mean is exceeded when the mean is small: `holds` says where Chernoff's bound proves
    it. The weights of the diagonal, which the paper never prunes, add at most 1 to a line.
    """
    d1, d2 = shape
    if d1 < 1 or d2 < 1:
        raise InputError.parameter("shape", "sparsity_bound", "of sizes >= 1", shape)
    if not 0 < chi <= 1:
        raise InputError.parameter("chi", "sparsity_bound", "in (0, 1]", chi)
    if not 1 <= slack < math.inf:
        raise InputError.parameter("slack", "sparsity_bound", "a finite number >= 1", slack)
    probability = 1 - 1 / slack - d1 ** (-1 / 3) - d2 ** (-1 / 3)
    loads = slack * d2 * chi, slack * d1 * chi
    rows, cols = (4 * math.log(d) / (3 * CHERNOFF) for d in (d1, d2))
    failure = min(1 - probability, 1.0) / 2
    return SparsityBound(
        j_r=3 * loads[0],
        j_c=3 * loads[1],
        probability=probability,
        loads=loads,
        needed=(rows, cols),
        holds=probability > 0 and loads[0] >= rows and loads[1] >= cols,
        j_r_binomial=int(stats.binom.isf(failure / d1, d2, chi)),
        j_c_binomial=int(stats.binom.isf(failure / d2, d1, chi)),
    )
