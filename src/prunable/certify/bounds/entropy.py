"""Functions that several bounds share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def binary_entropy(kappa: float) -> float:
    """Entropy of a coin of bias `kappa`, in nats; 0 at 0 and 1."""
    if kappa <= 0 or kappa >= 1:
        return 0.0
    return -kappa * math.log(kappa) - (1 - kappa) * math.log1p(-kappa)


def binary_entropies(kappa: NDArray[np.float64]) -> NDArray[np.float64]:
    """`binary_entropy` of every entry."""
    inside = np.clip(kappa, 1e-300, 1 - 1e-16)
    values = -inside * np.log(inside) - (1 - inside) * np.log1p(-inside)
    return np.where((kappa <= 0) | (kappa >= 1), 0.0, values)


def log_expm1(x: float) -> float:
    """log(exp(x) - 1) for x >= 0, without overflow; -inf at 0."""
    if x <= 0:
        return -math.inf
    return math.log(math.expm1(x)) if x < 30 else x + math.log1p(-math.exp(-x))
