"""What a network costs, measured: before and after, side by side in one run."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prunable.errors import InputError
from prunable.nets.archive import save_tensors
from prunable.nets.networks.examples import MISFITS, evaluating, run, shapes_of
from prunable.nets.networks.inputs import batch_of, tensors_of
from prunable.nets.networks.memory import peak_bytes
from prunable.nets.networks.ties import ties_of
from prunable.nets.networks.timing import Machine, interleaved_seconds, watched_machine
from prunable.nets.prune.plan import PruningPlan
from prunable.nets.shrink.sparse_layers import SparseLinear
from prunable.results import Result


@dataclass(frozen=True)
class Milliseconds:
    """Time of a forward pass of a batch: median of the interleaved repeats, interquartile range."""

    median: float
    spread: float


@dataclass(frozen=True)
class Footprint(Result):
    """What one model costs."""

    parameters: int  # numbers in parameters, tied ones once; of a `SparseLinear`, its values
    nonzeros: int
    disk_bytes: int  # of its file, else of its state as a plain safetensors file, tied ones once
    # Multiplications with additions of one example's forward pass, in matrix products and
    # convolutions; zeros count where they are multiplied.
    macs: int
    # Parameters, buffers and the activations alive at one time, at most, in a forward pass at the
    # largest batch size; without the work space of single operations.
    peak_bytes: int
    milliseconds: Mapping[int, Milliseconds]  # by batch size
    accuracy: float | None = None


@dataclass(frozen=True)
class LayerFootprint:
    """What one layer costs in one model, with its bias; two shapes if it is factored."""

    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    nonzeros: int
    macs: int


@dataclass(frozen=True)
class ComparedLayer:
    """One layer of the first model in all that have it, and its shares if there is a plan."""

    name: str
    kappa_asked: float | None
    kappa: float | None
    models: Mapping[str, LayerFootprint]


@dataclass(frozen=True)
class Comparison(Result):
    """Models side by side, in the given order.

    `layers` are those of the first model that have a weight matrix; `kappa` is the kept share of
    the planned weights, if there is a plan. `machine` says what else ran meanwhile.
    """

    models: Mapping[str, Footprint]
    layers: tuple[ComparedLayer, ...]
    kappa: float | None
    machine: Machine

    def to_dict(self) -> dict[str, Any]:
        """All fields, and whether the machine was busy."""
        found = super().to_dict()
        return found | {"machine": {**found["machine"], "busy": self.machine.busy}}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {"model": name} | {k: v for k, v in found.to_dict().items() if k != "milliseconds"}
            for name, found in self.models.items()
        ]


def compare(
    models: Mapping[str, nn.Module],
    example: Any,
    batch_sizes: Sequence[int] = (1,),
    *,
    plan: PruningPlan | None = None,
    accuracy: Callable[[nn.Module], float] | None = None,
    files: Mapping[str, Path] | None = None,
    repeats: int = 15,
) -> Comparison:
    """Measure models side by side, such as dense, masked and exported.

    They are measured in evaluation mode, as they are, on their devices and in their precision, and
    left untouched. The example, a tensor (batch, ...), a tuple of arguments or arguments by name,
    is repeated or cut to each batch size; an InputError says that it does not fit, or that there is
    no model or size. A plan gives asked and realised
    kappa, `accuracy` is called once a model, `files` are those whose sizes are reported, and in
    each of the `repeats` the models take turns.
    """
    sizes = sorted(set(batch_sizes))
    given = tensors_of(example)
    filled = given and given[0].ndim and all(x.numel() for x in given)
    if not models or not sizes or sizes[0] < 1 or not filled:
        raise InputError(
            "`compare` needs models, batch sizes of at least 1 and an example that is not empty; "
            f"got models {list(models)}, sizes {list(batch_sizes)}, an example of shape "
            f"{shapes_of(example)}."
        )
    largest = batch_of(example, sizes[-1])
    machine = watched_machine()
    with ExitStack() as stack, torch.no_grad():
        for model in models.values():
            stack.enter_context(evaluating(model))
        counted = {
            name: macs_of(model, batch_of(example, 1), name) for name, model in models.items()
        }
        peaks = {name: peak_bytes(model, largest) for name, model in models.items()}
        times: dict[str, dict[int, Milliseconds]] = {name: {} for name in models}
        for size in sizes:
            batch = batch_of(example, size)
            calls = {name: partial(run, model, batch) for name, model in models.items()}
            for name, seconds in interleaved_seconds(calls, repeats=repeats).items():
                low, middle, high = 1e3 * np.quantile(seconds, [0.25, 0.5, 0.75])
                times[name][size] = Milliseconds(float(middle), float(high - low))
    seen = machine()
    measured = {
        name: Footprint(
            *_numbers(model),
            disk_bytes=_file_size((files or {}).get(name), model),
            macs=counted[name][""],
            peak_bytes=peaks[name],
            milliseconds=times[name],
            accuracy=None if accuracy is None else float(accuracy(model)),
        )
        for name, model in models.items()
    }
    layers = tuple(_layers(models, counted, plan))
    return Comparison(measured, layers, None if plan is None else plan.kappa, seen)


def _numbers(model: nn.Module) -> tuple[int, int]:
    parameters = list(model.parameters())
    nonzeros = sum(int(torch.count_nonzero(p)) for p in parameters)
    return sum(p.numel() for p in parameters), nonzeros


def macs_of(model: nn.Module, example: Any, label: str = "") -> dict[str, int]:
    """MACs of one forward pass by layer; of the whole model under the empty name.

    Raises InputError if the example does not fit.
    """
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            run(model, example)
    except MISFITS as error:
        named = f"the model {label!r}" if label else "the model"
        raise InputError(
            f"`example` of shape {shapes_of(example)} does not fit {named}: {error}"
        ) from error
    root = f"{type(model).__name__}."
    counts = {
        name.removeprefix(root): sum(found.values()) // 2
        for name, found in counter.get_flop_counts().items()
        if name.startswith(root)
    }
    counts[""] = counter.get_total_flops() // 2
    # the counter takes compressed rows for a whole matrix
    for name, module in model.named_modules():
        if isinstance(module, SparseLinear):
            whole = counts.get(name, 0)
            saved = whole - whole * module.n_nonzero // (module.in_features * module.out_features)
            parts = name.split(".") if name else []
            for above in ["", *(".".join(parts[: i + 1]) for i in range(len(parts)))]:
                counts[above] = counts.get(above, 0) - saved
    return counts


def _file_size(path: Path | None, model: nn.Module) -> int:
    """Bytes of a file, of the weights of a folder, or of a plain file of the model's state."""
    if path is not None and path.is_dir():
        return sum(file.stat().st_size for file in path.glob("*.safetensors"))
    if path is not None:
        return path.stat().st_size
    state = model.state_dict()
    tied = ties_of(state)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.safetensors"
        save_tensors(target, {name: x for name, x in state.items() if name not in tied})
        return target.stat().st_size


def _layers(
    models: Mapping[str, nn.Module],
    counted: Mapping[str, Mapping[str, int]],
    plan: PruningPlan | None,
) -> Iterator[ComparedLayer]:
    planned = {} if plan is None else {layer.name: layer for layer in plan.layers}
    modules = {label: dict(model.named_modules()) for label, model in models.items()}
    for name, module in next(iter(modules.values())).items():
        own = [n for n, p in module.named_parameters(recurse=False) if p.ndim >= 2]
        if isinstance(module, SparseLinear):
            own = ["weight"]
        if not own:
            continue
        found = [planned[n] for n in (f"{name}.{o}".lstrip(".") for o in own) if n in planned]
        asked = found[0].kappa_asked if len(found) == 1 else None
        kappa = None
        if found:
            kappa = sum(layer.n_kept for layer in found) / sum(layer.n_total for layer in found)
        costs = {
            label: LayerFootprint(
                _shapes(named[name]), *_numbers(named[name]), counted[label].get(name, 0)
            )
            for label, named in modules.items()
            if name in named
        }
        yield ComparedLayer(name, asked, kappa, costs)


def _shapes(module: nn.Module) -> tuple[tuple[int, ...], ...]:
    """Shapes of the weights: one, or two of a factored layer."""
    shapes: list[tuple[int, ...]] = []
    for part in module.modules():
        if isinstance(part, SparseLinear):
            shapes.append((part.out_features, part.in_features))
        else:
            shapes += [tuple(p.shape) for p in part.parameters(recurse=False) if p.ndim >= 2]
    return tuple(shapes)
