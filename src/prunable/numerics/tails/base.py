"""What every tail estimator takes and returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.stable.parameters import check_reals

Center = Literal["median", "mean"]
# Scalars keep the precision of the weights, in which logarithms are fastest.
Values = NDArray[np.floating[Any]]

MIN_OBSERVATIONS = 32
CHUNK = 2**16
# Sums of so many terms, and squares, of numbers inside these bounds stay doubles.
SAFE_SMALL, SAFE_LARGE = 1e-140, 1e140
# Inside these float32 keeps all its digits over ten orders of magnitude.
SAFE_SMALL32, SAFE_LARGE32 = 1e-25, 1e35


class Status(StrEnum):
    """Whether the data supported an estimate, and if not, why.

    TOO_FEW: too few observations or blocks. DEGENERATE: all observations are equal.
    NOT_CONVERGED: an iteration or a plot did not settle. NOT_STABLE: no stable law has such
    data. NOT_POWER_LAW: the tail is no power law.
    """

    OK = "ok"
    TOO_FEW = "too_few"
    DEGENERATE = "degenerate"
    NOT_CONVERGED = "not_converged"
    NOT_STABLE = "not_stable"
    NOT_POWER_LAW = "not_power_law"


@dataclass(frozen=True)
class TailEstimate:
    """An estimate of the tail index.

    Attributes
    ----------
    alpha : float
        The alpha of P(|X| > x) ~ x^-alpha, not capped at 2; NaN unless `status` is OK.
    stderr : float
        Standard error of `alpha`; NaN unless `status` is OK.
    n : int
        Observations the estimate used, or had to its disposal when it failed.
    method : str
        Name of the estimator.
    status : Status
    source : str
        Where the estimator comes from.
    zeros_share : float
        Share of the given observations that were exactly zero and left out, in [0, 1].
    """

    alpha: float
    stderr: float
    n: int
    method: str
    status: Status
    source: str
    zeros_share: float

    @classmethod
    def failed(
        cls, status: Status, *, n: int, method: str, source: str, zeros_share: float
    ) -> TailEstimate:
        """Build the result for data that support no estimate; fields as in the class."""
        return cls(math.nan, math.nan, n, method, status, source, zeros_share)


class Estimator(Protocol):
    """A tail estimator: observations in, `TailEstimate` out; options have defaults."""

    def __call__(self, x: ArrayLike, /, *, center: Center | None = None) -> TailEstimate:
        """Estimate the tail index of the observations along axis 0 of `x`."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Scalars ready for an estimator: finite, centred, without zeros, of a safe unit.

    Attributes
    ----------
    values : ndarray, shape (n,)
        float32 or float64.
    zeros_share : float
        Share of the given observations that was left out.
    problem : Status
        OK, or why no estimator can use the values.
    """

    values: Values
    zeros_share: float
    problem: Status

    def estimate(self, alpha: float, stderr: float, method: str, source: str) -> TailEstimate:
        """Wrap an estimate from all values."""
        n = self.values.size
        return TailEstimate(alpha, stderr, n, method, Status.OK, source, self.zeros_share)

    def refuse(self, status: Status, method: str, source: str) -> TailEstimate:
        """Wrap a refusal."""
        return TailEstimate.failed(
            status, n=self.values.size, method=method, source=source, zeros_share=self.zeros_share
        )


def scalar_sample(x: ArrayLike, center: Center | None, where: str) -> Sample:
    """Check scalars, centre them and leave out zeros.

    Parameters
    ----------
    x : array_like, shape (N,)
        Observations of any real dtype and unit.
    center : {"median", "mean"}, optional
        What to subtract, if anything, from the observations that are not exactly zero.
    where : str
        Name of the caller, for the message.

    Returns
    -------
    Sample

    Raises
    ------
    InputError
        If `x` is empty, not 1-d, not real or not finite, or `center` is unknown.
    """
    check_center(center, where)
    array = np.asarray(x)
    if array.dtype.kind not in "iuf":
        raise InputError.parameter("x", where, "real numbers", f"the type {array.dtype}")
    if array.ndim != 1 or array.size == 0:
        raise InputError.parameter(
            "x", where, "a non-empty array of 1 dimension(s)", f"shape {array.shape}"
        )
    exact = array.dtype in (np.float32, np.float64)
    given: Values = np.asarray(array if exact else array.astype(np.float64))
    low, high = float(given.min()), float(given.max())
    if not math.isfinite(high - low):  # extremes hand on a NaN
        nan, infinite = int(np.isnan(given).sum()), int(np.isinf(given).sum())
        action = "Drop them first."
        if nan:
            raise InputError.parameter("x", where, "free of NaN", f"{nan} NaN", action)
        if infinite:
            raise InputError.parameter("x", where, "finite", f"{infinite} infinite values", action)
    top = max(abs(low), abs(high))
    if given.dtype == np.float32 and not SAFE_SMALL32 < top < SAFE_LARGE32:
        given = given.astype(np.float64)
    if top > 0 and not SAFE_SMALL < top < SAFE_LARGE:
        given = given / top
    values = _without_zeros(given)
    problem = Status.OK
    if given.size < MIN_OBSERVATIONS:
        problem = Status.TOO_FEW
    elif values.size == 0 or (values[0] == values).all():
        problem = Status.DEGENERATE
    elif center is not None:
        values = _without_zeros(center_sample(values, center))
    if problem == Status.OK and values.size < MIN_OBSERVATIONS:
        problem = Status.TOO_FEW
    return Sample(values, 1 - values.size / given.size, problem)


def check_sample(x: ArrayLike, ndim: int, where: str) -> NDArray[np.float64]:
    """Check the observations given to an estimator of vectors.

    Parameters
    ----------
    x : array_like
        Observations along axis 0, of any real dtype.
    ndim : int
        Dimensions that `x` must have.
    where : str
        Name of the caller, for the message.

    Returns
    -------
    numpy.ndarray
        A float64 copy, same shape.

    Raises
    ------
    InputError
        If `x` is empty, has another number of dimensions, or holds NaN or infinity.
    """
    sample = check_reals(x, "x", where)
    if sample.ndim != ndim or sample.size == 0:
        raise InputError.parameter(
            "x", where, f"a non-empty array of {ndim} dimension(s)", f"shape {sample.shape}"
        )
    infinite = int(np.isinf(sample).sum())
    if infinite:
        raise InputError.parameter(
            "x", where, "finite", f"{infinite} infinite values", "Drop them first."
        )
    return sample


def check_center(center: Center | None, where: str) -> None:
    """Raise InputError unless `center` is None, "median" or "mean"."""
    if center is not None and center not in get_args(Center):
        raise InputError.parameter("center", where, f"None or one of {get_args(Center)}", center)


def center_sample(sample: Values, center: Center | None) -> Values:
    """Subtract the median or the mean of each coordinate.

    Parameters
    ----------
    sample : ndarray, shape (n,) or (n, d)
        Checked observations, n >= 1.
    center : {"median", "mean"}, optional
        What to subtract; nothing if None.

    Returns
    -------
    numpy.ndarray
        Same shape and dtype.
    """
    if center is None:
        return sample
    middle = np.median(sample, axis=0) if center == "median" else np.mean(sample, axis=0)
    return np.asarray(sample - middle.astype(sample.dtype))


def _without_zeros(values: Values) -> Values:
    return values if np.count_nonzero(values) == values.size else values[values != 0]
