"""Absolute moments of the standard symmetric stable law, whole and without the largest."""

import math

import numpy as np
from scipy.special import rgamma

from prunable.errors import InputError, require
from prunable.numerics.checks import check_alpha, check_order
from prunable.numerics.stable.law import StableLaw

NODES = 200


def absolute_moment(alpha: float, p: float) -> float:
    """E |X|^p of the standard law, p > 0; infinite, and refused, from p = alpha < 2 on.

    Samorodnitsky and Taqqu (1994), property 1.2.17; at alpha = 2 that of N(0, 2).
    """
    alpha = check_alpha(alpha, "absolute_moment")
    if not 0 < p < (math.inf if alpha == 2 else alpha):
        raise InputError.parameter(
            "p", "absolute_moment", "positive, and below alpha where alpha < 2", p
        )
    return continued_moment(alpha, p)


def continued_moment(alpha: float, p: float) -> float:
    """The formula of `absolute_moment` beyond p = alpha: its analytic continuation.

    It is the second term of sums of |X|^p, alpha < p < 2 alpha, beside their stable limit, and
    may be negative. Where alpha < 2 it has poles at the multiples of alpha, which are refused.
    """
    alpha = check_alpha(alpha, "continued_moment")
    if not 0 < p < math.inf or (alpha < 2 and (p / alpha).is_integer()):
        raise InputError.parameter(
            "p", "continued_moment", "positive and finite, and no multiple of alpha", p
        )
    tail = 1.0 if alpha == 2 else math.gamma(1 - p / alpha) * float(rgamma(1 - p / 2))
    return 2**p * math.gamma((1 + p) / 2) * tail / math.sqrt(math.pi)


def truncated_moment(alpha: float, p: float, kappa: float) -> float:
    """E |X|^p over the standard stable magnitudes outside the largest share 0 < kappa < 1.

    Finite for every p; for 0.1 <= alpha <= 2.
    """
    alpha = check_alpha(alpha, "truncated_moment")
    require(0 < kappa < 1, "kappa", "truncated_moment", "between 0 and 1", kappa)
    check_order(p, "truncated_moment")
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    # u = exp(v) is the probability of a larger magnitude; the integrand is smooth in v
    v = (nodes - 1) / 2 * -math.log(kappa)
    u = np.exp(v)
    total = float(weights @ (u * StableLaw(alpha).isf(u / 2) ** p))
    return total * -math.log(kappa) / 2
