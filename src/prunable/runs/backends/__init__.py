"""Where runs are computed: in this process, in several, or on a Ray cluster."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from prunable.numerics.parallel import Spread
from prunable.runs.backends.base import Backend, Pool, SerialBackend, Task
from prunable.runs.backends.process import ProcessBackend
from prunable.runs.backends.ray import RayBackend

__all__ = [
    "Backend",
    "Pool",
    "ProcessBackend",
    "RayBackend",
    "SerialBackend",
    "Task",
    "backend_of",
    "spreading",
]


def backend_of(workers: int | None = None) -> Backend:
    """So many processes of this machine, as many as it has cores by default; 1 is this process."""
    if workers == 1:
        return SerialBackend()
    return ProcessBackend() if workers is None else ProcessBackend(workers)


def spreading(
    backend: Literal["local", "ray"], address: str | None
) -> AbstractContextManager[Spread | None]:
    """Where a command sends tasks that need no store; None is this process."""
    return RayBackend(address).spreading() if backend == "ray" else nullcontext()
