"""How few entries carry a vector: best k-term errors and the kept share kappa_p(eps).

The entries may be weights, singular values, or norms of nodes: the relative l_p error of
pruning whole nodes is that of pruning their l_p norms.

All errors come from one sum, taken from the smallest entry to the largest. So they depend
neither on the order of the entries nor on the function asked: the error of the kept set
that `kept_counts` promises is, to the last bit, what `relative_error` measures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.selection import check_count

FloatArray = NDArray[np.float64]
# Magnitudes keep the precision of the weights, in which they sort fastest.
Magnitudes = NDArray[np.floating[Any]]


class Criterion(StrEnum):
    """Which relative error a tolerance bounds.

    FROBENIUS: the error itself, as in the theorems. SQUARED: its square, as in the released
    code of Wan, Zaidi and Simsekli (2023), and so in their tables.
    """

    FROBENIUS = "frobenius"
    SQUARED = "squared"


def eps_from(criterion: Criterion, tolerance: float) -> float:
    """Largest relative l_2 error that a criterion allows.

    Parameters
    ----------
    criterion : Criterion
    tolerance : float
        Bound of the error or of its square, in [0, 1].

    Returns
    -------
    float
        eps: `tolerance`, or its square root for SQUARED.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    if criterion not in tuple(Criterion):
        raise InputError.parameter(
            "criterion", "eps_from", f"one of {[str(c) for c in Criterion]}", criterion
        )
    if not 0 <= tolerance <= 1:
        raise InputError.parameter("tolerance", "eps_from", "between 0 and 1", tolerance)
    return math.sqrt(tolerance) if criterion == Criterion.SQUARED else float(tolerance)


def relative_error(w: ArrayLike, kept: ArrayLike, p: float = 2.0) -> float:
    """Relative l_p error ||w_hat - w||_p / ||w||_p of zeroing what is not kept.

    Parameters
    ----------
    w : array_like
        Weights, or l_p norms of nodes; any shape and unit.
    kept : array_like of bool
        What is kept; same shape.
    p : float
        Order of the norm, positive and finite; below 1 it is a quasi-norm.

    Returns
    -------
    float
        eps in [0, 1]; 0 for an all-zero vector.

    Raises
    ------
    InputError
        If `w` is empty or not finite, shapes differ, or `p` is out of range.
    """
    array, mask = np.asarray(w), np.asarray(kept)
    if mask.dtype != np.bool_ or mask.shape != array.shape:
        raise InputError.parameter(
            "kept",
            "relative_error",
            f"a bool array of shape {array.shape}",
            f"{mask.dtype} of shape {mask.shape}",
        )
    ascending = _ascending(array, "relative_error")
    sums = _PowerSums.of(ascending, p, "relative_error")
    pruned = np.sort(_magnitudes(array[~mask]))
    return float(sums.errors(sums.of_prefixes(pruned)[-1:], sums.of_prefixes(ascending)[-1])[0])


def best_k_term_error(w: ArrayLike, k: int, p: float = 2.0) -> float:
    """Relative l_p error of keeping the k largest magnitudes.

    Parameters
    ----------
    w : array_like
        Weights or norms; any shape and unit.
    k : int
        How many are kept, 0 <= k <= size.
    p : float
        Order of the norm, positive and finite.

    Returns
    -------
    float
        eps in [0, 1], the smallest of all sets of k entries; 0 for an all-zero vector.

    Raises
    ------
    InputError
        If `w` is empty or not finite, or another argument is out of range.

    Notes
    -----
    ||x^(k) - x||_p / ||x||_p of section 2 of Barsbey et al. (2021).
    """
    errors = _errors(w, p, "best_k_term_error")
    n = errors.size - 1
    return float(errors[n - check_count(k, n, "k", "best_k_term_error")])


def kappa_p(w: ArrayLike, eps: float, p: float = 2.0) -> float:
    """Smallest kept share whose relative l_p error is at most `eps`.

    Parameters
    ----------
    w : array_like
        Weights or norms; any shape and unit.
    eps : float
        Largest relative error, >= 0 and finite.
    p : float
        Order of the norm, positive and finite.

    Returns
    -------
    float
        kappa = kept / size in [0, 1]; 0 for an all-zero vector.

    Raises
    ------
    InputError
        If `w` is empty or not finite, or another argument is out of range.

    Notes
    -----
    kappa_p(w, eps) of proposition 8 of Barsbey et al. (2021).
    """
    return float(kappa_curve(w, eps, p))


def kappa_curve(w: ArrayLike, eps: ArrayLike, p: float = 2.0) -> FloatArray:
    """Kept shares kappa_p(w, eps) for many relative errors with one sort.

    Parameters
    ----------
    w, p
        As in `kappa_p`.
    eps : array_like
        Relative errors of any shape, each >= 0 and finite.

    Returns
    -------
    numpy.ndarray
        Kept shares in [0, 1], shape of `eps`.

    Raises
    ------
    InputError
        As `kappa_p`.
    """
    return np.asarray(kept_counts(w, eps, p) / np.size(w), dtype=np.float64)


def kept_counts(w: ArrayLike, eps: ArrayLike, p: float = 2.0) -> NDArray[np.int64]:
    """Smallest numbers of kept entries whose relative l_p error is at most each `eps`.

    Parameters
    ----------
    w, eps, p
        As in `kappa_curve`.

    Returns
    -------
    numpy.ndarray of int64
        Counts between 0 and the size of `w`, shape of `eps`; 0 for an all-zero vector.

    Raises
    ------
    InputError
        As `kappa_p`.
    """
    bounds = np.asarray(eps, dtype=np.float64)
    # max() hands on a NaN, which fails the comparison
    if bounds.size and not (bounds.min() >= 0 and bounds.max() < math.inf):
        raise InputError.parameter("eps", "kept_counts", "finite and not negative", eps)
    errors = _errors(w, p, "kept_counts")
    # errors[j] belongs to j pruned entries, and errors[0] = 0 is always allowed
    pruned = np.searchsorted(errors, bounds, side="right") - 1
    return np.asarray(errors.size - 1 - pruned, dtype=np.int64)


def _errors(w: ArrayLike, p: float, where: str) -> FloatArray:
    """Relative errors of pruning the 0, 1, ..., n smallest entries; shape (n + 1,)."""
    ascending = _ascending(np.asarray(w), where)
    sums = _PowerSums.of(ascending, p, where)
    prefixes = sums.of_prefixes(ascending)
    return sums.errors(prefixes, prefixes[-1])


def _ascending(values: NDArray[Any], where: str) -> Magnitudes:
    if values.dtype.kind not in "iuf" or values.size == 0:
        found = f"{values.dtype} of shape {values.shape}"
        raise InputError.parameter("w", where, "a non-empty array of real numbers", found)
    ascending = _magnitudes(values)
    ascending.sort()
    # NaN sorts behind infinity, so the last entry tells
    if not np.isfinite(ascending[-1]):
        bad = int((~np.isfinite(ascending)).sum())
        raise InputError.parameter("w", where, "finite", f"{bad} NaN or infinite values")
    return ascending


def _magnitudes(values: NDArray[Any]) -> Magnitudes:
    """Absolute values, flat; whole numbers become float64 first, as |-128| is no int8."""
    small = values.dtype.kind == "f" and values.dtype.itemsize <= 8
    magnitudes: Magnitudes = np.abs((values if small else values.astype(np.float64)).ravel())
    return magnitudes


@dataclass(frozen=True)
class _PowerSums:
    """Sums of |w|^p relative to the largest |w|, or their logarithms.

    Logarithms only where powers would underflow (p = 2 and magnitudes 1e-154 apart, or a
    very large p), since they cost exactness in cases such as 3-4-5.
    """

    top: float
    p: float
    logs: bool

    @classmethod
    def of(cls, ascending: Magnitudes, p: float, where: str) -> _PowerSums:
        if not 0 < p < math.inf:
            raise InputError.parameter("p", where, "positive and finite", p)
        top = float(ascending[-1])
        first = np.searchsorted(ascending, 0, side="right")
        smallest = float(ascending[first]) / top if top > 0 else 1.0
        return cls(top, float(p), smallest**p < np.finfo(np.float64).tiny)

    def of_prefixes(self, ascending: Magnitudes) -> FloatArray:
        """Sums of the first 0, 1, ..., n entries; shape (n + 1,)."""
        sums = np.zeros(ascending.size + 1)
        terms = sums[1:]
        if self.top == 0:
            return sums
        np.divide(ascending, self.top, out=terms, dtype=np.float64)
        if self.logs:
            sums[0] = -math.inf
            with np.errstate(divide="ignore"):
                np.log(terms, out=terms)
            terms *= self.p
            np.logaddexp.accumulate(terms, out=terms)
        else:
            terms **= self.p
            np.cumsum(terms, out=terms)
        return sums

    def errors(self, sums: FloatArray, total: float) -> FloatArray:
        """Relative errors (sum / total)^(1/p), same shape."""
        if self.top == 0:
            return sums
        if self.logs:
            return np.asarray(np.exp((sums - total) / self.p))
        return np.asarray((sums / total) ** (1 / self.p))
