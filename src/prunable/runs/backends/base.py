"""What a backend offers the runner, and what each of its workers does."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits

from prunable.errors import PrunableError
from prunable.runs.devices import devices_of
from prunable.runs.execution import execute_batch
from prunable.runs.spec import Spec
from prunable.runs.store import Store

Result = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Runs that one worker computes together: one, or several of equal `batch_key`."""

    specs: tuple[Spec, ...]
    store: Store  # a folder that every worker sees under the same path
    device: str = "cpu"  # as the worker names it
    threads: int = 1  # of torch and of NumPy's and SciPy's linear algebra


class Pool(Protocol):
    """Workers at work."""

    @property
    def slots(self) -> int:
        """Tasks that can be computed at once."""

    def submit(self, task: Task) -> None:
        """Hand over a task."""

    def next_done(self) -> tuple[Task, list[Result]]:
        """Wait for a task; rows in the order of its specs, failed ones among them."""


class Backend(Protocol):
    """A place to compute."""

    def devices(self, name: str) -> tuple[str, ...]:
        """Devices that runs are spread over; see `prunable.runs.devices.devices_of`."""

    def open(self) -> AbstractContextManager[Pool]:
        """Start the workers; leaving the context stops them, whatever they do."""


def compute(task: Task) -> list[Result]:
    """Bring a task's runs to results; what a run raises becomes a row with its reason.

    Such rows are not stored, so that the next call tries them again.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(task.threads)
    try:
        with threadpool_limits(task.threads):  # torch's setting does not reach NumPy's
            return execute_batch(task.specs, task.store, device=task.device)
    except PrunableError as error:
        reason = str(error)
    except Exception as error:  # one broken run shall not end a sweep of hundreds
        reason = f"{type(error).__name__}: {error}"
    finally:
        torch.set_num_threads(before)
    return failed(task.specs, reason)


def failed(specs: Sequence[Spec], reason: str) -> list[Result]:
    """Rows of runs that came to nothing."""
    return [
        {"id": spec.run_id, "status": "failed", "reason": reason, "metrics": {}} for spec in specs
    ]


DIED = "its worker process died (out of memory, or killed); run the command again"


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
