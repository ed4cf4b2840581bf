"""How few entries carry a vector: best k-term errors and the kept share kappa_p(eps).

The entries may be weights, singular values, or norms of nodes: the relative l_p error of
pruning whole nodes is that of pruning their l_p norms.

All errors come from one sum, taken from the smallest entry to the largest. So they depend
neither on the order of the entries nor on the function asked: the error of the kept set
that `kept_counts` promises is, to the last bit, what `relative_error` measures. Above 65,536
entries that sum is made bin by bin, and the two agree to 1e-12.
"""

import math
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError, require
from prunable.numerics.checks import check_count
from prunable.numerics.weights.magnitudes import Magnitudes, PowerSums

FloatArray = NDArray[np.float64]


class Criterion(StrEnum):
    """Which relative error a tolerance bounds.

    FROBENIUS: the error itself, as in the theorems. SQUARED: its square, as in the released
    code of Wan, Zaidi and Simsekli (2023), and so in their tables.

    >>> eps_from(Criterion.SQUARED, 0.25), eps_from(Criterion.FROBENIUS, 0.25)
    (0.5, 0.25)
    """

    FROBENIUS = "frobenius"
    SQUARED = "squared"


def eps_from(criterion: Criterion, tolerance: float) -> float:
    """Largest relative l_2 error that a criterion allows: its tolerance in [0, 1], or the root.

    >>> eps_from(Criterion.SQUARED, 0.01)
    0.1
    """
    if criterion not in tuple(Criterion):
        raise InputError.parameter(
            "criterion", "eps_from", f"one of {[str(c) for c in Criterion]}", criterion
        )
    require(0 <= tolerance <= 1, "tolerance", "eps_from", "between 0 and 1", tolerance)
    return math.sqrt(tolerance) if criterion == Criterion.SQUARED else float(tolerance)


def relative_error(w: ArrayLike | Magnitudes, kept: ArrayLike, p: float = 2.0) -> float:
    """Relative l_p error ||w_hat - w||_p / ||w||_p of zeroing what is not kept.

    `w` are weights, or l_p norms of nodes, of any shape and unit; `kept` is a bool array of
    their shape. Below p = 1 the norm is a quasi-norm. In [0, 1]; 0 for an all-zero vector.

    >>> relative_error([3.0, 4.0], [False, True])
    0.6
    """
    array = w.values if isinstance(w, Magnitudes) else np.asarray(w)
    mask = np.asarray(kept)
    if mask.dtype != np.bool_ or mask.shape != array.shape:
        raise InputError.parameter(
            "kept",
            "relative_error",
            f"a bool array of shape {array.shape}",
            f"{mask.dtype} of shape {mask.shape}",
        )
    magnitudes = Magnitudes.of(w, where="relative_error")
    if magnitudes.sums_are_safe(p):
        return magnitudes.error_without(mask.ravel())
    sizes = np.abs(magnitudes.values)
    ascending = np.sort(sizes)
    sums = PowerSums.of(ascending, p, "relative_error")
    whole = sums.of_prefixes(ascending)
    pruned = sizes[~mask.ravel()]
    count = pruned.size
    if not count or pruned.max() <= ascending[count - 1]:  # the smallest go, as nearly always
        part = whole[count : count + 1]
    else:
        part = sums.of_prefixes(np.sort(pruned))[-1:]
    return float(sums.errors(part, whole[-1])[0])


def best_k_term_error(w: ArrayLike, k: int, p: float = 2.0) -> float:
    """Relative l_p error of keeping the k largest magnitudes: the smallest of all k-sets.

    ||x^(k) - x||_p / ||x||_p of section 2 of Barsbey et al. (2021); 0 for an all-zero vector.

    >>> best_k_term_error([3.0, 4.0], 1)
    0.6
    """
    magnitudes = Magnitudes.of(w, where="best_k_term_error")
    pruned = magnitudes.size - check_count(k, magnitudes.size, "k", "best_k_term_error")
    return float(magnitudes.errors(p)[pruned])


def kappa_p(w: ArrayLike, eps: float, p: float = 2.0) -> float:
    """Smallest kept share whose relative l_p error is at most `eps`, finite and >= 0.

    kappa_p(w, eps) of proposition 8 of Barsbey et al. (2021), for weights or norms of any shape
    and unit; 0 for an all-zero vector.

    >>> kappa_p([3.0, 4.0], 0.6), kappa_p([3.0, 4.0], 0.5)
    (0.5, 1.0)
    """
    return float(kappa_curve(w, eps, p))


def kappa_curve(w: ArrayLike, eps: ArrayLike, p: float = 2.0) -> FloatArray:
    """Kept shares kappa_p(w, eps) for relative errors of any shape with one sort.

    >>> kappa_curve([3.0, 4.0], [0.5, 0.6, 1.0])
    array([1. , 0.5, 0. ])
    """
    return np.asarray(kept_counts(w, eps, p) / np.size(w), dtype=np.float64)


def kept_counts(w: ArrayLike | Magnitudes, eps: ArrayLike, p: float = 2.0) -> NDArray[np.int64]:
    """Smallest numbers of kept entries whose relative l_p error is at most each `eps`.

    >>> kept_counts([3.0, 4.0], [0.5, 0.6, 1.0])
    array([2, 1, 0])
    """
    return Magnitudes.of(w, where="kept_counts").kept_counts(eps, p)
