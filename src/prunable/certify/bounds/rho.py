"""rho_eps(kappa): how far compressibility shrinks the set of networks of one norm.

Barsbey et al. (2021), theorem 7 and figure 11.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from prunable.certify.bounds.facts import FloatArray
from prunable.errors import check_at_least, require


def rho(epsilon: float, kappa: float, d: int) -> float:
    """min(eps^(1-kappa) exp(h_b(kappa) + h_b1(kappa, d)), 1) of theorem 7.

    The relative error is in (0, 1], the kept share in [0, 1], and kappa d is rounded up to a count.
    """
    _check(epsilon, np.asarray(kappa), "rho")
    check_at_least(d, 1, "d", "rho")
    half, kept = math.ceil(d / 2), math.ceil(kappa * d - 1e-9)
    shares = math.ceil(kept / 2) / half, math.floor(kept / 2) / half
    first = half / d * max(binary_entropy(share) for share in shares)
    exponent = (1 - kappa) * math.log(epsilon) + binary_entropy(kappa) + first
    return min(math.exp(exponent), 1.0)


def rho_limit(epsilon: float, kappa: ArrayLike) -> FloatArray:
    """min(eps^(1-kappa) exp(1.5 h_b(kappa)), 1) for even d and kappa d: curves of figure 11."""
    share = np.asarray(kappa, dtype=np.float64)
    _check(epsilon, share, "rho_limit")
    exponent = (1 - share) * math.log(epsilon) + 1.5 * _binary_entropies(share)
    return np.exp(np.minimum(exponent, 0.0))


def rho_upper(epsilon: float, kappa: ArrayLike) -> FloatArray:
    """min(3 eps^(1-kappa), 1), the dashed curves of figure 11."""
    share = np.asarray(kappa, dtype=np.float64)
    _check(epsilon, share, "rho_upper")
    return np.minimum(3 * epsilon ** (1 - share), 1.0)


def rho_peak(epsilon: float) -> float:
    """Kept share at which eps^(1-kappa) exp(1.5 h_b(kappa)) is largest: 1 / (1 + eps^(2/3))."""
    _check(epsilon, np.asarray(0.5), "rho_peak")
    return 1 / (1 + math.exp(2 / 3 * math.log(epsilon)))


def binary_entropy(kappa: float) -> float:
    """Entropy of a coin of bias `kappa`, in nats; 0 at 0 and 1."""
    if kappa <= 0 or kappa >= 1:
        return 0.0
    return -kappa * math.log(kappa) - (1 - kappa) * math.log1p(-kappa)


def _binary_entropies(kappa: FloatArray) -> FloatArray:
    inside = np.clip(kappa, 1e-300, 1 - 1e-16)
    values = -inside * np.log(inside) - (1 - inside) * np.log1p(-inside)
    return np.where((kappa <= 0) | (kappa >= 1), 0.0, values)


def _check(epsilon: float, kappa: FloatArray, where: str) -> None:
    require(0 < epsilon <= 1, "epsilon", where, "inside (0, 1]", epsilon)
    require(bool(((kappa >= 0) & (kappa <= 1)).all()), "kappa", where, "inside [0, 1]", kappa)
