"""What every tail estimator takes and returns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.arrays import medians
from prunable.numerics.checks import real_array

Center = Literal["median", "mean"]
# Scalars keep the precision of the weights, in which logarithms are fastest.
Values = NDArray[np.floating[Any]]

MIN_OBSERVATIONS = 32
CHUNK = 2**16
# Sums of so many terms, and squares, of numbers inside these bounds stay doubles.
SAFE_SMALL, SAFE_LARGE = 1e-140, 1e140
# Inside these float32 keeps all its digits over ten orders of magnitude, and sums stay finite.
SAFE_SMALL32, SAFE_LARGE32 = 1e-25, 1e28


class Status(StrEnum):
    """Whether the data supported an estimate, and if not, why.

    TOO_FEW: too few observations or blocks. DEGENERATE: all observations are equal.
    NOT_CONVERGED: an iteration or a plot did not settle. NOT_STABLE: no stable law has such
    data. NOT_POWER_LAW: the tail is no power law.

    >>> import numpy as np
    >>> from prunable.numerics.tails import hill
    >>> hill(np.ones(1000)).status is Status.DEGENERATE
    True
    """

    OK = "ok"
    TOO_FEW = "too_few"
    DEGENERATE = "degenerate"
    NOT_CONVERGED = "not_converged"
    NOT_STABLE = "not_stable"
    NOT_POWER_LAW = "not_power_law"


@dataclass(frozen=True)
class TailEstimate:
    """An estimate of the tail index: the alpha of P(|X| > x) ~ x^-alpha.

    `alpha`, not capped at 2, and its standard error are NaN unless `status` is OK. `n` counts
    the observations that the estimate used, or had to its disposal when it failed;
    `zeros_share` is the share of those given that were exactly zero and left out.

    >>> import numpy as np
    >>> from prunable.numerics.tails import log_variance
    >>> found = log_variance(np.random.default_rng(0).standard_cauchy(10_000))
    >>> abs(found.alpha - 1) < 5 * found.stderr, found.n, found.zeros_share
    (True, 10000, 0.0)
    """

    alpha: float
    stderr: float
    n: int
    method: str
    status: Status
    source: str
    zeros_share: float


@dataclass(frozen=True, eq=False)
class Repeated:
    """Observations of few distinct values, for estimators that do not look at their order.

    `values` are distinct and not zero, (m,); `counts` says how often each occurs; `seed` is that of
    the random order which estimators of blocks give them.

    >>> import numpy as np
    >>> from prunable.numerics.tails import quantile
    >>> x = np.random.default_rng(0).integers(1, 9, 1000).astype(float)
    >>> repeated = Repeated(*np.unique(x, return_counts=True))
    >>> quantile(repeated) == quantile(x), repeated.size, repeated.ordered.shape
    (True, 1000, (1000,))
    """

    values: Values
    counts: NDArray[np.int64]
    seed: int = 0

    @cached_property
    def size(self) -> int:
        """Number of observations."""
        return int(self.counts.sum())

    @cached_property
    def ordered(self) -> Values:
        """All observations in random order."""
        generator = np.random.default_rng(self.seed)
        return generator.permutation(np.repeat(self.values, self.counts))


class Estimator(Protocol):
    """A tail estimator: observations in, `TailEstimate` out; further options have defaults.

    >>> from prunable.numerics.tails import log_variance
    >>> estimator: Estimator = log_variance
    >>> estimator([1.0, 2.0, -3.0]).status
    <Status.TOO_FEW: 'too_few'>
    """

    def __call__(self, x: ArrayLike | Repeated, /, *, center: Center | None = None) -> TailEstimate:
        """Estimate the tail index of the observations along axis 0 of `x`.

        Raises InputError if `x` is empty, of another shape, not real or not finite, or an option is
        out of range. Data that support no estimate raise nothing: their result has a `Status`,
        TOO_FEW below 32 observations, DEGENERATE if all are equal.

        Parameters
        ----------
        x : (N,) array, or (N, d) for estimators of vectors. Observations of any real dtype and
            unit. Exact zeros are left out. `Repeated` ones serve where no order matters.
        center : What to subtract first, if anything, from the observations that are not zero.
        """


@dataclass(frozen=True, eq=False)
class Sample:
    """Observations ready for an estimator: finite, centred, without zeros, of a safe unit.

    `problem` says why no estimator can use them, if none can. With `counts` the values are
    distinct, and each occurs so often.
    """

    values: Values
    zeros_share: float
    method: str
    source: str
    problem: Status | None = None
    counts: NDArray[np.int64] | None = None

    @property
    def n(self) -> int:
        """Number of observations."""
        return len(self.values) if self.counts is None else int(self.counts.sum())

    def total(self, terms: NDArray[np.floating[Any]], start: int = 0) -> float:
        """Sum, over the observations, of numbers that belong to the values from `start` on."""
        if self.counts is None:
            return float(terms.sum(dtype=np.float64))
        return float(terms.astype(np.float64) @ self.counts[start : start + terms.size])

    def magnitudes_at(self, ranks: Sequence[int]) -> list[float]:
        """Magnitudes of these ranks, 0 for the smallest."""
        magnitudes = np.abs(self.values)
        if self.counts is None:
            found: dict[int, float] = {}
            for rank in sorted(set(ranks), reverse=True):  # one at a time by vector instructions
                magnitudes.partition(rank)
                found[rank] = float(magnitudes[rank])
                magnitudes = magnitudes[:rank]
            return [found[rank] for rank in ranks]
        order = np.argsort(magnitudes)
        places = np.searchsorted(np.cumsum(self.counts[order]), ranks, side="right")
        return [float(magnitude) for magnitude in magnitudes[order[places]]]

    def estimate(self, alpha: float, stderr: float, n: int | None = None) -> TailEstimate:
        """Wrap an estimate from n of the values, or all."""
        used = self.n if n is None else n
        return TailEstimate(
            alpha, stderr, used, self.method, Status.OK, self.source, self.zeros_share
        )

    def refuse(self, status: Status, n: int | None = None) -> TailEstimate:
        """Wrap a refusal."""
        given = self.n if n is None else n
        return TailEstimate(
            math.nan, math.nan, given, self.method, status, self.source, self.zeros_share
        )


def scalar_sample(
    x: ArrayLike | Repeated, center: Center | None, method: str, source: str
) -> Sample:
    """Check scalars, centre them and leave out zeros; see `Estimator`.

    `Repeated` ones are centred already, and lose no zeros.
    """
    check_center(center, method)
    if isinstance(x, Repeated):
        given = in_safe_unit(check_sample(x.values, 1, method))
        few = Sample(given, 0.0, method, source, None, x.counts)
        if few.n < MIN_OBSERVATIONS:
            return replace(few, problem=Status.TOO_FEW)
        return replace(few, problem=Status.DEGENERATE) if given.size == 1 else few
    given = in_safe_unit(check_sample(x, 1, method))
    values = _without_zeros(given)
    problem = None
    if given.size < MIN_OBSERVATIONS:
        problem = Status.TOO_FEW
    elif values.size == 0 or (values[0] == values).all():
        problem = Status.DEGENERATE
    elif center is not None:
        values = _without_zeros(center_sample(values, center))
    if problem is None and values.size < MIN_OBSERVATIONS:
        problem = Status.TOO_FEW
    return Sample(values, 1 - values.size / given.size, method, source, problem)


def in_safe_unit(given: Values) -> Values:
    """Finite observations in a precision and unit in which powers and sums are safe."""
    top = max(abs(float(given.min())), abs(float(given.max())))
    if given.dtype == np.float32 and not SAFE_SMALL32 < top < SAFE_LARGE32:
        given = given.astype(np.float64)
    return given / top if top > 0 and not SAFE_SMALL < top < SAFE_LARGE else given


def check_sample(x: ArrayLike, ndim: int, where: str) -> Values:
    """Check the observations given to an estimator; float32 stays, the rest becomes float64."""
    array = real_array(x, "x", where)
    if array.ndim != ndim or array.size == 0:
        raise InputError.parameter(
            "x", where, f"a non-empty array of {ndim} dimension(s)", f"shape {array.shape}"
        )
    exact = array.dtype in (np.float32, np.float64)
    given: Values = np.asarray(array if exact else array.astype(np.float64))
    if not math.isfinite(float(given.max()) - float(given.min())):  # extremes hand on a NaN
        for bad, constraint, what in (
            (np.isnan(given), "free of NaN", "NaN"),
            (np.isinf(given), "finite", "infinite values"),
        ):
            if bad.any():
                found = f"{bad.sum()} {what}"
                raise InputError.parameter("x", where, constraint, found, "Drop them first.")
    return given


def check_center(center: Center | None, where: str) -> None:
    """Raise InputError unless `center` is None, "median" or "mean"."""
    if center is not None and center not in get_args(Center):
        raise InputError.parameter("center", where, f"None or one of {get_args(Center)}", center)


def center_sample(sample: Values, center: Center | None) -> Values:
    """Subtract the median or the mean of each coordinate; same shape and dtype."""
    if center is None:
        return sample
    if center == "median":
        # coordinate by coordinate, each adjacent in memory
        middle = medians(np.ascontiguousarray(sample.T))
    else:
        middle = np.mean(sample, axis=0)
    return np.asarray(sample - middle.astype(sample.dtype))


def _without_zeros(values: Values) -> Values:
    return values if np.count_nonzero(values) == values.size else values[values != 0]
