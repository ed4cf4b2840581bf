"""Exponents of power laws fitted to simulations, with intervals, beside a theorem's."""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from prunable.errors import InputError, require

LEVEL = 0.95


class Claim(StrEnum):
    """What a theorem says about an exponent.

    UPPER_BOUND: the error is at most of this order, and may fall faster. EXACT: the
    asymptotic order itself.
    """

    UPPER_BOUND = "upper bound"
    EXACT = "exact"


class Agreement(StrEnum):
    """How a fitted exponent stands to a theorem's.

    AGREES: the interval contains it. WITHIN_BOUND: the interval lies below an upper bound,
    which is no contradiction. NOT_ASYMPTOTIC: the interval lies outside, and the local slopes
    move towards the theorem's exponent, or the last is within two standard errors of it.
    DIFFERS: outside, and they do not.
    """

    AGREES = "agrees"
    WITHIN_BOUND = "within the bound"
    NOT_ASYMPTOTIC = "not yet asymptotic"
    DIFFERS = "differs"


@dataclass(frozen=True)
class FittedRate:
    """An exponent c of error ~ size^c: the mean over seeds of log-log slopes.

    `low` and `high` are its 95 % Student interval; local slopes lie between neighbouring sizes.
    """

    exponent: float
    low: float
    high: float
    seeds: int
    local_slopes: tuple[float, ...]
    local_stderr: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def fit_exponent(sizes: ArrayLike, errors: ArrayLike) -> FittedRate:
    """Fit error ~ size^c by one log-log regression a seed.

    The interval is that of a mean of independent slopes, so it needs no model of the dependence
    between sizes, which coupled simulations share. Raises InputError if shapes do not fit or a
    value is not positive and finite. Sizes are (k,) positive, increasing, at least 2; errors
    (seeds, k) positive, with independent rows, at least 2.
    """
    x, y = np.asarray(sizes, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    valid = x.ndim == 1 and x.size >= 2 and (x > 0).all() and (np.diff(x) > 0).all()
    require(valid, "sizes", "fit_exponent", "at least two positive increasing numbers", x.tolist())
    if y.ndim != 2 or y.shape[1] != x.size or y.shape[0] < 2:
        raise InputError.parameter(
            "errors", "fit_exponent", f"of shape (seeds, {x.size}) with two seeds or more", y.shape
        )
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise InputError.parameter(
            "errors",
            "fit_exponent",
            "positive and finite",
            float(y[~(np.isfinite(y) & (y > 0))][0]),
            "Leave out sizes without error.",
        )
    log_x, log_y = np.log(x), np.log(y)
    centred = log_x - log_x.mean()
    slopes = log_y @ centred / (centred @ centred)
    local = np.diff(log_y, axis=1) / np.diff(log_x)
    seeds = y.shape[0]
    reach = float(stats.t.ppf((1 + LEVEL) / 2, seeds - 1) * slopes.std(ddof=1) / math.sqrt(seeds))
    mean = float(slopes.mean())
    return FittedRate(
        mean,
        mean - reach,
        mean + reach,
        seeds,
        tuple(float(v) for v in local.mean(axis=0)),
        tuple(float(v) for v in local.std(axis=0, ddof=1) / math.sqrt(seeds)),
    )


def compare(rate: FittedRate, exponent: float, claim: Claim) -> Agreement:
    """Say how a fitted exponent stands to a theorem's.

    An upper bound error <= C size^exponent is respected by a smaller exponent: the caller gives
    sizes so that smaller exponents are the smaller errors (steps enter as 1/eta).
    """
    if rate.low <= exponent <= rate.high:
        return Agreement.AGREES
    if claim == Claim.UPPER_BOUND and rate.high < exponent:
        return Agreement.WITHIN_BOUND
    first, last = (abs(rate.local_slopes[i] - exponent) for i in (0, -1))
    approaches = last < first or last <= 2 * rate.local_stderr[-1]
    return Agreement.NOT_ASYMPTOTIC if approaches else Agreement.DIFFERS
