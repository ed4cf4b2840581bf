"""Code of a layer of small integers: a mask by row and column mixing, signs, magnitudes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from prunable.certify.coding.arithmetic import Coder, Decoder, Encoder, Meter, code_positive
from prunable.certify.coding.mixing import Mixture
from prunable.errors import DataIntegrityError, InputError

Levels = NDArray[np.int64]
T = TypeVar("T")
_LARGEST = 1 << 20
_MOST_ENTRIES = 1 << 24
_MAGNITUDES = 8  # magnitudes with a mixture of their own; larger ones share the last


def code_levels(
    coder: Coder, levels: Levels | None, shape: tuple[int, int, int, int], max_level: int
) -> Levels:
    """Pass the integers of one layer.

    Every integer is a chain of decisions: is it zero, is it negative, is its magnitude above
    1, above 2, ... up to `max_level`. Each kind of decision has a mixture of experts that count
    within the layer, the output unit, the input unit and, for windows of more than one tap,
    the tap, and the signs of the entries left and above.

    Parameters
    ----------
    coder : Coder
    levels : ndarray of int, shape (out, in, height, width), optional
        Values in [-max_level, max_level]; None for a decoder.
    shape : tuple of int
        Shape of the layer. A dense layer behind a flattened picture has the picture's
        height and width.
    max_level : int
        Largest magnitude, >= 1.

    Returns
    -------
    ndarray of int64
        The integers.

    Raises
    ------
    InputError
        If an integer is out of range or the shape differs.
    """
    if levels is not None:
        if levels.shape != shape:
            raise InputError.parameter("levels", "code_levels", f"of shape {shape}", levels.shape)
        if levels.size and int(np.abs(levels).max()) > max_level:
            largest = int(np.abs(levels).max())
            raise InputError.parameter(
                "levels", "code_levels", f"within +-{max_level}", f"a magnitude of {largest}"
            )
    n_out, n_in, height, width = shape
    given = np.zeros(shape, dtype=np.int64) if levels is None else levels
    found = np.zeros(shape, dtype=np.int64)
    if not found.size:
        return found
    taps = height * width
    sizes = (1, n_out, n_in, taps, 9) if taps > 1 else (1, n_out, n_in)
    mixtures = [Mixture(sizes) for _ in range(2 + min(max_level - 1, _MAGNITUDES))]
    for o in range(n_out):
        for i in range(n_in):
            kernel = found[o, i].tolist()  # lists are faster than array cells
            asked = given[o, i].tolist()
            for tap in range(taps):
                v, u = divmod(tap, width)
                value = asked[v][u]
                at: tuple[int, ...] = (0, o, i)
                if taps > 1:
                    left = _sign(kernel[v][u - 1]) if u else 0
                    above = _sign(kernel[v - 1][u]) if v else 0
                    at = (0, o, i, tap, 3 * left + above + 4)
                if not mixtures[0].code(coder, int(value != 0), at):
                    continue
                minus = mixtures[1].code(coder, int(value < 0), at)
                size = 1
                while size < max_level:
                    mixture = mixtures[1 + min(size, _MAGNITUDES)]
                    if not mixture.code(coder, int(abs(value) > size), at):
                        break
                    size += 1
                kernel[v][u] = -size if minus else size
            found[o, i] = kernel
    return found


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def code_array(coder: Coder, levels: Levels | None) -> Levels:
    """Pass an array of integers of any shape with up to four axes, shape and range included."""
    given = np.zeros((), dtype=np.int64) if levels is None else np.asarray(levels)
    if given.ndim > 4:
        raise InputError.parameter("levels", "encode", "of at most 4 axes", given.ndim)
    n_axes = code_positive(coder, given.ndim + 1) - 1
    if n_axes > 4:
        raise DataIntegrityError(f"the code announces {n_axes} axes; it is altered.")
    sides = list(given.shape) if levels is not None else [0] * n_axes
    shape = tuple(code_positive(coder, side + 1, most=_LARGEST) - 1 for side in sides)
    if math.prod(shape) > _MOST_ENTRIES:
        raise DataIntegrityError(f"the code announces {math.prod(shape)} integers; too many.")
    largest = int(np.abs(given).max()) if given.size else 0
    max_level = code_positive(coder, max(largest, 1), most=_LARGEST)
    first, second, third, fourth = (*shape, 1, 1, 1, 1)[:4]
    sides4 = (first, second, third, fourth)
    asked = None if levels is None else given.reshape(sides4).astype(np.int64)
    return code_levels(coder, asked, sides4, max_level).reshape(shape)


def encode(levels: Levels) -> bytes:
    """Encode an array of integers; `decode` returns it bit for bit.

    Parameters
    ----------
    levels : ndarray of int
        Any shape with up to four axes, sides below 2^20, magnitudes at most 2^20.

    Returns
    -------
    bytes
        Prefix-free code of shape, range and values.

    Raises
    ------
    InputError
        If the array is not of integers or too large.
    """
    if not np.issubdtype(np.asarray(levels).dtype, np.integer):
        raise InputError.parameter("levels", "encode", "integers", np.asarray(levels).dtype)
    encoder = Encoder()
    code_array(encoder, np.asarray(levels, dtype=np.int64))
    return encoder.finish()


def decode(content: bytes) -> Levels:
    """Decode what `encode` wrote.

    Raises
    ------
    DataIntegrityError
        If `content` is not exactly such a code.
    """
    return decode_exactly(content, lambda coder: code_array(coder, None), encode)


def decode_exactly(content: bytes, read: Callable[[Decoder], T], write: Callable[[T], bytes]) -> T:
    """Decode, encode again, and refuse anything but the encoder's own bytes.

    Raises
    ------
    DataIntegrityError
        If the content is truncated, continued or altered; says at which byte.
    """
    found = read(Decoder(content))
    again = write(found)
    if again != content:
        at = next(
            (k for k, (a, b) in enumerate(zip(content, again, strict=False)) if a != b),
            min(len(content), len(again)),
        )
        raise DataIntegrityError(
            f"the code is not what the encoder writes: it has {len(content)} bytes where "
            f"{len(again)} belong, and differs from byte {at} on. It is truncated or altered."
        )
    return found


def ideal_bits(levels: Levels, max_level: int) -> float:
    """Bits of one layer by the adaptive code, before rounding to bytes.

    Parameters
    ----------
    levels : ndarray of int, shape (out, in, height, width)
    max_level : int

    Returns
    -------
    float
    """
    meter = Meter()
    n_out, n_in, height, width = levels.shape
    code_levels(meter, levels, (n_out, n_in, height, width), max_level)
    return meter.bits
