"""Expectations of functions of a Gaussian variable, and their Hermite coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], FloatArray]

DEGREE = 256
# |h_k phi| <= sqrt(phi): beyond 13 nothing is left in doubles.
REACH = 13.0
NODES = 512


def second_moment(function: Function, scale: float = 1.0) -> float:
    """Compute E[f(scale z)^2] for z ~ N(0, 1), by quadrature on both sides of 0."""
    nodes, weights = _quadrature()
    return float(weights @ np.square(_values(function, scale * nodes)))


def hermite_coefficients(function: Function, scales: ArrayLike, degree: int = DEGREE) -> FloatArray:
    """Compute E[f(s z) h_k(z)] for z ~ N(0, 1) and orthonormal Hermite polynomials h_k.

    Parameters
    ----------
    function : callable
        f, entry by entry; may have kinks or jumps at 0.
    scales : array_like, shape (m,)
        Scales s > 0.
    degree : int
        Largest k, >= 0.

    Returns
    -------
    ndarray, shape (m, degree + 1)

    Raises
    ------
    InputError
        If `degree` is negative or f is not finite somewhere in +-13 s.
    """
    if degree < 0:
        raise InputError.parameter("degree", "hermite_coefficients", "at least 0", degree)
    nodes, weights = _quadrature()
    values = _values(function, np.atleast_1d(np.asarray(scales, dtype=np.float64))[:, None] * nodes)
    return (values * weights) @ _hermite(degree).T


def _values(function: Function, x: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        values = np.asarray(function(x), dtype=np.float64)
    if values.shape != x.shape or not np.isfinite(values).all():
        raise InputError(
            "A function given for an activation or a link must map an array to finite numbers "
            "entry by entry. Check it on numpy arrays."
        )
    return values


@lru_cache(maxsize=1)
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for N(0, 1): Gauss-Legendre on either side of 0."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half, weights = REACH * (nodes + 1) / 2, REACH * weights / 2
    weights = weights * np.exp(-(half**2) / 2) / math.sqrt(2 * math.pi)
    return np.concatenate([-half[::-1], half]), np.concatenate([weights[::-1], weights])


@lru_cache(maxsize=4)
def _hermite(degree: int) -> FloatArray:
    """Orthonormal Hermite polynomials at the nodes of `_quadrature`, one a row."""
    nodes, _ = _quadrature()
    rows = np.empty((degree + 1, nodes.size))
    rows[0] = 1.0
    if degree:
        rows[1] = nodes
    for k in range(1, degree):
        rows[k + 1] = (nodes * rows[k] - math.sqrt(k) * rows[k - 1]) / math.sqrt(k + 1)
    rows.flags.writeable = False
    return rows
