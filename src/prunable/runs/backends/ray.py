"""Runs on a Ray cluster, or on a local one started for the occasion."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from prunable.errors import InputError, RunsFailedError, check_at_least
from prunable.numerics.parallel import Spread
from prunable.runs.backends.base import DIED, Result, Task, compute, failed

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2  # tasks handed over for each that is computed, so that no worker waits
CANCELLED = 5.0  # seconds for workers to stop what they do, and then again to be dead


@dataclass(frozen=True)
class RayBackend:
    """Compute on Ray; the store must lie where every node sees it under the same path.

    An address is that of a running cluster, such as "auto" or "ray://head:10001"; without one it is
    the cluster that this process has joined, or a local one is started.
    """

    address: str | None = None
    workers: int | None = None  # tasks at once; by default as many as it has processors
    gpus: float = 0.0  # share of a GPU that each task reserves, and computes on
    retries: int = 2  # of a task whose worker or node died

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_at_least(self.workers, 1, "workers", "RayBackend")
        check_at_least(self.gpus, 0, "gpus", "RayBackend")
        check_at_least(self.retries, 0, "retries", "RayBackend")
        _ray()

    def devices(self, name: str) -> tuple[str, ...]:
        """The one that Ray shows a task: a GPU where one is reserved, else the processor."""
        if self.gpus and name == "cpu":
            raise InputError("`--gpus` reserves GPUs, and `--device` is cpu. Leave one out.")
        if name not in ("auto", "cpu", "cuda"):
            raise InputError(f"Ray chooses among GPUs itself: `--device` cannot be {name}.")
        if name == "cuda" and not self.gpus:
            raise InputError("`--device cuda` needs `--gpus`, the share of a GPU for each task.")
        return ("cuda:0",) if self.gpus else ("cpu",)

    @contextlib.contextmanager
    def open(self) -> Iterator[_RayPool]:
        """Join the cluster; leaving cancels what is under way and lets go of the cluster."""
        with self._joined() as (ray, slots):
            pool = _RayPool(ray, slots, self.gpus, self.retries)
            try:
                yield pool
            finally:
                pool.stop()

    @contextlib.contextmanager
    def spreading(self) -> Iterator[Spread]:
        """Join the cluster for functions of tasks, as `prunable.measure` takes them by `spread`.

        Every node must have prunable, and see files under the same paths. A task whose worker dies
        is computed again; RunsFailedError if that happens too often.
        """
        with self._joined() as (ray, slots):
            yield _RaySpread(ray, slots, self.retries)

    @contextlib.contextmanager
    def _joined(self) -> Iterator[tuple[Any, int]]:
        """The module and the number of tasks at once."""
        ray = _ray()
        joined = self.address is None and ray.is_initialized()
        with contextlib.ExitStack() as stack:
            if not joined:
                self._join(ray)
                stack.callback(ray.shutdown)
            # Ray prints its warnings to stdout, which belongs to the command's result.
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            yield ray, self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def _join(self, ray: Any) -> None:
        local = self.address is None
        if self.address is not None:
            _refuse_silence(self.address)
        try:
            ray.init(
                address="local" if local else self.address,
                num_cpus=(self.workers or os.cpu_count()) if local else None,
                include_dashboard=False if local else None,
                logging_level="warning",
                log_to_driver=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"cannot reach the Ray cluster {self.address or 'on this machine'}: {error}. "
                "Start it (`ray start --head`), or mend `--address`."
            ) from error


@dataclass(frozen=True)
class _RaySpread:
    """Sends tasks to workers; see `Spread`."""

    ray: Any
    slots: int
    retries: int

    def __call__(
        self, function: Callable[[T], R], tasks: Sequence[T], /
    ) -> Generator[tuple[int, R]]:
        remote = self.ray.remote(_answer).options(num_cpus=1, max_retries=self.retries)
        left, under_way = iter(enumerate(tasks)), dict[Any, int]()
        try:
            while True:
                for place, task in islice(left, AHEAD * self.slots - len(under_way)):
                    under_way[remote.remote(function, task)] = place
                if not under_way:
                    return
                (reference, *_), _ = self.ray.wait(list(under_way), num_returns=1)
                place = under_way.pop(reference)
                yield place, self._result(reference)
        finally:
            # whoever cleans up after a failure shall find that nobody writes any more
            left_over = list(under_way)
            for force in (False, True):
                for reference in left_over:
                    self.ray.cancel(reference, force=force)
                if left_over:
                    count = len(left_over)
                    _, left_over = self.ray.wait(left_over, num_returns=count, timeout=CANCELLED)

    def _result(self, reference: Any) -> Any:
        try:
            done, found = pickle.loads(self.ray.get(reference))
        except self.ray.exceptions.WorkerCrashedError as error:
            raise RunsFailedError(f"a part of the work was given up: {DIED}.") from error
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise RunsFailedError(f"Ray gave up a part of the work: {reason}") from error
        if not done:
            raise found
        return found


def _answer(function: Callable[[T], R], task: T) -> bytes:
    """Whether a function gave a result, and that or what it raised; as bytes.

    Ray itself would hand out arrays that nobody may write to, in memory that it takes back.
    """
    try:
        answer: tuple[bool, object] = (True, function(task))
    except Exception as error:
        answer = (False, error)
    return pickle.dumps(answer)


class _RayPool:
    def __init__(self, ray: Any, slots: int, gpus: float, retries: int) -> None:
        self.slots = slots
        self._ray = ray
        self._gpus, self._retries = gpus, retries
        self._compute = ray.remote(compute)
        self._tasks: dict[Any, Task] = {}

    def submit(self, task: Task) -> None:
        options = self._compute.options(
            num_cpus=task.threads, num_gpus=self._gpus, max_retries=self._retries
        )
        self._tasks[options.remote(task)] = task

    def next_done(self) -> tuple[Task, list[Result]]:
        (reference, *_), _ = self._ray.wait(list(self._tasks), num_returns=1)
        task = self._tasks.pop(reference)
        try:
            rows: list[Result] = self._ray.get(reference)
        except self._ray.exceptions.RayError:
            return task, failed(task.specs, DIED)
        return task, rows

    def stop(self) -> None:
        """Cancel what is under way: the cluster may live longer."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)


def _refuse_silence(address: str) -> None:
    """Look whether anybody listens there: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto" and the like
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(
            f"cannot reach the Ray cluster {address}: {error.strerror or error}. "
            "Start it (`ray start --head`), or mend `--address`."
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "`--backend ray` needs Ray. Install it with `pip install 'prunable[ray]'`."
        ) from error
    return ray
