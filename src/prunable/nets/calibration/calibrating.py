"""Gram matrices of what flows into each layer, and output errors by running."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prunable.errors import InputError, check_at_least, require
from prunable.nets.calibration.layers import batch_of_layer, is_matrix_layer, outputs_of, vectors_of
from prunable.nets.networks.examples import (
    Example,
    check_several,
    checked_run,
    on_device_of,
    watching,
)
from prunable.nets.networks.inputs import batch_size_of
from prunable.nets.networks.ties import ties_of
from prunable.nets.networks.views import WeightView
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
    batches: tuple[Example, ...] = field(repr=False)  # the inputs, on the model's device

    def seen(self, views: Iterable[WeightView]) -> tuple[WeightView, ...]:
        """The views with what is known of their inputs."""
        return tuple(replace(view, gram=self.grams.get(view.name)) for view in views)


def calibrate(
    model: nn.Module,
    inputs: Tensor | Iterable[Example],
    *,
    only: Collection[str] | None = None,
    chunk: int = 32,
) -> Calibration:
    """Sum up the products of what flows into each linear and convolutional layer, float64 sums.

    A tensor of inputs, `chunk` at a time, or batches of what the model is called with; no labels,
    no gradients; the model runs in evaluation mode. Of a convolution these are the products of the
    patches that its filters see, by groups. A weight that several layers share, or one layer uses
    several times, has the sum. Every fourth batch is held out to choose damping by. `only` names
    weights to look at.

    Raises InputError if there are no inputs, one does not fit, or what reaches a layer is NaN or
    infinite, which names the layer.
    """
    batches = batches_of(model, inputs, chunk)
    sums: dict[str, _Sums] = {}
    names = _layers(model, only)
    held = False

    def watch(module: nn.Module, x: Tensor) -> None:
        name = names[module]
        with torch.no_grad():
            sums.setdefault(name, _Sums()).add(name, module, x, held)

    with watching(model, names, watch):
        for number, batch in enumerate(batches):
            held = number % HELD_OUT == HELD_OUT - 1
            checked_run(model, batch)
    grams = {name: found.gram() for name, found in sums.items()}
    unreached = tuple(dict.fromkeys(name for name in names.values() if name not in grams))
    return Calibration(grams, unreached, sum(map(batch_size_of, batches)), batches)


def measured_errors(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Example]
) -> dict[str, float]:
    """The relative l_2 error of each layer's outputs with another weight, by running it.

    Every layer gets what the model as it is sends it; biases are left out. `weights` are by name,
    as stored. A layer that no input reaches has no entry.
    """
    squares: dict[str, Tensor] = {}
    names = _layers(model, weights)

    @torch.no_grad()
    def watch(module: Any, x: Tensor) -> None:
        name = names[module]
        x, own = batch_of_layer(module, x), module.weight.detach()
        apart = outputs_of(module, x, own - weights[name].to(own))
        both = torch.stack([y.double().square().sum() for y in (apart, outputs_of(module, x, own))])
        squares[name] = squares[name] + both if name in squares else both

    with watching(model, names, watch):
        for batch in batches:
            checked_run(model, batch)
    return {
        name: math.sqrt(float(apart / whole)) if whole > 0 else (math.inf if apart > 0 else 0.0)
        for name, (apart, whole) in squares.items()
    }


def batches_of(
    model: nn.Module, inputs: Tensor | Iterable[Example], chunk: int
) -> tuple[Example, ...]:
    """Inputs as batches on a model's device; InputError if there are none."""
    check_at_least(chunk, 1, "chunk", "calibrate")
    check_several(inputs, "calibrate")
    if isinstance(inputs, Tensor):
        # small sets come in parts all the same, of which one is held out
        size = max(1, min(chunk, -(-len(inputs) // HELD_OUT)))
        parts: Iterable[Example] = inputs.split(size) if len(inputs) else ()
    else:
        parts = inputs
    batches = tuple(on_device_of(model, batch) for batch in parts)
    require(batches, "inputs", "calibrate", "one or more inputs", "none")
    return batches


class _Sums:
    """Products of what flows into one layer."""

    def __init__(self) -> None:
        self.count = self.held_count = 0
        self.products: Tensor | None = None
        self.held: Tensor | None = None

    def add(self, name: str, module: Any, x: Tensor, held: bool) -> None:
        x = batch_of_layer(module, x)
        x = x if x.dtype in (torch.float32, torch.float64) else x.float()
        for part in x.split(_at_once(module, x)):
            vectors = vectors_of(module, part)
            found = sum(
                (rows.transpose(1, 2) @ rows).double() for rows in vectors.split(ROWS, dim=1)
            )
            assert isinstance(found, Tensor)
            if not found.isfinite().all():
                raise InputError(
                    f"`inputs` of `calibrate` bring NaN or infinity to `{name}`. Check the inputs, "
                    "and that the network is whole."
                )
            self.count += vectors.shape[1]
            self.products = found if self.products is None else self.products + found
            if held:
                self.held_count += vectors.shape[1]
                self.held = found if self.held is None else self.held + found

    def gram(self) -> Gram:
        assert self.products is not None
        # what only comes in held batches cannot be held out
        held = self.held if self.held_count < self.count else None
        return Gram(_array(self.products), self.count, None if held is None else _array(held))


def _array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return tensor.cpu().numpy()


def _at_once(module: Any, x: Tensor) -> int:
    """How many examples' vectors are held at a time."""
    if not isinstance(module, _ConvNd):
        return len(x) or 1
    spread = math.prod(module.stride) if module.transposed else 1
    one = x[0].numel() * math.prod(module.kernel_size) * spread
    return max(1, AT_ONCE // max(1, one))


def _layers(model: nn.Module, only: Collection[str] | None) -> dict[nn.Module, str]:
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
