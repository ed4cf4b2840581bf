"""Checks of arguments that the functions of this room share; `where` names the caller."""

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError, is_real, require


def check_alpha(alpha: object, where: str) -> float:
    """Check a tail index: a real number (a bool is none) in (0, 2]."""
    if is_real(alpha) and 0 < float(alpha) <= 2:
        return float(alpha)
    raise InputError.parameter(
        "alpha", where, "a real number in (0, 2]", alpha, "alpha = 2 is the Gaussian law."
    )


def check_scale(scale: object, where: str) -> float:
    """Check a scale c of the characteristic function exp(-|c t|^alpha)."""
    if is_real(scale) and 0 < float(scale) < math.inf:
        return float(scale)
    raise InputError.parameter("scale", where, "a positive finite number", scale)


def check_order(p: float, where: str) -> float:
    """Check the order of a norm or moment: positive and finite."""
    require(is_real(p) and 0 < float(p) < math.inf, "p", where, "positive and finite", p)
    return float(p)


def check_count(count: Any, total: int, param: str, where: str) -> int:
    """Check a whole number, of Python or NumPy, from 0 to `total`."""
    try:
        checked = operator.index(count)
    except TypeError:
        checked = -1
    require(0 <= checked <= total, param, where, f"an integer between 0 and {total}", count)
    return checked


def check_reals(values: ArrayLike, param: str, where: str) -> NDArray[np.float64]:
    """Check real numbers of any shape, infinities allowed; return them in float64."""
    array = real_array(values, param, where)
    if np.isnan(array).any():
        raise InputError.parameter(
            param, where, "free of NaN", f"{np.isnan(array).sum()} NaN", "Drop them first."
        )
    return array.astype(np.float64)


def real_array(values: ArrayLike, param: str, where: str) -> NDArray[Any]:
    """Turn values into an array, and refuse what is no real number."""
    array = np.asarray(values)
    require(array.dtype.kind in "iuf", param, where, "real numbers", f"the type {array.dtype}")
    return array
