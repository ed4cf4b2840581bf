"""Enumerative code of a mask: its rank among the masks with as many ones (Cover 1973)."""

from __future__ import annotations

from math import comb, lgamma, log

import numpy as np
from numpy.typing import NDArray

from prunable.certify.coding.arithmetic import Decoder, Encoder, code_positive, code_uniform
from prunable.errors import DataIntegrityError, InputError

Mask = NDArray[np.bool_]


def enumerative_bits(total: int, kept: int) -> float:
    """log2 of the number of masks with `kept` ones among `total`.

    Parameters
    ----------
    total, kept : int
        0 <= kept <= total.

    Returns
    -------
    float
        Bits, without those that tell `kept`.
    """
    _check_counts(total, kept)
    return (lgamma(total + 1) - lgamma(kept + 1) - lgamma(total - kept + 1)) / log(2)


def live_bits(mask: Mask) -> float:
    """Bits of a matrix mask by its live rows and columns, then the entries among those.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)

    Returns
    -------
    float
        log2 C(rows, r) + log2 C(columns, c) + log2 C(r c, kept), without the three counts.
    """
    rows, columns = int(mask.any(axis=1).sum()), int(mask.any(axis=0).sum())
    return (
        enumerative_bits(mask.shape[0], rows)
        + enumerative_bits(mask.shape[1], columns)
        + enumerative_bits(rows * columns, int(mask.sum()))
    )


def rank(mask: Mask) -> int:
    """Place of a mask among all masks of its length with as many ones.

    Parameters
    ----------
    mask : ndarray of bool, shape (n,)

    Returns
    -------
    int
        Sum over the ones, counted from 1, of C(position, number of the one).
    """
    place, position, number = 0, 0, 1
    term = 0  # C(position, number), kept up step by step
    for one in np.flatnonzero(mask).tolist():
        while position < one:
            position += 1
            if position > number:
                term = term * position // (position - number)
            else:
                term = int(position == number)
        place += term
        term = term * (position - number) // (number + 1)
        number += 1
    return place


def unrank(place: int, total: int, kept: int) -> Mask:
    """The mask of a place; inverse of `rank`.

    Raises
    ------
    DataIntegrityError
        If there are not so many masks.
    """
    _check_counts(total, kept)
    if not 0 <= place < comb(total, kept):
        raise DataIntegrityError(
            f"no mask of {total} with {kept} ones has place {place}; the code is altered."
        )
    mask = np.zeros(total, dtype=bool)
    position, number = total - 1, kept
    term = comb(position, number) if number else 0
    while number:
        if term <= place:
            mask[position] = True
            place -= term
            term = term * number // max(position, 1)  # C(position - 1, number - 1)
            number -= 1
        else:
            term = term * (position - number) // position  # C(position - 1, number)
        position -= 1
    return mask


def encode_mask(mask: Mask) -> bytes:
    """Encode a mask of known length: the number of ones, then its place.

    Parameters
    ----------
    mask : ndarray of bool, shape (n,)

    Returns
    -------
    bytes
    """
    if mask.ndim != 1:
        raise InputError.parameter("mask", "encode_mask", "flat", f"{mask.ndim} axes")
    encoder, kept = Encoder(), int(mask.sum())
    code_positive(encoder, kept + 1)
    code_uniform(encoder, rank(mask), _place_bits(mask.size, kept))
    return encoder.finish()


def decode_mask(content: bytes, total: int) -> Mask:
    """Decode what `encode_mask` wrote for a mask of length `total`.

    Raises
    ------
    DataIntegrityError
        If the content is no such code.
    """
    decoder = Decoder(content)
    kept = code_positive(decoder, 1) - 1
    if kept > total:
        raise DataIntegrityError(f"the code tells {kept} ones of {total}; it is altered.")
    mask = unrank(code_uniform(decoder, 0, _place_bits(total, kept)), total, kept)
    if encode_mask(mask) != content:
        raise DataIntegrityError("the code of a mask is truncated, continued or altered.")
    return mask


def _place_bits(total: int, kept: int) -> int:
    return (comb(total, kept) - 1).bit_length()


def _check_counts(total: int, kept: int) -> None:
    if not 0 <= kept <= total:
        raise InputError.parameter("kept", "a mask", f"in [0, {total}]", kept)
