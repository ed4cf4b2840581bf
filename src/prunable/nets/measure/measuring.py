"""How prunable is this network: any model or checkpoint, tensor by tensor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive import StoredTensor, open_archive
from prunable.nets.networks.interop import MASK, masked_names
from prunable.nets.networks.views import Role, WeightView, see, to_numpy
from prunable.numerics.measure.layer import LayerSketch, MeasuredLayer, measure_layer
from prunable.numerics.measure.network import Measurement, Skipped, sum_up
from prunable.numerics.measure.options import Options, SpectrumMode
from prunable.numerics.randomness import rng
from prunable.numerics.weights.allocation import Rule, allocate
from prunable.numerics.weights.magnitudes import Magnitudes

Source = torch.nn.Module | Mapping[str, torch.Tensor] | str | Path
Load = Callable[[], NDArray[Any]]
Progress = Callable[[int, int, str], None]
Measured = tuple[MeasuredLayer, LayerSketch]

# Matrices with more entries are measured one at a time, which bounds the memory.
LARGE = 2**22


@dataclass(frozen=True)
class _Opened:
    """Tensors that can be read when their turn comes, as often as needed.

    `output` names the last matrix, if the order of the tensors is that of the model.
    """

    label: str
    tensors: list[StoredTensor]
    output: str | None
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of(
        cls, label: str, tensors: list[StoredTensor], *, ordered: bool = True, skipped: Any = ()
    ) -> _Opened:
        merged = _merged(tensors)
        matrices = [tensor.name for tensor in merged if len(tensor.shape) >= 2]
        output = matrices[-1] if matrices and ordered else None
        return cls(label, merged, output, tuple(Skipped(*entry) for entry in skipped))

    def see(self, tensor: StoredTensor) -> tuple[WeightView, ...] | str:
        """The matrices that a tensor stands for, or why it is none."""
        if len(tensor.shape) < 2:  # not worth reading
            return "a single number" if not tensor.shape else "one dimension: a bias or a scale"
        role: Role | None = None
        if self.output is not None:
            role = "output" if tensor.name == self.output else "hidden"
        return see(
            tensor.name,
            tensor.load(),
            consumer=tensor.consumer,
            transposed=tensor.transposed,
            role=role,
        )


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
    on_layer: Progress | None = None,
) -> Measurement:
    """Measure how prunable a network is, and in which layer; needs no data.

    Parameters
    ----------
    model_or_path : A model, a state dict, or a checkpoint: safetensors, torch, ONNX, or a folder
        with one. Checkpoints are read tensor by tensor; the model is never built.
    eps, p, seed, spectrum, authors : As in `Options`; the same seed gives the same numbers.
    unpickle : Whether pickled models may run their code; only for files that you trust.
    workers : Threads; all cores if None. The numbers do not depend on it.
    on_layer : Told (tensors done, tensors in all, name of the next).

    Raises
    ------
    InputError : If an option is out of range, or weights are NaN or infinite.
    DataIntegrityError : If a file is missing, damaged or without weights.
    UnsupportedModelError : If its format cannot be read.
    """
    options = Options(tuple(eps), p, seed, spectrum, authors)
    with _opened(model_or_path, unpickle) as source:
        passed, used = list(source.skipped), list[StoredTensor]()

        def views() -> Iterator[tuple[WeightView, str]]:
            for done, tensor in enumerate(source.tensors):
                if on_layer:
                    on_layer(done, len(source.tensors), tensor.name)
                found = source.see(tensor)
                if isinstance(found, str):
                    passed.append(Skipped(tensor.name, found))
                    continue
                used.append(tensor)
                yield from ((view, tensor.dtype) for view in found)

        measured = _layers(views(), options, workers or os.cpu_count() or 1)
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
        ]
        kept = allocate(bins, questions, _again(source, used))
    overall = sum_up(layers, sketches, kept, options)
    return Measurement(source.label, options, layers, overall, tuple(passed))


def _layers(
    views: Iterator[tuple[WeightView, str]], options: Options, workers: int
) -> list[Measured]:
    """Measure small matrices side by side, large ones alone with all threads of BLAS.

    Threads of BLAS cost more than they bring in small matrices, and wait for each other
    where other programs run.
    """
    measured: list[Measured] = []
    pending: deque[Future[Measured]] = deque()
    blas = ThreadpoolController().select(user_api="blas")
    all_threads = max((pool["num_threads"] for pool in blas.info()), default=1)

    def settle_down_to(count: int) -> None:
        while len(pending) > count:
            measured.append(pending.popleft().result())

    with blas.limit(limits=1), ThreadPoolExecutor(workers) as pool:
        try:
            for view, dtype in views:
                if view.matrix.size <= LARGE:
                    pending.append(pool.submit(_layer, view, dtype, options))
                    settle_down_to(workers)
                else:
                    settle_down_to(0)
                    with blas.limit(limits=all_threads):
                        measured.append(_layer(view, dtype, options))
            settle_down_to(0)
        finally:
            for future in pending:
                future.cancel()
    return measured


def _layer(view: WeightView, dtype: str, options: Options) -> Measured:
    generator = rng(options.seed, "measure", view.name)
    layer, sketch = measure_layer(view.matrix, options, generator, taps=view.taps)
    named = replace(
        layer, name=view.name, shape=view.shape, role=view.role, kind=view.kind, dtype=dtype
    )
    return named, sketch


def _again(source: _Opened, used: list[StoredTensor]) -> Iterator[Magnitudes]:
    """The measured matrices once more, one at a time."""
    for tensor in used:
        views = source.see(tensor)
        assert not isinstance(views, str)
        for view in views:
            yield Magnitudes.of(view.matrix)


@contextmanager
def _opened(source: Source, unpickle: bool) -> Iterator[_Opened]:
    if isinstance(source, torch.nn.Module):
        yield _Opened.of(type(source).__name__, _of_module(source))
    elif isinstance(source, Mapping):
        yield _Opened.of("state dict", _of_state(source, {}))
    elif isinstance(source, (str, Path)):
        with open_archive(source, unpickle=unpickle) as archive:
            yield _Opened.of(
                str(source), list(archive.tensors), ordered=archive.ordered, skipped=archive.skipped
            )
    else:
        raise InputError.parameter(
            "model_or_path", "measure", "a Module, a state dict or a path", type(source).__name__
        )


def _of_module(module: torch.nn.Module) -> list[StoredTensor]:
    owners = {
        id(parameter): type(owner).__name__
        for owner in module.modules()
        for parameter in owner.parameters(recurse=False)
    }
    state: dict[str, torch.Tensor] = dict(module.named_parameters())
    state |= {name: b for name, b in module.named_buffers() if name.endswith(MASK)}
    return _of_state(state, {name: owners[id(p)] for name, p in module.named_parameters()})


def _of_state(state: Mapping[str, torch.Tensor], owners: Mapping[str, str]) -> list[StoredTensor]:
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise InputError.parameter(
                str(name), "measure", "a Tensor in a state dict", type(value).__name__
            )
    return [
        StoredTensor(
            name,
            tuple(value.shape),
            str(value.dtype).removeprefix("torch."),
            partial(to_numpy, value),
            owners.get(name),
        )
        for name, value in state.items()
    ]


def _merged(tensors: list[StoredTensor]) -> list[StoredTensor]:
    """Originals and masks of torch.nn.utils.prune as the pruned weights they stand for."""
    by_name = {tensor.name: tensor for tensor in tensors}
    split = masked_names(set(by_name))
    masks = {mask for _, mask in split.values()}
    by_original = {original: name for name, (original, _) in split.items()}
    merged = []
    for tensor in tensors:
        if tensor.name in by_original:
            name = by_original[tensor.name]
            load = partial(_masked, tensor.load, by_name[split[name][1]].load)
            merged.append(replace(tensor, name=name, load=load))
        elif tensor.name not in masks:
            merged.append(tensor)
    return merged


def _masked(load: Load, load_mask: Load) -> NDArray[Any]:
    weights = load()
    return np.where(load_mask() != 0, weights, weights.dtype.type(0))
