"""What every tail estimator takes and returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.stable.parameters import check_reals

Center = Literal["median", "mean"]


class Status(StrEnum):
    """Whether the data supported an estimate, and if not, why.

    TOO_FEW: too few observations or blocks. DEGENERATE: all observations are equal.
    NOT_CONVERGED: an iteration did not settle. NOT_STABLE: no stable law has such data.
    """

    OK = "ok"
    TOO_FEW = "too_few"
    DEGENERATE = "degenerate"
    NOT_CONVERGED = "not_converged"
    NOT_STABLE = "not_stable"


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


def check_sample(x: ArrayLike, ndim: int, where: str) -> NDArray[np.float64]:
    """Check the observations given to an estimator.

    Parameters
    ----------
    x : array_like
        Observations along axis 0, of any real dtype.
    ndim : int
        Dimensions that `x` must have: 1 for scalars, 2 for vectors.
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


def center_sample(sample: NDArray[np.float64], center: Center | None) -> NDArray[np.float64]:
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
        Same shape.
    """
    if center is None:
        return sample
    middle = np.median(sample, axis=0) if center == "median" else np.mean(sample, axis=0)
    return np.asarray(sample - middle, dtype=np.float64)
