"""Which entries to keep: the one selection that every pruning strategy uses."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError, require
from prunable.numerics.checks import check_count, real_array
from prunable.numerics.parallel import each
from prunable.numerics.weights.magnitudes import BINS, CHUNK, Magnitudes, Ordered, Values

Rounding = Literal["ceil", "floor"]
Mask = NDArray[np.bool_]
Near = tuple[Mask, NDArray[np.intp], Values]  # marks of a chunk, places in it, magnitudes there
Pass = Callable[[Callable[[Ordered], Any]], Iterable[Any]]

GATHERED = 2**20  # magnitudes that are put in order
SAMPLED = 2**16  # of more, looked at first
SPREAD = 6.0  # standard deviations of a sample's quantile that its threshold may be away
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


def top_k_masks(scores: Sequence[ArrayLike | Magnitudes], k: int) -> list[NDArray[np.bool_]]:
    """Mark the k largest magnitudes of several arrays together, without joining them.

    The absolute values of finite real numbers compete. In all exactly k are True; of equal
    magnitudes the one of the earlier array, then of the lower index (in C order), comes first.

    Of many a sample tells where about the threshold is: one pass marks what is above and gathers
    what is near. Where it misleads, bits are counted: `threshold_of`.
    """
    where = "top_k_masks"
    parts = each(partial(Magnitudes.of, where=where), scores)
    common = np.result_type(np.float32, *(part.dtype for part in parts))
    parts = [Magnitudes(part.values.astype(common, copy=False), part.top) for part in parts]
    k = check_count(k, sum(part.size for part in parts), "k", where)
    return [
        mask if isinstance(x, Magnitudes) else mask.reshape(np.shape(x))
        for mask, x in zip(_masks_of(parts, k), scores, strict=True)
    ]


def _masks_of(parts: Sequence[Magnitudes], k: int) -> list[Mask]:
    if sum(part.size for part in parts) <= GATHERED:
        threshold, ties = _threshold_in_order([np.abs(part.values) for part in parts], k)
        masks = [above_threshold(part, threshold) for part in parts]
    elif near := _masks_near_sample(parts, k):
        return near
    else:
        threshold, ties = threshold_of(lambda look: each(look, parts), parts[0].dtype, k)
        masks = each(partial(above_threshold, threshold=threshold), parts)
    for part, mask in zip(parts, masks, strict=True):
        ties = mark_ties(part, threshold, ties, mask)
    return masks


def top_k_counts(scores: Sequence[ArrayLike], k: int) -> list[int]:
    """How many of each array `top_k_masks` marks, with one array in memory at a time.

    `scores` may be a sequence that makes its arrays when they are asked for, a few times.
    """
    where = "top_k_counts"
    k = check_count(k, sum(np.size(x) for x in scores), "k", where)
    if k == 0:
        return [0] * len(scores)

    def over(look: Callable[[Ordered], Any]) -> Iterable[Any]:
        # a type for all, as each is known only when it is made
        return (look(Magnitudes.of(np.asarray(x, np.float64), where=where)) for x in scores)

    threshold, ties = threshold_of(over, np.dtype(np.float64), k)
    kept = []
    for larger, equal in over(lambda part: part.around(threshold)):
        kept.append(larger + min(ties, equal))
        ties -= min(ties, equal)
    return kept


def threshold_of(over: Pass, dtype: np.dtype[Any], k: int) -> tuple[float, int]:
    """The magnitude above which all of the k largest lie, and how many of them are equal to it.

    The bits of a positive float grow with its value: the highest of the threshold are found, 15
    and then 16 at a time, until few magnitudes share them, which are put in order.

    Parameters
    ----------
    over : Applies a function to each part of the magnitudes, in order; called up to five times. So
        no more than one part need be in memory.
    dtype : Of all parts: float32, or float64 if one of them is.
    """
    if k == 0:
        return math.inf, 0
    left = 8 * dtype.itemsize - 16  # bits that are not known
    prefix, wanted, inside = _place_of(over(lambda part: part.bin_counts()), k)
    asked = np.arange(BINS) == prefix
    while left and inside > GATHERED:
        left -= 16
        look = partial(_digits, asked=asked, prefix=prefix, shift=left)
        digit, wanted, inside = _place_of(over(look), wanted)
        prefix = prefix << 16 | digit
    if left:  # else all that are left are equal
        near = np.concatenate(list(over(partial(_bits, asked=asked, prefix=prefix, shift=left))))
        near.partition(near.size - wanted)
        prefix = int(near[near.size - wanted])
        wanted -= int(np.count_nonzero(near > prefix))
    return float(np.array(prefix, f"i{dtype.itemsize}").view(dtype)), wanted


def _masks_near_sample(parts: Sequence[Magnitudes], k: int) -> list[Mask] | None:
    """The masks, from what lies between two magnitudes of a sample; None if these mislead."""
    total = sum(part.size for part in parts)
    step = max(1, total // SAMPLED)
    sample = np.sort(np.concatenate([np.abs(part.values[::step]) for part in parts]))
    pruned = 1 - k / total
    place, margin = pruned * sample.size, SPREAD * math.sqrt(pruned * (1 - pruned) * sample.size)
    if not margin < place < sample.size - margin:
        return None
    low, high = sample[int(place - margin)], sample[int(place + margin)]
    if np.count_nonzero((sample > low) & (sample <= high)) > 3 * margin:  # many are equal
        return None
    found = each(partial(_between, low=low, high=high), parts)
    wanted = k - sum(larger for _, larger, _ in found)
    chunks = [chunk for *_, some in found for chunk in some]
    sizes = np.concatenate([near for _, _, near in chunks])
    if not 0 < wanted <= sizes.size:
        return None
    sizes.partition(sizes.size - wanted)
    threshold = sizes[sizes.size - wanted]
    ties = wanted - int(np.count_nonzero(sizes > threshold))
    each(lambda one: _mark(one[2], lambda near: near > threshold), found)
    if ties:
        _mark(chunks, lambda near: near == threshold, ties)
    return [mask for mask, *_ in found]


def _mark(chunks: Iterable[Near], chosen: Callable[[Values], Mask], n: int | None = None) -> None:
    """Mark what is chosen by its magnitude, the first n of it."""
    for mask, places, near in chunks:
        some = places[chosen(near)][:n]
        mask[some] = True
        n = None if n is None else n - some.size


def _between(part: Magnitudes, low: Any, high: Any) -> tuple[Mask, int, list[Near]]:
    """Marks of what is above `high`, their number, and where others are above `low`."""
    mask = np.empty(part.size, dtype=np.bool_)
    buffer = np.empty(CHUNK, dtype=np.bool_)
    larger, chunks = 0, []
    for number, sizes in enumerate(part.sizes()):
        above = np.greater(sizes, high, out=mask[number * CHUNK :][: sizes.size])
        larger += int(np.count_nonzero(above))
        more = np.greater(sizes, low, out=buffer[: sizes.size])
        places = np.flatnonzero(np.not_equal(more, above, out=more))
        chunks.append((above, places, sizes[places]))
    return mask, larger, chunks


def _threshold_in_order(parts: Sequence[NDArray[Any]], k: int) -> tuple[float, int]:
    """The same of few magnitudes, for which bins would be more work than they save."""
    if k == 0:
        return math.inf, 0
    flat = np.concatenate(parts)
    flat.partition(flat.size - k)
    threshold = flat[flat.size - k]
    return float(threshold), k - int(np.count_nonzero(flat > threshold))


def _place_of(counts: Iterable[NDArray[np.int64]], k: int) -> tuple[int, int, int]:
    """Where the k-th from above is by sums of counts, how many of those are wanted, and are."""
    total = reduce(np.add, counts)
    above = np.append(np.cumsum(total[::-1])[::-1], 0)
    # the last place from whose start on there are at least k
    place = int(np.searchsorted(-above, -k, side="right")) - 1
    return place, k - int(above[place + 1]), int(total[place])


def _bits(part: Ordered, asked: NDArray[np.bool_], prefix: int, shift: int) -> NDArray[np.int64]:
    """Magnitudes whose bits above the last `shift` are these, as whole numbers, repeated."""
    values, times = part.members(asked)
    bits = values.view(f"i{values.itemsize}").astype(np.int64)
    found = bits >> shift == prefix
    return bits[found] if times is None else np.repeat(bits[found], times[found])


def _digits(part: Ordered, asked: NDArray[np.bool_], prefix: int, shift: int) -> NDArray[np.int64]:
    """How often the magnitudes whose bits begin so have each of the next 16 bits."""
    values, times = part.members(asked)
    bits = values.view(f"i{values.itemsize}").astype(np.int64) >> shift
    found = bits >> 16 == prefix
    weights = None if times is None else times[found]
    # counts below 2^53 are doubles
    counts = np.bincount(bits[found] & 2**16 - 1, weights=weights, minlength=2**16)
    return counts.astype(np.int64)


def above_threshold(part: Magnitudes, threshold: float) -> NDArray[np.bool_]:
    """Mark the magnitudes above a threshold."""
    mask = np.empty(part.size, dtype=np.bool_)
    for number, sizes in enumerate(part.sizes()):
        start = number * CHUNK
        np.greater(sizes, threshold, out=mask[start : start + CHUNK])
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
    require(0 <= kappa <= 1, "kappa", where, "between 0 and 1", kappa)
    require(total >= 0, "total", where, "at least 0", total)
    if rounding not in get_args(Rounding):
        raise InputError.parameter("rounding", where, f"one of {get_args(Rounding)}", rounding)
    product = float(kappa) * total
    nearest = round(product)
    if abs(product - nearest) <= _KAPPA_NOISE * total:
        return nearest
    return math.ceil(product) if rounding == "ceil" else math.floor(product)
