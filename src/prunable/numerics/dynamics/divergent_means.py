"""Averages of non-negative variables with infinite mean outgrow every level."""

import itertools
from collections.abc import Callable

import numpy as np
from scipy import integrate, optimize

from prunable.errors import require

Survival = Callable[[float], float]
LARGEST = 1e100  # a cutoff beyond it is taken for none


def mean_of_minimum(survival: Survival, cutoff: float) -> float:
    """E min(X, K) = integral of P(X > x) from 0 to K.

    >>> round(mean_of_minimum(lambda x: min(1.0, 1 / x) if x else 1.0, 10.0), 4)
    3.3026
    """
    return _integral(survival, cutoff, 0)


def cutoff_for(survival: Survival, mean: float) -> float:
    """The K with E min(X, K) = mean.

    The proof of lemma A.3 of Wan et al. (2023) prints max(X, K), whose mean is infinite for
    every K; it is the minimum whose mean runs through all numbers.

    Raises InputError if the mean of X is below it.
    """
    high = max(1.0, 2 * mean)
    while high < LARGEST and mean_of_minimum(survival, high) < mean:
        high *= 4
    finite = "below E X, which lemma A.3 takes to be infinite"
    require(high < LARGEST, "mean", "cutoff_for", finite, mean)
    return float(optimize.brentq(lambda k: mean_of_minimum(survival, k) - mean, 0, high))


def chance_of_small_average(survival: Survival, level: float, n: int) -> float:
    """Bound of P(average of n copies of X <= level), which tends to 0: lemma A.3, with a rate.

    Chebyshev's inequality for min(X, K), whose mean is level + 1: its variance over n.

    survival : x -> P(X > x) of a variable on [0, inf) with infinite mean.
    """
    require(n >= 1, "n", "chance_of_small_average", "at least 1", n)
    require(level > 0, "level", "chance_of_small_average", "positive", level)
    cutoff = cutoff_for(survival, level + 1)
    variance = 2 * _integral(survival, cutoff, 1) - (level + 1) ** 2
    return min(1.0, variance / n)


def _integral(survival: Survival, cutoff: float, power: int) -> float:
    """Integral of x^power P(X > x) from 0 to the cutoff, decade by decade."""
    if cutoff <= 0:
        return 0.0
    first = min(1.0, cutoff)
    ends = [0.0, first]
    if cutoff > 1:
        ends += np.geomspace(1, cutoff, 2 + int(np.log10(cutoff)))[1:].tolist()
    parts = [
        integrate.quad(lambda x: x**power * survival(x), low, high)[0]
        for low, high in itertools.pairwise(ends)
    ]
    return float(sum(parts))
