"""Work on several arrays at once, on threads of this process or wherever tasks can be sent.

NumPy lets go of the interpreter while it computes.
"""

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Apply a pure function, busy in NumPy, to every item on threads; results in their order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


class Spread(Protocol):
    """Applies a function to tasks, wherever, and gives (place, result) as they are done.

    What is sent elsewhere must be pickled: functions of modules, `partial` of them, dataclasses.
    Leaving the generator stops what is under way.
    """

    def __call__(
        self, function: Callable[[T], R], tasks: Sequence[T], /
    ) -> Generator[tuple[int, R]]:
        """Raise what the function raises; PrunableError where a task cannot be computed."""


def here(function: Callable[[T], R], tasks: Sequence[T], /) -> Generator[tuple[int, R]]:
    """Apply a function to tasks in this thread, one after the other: a `Spread`."""
    for place, task in enumerate(tasks):
        yield place, function(task)


def in_order(found: Iterable[tuple[int, R]]) -> Generator[R]:
    """Results of places 0, 1, ... in their order, as soon as those before are there.

    >>> list(in_order([(1, "b"), (0, "a"), (2, "c")]))
    ['a', 'b', 'c']
    """
    early: dict[int, R] = {}
    wanted = 0
    for place, result in found:
        early[place] = result
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def grouped(items: Iterable[T], cost: Callable[[T], float], enough: float) -> list[list[T]]:
    """Cut items, in their order, into groups that cost just enough; the last may cost less.

    >>> grouped([3, 1, 1, 1, 9, 2], float, 3)
    [[3], [1, 1, 1], [9], [2]]
    """
    groups: list[list[T]] = []
    spent = enough
    for item in items:
        if spent >= enough:
            groups.append([])
            spent = 0
        groups[-1].append(item)
        spent += cost(item)
    return groups
