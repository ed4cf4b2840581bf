"""Tail index of a Pareto tail: Hill's estimator, its plot, and the extreme value index."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.tails.base import Center, Status, TailEstimate, scalar_sample

HILL_SOURCE = "Hill (1975), at the plateau of the Hill plot"
SMALLEST_K = 16
LARGEST_SHARE = 0.1
PLOT_POINTS = 48
# A plateau spans this factor in k, with all estimates inside this many standard errors.
PLATEAU_FACTOR = 4.0
PLATEAU_WIDTH = 2.5
# The tail that the moment estimator sees; more would be the body of the law.
MOMENT_SHARE = 0.1
LARGEST_MOMENT_K = 20_000

FloatArray = NDArray[np.float64]
Magnitudes = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class HillPlot:
    """Hill estimates against the number of largest observations used.

    Attributes
    ----------
    k : ndarray of int64
        Numbers of largest observations, increasing.
    alpha : ndarray of float64
        Hill estimate at each `k`.
    plateau : tuple of (int, int) or None
        First and last `k` of the plateau, if there is one.
    """

    k: NDArray[np.int64]
    alpha: FloatArray
    plateau: tuple[int, int] | None


@dataclass(frozen=True)
class ExtremeValueIndex:
    """The extreme value index of |X|: positive for power-law tails, where it is 1/alpha.

    Attributes
    ----------
    value : float
        0 for exponential and Gaussian tails, negative for bounded ones; NaN if unsupported.
    stderr : float
        Asymptotic standard error.
    k : int
        Largest observations used.
    """

    value: float
    stderr: float
    k: int


def hill(x: ArrayLike, *, center: Center | None = None) -> TailEstimate:
    """Estimate the index of a Pareto tail at the plateau of the Hill plot.

    Parameters
    ----------
    x, center
        As in `log_moment`.

    Returns
    -------
    TailEstimate
        `n` is the number k of largest observations used. The standard error alpha/sqrt(k)
        holds for Pareto tails; it does not know the bias of tails that become Pareto only
        later, such as those of stable laws above alpha = 1.6. The status is NOT_CONVERGED
        if the plot has no plateau.

    Raises
    ------
    InputError
        If `x` is empty, not 1-d or not finite, or `center` is unknown.

    Notes
    -----
    Hill (1975).
    """
    sample = scalar_sample(x, center, "hill")
    if sample.problem != Status.OK:
        return sample.refuse(sample.problem, "hill", HILL_SOURCE)
    return hill_of_sorted(np.sort(np.abs(sample.values)), sample.zeros_share)[0]


def hill_of_sorted(
    ascending: Magnitudes, zeros_share: float = 0.0, *, total: int | None = None
) -> tuple[TailEstimate, HillPlot | None]:
    """Hill's estimate and plot from sorted magnitudes.

    Parameters
    ----------
    ascending : ndarray, shape (n,)
        The largest magnitudes in increasing order, positive; not checked.
    zeros_share : float
        Handed on to the result.
    total : int, optional
        Number of all magnitudes, if these are only the largest.

    Returns
    -------
    tuple of (TailEstimate, HillPlot or None)
        No plot below 160 observations.
    """
    n = ascending.size if total is None else total
    largest = min(int(n * LARGEST_SHARE), ascending.size - 1)

    def failed(status: Status) -> TailEstimate:
        return TailEstimate.failed(
            status, n=n, method="hill", source=HILL_SOURCE, zeros_share=zeros_share
        )

    if largest < SMALLEST_K:
        return failed(Status.TOO_FEW), None
    k, alpha = _hill_curve(ascending, largest)
    if k.size == 0:
        return failed(Status.DEGENERATE), None
    last = _plateau(k, alpha)
    if last is None:
        return failed(Status.NOT_CONVERGED), HillPlot(k, alpha, None)
    first = int(np.searchsorted(k, k[last] / PLATEAU_FACTOR))
    found, used = float(alpha[last]), int(k[last])
    stderr = found / math.sqrt(used)
    estimate = TailEstimate(found, stderr, used, "hill", Status.OK, HILL_SOURCE, zeros_share)
    return estimate, HillPlot(k, alpha, (int(k[first]), used))


def extreme_value_index(ascending: ArrayLike, k: int | None = None) -> ExtremeValueIndex:
    """Estimate the extreme value index from sorted magnitudes.

    Parameters
    ----------
    ascending : array_like, shape (n,)
        Positive magnitudes in increasing order.
    k : int, optional
        Largest observations to use, 2 <= k < n; a tenth of them, at most 20,000, if None.

    Returns
    -------
    ExtremeValueIndex
        NaN if the k + 1 largest are equal.

    Raises
    ------
    InputError
        If `k` is out of range.

    Notes
    -----
    Moment estimator of Dekkers, Einmahl and de Haan (1989) with its asymptotic variance.
    """
    array = np.asarray(ascending)
    n = array.size
    if k is None:
        k = min(max(int(n * MOMENT_SHARE), 2), LARGEST_MOMENT_K)
    if not 2 <= k < n:
        raise InputError.parameter("k", "extreme_value_index", f"in [2, {n})", k)
    tail = array[n - k - 1 :].astype(np.float64)
    logs = np.log(tail[1:] / tail[0])
    first, second = float(logs.mean()), float((logs**2).mean())
    if second == 0 or second <= first**2:
        return ExtremeValueIndex(math.nan, math.nan, k)
    value = first + 1 - 0.5 / (1 - first**2 / second)
    return ExtremeValueIndex(value, math.sqrt(_moment_variance(value) / k), k)


def _moment_variance(g: float) -> float:
    if g >= 0:
        return 1 + g**2
    inner = 4 - 8 * (1 - 2 * g) / (1 - 3 * g)
    inner += (5 - 11 * g) * (1 - 2 * g) / ((1 - 3 * g) * (1 - 4 * g))
    return (1 - g) ** 2 * (1 - 2 * g) * inner


def _hill_curve(ascending: Magnitudes, largest: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Hill estimates at about PLOT_POINTS values of k, evenly spread in log k."""
    tail = ascending[-largest - 1 :][::-1].astype(np.float64)
    logs = np.log(tail)
    means = np.cumsum(logs[:-1])
    grid = np.unique(np.geomspace(SMALLEST_K, largest, PLOT_POINTS).astype(np.int64))
    excess = means[grid - 1] / grid - logs[grid]
    positive = excess > 0
    return grid[positive], 1 / excess[positive]


def _plateau(k: NDArray[np.int64], alpha: FloatArray) -> int | None:
    """Place of the largest k whose plateau reaches down to k / PLATEAU_FACTOR."""
    for last in range(k.size - 1, -1, -1):
        first = int(np.searchsorted(k, k[last] / PLATEAU_FACTOR))
        if k[first] > 1.2 * k[last] / PLATEAU_FACTOR:
            return None
        window = slice(first, last + 1)
        # the difference of nested estimates has variance alpha^2 (1/k_small - 1/k_large)
        spread = alpha[last] * np.sqrt(np.maximum(1 / k[window] - 1 / k[last], 0))
        if (np.abs(alpha[window] - alpha[last]) <= PLATEAU_WIDTH * spread + 1e-12).all():
            return last
    return None
