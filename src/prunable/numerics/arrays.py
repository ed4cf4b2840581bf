"""The array type of most numbers here, and sequences of arrays that are made when asked for."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
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
