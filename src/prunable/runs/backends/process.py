"""Runs in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from types import FrameType

import torch

from prunable.errors import check_at_least
from prunable.runs.backends.base import DIED, Result, Task, compute, failed
from prunable.runs.devices import devices_of


@dataclass(frozen=True)
class ProcessBackend:
    """Compute in processes of this machine; the numbers do not depend on how many."""

    workers: int = os.cpu_count() or 1
    retries: int = 2  # of a task whose worker may have died

    def __post_init__(self) -> None:
        check_at_least(self.workers, 1, "workers", "ProcessBackend")
        check_at_least(self.retries, 0, "retries", "ProcessBackend")

    def devices(self, name: str) -> tuple[str, ...]:
        """Those of this machine."""
        return devices_of(name)

    @contextmanager
    def open(self) -> Iterator[_Processes]:
        """Start the workers when the first task comes; kill them when the context is left."""
        pool = _Processes(self.workers, self.retries)
        try:
            yield pool
        finally:
            pool.stop()


class _Processes:
    def __init__(self, workers: int, retries: int) -> None:
        self.slots = workers
        self._retries = retries
        self._executor: ProcessPoolExecutor | None = None
        self._futures: dict[Future[list[Result]], Task] = {}
        self._deaths: dict[Task, int] = {}
        self._given_up: list[Task] = []

    def submit(self, task: Task) -> None:
        try:
            self._start(task)
        except BrokenProcessPool:  # a worker died since the last wait
            self._restart()
            self.submit(task)

    def next_done(self) -> tuple[Task, list[Result]]:
        while not self._given_up:
            done, _ = wait(self._futures, return_when=FIRST_COMPLETED)
            future = next(iter(done))
            try:
                rows = future.result()
            except BrokenProcessPool:
                self._restart()
                continue
            return self._futures.pop(future), rows
        task = self._given_up.pop()
        return task, failed(task.specs, DIED)

    def _start(self, task: Task) -> None:
        if self._executor is None:
            # "spawn": a forked child would inherit locks of torch's thread pools.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(
                self.slots, mp_context=context, initializer=_start_worker
            )
        with _interrupts_held():
            self._futures[self._executor.submit(compute, task)] = task

    def _restart(self) -> None:
        """Start anew after a death, which ends all workers; gives up a task tried too often."""
        self.stop()
        before, self._futures = self._futures, {}
        gave_up = False
        for future, task in before.items():
            if not future.cancelled() and future.exception() is None:
                self._futures[future] = task  # was done before
                continue
            self._deaths[task] = self._deaths.get(task, 0) + 1
            if not gave_up and self._deaths[task] > self._retries:
                self._given_up.append(task)
                gave_up = True
            else:
                self.submit(task)

    def stop(self) -> None:
        if self._executor is not None:
            for worker in multiprocessing.active_children():
                worker.kill()
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Start workers deaf to Ctrl-C, which reaches the whole group: the parent alone decides.

    What reaches the parent meanwhile interrupts it afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def remember(number: int, frame: FrameType | None) -> None:  # another thread may be told
        nonlocal came
        del number, frame
        came = True

    resource_tracker.ensure_running()  # its start would let interrupts through
    before = signal.signal(signal.SIGINT, remember)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by workers
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _start_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Leave when the parent is gone: a pool's worker would otherwise wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
