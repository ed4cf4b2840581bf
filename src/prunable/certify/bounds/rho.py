"""rho_eps(kappa): how far compressibility shrinks the set of networks of one norm.

Barsbey et al. (2021), theorem 7 and figure 11.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.certify.bounds.entropy import binary_entropies, binary_entropy
from prunable.errors import InputError

FloatArray = NDArray[np.float64]


def rho(epsilon: float, kappa: float, d: int) -> float:
    """Evaluate rho_eps(kappa, d) of theorem 7.

    Parameters
    ----------
    epsilon : float
        Relative error of the compression, in (0, 1].
    kappa : float
        Kept share, in [0, 1].
    d : int
        Weights, >= 1; kappa d is rounded up to a count.

    Returns
    -------
    float
        min(eps^(1-kappa) exp(h_b(kappa) + h_b1(kappa, d)), 1), in (0, 1].

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    _check(epsilon, np.asarray(kappa), "rho")
    if d < 1:
        raise InputError.parameter("d", "rho", ">= 1", d)
    half, kept = math.ceil(d / 2), math.ceil(kappa * d - 1e-9)
    shares = math.ceil(kept / 2) / half, math.floor(kept / 2) / half
    first = half / d * max(binary_entropy(share) for share in shares)
    exponent = (1 - kappa) * math.log(epsilon) + binary_entropy(kappa) + first
    return min(math.exp(exponent), 1.0)


def rho_limit(epsilon: float, kappa: ArrayLike) -> FloatArray:
    """Evaluate rho_eps(kappa) for even d and kappa d: the curves of figure 11.

    Parameters
    ----------
    epsilon : float
        In (0, 1].
    kappa : array_like
        In [0, 1].

    Returns
    -------
    ndarray
        min(eps^(1-kappa) exp(1.5 h_b(kappa)), 1).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    share = np.asarray(kappa, dtype=np.float64)
    _check(epsilon, share, "rho_limit")
    exponent = (1 - share) * math.log(epsilon) + 1.5 * binary_entropies(share)
    return np.exp(np.minimum(exponent, 0.0))


def rho_upper(epsilon: float, kappa: ArrayLike) -> FloatArray:
    """Evaluate min(3 eps^(1-kappa), 1), the dashed curves of figure 11; as `rho_limit`."""
    share = np.asarray(kappa, dtype=np.float64)
    _check(epsilon, share, "rho_upper")
    return np.minimum(3 * epsilon ** (1 - share), 1.0)


def rho_peak(epsilon: float) -> float:
    """Kept share at which eps^(1-kappa) exp(1.5 h_b(kappa)) is largest: 1 / (1 + eps^(2/3))."""
    _check(epsilon, np.asarray(0.5), "rho_peak")
    return 1 / (1 + math.exp(2 / 3 * math.log(epsilon)))


def _check(epsilon: float, kappa: FloatArray, where: str) -> None:
    if not 0 < epsilon <= 1:
        raise InputError.parameter("epsilon", where, "inside (0, 1]", epsilon)
    if not ((kappa >= 0) & (kappa <= 1)).all():
        raise InputError.parameter("kappa", where, "inside [0, 1]", kappa)
