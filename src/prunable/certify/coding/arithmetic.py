"""Exact arithmetic coding of binary decisions, in integers.

Encoder and decoder share one method, ``code(bit, p_one)``, so that one function describes a
format in both directions. Decisions carry probabilities of `PROBABILITY_BITS` bits and the
interval keeps 64 bits, so that a message of probability P takes at most one bit more than
-log2 P, rounded up to whole bytes. Codewords are intervals of their own: no codeword is the
beginning of another, and the sum of 2^-length over all messages is at most 1 (Kraft).

Sources: Rissanen and Langdon (1979); Witten, Neal and Cleary (1987).
"""

import sys
from math import log2
from typing import Protocol

from prunable.errors import DataIntegrityError, require

PROBABILITY_BITS = 48
ONE = 1 << PROBABILITY_BITS
HALF = ONE >> 1
_WIDTH_BITS = 64


class Coder(Protocol):
    """What encoder and decoder have in common."""

    def code(self, bit: int, p_one: int) -> int:
        """Pass one decision; the decoder ignores `bit` and returns the one it finds."""


class Encoder:
    """Turns decisions into bytes."""

    def __init__(self) -> None:
        self.decisions = 0
        self._low = 0  # in units of 2^-(64 + shift)
        self._width = 1 << _WIDTH_BITS
        self._shift = 0

    def code(self, bit: int, p_one: int) -> int:
        """Encode one decision, whose probability of a 1 is p_one 2^-48, 0 < p_one < 2^48."""
        self.decisions += 1
        split = (self._width * p_one) >> PROBABILITY_BITS
        if bit:
            self._width = split
        else:
            self._low += split
            self._width -= split
        grow = _WIDTH_BITS - self._width.bit_length()
        if grow > 0:
            self._width <<= grow
            self._low <<= grow
            self._shift += grow
        return bit

    def finish(self) -> bytes:
        """Shortest whole number of bytes whose every continuation decodes to this message."""
        total = self._shift + _WIDTH_BITS
        low, high = self._low, self._low + self._width
        for n_bytes in range(max(0, (self._shift - 8) // 8), total // 8 + 2):
            unit = total - 8 * n_bytes
            if unit < 0:
                low, high, unit = low << -unit, high << -unit, 0
            value = -(-low >> unit)
            if (value + 1) << unit <= high:
                return value.to_bytes(n_bytes, "big")
        raise AssertionError("an interval wider than 2^-k holds a codeword of k + 1 bits")


class Decoder:
    """Turns bytes back into decisions, at most `left` of them; reads zeros beyond the end."""

    def __init__(self, content: bytes, left: int = sys.maxsize) -> None:
        self.left = left
        self._content = content
        self._position = _WIDTH_BITS  # bits taken
        self._rest = int.from_bytes(content[:8].ljust(8, b"\0"), "big")
        self._width = 1 << _WIDTH_BITS

    def code(self, bit: int, p_one: int) -> int:
        """Decode one decision; `bit` is ignored. Content that ended long ago is refused."""
        del bit
        self.left -= 1
        if self.left < 0:
            raise DataIntegrityError("the code takes more steps than its length allows.")
        split = (self._width * p_one) >> PROBABILITY_BITS
        if self._rest < split:
            self._width, found = split, 1
        else:
            self._rest -= split
            self._width -= split
            found = 0
        grow = _WIDTH_BITS - self._width.bit_length()
        if grow > 0:
            self._width <<= grow
            self._rest = self._rest << grow | self._bits(grow)
            # no codeword of this length can hold what was read
            if self._position > 8 * len(self._content) + 2 * _WIDTH_BITS:
                raise DataIntegrityError(
                    f"the code ends too early: its {len(self._content)} bytes do not hold what "
                    "its header announces. It is truncated or altered."
                )
        return found

    def _bits(self, count: int) -> int:
        start, end = self._position, self._position + count
        self._position = end
        first, last = start // 8, -(-end // 8)
        chunk = self._content[first:last].ljust(last - first, b"\0")
        return int.from_bytes(chunk, "big") >> (8 * last - end) & ((1 << count) - 1)


class Meter:
    """Adds up -log2 of the probabilities instead of coding; same calls as the encoder."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, bit: int, p_one: int) -> int:
        """Count one decision."""
        self.bits -= log2((p_one if bit else ONE - p_one) / ONE)
        return bit


def code_uniform(coder: Coder, value: int, bits: int) -> int:
    """Pass an integer in [0, 2^bits) with equal probabilities, highest bit first."""
    require(0 <= value < 1 << bits, "value", "code_uniform", f"in [0, 2^{bits})", value)
    found = 0
    for position in reversed(range(bits)):
        found = found << 1 | coder.code(value >> position & 1, HALF)
    return found


def code_positive(coder: Coder, value: int, *, most: int = 1 << 24) -> int:
    """Pass an integer >= 1 by the Elias gamma code: 2 floor(log2 value) + 1 bits.

    `most`, the largest value allowed, is not part of the code; a decoder ignores `value`.
    """
    require(1 <= value <= most, "value", "code_positive", f"in [1, {most}]", value)
    length = 0
    while coder.code(int(length < value.bit_length() - 1), HALF):
        length += 1
        if length > most.bit_length():
            raise DataIntegrityError(f"the code holds an integer above {most}. It is altered.")
    below = value & ((1 << length) - 1) if value.bit_length() - 1 == length else 0
    found = 1 << length | code_uniform(coder, below, length)
    if found > most:
        raise DataIntegrityError(f"the code holds the integer {found}, above {most}.")
    return found
