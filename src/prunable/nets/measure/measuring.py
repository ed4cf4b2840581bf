"""How prunable is this network: any model or checkpoint, tensor by tensor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from prunable.arguments import checked
from prunable.errors import DataIntegrityError, InputError, check_at_least
from prunable.nets.measure.opened import Opened, Seen, Source, opened
from prunable.numerics.measure.entries import Coded
from prunable.numerics.measure.layer import LayerSketch, MeasuredLayer, measure_layer
from prunable.numerics.measure.network import Measurement, Skipped, sum_up
from prunable.numerics.measure.options import Options, SpectrumMode
from prunable.numerics.parallel import Spread, grouped, in_order
from prunable.numerics.randomness import rng
from prunable.numerics.weights.allocation import Counts, Inside, Rule, allocate
from prunable.numerics.weights.magnitudes import Magnitudes

Progress = Callable[[int, int, str], None]
Measured = tuple[MeasuredLayer, LayerSketch]
T = TypeVar("T")
R = TypeVar("R")

MEMORY = 2**30  # bytes that layers side by side may take
# Weights whose measuring costs as much as what all layers cost; of a task that is sent elsewhere.
OF_A_LAYER, OF_A_TASK = 2**23, 2**25


@checked("measure")
def measure(
    model_or_path: Source,
    *,
    eps: tuple[float, ...] = (0.05, 0.1, 0.2),
    p: float = 2.0,
    seed: int = 0,
    spectrum: SpectrumMode = "auto",
    authors: bool = False,
    unpickle: bool = False,
    workers: int | None = None,
    memory: int = MEMORY,
    spread: Spread | None = None,
    on_layer: Progress | None = None,
) -> Measurement:
    """Measure how prunable a network is, and in which layer; needs no data.

    Raises InputError if an option is out of range, or weights are NaN or infinite;
    DataIntegrityError if a file is missing, damaged or without weights; UnsupportedModelError if
    its format cannot be read.

    >>> import torch, prunable
    >>> prunable.measure(torch.nn.Linear(300, 100))  # torch draws weights uniformly at first
    Measurement('Linear', 30,000 weights in 1 layer: 1 light-tailed)

    Parameters
    ----------
    model_or_path : A model, a state dict, or a checkpoint: safetensors, torch, ONNX, or a folder
        with one. Checkpoints are read tensor by tensor; the model is never built.
    eps, p, seed, spectrum, authors : As in `Options`; the same seed gives the same numbers.
    unpickle : Whether pickled models may run their code; only for files that you trust.
    workers : Threads; all cores if None. The numbers do not depend on it.
    memory : Bytes that layers measured side by side may take; a larger one is measured alone.
        Numbers of 16 bits and less are read from their file as needed, and do not count as a whole.
    spread : Where tasks of a few layers are sent, in place of threads: what
        `RayBackend().spreading()` gives. Each opens the checkpoint itself, by its absolute path.
    on_layer : Told (tensors done, tensors in all, name of the next).
    """
    if workers is not None:
        check_at_least(workers, 1, "workers", "measure")
    options = Options(tuple(eps), p, seed, spectrum, authors)
    if spread is not None and not isinstance(model_or_path, (str, Path)):
        wanted = "left out, unless the network is in a file"
        raise InputError.parameter("spread", "measure", wanted, type(model_or_path).__name__)
    with opened(model_or_path, unpickle) as source:
        room = _Room.of(workers or os.cpu_count() or 1, memory)
        names = [tensor.name for tensor in source.tensors]
        far = None
        if spread is None:
            all_found = [_look(source, names, options, room, on_layer)]
        else:
            assert isinstance(model_or_path, (str, Path))
            far = _Far(Path(model_or_path).absolute(), unpickle, source.sizes, spread)
            all_found = _look_far(far, names, options, room, on_layer)
        measured = [one for found in all_found for one in found.measured]
        passed = (*source.skipped, *(one for found in all_found for one in found.passed))
        used = [one for found in all_found for one in found.used]
        if not measured:
            reasons = "; ".join(f"{s.name}: {s.reason}" for s in passed[:3]) or "it is empty"
            raise DataIntegrityError(
                f"{source.label} holds no weight matrix to measure ({reasons})."
            )
        if on_layer:
            on_layer(len(source.tensors), len(source.tensors), "")
        layers, sketches = zip(*measured, strict=True)
        bins = [sketch.bins for sketch in sketches]
        occupied = sum(found is not None for found in bins)
        questions = [
            (rule, occupied * e * e)
            for rule in (Rule.BEST, Rule.GLOBAL_THRESHOLD)
            for e in options.eps
        ] + [(Rule.ONE_VECTOR, e**options.p) for e in options.eps]
        kept = allocate(bins, questions, partial(_again, source, used, sketches, far))
    overall = sum_up(layers, sketches, kept, options)
    return Measurement(source.label, options, layers, overall, passed)


@dataclass(frozen=True)
class _Room:
    """What layers side by side may take, and those that take more than a share get alone.

    Numbers depend on share and threads in their last digits, so that both go where tasks are sent.
    """

    workers: int
    memory: int
    share: int
    threads: int  # of BLAS

    @classmethod
    def of(cls, workers: int, memory: int) -> _Room:
        check_at_least(memory, 1, "memory", "measure")
        blas = ThreadpoolController().select(user_api="blas")
        threads = max((pool["num_threads"] for pool in blas.info()), default=1)
        return cls(workers, memory, memory // workers, threads)


@dataclass(frozen=True)
class _Found:
    """Matrices of some tensors; tensors that have none; names of the others, with how many."""

    measured: list[Measured]
    passed: list[Skipped]
    used: list[tuple[str, int]]


def _look(
    source: Opened,
    names: Sequence[str],
    options: Options,
    room: _Room,
    on_layer: Progress | None = None,
) -> _Found:
    found = _Found([], [], [])

    def views() -> Iterator[Seen]:
        for done, name in enumerate(names):
            if on_layer:
                on_layer(done, len(names), name)
            seen = source.see(source.by_name[name])
            if isinstance(seen, str):
                found.passed.append(Skipped(name, seen))
                continue
            found.used.append((name, len(seen)))
            yield from seen

    found.measured.extend(_layers(views(), options, room))
    return found


def _layers(views: Iterator[Seen], options: Options, room: _Room) -> list[Measured]:
    """Measure matrices side by side as memory allows, those that take more than a share alone.

    These get all threads of BLAS: more than one cost more than they bring in small matrices, and
    wait for each other where other programs run.
    """
    measured: list[Measured] = []
    pending: deque[tuple[Future[Measured], int]] = deque()
    blas = ThreadpoolController().select(user_api="blas")

    def settle_down_to(count: int, free: int = 0) -> None:
        while len(pending) > count or (pending and sum(x for _, x in pending) + free > room.memory):
            measured.append(pending.popleft()[0].result())

    with blas.limit(limits=1), ThreadPoolExecutor(room.workers) as pool:
        try:
            for view in views:
                if view.cost <= room.share:
                    settle_down_to(room.workers - 1, view.cost)
                    pending.append((pool.submit(_layer, view, options), view.cost))
                else:
                    settle_down_to(0)
                    with blas.limit(limits=room.threads):
                        measured.append(_layer(view, options))
            settle_down_to(0)
        finally:
            for future, _ in pending:
                future.cancel()
    return measured


def _layer(view: Seen, options: Options) -> Measured:
    named = view.named
    if isinstance(view.entries, Coded) and not view.entries.finite:
        view.refuse()
    generator = rng(options.seed, "measure", named.name)
    layer, sketch = measure_layer(view.entries, options, generator, taps=named.taps)
    about: dict[str, Any] = {"name": named.name, "shape": tuple(named.shape), "role": named.role}
    return replace(layer, **about, kind=named.kind, dtype=view.dtype), sketch


@dataclass(frozen=True)
class _Far:
    """A checkpoint that is opened wherever tasks are sent."""

    path: Path
    unpickle: bool
    sizes: Mapping[str, int]
    spread: Spread

    def each(
        self, function: Callable[[Opened, T], R], tasks: Sequence[T], names: Sequence[str]
    ) -> Iterator[R]:
        """What a function makes of the open checkpoint and each task, which is on one tensor."""
        costs = [self.sizes[name] + OF_A_LAYER for name in names]
        groups = grouped(range(len(tasks)), costs.__getitem__, OF_A_TASK)
        work = partial(_opening, function, self.path, self.unpickle)
        sent = [[tasks[place] for place in group] for group in groups]
        return chain.from_iterable(in_order(self.spread(work, sent)))


def _opening(
    function: Callable[[Opened, T], R], path: Path, unpickle: bool, tasks: Sequence[T]
) -> list[R]:
    with opened(path, unpickle) as source:
        return [function(source, task) for task in tasks]


def _look_far(
    far: _Far, names: Sequence[str], options: Options, room: _Room, on_layer: Progress | None
) -> list[_Found]:
    look = partial(_look_at, options=options, room=replace(room, workers=1))
    all_found = []
    for done, found in enumerate(far.each(look, names, names)):
        if on_layer:
            on_layer(done, len(names), names[done])
        all_found.append(found)
    return all_found


def _look_at(source: Opened, name: str, options: Options, room: _Room) -> _Found:
    return _look(source, [name], options, room)


def _again(
    source: Opened,
    used: Sequence[tuple[str, int]],
    sketches: Sequence[LayerSketch],
    far: _Far | None,
    asked: Sequence[Counts | None],
) -> list[Inside]:
    """What bins of the measured matrices hold, from their counts where there are such."""
    answers: list[Inside] = [
        None if bins is None or sketch.levels is None else sketch.levels.inside(bins)
        for sketch, bins in zip(sketches, asked, strict=True)
    ]
    tasks, places, place = list[tuple[str, Sequence[Counts | None]]](), list[int](), 0
    for name, count in used:
        wanted = asked[place : place + count]
        if sketches[place].levels is None and any(bins is not None for bins in wanted):
            tasks.append((name, wanted))
            places.append(place)
        place += count
    found = (
        (_inside(source, task) for task in tasks)
        if far is None
        else far.each(_inside, tasks, [name for name, _ in tasks])
    )
    for place, matrices in zip(places, found, strict=True):
        answers[place : place + len(matrices)] = matrices
    return answers


def _inside(source: Opened, task: tuple[str, Sequence[Counts | None]]) -> list[Inside]:
    name, wanted = task
    views = source.see(source.by_name[name])
    assert not isinstance(views, str)
    return [
        None if bins is None else Magnitudes.of(cast(NDArray[Any], view.entries)).inside(bins)
        for view, bins in zip(views, wanted, strict=True)
    ]
