"""Tail index of a Pareto tail: Hill's estimator, its plot, and the extreme value index."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import require
from prunable.numerics.tails.base import Center, Sample, Status, TailEstimate, Values, scalar_sample

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


@dataclass(frozen=True, eq=False)
class HillPlot:
    """Hill estimates against the numbers k of largest observations used, increasing.

    `plateau` holds its first and last k, if there is one.

    >>> import numpy as np
    >>> from prunable.numerics.tails.hill import hill_of_sorted
    >>> pareto = np.sort(np.random.default_rng(0).pareto(2.0, 10_000) + 1)
    >>> estimate, plot = hill_of_sorted(pareto)
    >>> plot.plateau[1] == estimate.n, bool((np.diff(plot.k) > 0).all())
    (True, True)
    """

    k: NDArray[np.int64]
    alpha: FloatArray
    plateau: tuple[int, int] | None


@dataclass(frozen=True)
class TailShape:
    """The extreme value index of |X| from its k largest: 1/alpha for power-law tails.

    0 for exponential and Gaussian tails, negative for bounded ones; NaN if unsupported.

    >>> import numpy as np
    >>> uniform = extreme_value_index(np.linspace(0.001, 1, 1000))
    >>> uniform.extreme_value_index < 0, uniform.k
    (True, 100)
    """

    extreme_value_index: float
    stderr: float
    k: int


def hill(x: ArrayLike, *, center: Center | None = None) -> TailEstimate:
    """Estimate the index of a Pareto tail at the plateau of the Hill plot; see `Estimator`.

    `n` is the number k of largest observations used. The standard error alpha/sqrt(k)
    holds for Pareto tails; it does not know the bias of tails that become Pareto only
    later, such as those of stable laws above alpha = 1.6. NOT_CONVERGED if the plot has no
    plateau. Hill (1975).

    >>> import numpy as np
    >>> found = hill(np.random.default_rng(0).pareto(2.0, 100_000) + 1)
    >>> abs(found.alpha - 2) < 5 * found.stderr
    True
    """
    sample = scalar_sample(x, center, "hill", HILL_SOURCE)
    if sample.problem:
        return sample.refuse(sample.problem)
    return hill_of_sorted(np.sort(np.abs(sample.values)), sample.zeros_share)[0]


def hill_of_sorted(
    ascending: Values, zeros_share: float = 0.0, *, total: int | None = None
) -> tuple[TailEstimate, HillPlot | None]:
    """Hill's estimate and plot from the largest magnitudes in increasing order, positive.

    `total` is the number of all magnitudes, if these are only the largest. There is no plot
    below 160 observations.
    """
    sample = Sample(ascending, zeros_share, "hill", HILL_SOURCE)
    n = ascending.size if total is None else total
    largest = min(int(n * LARGEST_SHARE), ascending.size - 1)
    if largest < SMALLEST_K:
        return sample.refuse(Status.TOO_FEW, n), None
    k, alpha = _hill_curve(ascending, largest)
    if k.size == 0:
        return sample.refuse(Status.DEGENERATE, n), None
    last = _plateau(k, alpha)
    if last is None:
        return sample.refuse(Status.NOT_CONVERGED, n), HillPlot(k, alpha, None)
    first = int(np.searchsorted(k, k[last] / PLATEAU_FACTOR))
    found, used = float(alpha[last]), int(k[last])
    estimate = sample.estimate(found, found / math.sqrt(used), used)
    return estimate, HillPlot(k, alpha, (int(k[first]), used))


def extreme_value_index(ascending: ArrayLike, k: int | None = None) -> TailShape:
    """Estimate the extreme value index from positive magnitudes in increasing order.

    Moment estimator of Dekkers, Einmahl and de Haan (1989) with its asymptotic variance, from
    the 2 <= k < n largest; a tenth of them, at most 20,000, if None. NaN if the k + 1 largest
    are equal.

    >>> import numpy as np
    >>> found = extreme_value_index(np.sort(np.random.default_rng(0).pareto(2.0, 100_000) + 1))
    >>> abs(found.extreme_value_index - 1 / 2) < 5 * found.stderr
    True
    """
    array = np.asarray(ascending)
    n = array.size
    if k is None:
        k = min(max(int(n * MOMENT_SHARE), 2), LARGEST_MOMENT_K)
    require(2 <= k < n, "k", "extreme_value_index", f"in [2, {n})", k)
    tail = array[n - k - 1 :].astype(np.float64)
    with np.errstate(over="ignore"):
        logs = np.log(tail[1:] / tail[0])
    if math.isinf(logs[-1]):  # the ratio is no double, its logarithm is
        logs = np.log(tail[1:]) - np.log(tail[0])
    first, second = float(logs.mean()), float((logs**2).mean())
    if second == 0 or second <= first**2:
        return TailShape(math.nan, math.nan, k)
    value = first + 1 - 0.5 / (1 - first**2 / second)
    return TailShape(value, math.sqrt(_moment_variance(value) / k), k)


def _moment_variance(g: float) -> float:
    if g >= 0:
        return 1 + g**2
    inner = 4 - 8 * (1 - 2 * g) / (1 - 3 * g)
    inner += (5 - 11 * g) * (1 - 2 * g) / ((1 - 3 * g) * (1 - 4 * g))
    return (1 - g) ** 2 * (1 - 2 * g) * inner


def _hill_curve(ascending: Values, largest: int) -> tuple[NDArray[np.int64], FloatArray]:
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
