"""Gram matrices of what flows into each layer, and output errors by running."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prunable.errors import InputError, check_at_least, require
from prunable.nets.calibration.layers import (
    batch_of_layer,
    is_matrix_layer,
    outputs_of,
    sums_of_vectors,
    vectors_of,
)
from prunable.nets.networks import examples
from prunable.nets.networks.inputs import batch_size_of
from prunable.nets.networks.ties import ties_of
from prunable.nets.networks.views import WeightView
from prunable.numerics.arrays import FloatArray
from prunable.numerics.reconstruction.gram import Gram

AT_ONCE = 2**25  # numbers of input vectors held at a time
ROWS = 4096  # vectors summed in float32 before the sum goes on in float64
HELD_OUT = 4  # one of so many batches is held out


@dataclass(frozen=True, eq=False)
class Calibration:
    """What flows into the layers of a network."""

    grams: Mapping[str, Gram] = field(repr=False)  # by the name of the weight
    # weights of linear and convolutional layers that no input reached, such as experts: only their
    # numbers count
    unreached: tuple[str, ...]
    n_inputs: int
    batches: tuple[examples.Example, ...] = field(repr=False)  # the inputs, on the model's device
    # where products were not summed up: root mean squares and means, (groups, width) each
    moments: Mapping[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict, repr=False)

    def seen(self, views: Iterable[WeightView]) -> tuple[WeightView, ...]:
        """The views with what is known of their inputs."""
        return tuple(map(self._of, views))

    def _of(self, view: WeightView) -> WeightView:
        rms, means = self.moments.get(view.name, (None, None))
        return replace(view, gram=self.grams.get(view.name), rms=rms, means=means)


def calibrate(
    model: nn.Module,
    inputs: Tensor | Iterable[examples.Example],
    *,
    only: Collection[str] | None = None,
    chunk: int = 32,
    products: bool = True,
) -> Calibration:
    """Sum up the products of what flows into each linear and convolutional layer, float64 sums.

    A tensor of inputs, `chunk` at a time, or batches of what the model is called with; no labels,
    no gradients; the model runs in evaluation mode. Of a convolution these are the products of the
    patches that its filters see, by groups. A weight that several layers share, or one layer uses
    several times, has the sum. Every fourth batch is held out to choose damping by. `only` names
    weights to look at. Without `products` only root mean squares and means are found, for a
    fraction of the time: they suffice where weights go by their inputs' sizes and stay as they
    are, and the errors of outputs are not measured then.

    Raises InputError if there are no inputs, one does not fit, or what reaches a layer is NaN or
    infinite, which names the layer.
    """
    batches = batches_of(model, inputs, chunk)
    layers = layers_of(model, only)
    if products:
        return calibrated_layers(model, layers, batches)
    return _with_moments(layers, moments_of(model, layers, batches), batches)


def calibrated_layers(
    part: nn.Module, names: Mapping[nn.Module, str], batches: Sequence[examples.Example]
) -> Calibration:
    """What flows into some layers while a network, or the part that holds them, runs.

    `names` are those of the layers' weights; `batches` are what the part is called with.
    """
    sums: dict[str, _Sums] = {}
    held = False
    last: tuple[Any, Tensor, _Products] | None = None

    @torch.no_grad()
    def watch(module: nn.Module, x: Tensor) -> None:
        nonlocal last
        name = names[module]
        # queries, keys and values are made of one tensor, whose products are the same
        key = None if isinstance(module, _ConvNd) else identity_of(x)
        if last is None or key is None or key != last[0]:
            last = (key, x, _products(module, x))
        sums.setdefault(name, _Sums()).add(name, last[2], held)

    with examples.watching(part, names, watch):
        for number, batch in enumerate(batches):
            held = number % HELD_OUT == HELD_OUT - 1
            examples.checked_run(part, batch)
    grams = {name: found.gram() for name, found in sums.items()}
    return Calibration(grams, _unreached(names, grams), _count(batches), tuple(batches))


def root_mean_squares(
    model: nn.Module, names: Mapping[nn.Module, str], batches: Sequence[examples.Example]
) -> dict[str, FloatArray]:
    """Those of what flows into each layer, (groups, width), without the room of Gram matrices."""
    return {name: rms for name, (rms, _) in moments_of(model, names, batches).items()}


def moments_of(
    model: nn.Module, names: Mapping[nn.Module, str], batches: Sequence[examples.Example]
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Root mean squares and means of what flows into each layer, (groups, width) each."""
    sums: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()

    @torch.no_grad()
    def watch(module: nn.Module, x: Tensor) -> None:
        name = names[module]
        for count, found in _moments(module, x):
            check_finite(found, name)
            counts[name] += count
            sums[name] = sums[name] + found if name in sums else found

    with examples.watching(model, names, watch):
        for batch in batches:
            examples.checked_run(model, batch)
    found = {name: _array(total) / counts[name] for name, total in sums.items()}
    return {name: (np.sqrt(squares), means) for name, (squares, means) in found.items()}


def _with_moments(
    layers: Mapping[nn.Module, str],
    moments: Mapping[str, tuple[FloatArray, FloatArray]],
    batches: tuple[examples.Example, ...],
) -> Calibration:
    return Calibration({}, _unreached(layers, moments), _count(batches), batches, moments)


def _unreached(layers: Mapping[nn.Module, str], found: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in layers.values() if name not in found))


def _count(batches: Iterable[examples.Example]) -> int:
    return sum(map(batch_size_of, batches))


def measured_errors(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[examples.Example]
) -> dict[str, float]:
    """The relative l_2 error of each layer's outputs with another weight, by running it.

    Every layer gets what the model as it is sends it; biases are left out. `weights` are by name,
    as stored. A layer that no input reaches has no entry.
    """
    return errors_of_layers(model, layers_of(model, weights), weights, batches)


def errors_of_layers(
    part: nn.Module,
    names: Mapping[nn.Module, str],
    weights: Mapping[str, Tensor],
    batches: Sequence[examples.Example],
) -> dict[str, float]:
    """The same of some layers, while the part that holds them runs; see `calibrated_layers`."""
    squares: dict[str, Tensor] = {}

    @torch.no_grad()
    def watch(module: Any, x: Tensor) -> None:
        name = names[module]
        x, own = batch_of_layer(module, x), module.weight.detach()
        apart = outputs_of(module, x, own - weights[name].to(own))
        both = torch.stack([y.double().square().sum() for y in (apart, outputs_of(module, x, own))])
        squares[name] = squares[name] + both if name in squares else both

    with examples.watching(part, names, watch):
        for batch in batches:
            examples.checked_run(part, batch)
    return {
        name: math.sqrt(float(apart / whole)) if whole > 0 else (math.inf if apart > 0 else 0.0)
        for name, (apart, whole) in squares.items()
    }


def batches_of(
    model: nn.Module, inputs: Tensor | Iterable[examples.Example], chunk: int
) -> tuple[examples.Example, ...]:
    """Inputs as batches on a model's device; InputError if there are none."""
    check_at_least(chunk, 1, "chunk", "calibrate")
    examples.check_several(inputs, "calibrate")
    if isinstance(inputs, Tensor):
        # small sets come in parts all the same, of which one is held out
        size = max(1, min(chunk, -(-len(inputs) // HELD_OUT)))
        parts: Iterable[examples.Example] = inputs.split(size) if len(inputs) else ()
    else:
        parts = inputs
    batches = tuple(examples.on_device_of(model, batch) for batch in parts)
    require(batches, "inputs", "calibrate", "one or more inputs", "none")
    return batches


# How many vectors, and the sums of their products and of themselves, float64.
_Products = tuple[int, Tensor, Tensor]


def _products(module: Any, x: Tensor) -> _Products:
    """Products of the vectors that a layer multiplies, (groups, width, width), and their sums."""
    count, total, sums = 0, None, torch.zeros((), dtype=torch.float64)
    for vectors in _vectors(module, x):
        count += vectors.shape[1]
        sums = sums + vectors.sum(1, dtype=torch.float64)
        for rows in vectors.split(ROWS, dim=1):
            found = (rows.transpose(1, 2) @ rows).double()
            total = found if total is None else total.add_(found)
    assert total is not None
    return count, total, sums


def identity_of(x: Tensor) -> tuple[object, ...]:
    """What is the same of tensors of the same numbers as long as one of them is held."""
    # tensors of inference mode count no changes, and cannot be changed outside it
    version = None if x.is_inference() else x._version
    return (x.data_ptr(), x.shape, x.stride(), version)


def _moments(module: Any, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """How many vectors a layer multiplies, sums of their squares and of themselves, float64."""
    if isinstance(module, _ConvNd) and not module.transposed:
        for part in _wide(module, x).split(ROWS):
            yield sums_of_vectors(module, part)
        return
    for vectors in _vectors(module, x):
        for rows in vectors.split(ROWS, dim=1):
            both = torch.stack([rows.square().sum(1), rows.sum(1)])
            yield rows.shape[1], both.double()


def _vectors(module: Any, x: Tensor) -> Iterator[Tensor]:
    """What a layer multiplies, (groups, n, width), some examples at a time."""
    x = _wide(module, x)
    for part in x.split(_at_once(module, x)):
        yield vectors_of(module, part)


def _wide(module: Any, x: Tensor) -> Tensor:
    x = batch_of_layer(module, x)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def check_finite(found: Tensor, name: str) -> None:
    """Raise InputError, which names the layer, if products of its inputs are not finite."""
    if not found.isfinite().all():
        raise InputError(
            f"`inputs` of `calibrate` bring NaN or infinity to `{name}`. Check the inputs, "
            "and that the network is whole."
        )


class _Sums:
    """Products and sums of what flows into one layer."""

    def __init__(self) -> None:
        self.count = self.held_count = 0
        self.inputs = self.held_inputs = torch.zeros((), dtype=torch.float64)
        self.products: Tensor | None = None
        self.held: Tensor | None = None

    def add(self, name: str, more: _Products, held: bool) -> None:
        count, found, inputs = more
        check_finite(found, name)
        self.count += count
        self.inputs = self.inputs + inputs
        self.products = found if self.products is None else self.products + found
        if held:
            self.held_count += count
            self.held_inputs = self.held_inputs + inputs
            self.held = found if self.held is None else self.held + found

    def gram(self) -> Gram:
        assert self.products is not None
        means = _array(self.inputs / self.count)
        # what only comes in held batches cannot be held out
        if self.held is None or self.held_count == self.count:
            return Gram(_array(self.products), self.count, means=means)
        held = _array(self.held), means, _array(self.held_inputs / self.held_count)
        return Gram(_array(self.products), self.count, *held, self.held_count)


def _array(tensor: Tensor) -> FloatArray:
    return tensor.cpu().numpy()


def _at_once(module: Any, x: Tensor) -> int:
    """How many examples' vectors are held at a time."""
    if not isinstance(module, _ConvNd):
        return len(x) or 1
    spread = math.prod(module.stride) if module.transposed else 1
    one = x[0].numel() * math.prod(module.kernel_size) * spread
    return max(1, AT_ONCE // max(1, one))


def layers_of(model: nn.Module, only: Collection[str] | None) -> dict[nn.Module, str]:
    """Layers that multiply, and the name of the weight of each, tied ones by the first's."""
    ties = ties_of(dict(model.named_parameters(remove_duplicate=False)))
    found = {}
    for path, module in model.named_modules():
        if not is_matrix_layer(module):
            continue
        own = f"{path}.weight".lstrip(".")
        name = ties.get(own, own)
        if only is None or name in only:
            found[module] = name
    return found
