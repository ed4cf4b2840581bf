"""Two examples of the 2020 paper whose answers are known at every size.

Its text as we have it lost their formulas: they are derived again, and tested by simulation.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from prunable.errors import require
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.problem import LinearGaussianProblem, check_kept, check_samples
from prunable.predict.linear.pruning import oracle_support


class RankOne(NamedTuple):
    """Expected risks less that of the truth, after pruning and after retraining."""

    pruned: float
    retrained: float


def rank_one_risks(direction: ArrayLike, beta: ArrayLike, sigma: float, n: int, s: int) -> RankOne:
    """Risks of features that are all multiples of one number, x = g `direction`.

    Of the energy of the direction a share zeta stays with its s largest entries: pruning costs
    zeta^2 sigma^2 / (n - 2) + (1 - zeta)^2 (direction . beta)^2, and retraining leaves only
    sigma^2 / (n - 2), whatever s is. Lemma 1 of the 2020 paper, for magnitude and Hessian
    pruning; exact. Raises InputError if n < 3, where the expectation is infinite, if shapes
    differ, or if the direction is 0.

    >>> rank_one_risks([3.0, -4.0], [1.0, 1.0], sigma=0.5, n=12, s=1)
    RankOne(pruned=0.13984, retrained=0.025)
    """
    where = "rank_one_risks"
    lam, truth = (np.asarray(values, dtype=np.float64) for values in (direction, beta))
    require(lam.ndim == 1 and lam.any(), "direction", where, "a list with a number not 0", lam)
    require(truth.shape == lam.shape, "beta", where, f"of {lam.size} numbers", truth.shape)
    require(check_samples(n, where) > 2, "n", where, "at least 3", n)
    energy = np.sort(lam**2)[::-1]
    zeta = float(energy[: check_kept(s, lam.size, where)].sum() / energy.sum())
    fitted = sigma**2 / (n - 2)
    return RankOne(zeta**2 * fitted + (1 - zeta) ** 2 * float(lam @ truth) ** 2, fitted)


class Denoising(NamedTuple):
    """Mean squared error of the coefficients of a set of features, fitted alone and among all."""

    alone: float
    among_all: float


def denoising_errors(beta: ArrayLike, sigma: float, n: int, s: int) -> Denoising:
    """Errors of the coefficients of the s most salient of uncorrelated features.

    Fitted alone, the features left out are noise: s (sigma^2 + their energy) / (n - s - 1), exact,
    for n > s + 1. Among all p features there is no such noise: s sigma^2 / (n - p - 1), which is
    0 without noise, for n > p + 1, and the law of definition 4 for n < p. Section 3.4 of the 2020
    paper. Raises InputError if n <= s + 1, or p - 1 <= n <= p + 1 with noise.

    >>> denoising_errors([2.0, 1.0, 1.0], sigma=0.0, n=10, s=1)
    Denoising(alone=0.25, among_all=0.0)
    """
    where = "denoising_errors"
    problem = LinearGaussianProblem.diagonal(1.0, beta, sigma)
    kept = oracle_support(problem, check_kept(s, problem.p, where))
    require(check_samples(n, where) > s + 1, "n", where, f"larger than s + 1 = {s + 1}", n)
    missing = float((problem.coefficients[~kept] ** 2).sum())
    alone = s * (sigma**2 + missing) / (n - s - 1)
    if n >= problem.p and not sigma:
        return Denoising(alone, 0.0)
    require(abs(n - problem.p) > 1, "n", where, f"not within 1 of p = {problem.p}", n)
    if n > problem.p:
        return Denoising(alone, s * sigma**2 / (n - problem.p - 1))
    law = predict_law(problem, n)
    errors = (law.means - problem.coefficients) ** 2 + law.variances
    return Denoising(alone, float(errors[kept].sum()))
