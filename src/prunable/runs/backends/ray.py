"""Runs on a Ray cluster, or on a local one started for the occasion."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prunable.errors import InputError, check_at_least
from prunable.runs.backends.base import DIED, Result, Task, compute, failed


@dataclass(frozen=True)
class RayBackend:
    """Compute on Ray; the store must lie where every node sees it under the same path.

    An address is that of a running cluster, such as "auto" or "ray://head:10001"; without one a
    local cluster is started.
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
        ray = _ray()
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
        try:
            slots = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            # Ray prints its warnings to stdout, which belongs to the command's result.
            with contextlib.redirect_stdout(sys.stderr):
                yield _RayPool(ray, slots, self.gpus, self.retries)
        finally:
            ray.shutdown()


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
