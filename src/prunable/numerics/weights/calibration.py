"""Tables made by simulation and root finding; `tools/calibrate.py` writes them."""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

FloatArray = NDArray[np.float64]

# The tangent at alpha = 2 continues the quantile ratio this far, for lighter laws.
LARGEST_ALPHA = 4.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """The tables.

    `log_ratio`: logarithm of the ratio of the quantiles 0.9 and 0.5 of |X| at each tail index
    `ratio_alpha`; `log_ratio_deviation`: standard deviation of sqrt(n) times it in a sample of
    n. `levels`: probabilities at which the null laws of the Anderson-Darling statistic are
    tabulated: rows of `stable` for a fitted stable law of tail index `law_alpha`, `gaussian` for
    a fitted Gaussian law.
    """

    ratio_alpha: FloatArray
    log_ratio: FloatArray
    log_ratio_deviation: FloatArray
    levels: FloatArray
    law_alpha: FloatArray
    stable: FloatArray
    gaussian: FloatArray


@lru_cache(maxsize=1)
def load() -> Calibration:
    """Read the tables that come with the package."""
    document = json.loads(
        files("prunable.numerics.weights").joinpath("calibration.json").read_text()
    )
    return Calibration(**{name: np.array(values) for name, values in document.items()})


@lru_cache(maxsize=1)
def _log_ratio() -> CubicSpline:
    tables = load()
    return CubicSpline(tables.ratio_alpha, tables.log_ratio)


def alpha_of_quantile_ratio(ratio: float) -> tuple[float, float]:
    """Invert the ratio, above 1, of quantiles 0.9 and 0.5 of |X| for symmetric stable laws.

    Returns the tail index in [0.5, 4] (above 2 on the tangent), and the derivative of the
    logarithm of the ratio with respect to it. NaN if no such index has the ratio.
    """
    spline, (first, last) = _log_ratio(), load().ratio_alpha[[0, -1]]
    target = math.log(ratio)
    slope = float(spline(last, 1))
    end = float(spline(last))
    if target <= end:
        alpha = last + (target - end) / slope
        return (float(alpha), slope) if alpha <= LARGEST_ALPHA else (math.nan, math.nan)
    if target > float(spline(first)):
        return math.nan, math.nan
    found = float(brentq(lambda alpha: float(spline(alpha)) - target, first, last))
    return found, float(spline(found, 1))


def log_ratio_deviation(alpha: float) -> float:
    """Standard deviation of sqrt(n) times the log ratio; beyond the table its ends stand."""
    tables = load()
    return float(np.interp(alpha, tables.ratio_alpha, tables.log_ratio_deviation))


def p_value(statistic: float, alpha: float | None) -> float:
    """Probability that a fitted law of the right kind fits worse than this.

    Parameters
    ----------
    statistic : Anderson-Darling statistic of the magnitudes.
    alpha : Tail index of the fitted stable law; None for a Gaussian law fitted by its root mean
        square.

    Returns
    -------
    float
        In (0, 1]; between the tabulated levels log-linear, beyond them by the same line.
    """
    tables = load()
    if alpha is None:
        quantiles = tables.gaussian
    else:
        inside = float(np.clip(alpha, tables.law_alpha[0], tables.law_alpha[-1]))
        quantiles = np.array([np.interp(inside, tables.law_alpha, q) for q in tables.stable.T])
    log_tail = np.log1p(-tables.levels)
    if statistic >= quantiles[-1]:
        slope = (log_tail[-1] - log_tail[-2]) / (quantiles[-1] - quantiles[-2])
        return math.exp(max(log_tail[-1] + slope * (statistic - quantiles[-1]), -700.0))
    return math.exp(
        float(np.interp(statistic, np.append(0.0, quantiles), np.append(0.0, log_tail)))
    )
