"""Which entries to keep: the one selection that every pruning strategy uses."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.checks import check_count, real_array
from prunable.numerics.parallel import each
from prunable.numerics.weights.magnitudes import BINS, CHUNK, Magnitudes, Ordered, Values

Rounding = Literal["ceil", "floor"]
Pass = Callable[[Callable[[Ordered], Any]], Iterable[Any]]

# kappa often comes out of 1 - ratio, so it is known to a few units in the last place of 1.
GATHERED = 2**20  # magnitudes that are put in order
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
    threshold, ties = threshold_of(lambda look: each(look, parts), common, k)
    masks = each(partial(above_threshold, threshold=threshold), parts)
    for part, mask in zip(parts, masks, strict=True):
        ties = mark_ties(part, threshold, ties, mask)
    return [mask.reshape(array.shape) for mask, array in zip(masks, arrays, strict=True)]


def top_k_counts(scores: Sequence[ArrayLike], k: int) -> list[int]:
    """How many of each array `top_k_masks` marks, with one array in memory at a time.

    `scores` may be a sequence that makes its arrays when they are asked for, a few times. The bits
    of a positive float grow with its value: the highest of the threshold are found, sixteen at a
    time, until few magnitudes share them, which are put in order.
    """
    where = "top_k_counts"
    k = check_count(k, sum(np.size(x) for x in scores), "k", where)
    if k == 0:
        return [0] * len(scores)
    bits, wanted, shift, inside = 0, k, 64, GATHERED + 1
    while shift and inside > GATHERED:
        shift -= 16
        counts = np.zeros(2**16, dtype=np.int64)
        for array in scores:
            found = _within(array, bits, shift + 16, where) >> shift
            counts += np.bincount(found - (bits << 16), minlength=2**16)
        above = np.append(np.cumsum(counts[::-1])[::-1], 0)
        digit = int(np.searchsorted(-above, -wanted, side="right")) - 1
        bits, wanted, inside = bits << 16 | digit, wanted - int(above[digit + 1]), counts[digit]
    if shift:  # else all that are left are equal
        left = np.concatenate([_within(array, bits, shift, where) for array in scores])
        bits = int(np.partition(left, left.size - wanted)[left.size - wanted])
        wanted -= int(np.count_nonzero(left > bits))
    kept = []
    for array in scores:
        found = _bits(array, where)
        ties = min(wanted, int(np.count_nonzero(found == bits)))
        kept.append(int(np.count_nonzero(found > bits)) + ties)
        wanted -= ties
    return kept


def _within(array: ArrayLike, bits: int, shift: int, where: str) -> NDArray[np.int64]:
    """Those magnitudes, as whole numbers, whose highest bits are these."""
    found = _bits(array, where)
    return found if shift == 64 else found[found >> shift == bits]


def _bits(array: ArrayLike, where: str) -> NDArray[np.int64]:
    """Magnitudes as whole numbers in the same order."""
    values = Magnitudes.of(array, where=where).values
    return np.abs(values.astype(np.float64, copy=False)).view(np.int64)


def threshold_of(over: Pass, dtype: np.dtype[Any], k: int) -> tuple[float, int]:
    """The magnitude above which all of the k largest lie, and how many of them are equal to it.

    Parameters
    ----------
    over : Applies a function to each part of the magnitudes, in order; called twice. So no more
        than one part need be in memory.
    dtype : Of all parts: float32, or float64 if one of them is.
    """
    if k == 0:
        return math.inf, 0
    counts = np.zeros(BINS, dtype=np.int64)
    for found in over(lambda part: part.bin_counts()):
        counts += found
    above = np.append(np.cumsum(counts[::-1])[::-1], 0)
    # the last bin from whose start on there are at least k
    number = int(np.searchsorted(-above, -k, side="right")) - 1
    asked = np.zeros(BINS, dtype=np.bool_)
    asked[number] = True
    wanted = k - int(above[number + 1])
    if dtype == np.float32:
        # the 16 bits that are left have a bin each
        low = np.zeros(2**16, dtype=np.int64)
        for found in over(lambda part: _low_counts(*part.members(asked))):
            low += found
        levels = (np.arange(2**16, dtype=np.uint32) | np.uint32(number << 16)).view(np.float32)
        times = low
    else:
        pairs = list(over(lambda part: part.members(asked)))
        levels = np.concatenate([values for values, _ in pairs])
        times = np.concatenate([_times(*pair) for pair in pairs])
        order = np.argsort(levels)
        levels, times = levels[order], times[order]
    above = np.cumsum(times[::-1])[::-1]
    at = int(np.searchsorted(-above, -wanted, side="right")) - 1
    threshold = levels[at]
    larger = int(times[levels > threshold].sum())
    return float(threshold), wanted - larger


def _low_counts(values: Values, times: NDArray[np.int64] | None) -> NDArray[np.int64]:
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) & np.uint32(2**16 - 1)
    # counts below 2^53 are doubles
    return np.bincount(bits, weights=times, minlength=2**16).astype(np.int64)


def _times(values: Values, times: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.ones(values.size, dtype=np.int64) if times is None else times


def above_threshold(part: Magnitudes, threshold: float) -> NDArray[np.bool_]:
    """Mark the magnitudes above a threshold."""
    mask = np.empty(part.size, dtype=np.bool_)
    buffer = np.empty(min(CHUNK, part.size), dtype=part.values.dtype)
    for start in range(0, part.size, CHUNK):
        chunk = part.values[start : start + CHUNK]
        magnitudes = np.abs(chunk, out=buffer[: chunk.size])
        np.greater(magnitudes, threshold, out=mask[start : start + CHUNK])
    return mask


def mark_ties(part: Magnitudes, threshold: float, ties: int, mask: NDArray[np.bool_]) -> int:
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
