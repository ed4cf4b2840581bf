"""All runs in this process, one after the other."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from prunable.runs.backends.base import Result, Task, compute
from prunable.runs.devices import devices_of


class _Serial:
    slots = 1

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def next_done(self) -> tuple[Task, list[Result]]:
        task = self._tasks.popleft()
        return task, compute(task)


class SerialBackend:
    """Compute in this process; the easiest to debug."""

    def devices(self, name: str) -> tuple[str, ...]:
        """Those of this machine."""
        return devices_of(name)

    @contextmanager
    def open(self) -> Iterator[_Serial]:
        """Give the one worker."""
        yield _Serial()
