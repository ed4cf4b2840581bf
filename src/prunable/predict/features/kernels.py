"""Exact second moments of random features of Gaussian inputs.

For inputs a ~ N(0, I_d), features g(r_i . a) of a first layer with rows r_i, and a target
psi(beta . a) with ||beta|| = 1, everything that Def. 2 of Chang et al. (2020) needs is an
expectation over two jointly Gaussian numbers. ReLU, erf, sign and GELU have closed forms;
every other function goes through its Hermite coefficients: with h_k orthonormal for N(0, 1),

    E[f(x) g(y)] = sum_k rho^k E[f(x) h_k(x)] E[g(y) h_k(y)],   rho = corr(x, y)   (Mehler).

Cut at any degree this is still the second moment of real features, hence positive
semidefinite, and consistent with the cross-moments cut at the same degree.
"""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf, expit, ndtr

from prunable.errors import InputError, check_at_least, require
from prunable.numerics.arrays import FloatArray

Function = Callable[[FloatArray], FloatArray]
Name = TypeVar("Name", bound=StrEnum)

DEGREE = 256
# |h_k phi| <= sqrt(phi): beyond 13 nothing is left in doubles.
REACH = 13.0
NODES = 512

# Kernels end their series where this share of a feature's variance is left.
NEGLIGIBLE = 1e-15


class Activation(StrEnum):
    """Nonlinearities of the first layer."""

    RELU = "relu"
    ERF = "erf"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    SIGN = "sign"
    GELU = "gelu"


class Link(StrEnum):
    """Functions psi of a target psi(beta . a)."""

    SQUARE = "square"
    LINEAR = "linear"
    ABSOLUTE = "absolute"
    RELU = "relu"
    SIGN = "sign"
    TANH = "tanh"
    CUBIC = "cubic"


def _relu(x: FloatArray) -> FloatArray:
    return np.maximum(x, 0.0)


def _gelu(x: FloatArray) -> FloatArray:
    return x * ndtr(x)


_ACTIVATIONS: dict[Activation, Function] = {
    Activation.RELU: _relu,
    Activation.ERF: erf,
    Activation.SIGMOID: expit,
    Activation.TANH: np.tanh,
    Activation.SIGN: np.sign,
    Activation.GELU: _gelu,
}
_LINKS: dict[Link, Function] = {
    Link.SQUARE: np.square,
    Link.LINEAR: np.array,
    Link.ABSOLUTE: np.abs,
    Link.RELU: _relu,
    Link.SIGN: np.sign,
    Link.TANH: np.tanh,
    Link.CUBIC: lambda x: x**3,
}


def activation_function(activation: Activation | str | Function) -> Function:
    """Look up a nonlinearity by name; a function is handed back."""
    return _looked_up(activation, Activation, _ACTIVATIONS, "activation")


def link_function(link: Link | str | Function) -> Function:
    """Look up the function psi of a target by name; a function is handed back."""
    return _looked_up(link, Link, _LINKS, "link")


def feature_kernel(
    layer: ArrayLike, activation: Activation | str | Function, *, degree: int = DEGREE
) -> FloatArray:
    """Compute E[g(r_i . a) g(r_j . a)] over a ~ N(0, I), shape (p, p); not centred.

    Symmetric and positive semidefinite up to rounding. ReLU: the arc-cosine kernel of order 1,
    Cho and Saul (2009). erf: Williams (1997). sign: the arc-sine law. GELU: see `_gelu_kernel`.

    Parameters
    ----------
    layer : (p, d) array of rows r_i, finite and none of them zero
    activation : the function g; a callable maps arrays to arrays entry by entry, and may have.
        kinks or jumps at 0
    degree : where the series ends, for tanh, sigmoid and callables. What it leaves of the. variance
        of a feature is added to the diagonal.
    """
    directions, norms = _rows(layer)
    cosines = np.clip(directions @ directions.T, -1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    closed = _CLOSED.get(activation) if isinstance(activation, str) else None
    if closed is not None:
        return closed(cosines, norms)
    function = activation_function(activation)
    coefficients = hermite_coefficients(function, norms, degree)
    variances = np.array([second_moment(function, norm) for norm in norms])
    left = variances - np.cumsum(coefficients**2, axis=1).T
    power = np.ones_like(cosines)
    kernel = np.zeros_like(cosines)
    used = degree
    for k in range(degree + 1):
        kernel += np.outer(coefficients[:, k], coefficients[:, k]) * power
        if np.all(left[k] <= NEGLIGIBLE * variances):
            used = k
            break
        power *= cosines
    kernel[np.diag_indices_from(kernel)] += np.maximum(left[used], 0.0)
    return kernel


def cross_moment(
    layer: ArrayLike,
    direction: ArrayLike,
    activation: Activation | str | Function,
    link: Link | str | Function,
    *,
    degree: int = DEGREE,
) -> FloatArray:
    """Compute E[g(r_i . a) psi(beta . a)] over a ~ N(0, I), shape (p,).

    Parameters
    ----------
    direction : (d,) vector beta, not zero; its length counts
    link : psi; a callable may have kinks or jumps at 0
    """
    directions, norms = _rows(layer)
    target, lengths = _rows(np.atleast_2d(np.asarray(direction, dtype=np.float64)))
    if target.shape != (1, directions.shape[1]):
        raise InputError.parameter(
            "direction",
            "cross_moment",
            f"one vector of {directions.shape[1]} numbers",
            f"shape {np.shape(direction)}",
        )
    cosines = np.clip(directions @ target[0], -1.0, 1.0)
    features = hermite_coefficients(activation_function(activation), norms, degree)
    targets = hermite_coefficients(link_function(link), lengths, degree)[0]
    return np.asarray(np.polynomial.polynomial.polyval(cosines, (features * targets).T, False))


def _rows(layer: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Unit rows and their former norms."""
    rows = np.asarray(layer, dtype=np.float64)
    valid = rows.ndim == 2 and rows.size
    require(valid, "layer", "random features", "a matrix (features, inputs)", f"shape {rows.shape}")
    norms = np.linalg.norm(rows, axis=1)
    if not np.isfinite(norms).all() or not norms.all():
        bad = int(np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))[0])
        raise InputError.parameter(
            "layer",
            "random features",
            "finite, with rows that are not zero",
            f"{rows[bad, :5]}... in row {bad}",
        )
    return rows / norms[:, None], norms


def _arc_cosine(cosines: FloatArray) -> FloatArray:
    """E[max(u, 0) max(v, 0)] for standard Gaussians of these correlations."""
    sines = np.sqrt((1 - cosines) * (1 + cosines))
    return np.asarray((sines + cosines * (math.pi - np.arccos(cosines))) / (2 * math.pi))


def _relu_kernel(cosines: FloatArray, norms: FloatArray) -> FloatArray:
    return np.outer(norms, norms) * _arc_cosine(cosines)


def _erf_kernel(cosines: FloatArray, norms: FloatArray) -> FloatArray:
    ratio = math.sqrt(2) * norms / np.sqrt(1 + 2 * norms**2)
    return np.asarray(2 / math.pi * np.arcsin(np.outer(ratio, ratio) * cosines))


def _sign_kernel(cosines: FloatArray, norms: FloatArray) -> FloatArray:
    del norms
    return np.asarray(2 / math.pi * np.arcsin(cosines))


def _gelu_kernel(cosines: FloatArray, norms: FloatArray) -> FloatArray:
    """E[x Phi(x) y Phi(y)] = E[x y 1{u > 0} 1{v > 0}], u = x - z, v = y - z', z and z' new.

    Given (u, v), x and y are Gaussian with linear means, so that quadrant moments of (u, v)
    up to the second are all it takes.
    """
    x2 = (norms**2)[:, None]
    y2 = (norms**2)[None, :]
    xy = np.outer(norms, norms) * cosines
    u2, v2 = x2 + 1, y2 + 1
    determinant = u2 * v2 - xy**2
    rho = xy / np.sqrt(u2 * v2)
    quadrant = 0.25 + np.arcsin(rho) / (2 * math.pi)
    tilt = rho * np.sqrt((1 - rho) * (1 + rho)) / (2 * math.pi)
    uu, vv = u2 * (quadrant + tilt), v2 * (quadrant + tilt)
    uv = np.sqrt(u2 * v2) * _arc_cosine(rho)
    # E[x | u, v] = x_u u + x_v v, E[y | u, v] = y_u u + y_v v
    x_u, x_v = (x2 * v2 - xy**2) / determinant, xy / determinant
    y_u, y_v = xy / determinant, (y2 * u2 - xy**2) / determinant
    rest = xy * (1 - x_u) - x_v * y2
    kernel = x_u * y_u * uu + (x_u * y_v + x_v * y_u) * uv + x_v * y_v * vv + rest * quadrant
    return np.asarray((kernel + kernel.T) / 2)


_CLOSED: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    Activation.RELU: _relu_kernel,
    Activation.ERF: _erf_kernel,
    Activation.SIGN: _sign_kernel,
    Activation.GELU: _gelu_kernel,
}


def _looked_up(
    given: str | Function, names: type[Name], table: Mapping[Name, Function], parameter: str
) -> Function:
    if not isinstance(given, str):
        return given
    try:
        return table[names(given)]
    except ValueError as error:
        raise InputError.parameter(
            parameter, "random features", f"one of {', '.join(names)}, or a function", given
        ) from error


def second_moment(function: Function, scale: float = 1.0) -> float:
    """Compute E[f(scale z)^2] for z ~ N(0, 1), by quadrature on both sides of 0."""
    nodes, weights = _quadrature()
    return float(weights @ np.square(_values(function, scale * nodes)))


def hermite_coefficients(function: Function, scales: ArrayLike, degree: int = DEGREE) -> FloatArray:
    """Compute E[f(s z) h_k(z)] for z ~ N(0, 1) and k = 0, ..., degree; shape (m, degree + 1).

    h_k are orthonormal Hermite polynomials. f acts entry by entry and may have kinks or jumps
    at 0; it must be finite in +-13 s for each of the m scales s > 0.
    """
    check_at_least(degree, 0, "degree", "hermite_coefficients")
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
