"""Absolute moments of the standard symmetric stable law, whole and without the largest."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import rgamma

from prunable.errors import InputError
from prunable.numerics.stable.functions import isf
from prunable.numerics.stable.parameters import check_alpha

NODES = 200


def absolute_moment(alpha: float, p: float) -> float:
    """E |X|^p of the standard law.

    Parameters
    ----------
    alpha : float
        Tail index in (0, 2].
    p : float
        Order, positive; below alpha unless that is 2.

    Returns
    -------
    float
        At alpha = 2 that of N(0, 2).

    Raises
    ------
    InputError
        If an argument is out of range, or the moment infinite.

    Notes
    -----
    Samorodnitsky and Taqqu (1994), property 1.2.17.
    """
    alpha = check_alpha(alpha, "absolute_moment")
    if not 0 < p < (math.inf if alpha == 2 else alpha):
        raise InputError.parameter(
            "p", "absolute_moment", "positive, and below alpha where alpha < 2", p
        )
    return continued_moment(alpha, p)


def continued_moment(alpha: float, p: float) -> float:
    """The formula of `absolute_moment` beyond p = alpha: its analytic continuation.

    Parameters
    ----------
    alpha : float
        Tail index in (0, 2].
    p : float
        Order, positive; where alpha < 2 no multiple of alpha, at which there are poles.

    Returns
    -------
    float
        The second term of sums of |X|^p, alpha < p < 2 alpha, beside their stable limit; may be
        negative.

    Raises
    ------
    InputError
        If an argument is out of range, or at a pole.
    """
    alpha = check_alpha(alpha, "continued_moment")
    if not 0 < p < math.inf or (alpha < 2 and (p / alpha).is_integer()):
        raise InputError.parameter(
            "p", "continued_moment", "positive and finite, and no multiple of alpha", p
        )
    tail = 1.0 if alpha == 2 else math.gamma(1 - p / alpha) * float(rgamma(1 - p / 2))
    return 2**p * math.gamma((1 + p) / 2) * tail / math.sqrt(math.pi)


def truncated_moment(alpha: float, p: float, kappa: float) -> float:
    """E |X|^p over the standard stable magnitudes outside the largest share kappa.

    Parameters
    ----------
    alpha : float
        Tail index, 0.1 <= alpha <= 2.
    p : float
        Order, positive and finite.
    kappa : float
        Share, 0 < kappa < 1.

    Returns
    -------
    float
        Finite for every p.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    alpha = check_alpha(alpha, "truncated_moment")
    if not 0 < kappa < 1:
        raise InputError.parameter("kappa", "truncated_moment", "between 0 and 1", kappa)
    if not 0 < p < math.inf:
        raise InputError.parameter("p", "truncated_moment", "positive and finite", p)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    # u = exp(v) is the probability of a larger magnitude; the integrand is smooth in v
    v = (nodes - 1) / 2 * -math.log(kappa)
    u = np.exp(v)
    total = float(weights @ (u * isf(u / 2, alpha) ** p))
    return total * -math.log(kappa) / 2
