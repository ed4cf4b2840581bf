"""Checks of the arguments that the functions of stable laws share."""

from __future__ import annotations

import math
from numbers import Real
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError


def check_alpha(alpha: object, where: str) -> float:
    """Check a tail index.

    Parameters
    ----------
    alpha : real number
        Tail index, of a Python or NumPy type.
    where : str
        Name of the caller, for the message.

    Returns
    -------
    float
        The tail index, 0 < alpha <= 2.

    Raises
    ------
    InputError
        If `alpha` is not a real number (a bool is none), is NaN, or is outside (0, 2].
    """
    if _is_real(alpha) and 0 < float(alpha) <= 2:
        return float(alpha)
    raise InputError.parameter(
        "alpha", where, "a real number in (0, 2]", alpha, "alpha = 2 is the Gaussian law."
    )


def check_scale(scale: object, where: str) -> float:
    """Check a scale.

    Parameters
    ----------
    scale : real number
        Scale c in the characteristic function exp(-|c t|^alpha).
    where : str
        Name of the caller, for the message.

    Returns
    -------
    float
        The scale, positive and finite.

    Raises
    ------
    InputError
        If `scale` is not a positive finite real number.
    """
    if _is_real(scale) and 0 < float(scale) < math.inf:
        return float(scale)
    raise InputError.parameter("scale", where, "a positive finite number", scale)


def check_reals(values: ArrayLike, param: str, where: str) -> NDArray[np.float64]:
    """Check an array of extended reals.

    Parameters
    ----------
    values : array_like
        Real numbers of any shape; infinities are allowed, since laws have values there.
    param, where : str
        Names of the argument and of the caller, for the message.

    Returns
    -------
    numpy.ndarray
        The values in float64, same shape.

    Raises
    ------
    InputError
        If a value is NaN or no real number.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise InputError.parameter(param, where, "real numbers", f"the type {array.dtype}")
    if np.isnan(array).any():
        raise InputError.parameter(
            param, where, "free of NaN", f"{np.isnan(array).sum()} NaN", "Drop them first."
        )
    return array.astype(np.float64)


def _is_real(value: object) -> TypeGuard[Real]:
    return isinstance(value, Real) and not isinstance(value, bool)
