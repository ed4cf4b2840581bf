"""Runs many specifications in the order in which they build on each other."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prunable.runs.backends import Backend, Pool, ProcessBackend, Task
from prunable.runs.backends.base import failed
from prunable.runs.devices import is_accelerator
from prunable.runs.execution import stored
from prunable.runs.spec import Spec
from prunable.runs.store import Store

Result = dict[str, Any]
OnDone = Callable[[Spec, Result], None]
TOGETHER = 16  # runs of equal `batch_key` computed as one on an accelerator


def missing_runs(specs: Iterable[Spec], store: Store) -> list[Spec]:
    """Runs without a result, each once, inputs before what builds on them.

    The inputs of a finished run are not needed.
    """
    order: dict[str, Spec] = {}
    seen: set[str] = set()

    def visit(spec: Spec) -> None:
        if spec.run_id in seen:
            return
        seen.add(spec.run_id)
        if stored(spec, store) is None:
            for part in spec.inputs():
                visit(part)
            order[spec.run_id] = spec

    for spec in specs:
        visit(spec)
    return list(order.values())


def run_all(
    specs: Sequence[Spec],
    store: Store,
    *,
    workers: int | None = None,
    backend: Backend | None = None,
    device: str = "auto",
    batch: int | None = None,
    on_done: OnDone | None = None,
) -> list[Result]:
    """Bring every specification to a result, in parallel, skipping what is done.

    Each run computes on one thread, so its numbers do not depend on where and with which
    others it is computed.

    Parameters
    ----------
    workers : Processes, in place of `backend`, which is the processes of this machine by default.
    device : "auto" and "cuda" spread the runs over all GPUs; without one, "auto" is the processor.
    batch : Most runs of equal `batch_key` computed together; by default 16 on a GPU, and one by one
        on processors.
    on_done : Told each specification and its result as it finishes, also those it finds done; of
        the runs that others build on, only those computed now.

    Returns
    -------
    list of dict
        In the order of `specs`. A run that raised is a row with status "failed" and the
        reason; it is not stored, so the next call tries it again.
    """
    if backend is None:
        backend = ProcessBackend() if workers is None else ProcessBackend(workers)
    devices = backend.devices(device)
    results: dict[str, Result] = {}

    def take(spec: Spec, result: Result) -> None:
        results[spec.run_id] = result
        if on_done is not None:
            on_done(spec, result)

    missing = missing_runs(specs, store)
    wanted = {spec.run_id for spec in missing}
    for spec in {spec.run_id: spec for spec in specs}.values():
        if spec.run_id not in wanted:
            found = stored(spec, store)
            assert found is not None
            take(spec, found)
    if missing:
        store.open()
        with backend.open() as pool:
            schedule = _Schedule(missing, store, devices, batch, take)
            schedule.run(pool)
    return [results[spec.run_id] for spec in specs]


class _Schedule:
    """Which runs wait for which, which can be handed out, and where to."""

    def __init__(
        self,
        missing: Sequence[Spec],
        store: Store,
        devices: Sequence[str],
        batch: int | None,
        take: OnDone,
    ) -> None:
        self._store, self._batch, self._take = store, batch, take
        self._busy = dict.fromkeys(devices, 0)  # tasks under way
        self._specs = {spec.run_id: spec for spec in missing}
        self._waits_for = {
            spec.run_id: {part.run_id for part in spec.inputs()} & self._specs.keys()
            for spec in missing
        }
        self._dependents: dict[str, list[str]] = {}
        for run_id, causes in self._waits_for.items():
            for cause in causes:
                self._dependents.setdefault(cause, []).append(run_id)
        self._ready = deque(run_id for run_id, causes in self._waits_for.items() if not causes)

    def run(self, pool: Pool) -> None:
        """Hand out what is ready, take what is done, until nothing is left."""
        under_way = 0
        while self._ready or under_way:
            while self._ready and under_way < pool.slots:
                pool.submit(self._next_task(pool.slots - under_way))
                under_way += 1
            task, rows = pool.next_done()
            under_way -= 1
            self._busy[task.device] -= 1
            for spec, row in zip(task.specs, rows, strict=True):
                self._finish(spec, row)

    def _next_task(self, free: int) -> Task:
        device = min(self._busy, key=lambda name: self._busy[name])
        self._busy[device] += 1
        most = self._batch or (TOGETHER if is_accelerator(device) else 1)
        first = self._specs[self._ready.popleft()]
        key = first.batch_key()
        alike = [] if key is None else [i for i in self._ready if self._specs[i].batch_key() == key]
        # Free workers share what is alike before any takes a full batch.
        share = min(most, math.ceil((1 + len(alike)) / free)) - 1
        others = alike[: max(0, share)]
        for run_id in others:
            self._ready.remove(run_id)
        specs = (first, *(self._specs[run_id] for run_id in others))
        return Task(specs, self._store, device)

    def _finish(self, spec: Spec, row: Result) -> None:
        self._take(spec, row)
        for run_id in self._dependents.pop(spec.run_id, ()):
            if run_id not in self._waits_for:
                continue  # another of its inputs has failed
            if row["status"] == "failed":
                del self._waits_for[run_id]
                dependent = self._specs[run_id]
                reason = f"{spec.run_id}, which it builds on: {row['reason']}"
                self._finish(dependent, failed([dependent], reason)[0])
                continue
            self._waits_for[run_id].discard(spec.run_id)
            if not self._waits_for[run_id]:
                self._ready.appendleft(run_id)  # results early
