"""Runs many specifications, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

import torch

from prunable.errors import PrunableError
from prunable.experiments.spec import Spec
from prunable.experiments.stages import execute
from prunable.experiments.store import Store, read_result

Result = dict[str, Any]
OnDone = Callable[[Spec, Result], None]


def run_all(
    specs: Sequence[Spec], store: Store, *, workers: int, on_done: OnDone | None = None
) -> list[Result]:
    """Bring every specification to a result, in parallel, skipping what is done.

    Each run computes on one thread, so its numbers do not depend on `workers`.

    Parameters
    ----------
    specs : sequence of Spec
    store : Store
    workers : int
        Processes, >= 1.
    on_done : callable, optional
        Told each specification and its result as it finishes.

    Returns
    -------
    list of dict
        In the order of `specs`. A run that raised is a row with status "failed" and the
        reason; it is not stored, so the next call tries it again.
    """
    results: dict[str, Result] = {}

    def take(spec: Spec, result: Result) -> None:
        results[spec.run_id] = result
        if on_done is not None:
            on_done(spec, result)

    missing = []
    for spec in {spec.run_id: spec for spec in specs}.values():
        stored = read_result(store.folder(spec), spec)
        if stored is None:
            missing.append(spec)
        else:
            take(spec, stored)
    for spec, result in _in_processes(missing, store, workers):
        take(spec, result)
    return [results[spec.run_id] for spec in specs]


def _in_processes(
    specs: Sequence[Spec], store: Store, workers: int
) -> Iterator[tuple[Spec, Result]]:
    if not specs:
        return
    # "spawn": a forked child would inherit locks of torch's thread pools.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(specs)), mp_context=context, initializer=_start_worker
    ) as pool:
        with _interrupts_ignored():
            futures = {pool.submit(execute, spec, store): spec for spec in specs}
        try:
            for future in as_completed(futures):
                yield futures[future], _result(future, futures[future])
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _result(future: Future[Result], spec: Spec) -> Result:
    try:
        return future.result()
    except PrunableError as error:
        reason = str(error)
    except BrokenProcessPool:
        reason = "its worker process died (out of memory, or killed); run the command again"
    return {"id": spec.run_id, "status": "failed", "reason": reason, "metrics": {}}


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Start workers deaf to Ctrl-C, which reaches the whole group: the parent alone decides."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by what is spawned now
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Leave when the parent is gone: a pool's worker would otherwise wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
