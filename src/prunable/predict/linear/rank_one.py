"""Perfectly correlated features: lemma 1 of the 2020 paper."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prunable.errors import InputError
from prunable.numerics.weights.selection import top_k_mask
from prunable.predict.linear.law import check_samples
from prunable.predict.linear.pruning_risk import check_kept


@dataclass(frozen=True)
class RankOneRisks:
    """Expected risks for a covariance of rank one, including sigma^2.

    Attributes
    ----------
    dense, pruned, retrained : float
        Pruning by magnitude; Hessian pruning keeps no other features.
    kept_energy : float
        Share of the squared length of the direction that lies in the kept features.
    """

    dense: float
    pruned: float
    retrained: float
    kept_energy: float


def rank_one_risks(
    direction: ArrayLike, coefficients: ArrayLike, sigma: float, n: int, s: int
) -> RankOneRisks:
    """Predict risks for x = g u, g ~ N(0, 1), exactly at every n.

    Parameters
    ----------
    direction : array_like
        The vector u, not zero, shape (p,).
    coefficients : array_like
        beta, shape (p,).
    sigma : float
        Standard deviation of the noise, >= 0.
    n : int
        Samples, at least 3: with fewer the expectation is infinite.
    s : int
        Features kept, 1 <= s <= p.

    Returns
    -------
    RankOneRisks
        sigma^2 plus equations (5) and (6) of the 2020 paper.

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    The solution is c u / |u|^2, and sqrt(n) (c - u beta) / sigma follows Student's t with n
    degrees of freedom. Hessian pruning compares u_i^2 instead of |u_i|: the same features.
    """
    u, beta = np.asarray(direction, dtype=np.float64), np.asarray(coefficients, dtype=np.float64)
    if u.ndim != 1 or u.shape != beta.shape or not (np.isfinite(u) & np.isfinite(beta)).all():
        raise InputError.parameter(
            "direction",
            "rank_one_risks",
            "finite and as long as the coefficients",
            f"shapes {u.shape} and {beta.shape}",
        )
    if not u.any():
        raise InputError.parameter("direction", "rank_one_risks", "different from 0", "zeros")
    if not 0 <= sigma < math.inf:
        raise InputError.parameter("sigma", "rank_one_risks", "finite and non-negative", sigma)
    if check_samples(n, "rank_one_risks") < 3:
        raise InputError.parameter(
            "n", "rank_one_risks", "at least 3", n, "With fewer samples the risk is infinite."
        )
    s = check_kept(s, u.size, "rank_one_risks")
    # scaled first: squares of very small or large directions leave the doubles
    scaled = (u / np.abs(u).max()) ** 2
    energy = float(scaled[top_k_mask(scaled, s)].sum() / scaled.sum())
    fitted = sigma**2 / (n - 2)
    bias = float(u @ beta) ** 2
    pruned = energy**2 * fitted + (1 - energy) ** 2 * bias
    noise = sigma**2
    return RankOneRisks(noise + fitted, noise + pruned, noise + fitted, energy)
