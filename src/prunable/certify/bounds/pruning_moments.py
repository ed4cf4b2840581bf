"""Moments of what randomized magnitude pruning takes away: lemmas 4.1, B.1 and 4.2.

Guha, Dubey and Huo (2023): a Gaussian weight w of variance psi is pruned with probability
exp(-w^2 / (d psi)). With r = d / (d + 2), integrals of w^(2k) exp(-w^2 / (d psi)) are those of
a Gaussian of variance psi r, times sqrt(r).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import PRODUCT, SUM, BoundResult, Term, powers
from prunable.certify.bounds.checks import check_finite, check_positive
from prunable.certify.bounds.reconstruction import rebuilt
from prunable.errors import check_between, require

SOURCE = "Guha, Dubey, Huo (2023)"
GAUSSIAN = Assumption("weights are independent centred Gaussians", "unchecked", "assumption 3.1")


def check_strength(d: float, where: str) -> float:
    """Check the strength of the compression, >= 0."""
    require(d >= 0, "d", where, ">= 0", d, "0 prunes nothing, infinity all.")
    return float(d)


def pruned_share(d: float) -> float:
    """Probability sqrt(d / (d + 2)) that a Gaussian weight is pruned at strength `d`."""
    check_strength(d, "pruned_share")
    return 1.0 if math.isinf(d) else math.sqrt(d / (d + 2))


def kept_share(d: float) -> float:
    """chi = 1 - sqrt(d / (d + 2)), exact for large `d` too; see `pruned_share`."""
    check_strength(d, "kept_share")
    if d in (0, math.inf):
        return float(d == 0)
    return 2 / (math.sqrt(d + 2) * (math.sqrt(d + 2) + math.sqrt(d)))


def strength_of(chi: float) -> float:
    """2 (1 - chi)^2 / (1 - (1 - chi)^2), at which Gaussian weights keep `chi`; infinite at 0."""
    check_between(chi, 0, 1, "chi", "strength_of")
    if chi == 0:
        return math.inf
    return 2 * (1 - chi) ** 2 / (chi * (2 - chi))


def second_moment(d: float, variance: float) -> float:
    """E[Delta^2] = variance r^(3/2) of a weight's change: lemma 4.1."""
    return variance * pruned_share(d) ** 3


def fourth_moment(d: float, variance: float) -> float:
    """E[Delta^4] = 3 variance^2 r^(5/2) of a weight's change: lemma 4.1."""
    return 3 * variance**2 * pruned_share(d) ** 5


def latala(second: ArrayLike, fourth: ArrayLike, constant: float = 1.0) -> BoundResult:
    """Bound the mean spectral norm of a matrix of independent centred entries: lemma B.1.

    C (max_i sqrt(sum_j E X_ij^2) + max_j sqrt(sum_i E X_ij^2) + (sum_ij E X_ij^4)^(1/4)), of (m, n)
    arrays of E X_ij^2 and E X_ij^4. The `constant` is the universal C of Latala (2005), which
    nobody has put in numbers; 1 already holds in simulations of Gaussian and pruned Gaussian
    matrices.
    """
    two, four = np.asarray(second, dtype=np.float64), np.asarray(fourth, dtype=np.float64)
    alike = two.ndim == 2 and two.size > 0 and two.shape == four.shape
    require(alike, "second", "latala", "a matrix as `fourth`", f"{two.shape}")
    both = np.concatenate([two, four])
    usable = bool((np.isfinite(both) & (both >= 0)).all())
    require(usable, "second, fourth", "latala", "finite and >= 0", "another number")
    rows, columns = (math.sqrt(two.sum(axis=axis).max()) for axis in (1, 0))
    spread = (
        Term.of("rows", rows, "largest norm of a row, in the mean"),
        Term.of("columns", columns, "largest norm of a column"),
        Term.of("fourth", float(four.sum()) ** 0.25, "fourth moments"),
    )
    return _latala(spread, constant, "lemma B.1 (Latala 2005)", (), None)


def layer_error(
    shape: tuple[int, int], variance: float, d: float, *, markov: float = 1.0, constant: float = 1.0
) -> BoundResult:
    """Bound the spectral norm epsilon_l Gamma_l of what pruning takes from a layer: lemma 4.2.

    The layer is of shape (d1, d2), its weights of variance psi >= 0, the pruning of strength `d` >=
    0. By Markov's inequality it fails with probability 1 / epsilon_l, `markov` >= 1. The `constant`
    is C of lemma B.1.
    """
    where = "layer_error"
    check_strength(d, where)
    require(min(shape) >= 1, "shape", where, "positive", shape)
    check_finite(variance, "variance", where)
    require(markov >= 1, "markov", where, ">= 1", markov, "1 / markov is a probability.")
    d1, d2 = shape
    root = math.sqrt(second_moment(d, variance))
    fourth = (d1 * d2 * fourth_moment(d, variance)) ** 0.25
    spread = (
        Term.of("rows", math.sqrt(d2) * root, "mean norm of a row", "lemma 4.2"),
        Term.of("columns", math.sqrt(d1) * root, "mean norm of a column", "lemma 4.2"),
        Term.of("fourth", fourth, "fourth moments", "lemma 4.2"),
    )
    return _latala(spread, constant, "lemma 4.2", (GAUSSIAN, rebuilt("lemma 4.2")), markov)


def _latala(
    spread: tuple[Term, ...],
    constant: float,
    statement: str,
    assumptions: tuple[Assumption, ...],
    markov: float | None,
) -> BoundResult:
    gamma = Term.made(
        "Gamma",
        PRODUCT,
        "bound on the mean spectral norm",
        Term.of("C", check_positive(constant, "constant", "latala"), "universal constant"),
        Term.made("moments", SUM, "norms of rows, of columns, fourth moments", *spread),
        equation=statement,
    )
    universal = Assumption(
        "the universal constant is at most C",
        "unchecked",
        f"C = {constant:g}; the theorem names no number",
    )
    extra = () if markov is None else (Term.of("eps_l", markov, "Markov's inequality"),)
    return BoundResult(
        "spectral norm of a random matrix" if markov is None else "error of a pruned layer",
        (gamma, *extra),
        powers(*[1.0] * (1 + len(extra))),
        (universal, *assumptions),
        f"{SOURCE}, {statement}",
        delta=None if markov is None else 1 / markov,
        quantity="perturbation",
    )
