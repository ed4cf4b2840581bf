"""The array type of most numbers, sequences of arrays that are made when asked for, medians."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
T = TypeVar("T")


class Lazy(Sequence[T]):
    """What a function gives for 0, 1, ..., anew each time, so that one is in memory at a time.

    >>> list(Lazy(3, lambda i: i * i))
    [0, 1, 4]
    """

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        """One of them; InputError never, IndexError past the last."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._make(index)


def medians(x: Floats) -> Floats:
    """Medians along the last axis of numbers without NaN, of their dtype.

    Those of `np.median`, which takes ten times as long: NumPy finds one rank by vector
    instructions, two by others.

    >>> float(medians(np.array([4.0, 1.0, 2.0, 3.0])))
    2.5
    """
    size = x.shape[-1]
    parted = np.partition(x, size // 2, axis=-1)
    middle = parted[..., size // 2]
    if size % 2:
        return np.asarray(middle)
    return np.asarray((parted[..., : size // 2].max(axis=-1) + middle) / 2)
