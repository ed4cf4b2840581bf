"""Which entries to keep: the one selection that every pruning strategy uses."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.checks import check_count, real_array
from prunable.numerics.parallel import each
from prunable.numerics.weights.magnitudes import BINS, CHUNK, Magnitudes

Rounding = Literal["ceil", "floor"]

# kappa often comes out of 1 - ratio, so it is known to a few units in the last place of 1.
_KAPPA_NOISE = 4 * float(np.finfo(np.float64).eps)


def top_k_mask(scores: ArrayLike, k: int) -> NDArray[np.bool_]:
    """Mark the k largest scores in linear time; exactly k times True.

    `scores` are real numbers of any shape and dtype, free of NaN; infinities are ordered as
    usual. Of equal scores the one of lower index (in C order) comes first.
    """
    array = real_array(scores, "scores", "top_k_mask")
    flat = array.ravel()
    k = check_count(k, flat.size, "k", "top_k_mask")
    # max() hands on a NaN and needs no temporary array
    if flat.size and np.isnan(flat.max()):
        raise InputError.parameter(
            "scores", "top_k_mask", "free of NaN", f"{np.isnan(flat).sum()} NaN"
        )
    if k == 0:
        return np.zeros(array.shape, dtype=np.bool_)
    threshold = np.partition(flat, flat.size - k)[flat.size - k]
    mask: NDArray[np.bool_] = flat > threshold
    mask[np.flatnonzero(flat == threshold)[: k - np.count_nonzero(mask)]] = True
    return mask.reshape(array.shape)


def top_k_masks(scores: Sequence[ArrayLike], k: int) -> list[NDArray[np.bool_]]:
    """Mark the k largest magnitudes of several arrays together, without joining them.

    The absolute values of finite real numbers compete. In all exactly k are True; of equal
    magnitudes the one of the earlier array, then of the lower index (in C order), comes first.

    A histogram of leading bits finds the bin of the threshold, and only that bin is sorted:
    two passes over the scores and one over the masks.
    """
    where = "top_k_masks"
    arrays = [np.asarray(array) for array in scores]
    common = np.result_type(np.float32, *(array.dtype for array in arrays))
    parts = [Magnitudes.of(np.asarray(a, dtype=common), where=where) for a in arrays]
    k = check_count(k, sum(part.size for part in parts), "k", where)
    threshold, ties = _threshold(parts, k)
    masks = each(partial(_above, threshold=threshold), parts)
    for part, mask in zip(parts, masks, strict=True):
        ties = _mark_ties(part, threshold, ties, mask)
    return [mask.reshape(array.shape) for mask, array in zip(masks, arrays, strict=True)]


def _threshold(parts: Sequence[Magnitudes], k: int) -> tuple[float, int]:
    """The magnitude above which all are kept, and how many equal to it."""
    if k == 0:
        return math.inf, 0
    counts = np.zeros(BINS, dtype=np.int64)
    for found in each(_bin_counts, parts):
        counts += found
    above = np.append(np.cumsum(counts[::-1])[::-1], 0)
    # the last bin from whose start on there are at least k
    number = int(np.searchsorted(-above, -k, side="right")) - 1
    asked = np.zeros(BINS, dtype=np.bool_)
    asked[number] = True
    inside = np.sort(np.concatenate(each(lambda part: part.gather(asked), parts)))
    wanted = k - int(above[number + 1])
    threshold = inside[inside.size - wanted]
    larger = inside.size - int(np.searchsorted(inside, threshold, side="right"))
    return float(threshold), wanted - larger


def _bin_counts(part: Magnitudes) -> NDArray[np.int64]:
    counts = np.zeros(BINS, dtype=np.int64)
    for _, bins in part.binned():
        counts += np.bincount(bins, minlength=BINS)
    return counts


def _above(part: Magnitudes, threshold: float) -> NDArray[np.bool_]:
    """Mark the magnitudes above a threshold."""
    mask = np.empty(part.size, dtype=np.bool_)
    buffer = np.empty(min(CHUNK, part.size), dtype=part.values.dtype)
    for start in range(0, part.size, CHUNK):
        chunk = part.values[start : start + CHUNK]
        magnitudes = np.abs(chunk, out=buffer[: chunk.size])
        np.greater(magnitudes, threshold, out=mask[start : start + CHUNK])
    return mask


def _mark_ties(part: Magnitudes, threshold: float, ties: int, mask: NDArray[np.bool_]) -> int:
    """Mark the first of the magnitudes at a threshold; give how many are still wanted."""
    for start in range(0, part.size, CHUNK):
        if not ties:
            break
        chunk = part.values[start : start + CHUNK]
        equal = np.flatnonzero(np.abs(chunk) == threshold)[:ties]
        mask[start + equal] = True
        ties -= equal.size
    return ties


def kept_count(kappa: float, total: int, rounding: Rounding = "ceil") -> int:
    """Turn a kept share in [0, 1] into a count of `total`.

    Parameters
    ----------
    rounding : What to do with a fraction: ceil as in the 2021 paper's best k-term approximation,
        floor as in section 3 of Wan, Zaidi and Simsekli (2023). A product that is whole up to the
        rounding error of `kappa` counts as whole: 0.1 of 30 is 3, although 0.1 * 30 > 3 in floating
        point.
    """
    where = "kept_count"
    if not 0 <= kappa <= 1:
        raise InputError.parameter("kappa", where, "between 0 and 1", kappa)
    if total < 0:
        raise InputError.parameter("total", where, "at least 0", total)
    if rounding not in get_args(Rounding):
        raise InputError.parameter("rounding", where, f"one of {get_args(Rounding)}", rounding)
    product = float(kappa) * total
    nearest = round(product)
    if abs(product - nearest) <= _KAPPA_NOISE * total:
        return nearest
    return math.ceil(product) if rounding == "ceil" else math.floor(product)
