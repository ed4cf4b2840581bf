"""Moments of what randomized magnitude pruning takes away: lemmas 4.1, B.1 and 4.2.

Guha, Dubey and Huo (2023): a Gaussian weight w of variance psi is pruned with probability
exp(-w^2 / (d psi)). With r = d / (d + 2), integrals of w^(2k) exp(-w^2 / (d psi)) are those of
a Gaussian of variance psi r, times sqrt(r).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    powers,
    safe_log,
)
from prunable.errors import InputError

SOURCE = "Guha, Dubey, Huo (2023)"


def check_strength(d: float, where: str) -> float:
    """Check the strength of the compression.

    Raises
    ------
    InputError
        If `d` is negative or NaN.
    """
    if not d >= 0:
        raise InputError.parameter("d", where, ">= 0", d, "0 prunes nothing, infinity all.")
    return float(d)


def pruned_share(d: float) -> float:
    """Probability sqrt(d / (d + 2)) that a Gaussian weight is pruned at strength `d`.

    Raises
    ------
    InputError
        If `d` is negative or NaN.
    """
    check_strength(d, "pruned_share")
    return 1.0 if math.isinf(d) else math.sqrt(d / (d + 2))


def kept_share(d: float) -> float:
    """chi = 1 - sqrt(d / (d + 2)), exact for large `d` too; see `pruned_share`."""
    check_strength(d, "kept_share")
    if d in (0, math.inf):
        return float(d == 0)
    return 2 / (math.sqrt(d + 2) * (math.sqrt(d + 2) + math.sqrt(d)))


def strength_of(chi: float) -> float:
    """Strength at which the expected kept share of Gaussian weights is `chi`.

    Parameters
    ----------
    chi : float
        In [0, 1].

    Returns
    -------
    float
        d = 2 (1 - chi)^2 / (1 - (1 - chi)^2); infinity at 0.

    Raises
    ------
    InputError
        If `chi` is not inside [0, 1].
    """
    if not 0 <= chi <= 1:
        raise InputError.parameter("chi", "strength_of", "inside [0, 1]", chi)
    if chi == 0:
        return math.inf
    return 2 * (1 - chi) ** 2 / (chi * (2 - chi))


def second_moment(d: float, variance: float) -> float:
    """E[Delta^2] = variance r^(3/2) of a weight's change: lemma 4.1."""
    return variance * pruned_share(d) ** 3


def fourth_moment(d: float, variance: float) -> float:
    """E[Delta^4] = 3 variance^2 r^(5/2) of a weight's change: lemma 4.1."""
    return 3 * variance**2 * pruned_share(d) ** 5


def kept_second_moment(d: float, variance: float) -> float:
    """E[w_hat^2] = variance (1 - r^(3/2)) of a pruned weight: lemma 4.1."""
    return variance * (1 - pruned_share(d) ** 3)


def latala(second: ArrayLike, fourth: ArrayLike, constant: float = 1.0) -> BoundResult:
    """Bound the mean spectral norm of a matrix of independent centred entries: lemma B.1.

    Parameters
    ----------
    second, fourth : array_like, shape (m, n)
        E X_ij^2 and E X_ij^4.
    constant : float
        The universal C of Latala (2005), which nobody has put in numbers; 1 already holds in
        simulations of Gaussian and pruned Gaussian matrices.

    Returns
    -------
    BoundResult
        C (max_i sqrt(sum_j E X_ij^2) + max_j sqrt(sum_i E X_ij^2) + (sum_ij E X_ij^4)^(1/4)).

    Raises
    ------
    InputError
        If moments are negative, not finite, or of different shapes.
    """
    two, four = np.asarray(second, dtype=np.float64), np.asarray(fourth, dtype=np.float64)
    if two.ndim != 2 or two.size == 0 or two.shape != four.shape:
        raise InputError.parameter("second", "latala", "a matrix as `fourth`", f"{two.shape}")
    if not (np.isfinite(two).all() and np.isfinite(four).all() and min(two.min(), four.min()) >= 0):
        raise InputError.parameter("second, fourth", "latala", "finite and >= 0", "another number")
    spread = (
        Term.of("rows", math.sqrt(two.sum(axis=1).max()), "largest norm of a row, in the mean"),
        Term.of("columns", math.sqrt(two.sum(axis=0).max()), "largest norm of a column"),
        Term.of("fourth", float(four.sum()) ** 0.25, "fourth moments"),
    )
    return _latala(spread, constant, "lemma B.1 (Latala 2005)", (), None)


def layer_error(
    shape: tuple[int, int],
    variance: float,
    d: float,
    *,
    markov: float = 1.0,
    constant: float = 1.0,
    gaussian: Assumption | None = None,
) -> BoundResult:
    """Bound the spectral norm of what pruning takes from a layer: lemma 4.2.

    Parameters
    ----------
    shape : tuple of int
        (d1, d2) of the layer.
    variance : float
        psi of its weights, >= 0.
    d : float
        Strength of the pruning, >= 0.
    markov : float
        epsilon_l >= 1 of Markov's inequality: fails with probability 1 / epsilon_l.
    constant : float
        C of lemma B.1.
    gaussian : Assumption, optional
        Whether the weights are Gaussian (assumption 3.1), if that was checked.

    Returns
    -------
    BoundResult
        epsilon_l Gamma_l, a bound on ||A_hat - A||_2.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "layer_error"
    check_strength(d, where)
    d1, d2 = shape
    if d1 < 1 or d2 < 1:
        raise InputError.parameter("shape", where, "positive", shape)
    if not 0 <= variance < math.inf:
        raise InputError.parameter("variance", where, "finite and >= 0", variance)
    if not markov >= 1:
        raise InputError.parameter("markov", where, ">= 1", markov, "1 / markov is a probability.")
    root = math.sqrt(second_moment(d, variance))
    spread = (
        Term.of("rows", math.sqrt(d2) * root, "mean norm of a row", "lemma 4.2"),
        Term.of("columns", math.sqrt(d1) * root, "mean norm of a column", "lemma 4.2"),
        Term.of(
            "fourth", (d1 * d2 * fourth_moment(d, variance)) ** 0.25, "fourth moments", "lemma 4.2"
        ),
    )
    checked = gaussian or Assumption(
        "weights are independent centred Gaussians", "unchecked", "assumption 3.1"
    )
    return _latala(spread, constant, "lemma 4.2", (checked,), markov)


def _latala(
    spread: tuple[Term, ...],
    constant: float,
    statement: str,
    assumptions: tuple[Assumption, ...],
    markov: float | None,
) -> BoundResult:
    if not 0 < constant < math.inf:
        raise InputError.parameter("constant", "latala", "positive and finite", constant)
    gamma = Term.made(
        "Gamma",
        PRODUCT,
        (
            Term.of("C", constant, "universal constant"),
            Term.made("moments", SUM, spread, "norms of rows, of columns, fourth moments"),
        ),
        "bound on the mean spectral norm",
        statement,
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


def log_layer_error(
    shape: tuple[int, int], variance: float, d: float, constant: float = 1.0
) -> float:
    """Natural logarithm of Gamma_l of lemma 4.2; arguments as in `layer_error`."""
    return safe_log(layer_error(shape, variance, d, constant=constant).value)
