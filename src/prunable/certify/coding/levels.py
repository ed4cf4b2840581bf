"""Code of a layer of small integers: a mask by row and column mixing, signs, magnitudes."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from prunable.certify.coding.arithmetic import ONE, Coder, Decoder, Meter
from prunable.errors import DataIntegrityError, InputError, require

_LEAST = 1 << 16  # of 2^48: no decision costs more than 32 bits


class Mixture:
    """Bayesian mixture of experts, each a table of KT estimators, one for every context.

    The probability of a whole sequence is the average over the experts of what each would
    have given it. An expert gives equal probability to all orders of the same decisions, so
    the mixture does too (up to the rounding to 2^-48): the code does not depend on the order
    in which hidden units stand. `sizes` are the numbers of contexts of the experts.

    Only additions, multiplications and divisions of float64 are used, in one fixed order, so that
    every IEEE machine finds the same integers. Sources: Krichevsky and Trofimov (1981); mixtures as
    in Willems, Shtarkov and Tjalkens (1995).
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._weights = [1.0 / len(sizes)] * len(sizes)
        # ones + 1/2 and decisions + 1 of every context: the KT estimate is their ratio
        self._ones = [[0.5] * size for size in sizes]
        self._all = [[1.0] * size for size in sizes]

    def code(self, coder: Coder, bit: int, contexts: Sequence[int]) -> int:
        """Pass one decision and learn from it; `contexts` say where each expert counts it."""
        weights = self._weights
        guesses = [
            ones[context] / total[context]
            for ones, total, context in zip(self._ones, self._all, contexts)  # noqa: B905 - speed
        ]
        p_one = 0.0
        for weight, guess in zip(weights, guesses):  # noqa: B905
            p_one += weight * guess
        found = coder.code(bit, min(max(int(p_one * ONE), _LEAST), ONE - _LEAST))
        mass = 0.0
        for e, guess in enumerate(guesses):
            weights[e] *= guess if found else 1.0 - guess
            mass += weights[e]
            context = contexts[e]
            self._all[e][context] += 1.0
            if found:
                self._ones[e][context] += 1.0
        for e in range(len(weights)):
            weights[e] /= mass
        return found


Levels = NDArray[np.int64]
T = TypeVar("T")
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
    levels : ndarray of int, shape (out, in, height, width), optional. Values in [-max_level,
        max_level]; None for a decoder.
    shape : Of the layer. A dense layer behind a flattened picture has the picture's height and
        width.
    """
    if levels is not None:
        require(levels.shape == shape, "levels", "code_levels", f"of shape {shape}", levels.shape)
        largest = int(np.abs(levels).max(initial=0))
        if largest > max_level:
            wanted, shown = f"within +-{max_level}", f"a magnitude of {largest}"
            raise InputError.parameter("levels", "code_levels", wanted, shown)
    if isinstance(coder, Decoder) and math.prod(shape) > coder.left:
        raise DataIntegrityError("the code announces more integers than its length allows.")
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


def decode_exactly(
    content: bytes,
    read: Callable[[Decoder], T],
    write: Callable[[T], bytes],
    *,
    most_decisions: int = sys.maxsize,
) -> T:
    """Decode, encode again, and refuse anything but the encoder's own bytes."""
    found = read(Decoder(content, most_decisions))
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
    """Bits of the integers of one layer, four axes, by the adaptive code before rounding."""
    meter = Meter()
    n_out, n_in, height, width = levels.shape
    code_levels(meter, levels, (n_out, n_in, height, width), max_level)
    return meter.bits
