"""Exact sketches with an index channel: any bits, repeated values too.

Equal values tell verification decoding nothing about who they belong to, so quantised weights
need their addresses sent along. Beside the sketch of the values we keep one of *tags*: the tag
of an entry is one integer with three fields, row, column and a checksum of row, column and
value. Tags are sketched by the same A and B, as integers modulo a power of 2; fields of a sum
carry into each other, which harms nothing, because subtraction undoes it.

A measurement that holds one entry then reads: this row, this column, this value, and the
checksum and the neighbours of row and column confirm it. It is decoded, subtracted from all its
measurements, and others become single: an invertible Bloom lookup table whose cells are a
product of two hashings. Values are bit patterns: integers modulo 2^b, so nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, check_at_least, require
from prunable.sketch.recovery.core import modular_core
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Decoded, Ending, Entries, IntArray, Triples, Values
from prunable.sketch.recovery.sketching import buckets, check_sketch, sketch

WORD = np.uint64
Words = NDArray[np.uint64]

CHECK_BITS = 20  # at least; the rest of the last byte is added
MOST_ROUNDS = 10_000


@dataclass(frozen=True)
class TagLayout:
    """Widths of the three fields of a tag, in bits, from the lowest: row, column, checksum."""

    row_bits: int
    col_bits: int
    check_bits: int

    @classmethod
    def of(cls, shape: tuple[int, int]) -> TagLayout:
        """Choose the layout for a matrix: whole bytes, at least 20 bits of checksum."""
        row_bits, col_bits = (max(size - 1, 0).bit_length() for size in shape)
        size = -(-(row_bits + col_bits + CHECK_BITS) // 8)
        wanted = f"indexed by at most {64 - CHECK_BITS} bits"
        mend = "Sketch the matrix in blocks."
        require(size <= 8, "shape", "TagLayout.of", wanted, shape, mend)
        return cls(row_bits, col_bits, 8 * size - row_bits - col_bits)

    @property
    def size(self) -> int:
        """Bytes of a tag."""
        return (self.row_bits + self.col_bits + self.check_bits) // 8

    @property
    def mask(self) -> np.uint64:
        """Ones in the bits that a tag uses."""
        return WORD((1 << 8 * self.size) - 1)

    def tags(self, rows: IntArray, cols: IntArray, values: Words) -> Words:
        """Return the tags of entries; values as uint64."""
        checks = _mixed(rows, cols, values) >> WORD(64 - self.check_bits)
        above = cols.astype(WORD) | (checks << WORD(self.col_bits))
        return rows.astype(WORD) | (above << WORD(self.row_bits))

    def indices(self, tags: Words) -> tuple[IntArray, IntArray]:
        """Read the row and column fields."""
        rows = tags & WORD((1 << self.row_bits) - 1)
        cols = (tags >> WORD(self.row_bits)) & WORD((1 << self.col_bits) - 1)
        return rows.astype(np.int64), cols.astype(np.int64)


@dataclass(frozen=True, eq=False)
class TaggedSketch:
    """Two sketches by the same A and B, of shape (m1, m2)."""

    values: Values  # of the bit patterns modulo 2^b, of an unsigned type of b bits
    tags: Words  # of the tags modulo 2^(8 size), size as in `TagLayout`


def tagged_sketch(entries: Entries, left: Ensemble, right: Ensemble) -> TaggedSketch:
    """Sketch bit patterns, values of an unsigned type, together with their addresses."""
    if entries.values.dtype.kind != "u":
        mend = "Give the bit patterns: `matrix.view(numpy.uint32)` for float32."
        found = entries.values.dtype.name
        raise InputError.parameter("entries", "tagged_sketch", "unsigned integers", found, mend)
    layout = TagLayout.of(entries.shape)
    tags = layout.tags(entries.rows, entries.cols, entries.values.astype(WORD))
    tagged = Entries(entries.shape, entries.rows, entries.cols, tags)
    measured = sketch(entries, left, right)
    return TaggedSketch(measured, sketch(tagged, left, right) & layout.mask)


def decode_tagged(
    measured: TaggedSketch,
    left: Ensemble,
    right: Ensemble,
    *,
    core: bool = True,
    max_rounds: int = MOST_ROUNDS,
) -> Decoded:
    """Decode a tagged sketch: peel single measurements, then solve what is left.

    With `core`, a small rest that peeling cannot enter is solved as a linear system. RECOVERED
    means that both sketches are explained exactly.
    """
    for part in (measured.values, measured.tags):
        check_sketch(part, left, right, "decode_tagged")
    check_at_least(max_rounds, 1, "max_rounds", "decode_tagged")
    shape = (left.n, right.n)
    layout = TagLayout.of(shape)
    values = measured.values.ravel().copy()
    tags = measured.tags.ravel() & layout.mask
    found: list[Triples] = []

    def subtract(rows: IntArray, cols: IntArray, chosen: Values, their: Words) -> IntArray:
        places = buckets(left, right, rows, cols)
        np.subtract.at(values, places, chosen[:, None])
        np.subtract.at(tags, places, their[:, None])
        touched = np.unique(places)
        tags[touched] &= layout.mask
        found.append((rows, cols, chosen))
        return touched

    active, rounds = np.flatnonzero(tags), 0
    while active.size and rounds < max_rounds:
        rows, cols, where = _singles(values, tags, active, layout, left, right)
        if not rows.size:
            break
        rounds += 1
        # copied before they change
        touched = subtract(rows, cols, values[where].copy(), tags[where].copy())
        active = touched[tags[touched] != 0]
    solved = 0
    if core and rounds < max_rounds and tags.any():
        rest = modular_core(values, tags, left, right)
        if rest is not None:
            rows, cols, chosen, their = rest
            if np.array_equal(layout.tags(rows, cols, chosen.astype(WORD)), their & layout.mask):
                solved = rows.size
                subtract(rows, cols, chosen, their)
    wrong = int(np.count_nonzero((values != 0) | (tags != 0)))
    verdict = Ending.CAPPED if rounds >= max_rounds else Ending.STUCK
    return Decoded(
        Entries.gather(shape, found, values.dtype),
        Ending.RECOVERED if wrong == 0 else verdict,
        wrong / max(values.size, 1),
        rounds,
        solved,
    )


def _singles(
    values: Values,
    tags: Words,
    active: IntArray,
    layout: TagLayout,
    left: Ensemble,
    right: Ensemble,
) -> tuple[IntArray, IntArray, IntArray]:
    """Entries that some measurement holds alone: their rows, columns, one measurement each."""
    rows, cols = layout.indices(tags[active])
    inside = (rows < left.n) & (cols < right.n) & (values[active] != 0)
    rows, cols, where = rows[inside], cols[inside], active[inside]
    mine = left.takes(rows, where // right.m) & right.takes(cols, where % right.m)
    rows, cols, where = rows[mine], cols[mine], where[mine]
    fits = layout.tags(rows, cols, values[where].astype(WORD)) == tags[where]
    rows, cols, where = rows[fits], cols[fits], where[fits]
    _, first = np.unique(rows * right.n + cols, return_index=True)
    return rows[first], cols[first], where[first]


def _mixed(rows: IntArray, cols: IntArray, values: Words) -> Words:
    """Hash row, column and value to 64 bits; the finaliser of SplitMix64, applied twice."""
    place = (rows.astype(WORD) << WORD(32)) ^ cols.astype(WORD)
    return _finalised(_finalised(place) ^ values)


def _finalised(words: Words) -> Words:
    words = words + WORD(0x9E3779B97F4A7C15)
    words = (words ^ (words >> WORD(30))) * WORD(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> WORD(27))) * WORD(0x94D049BB133111EB)
    return words ^ (words >> WORD(31))
