"""Arguments of the bounds: what they must be, and the sentence that says what they are not."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prunable.errors import require


def check_n(n: int, where: str) -> None:
    """Check a number of examples: a positive integer."""
    whole = isinstance(n, int | np.integer) and not isinstance(n, bool)
    action = "The training set must not be empty."
    require(whole and n >= 1, "n", where, "a positive integer", n, action)


def check_delta(delta: float, where: str) -> None:
    """Check a failure probability, inside (0, 1)."""
    action = "0.05 means that the bound holds 19 times of 20."
    require(0 < delta < 1, "delta", where, "inside (0, 1)", delta, action)


def check_positive(value: float, name: str, where: str, action: str = "") -> float:
    """Check a scale, a norm or a factor."""
    require(0 < value < math.inf, name, where, "positive and finite", value, action)
    return float(value)


def check_finite(value: float, name: str, where: str) -> None:
    """Check a magnitude that may be zero."""
    require(0 <= value < math.inf, name, where, "finite and >= 0", value)


def check_numbers(array: NDArray[np.float64], name: str, where: str, noun: str, why: str) -> None:
    """Refuse NaN and infinite numbers, and say how many there are and `why`."""
    bad = int(array.size - np.isfinite(array).sum())
    require(bad == 0, name, where, "finite", f"{bad} NaN or infinite {noun}of {array.size}", why)


def check_layers(where: str, **values: Sequence[object]) -> None:
    """Check that there is a layer, and that each named sequence has one entry a layer."""
    (first, some), *others = values.items()
    lengths = [len(entries) for entries in values.values()]
    alike = f"one number a layer, as {' and '.join(name for name, _ in others)}"
    require(len(some) > 0 and len(set(lengths)) == 1, first, where, alike, lengths)
