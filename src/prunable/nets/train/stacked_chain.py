"""Loss and gradients of several equal ReLU chains at once, without automatic differentiation.

Activations lie as (replica, unit, example) and are worked through in tiles of units small
enough to stay in a core's cache, in buffers that are allocated once. Beside automatic
differentiation this saves passes over memory, not arithmetic: the gain grows with the width.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.models import MeanFieldNetwork

# Of the activations of a tile on the CPU.
TILE_BYTES = 2**20
FEWEST_UNITS = 64
# Taken through the network at a time on the CPU; bounds the memory, whatever the batch.
EXAMPLES = 512


@dataclass(frozen=True)
class Chain:
    """Linear layers with ReLU between them: names of weight and bias, from inputs to outputs.

    The outputs are divided by `divisor`: the width of a mean-field network, 1 otherwise.
    """

    layers: tuple[tuple[str, str | None], ...]
    divisor: int = 1


def chain_of(model: nn.Module) -> Chain:
    """Read a network as a chain; UnsupportedModelError if it is none, or has no hidden layer."""
    if isinstance(model, MeanFieldNetwork):
        return Chain((("hidden.weight", None), ("output.weight", None)), model.width)
    modules = list(model.named_children()) if type(model) is nn.Sequential else []
    if modules and isinstance(modules[0][1], nn.Flatten):
        modules = modules[1:]
    linear, between = modules[::2], modules[1::2]
    if (
        len(linear) < 2
        or len(linear) == len(between)
        or not all(type(module) is nn.Linear for _, module in linear)
        or not all(type(module) is nn.ReLU for _, module in between)
    ):
        raise UnsupportedModelError(
            f"{type(model).__name__} is no chain of linear layers with ReLU between them. "
            "Train it alone with `train`."
        )
    return Chain(
        tuple(
            (f"{name}.weight", None if module.bias is None else f"{name}.bias")
            for name, module in linear
        )
    )


class StackedChain:
    """Equal chains as one stack: parameters and gradients of each are slices of it.

    The networks differ in their numbers alone. Their parameters, and the gradients of those
    that are trained, become views of the stack.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._chain = chain_of(models[0])
        form = _form(models[0])
        for model in models:
            if chain_of(model) != self._chain or _form(model) != form:
                raise InputError(
                    "`models` of `StackedChain` differ in layers, shapes, types or in what is "
                    "trained. Train those that are equal together."
                )
        self._values: dict[str, torch.Tensor] = {}
        self._gradients: dict[str, torch.Tensor] = {}
        parameters = [dict(model.named_parameters()) for model in models]
        for name, first in parameters[0].items():
            values = self._values[name] = _aligned(first.detach(), len(models), first.shape)
            if first.requires_grad:
                self._gradients[name] = _aligned(values, len(models), first.shape)
            for index, own in enumerate(parameters):
                own[name].data = values[index].copy_(own[name].detach())
                own[name].grad = self._gradients[name][index] if first.requires_grad else None
        self._buffers: dict[tuple[str, int, int, int], torch.Tensor] = {}

    def loss_and_gradients(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Leave the gradients of the mean cross-entropy in every network.

        Inputs (replicas, n, features) and classes (replicas, n), which may be expanded from one
        replica, give the losses (replicas,), nats.
        """
        count = y.shape[1]
        size = EXAMPLES if x.device.type == "cpu" else count
        total = x.new_zeros(y.shape[0])
        for start in range(0, count, size):
            inputs, labels = x[:, start : start + size], y[:, start : start + size, None].mT
            outputs, hidden = self._forward(inputs)
            log_probabilities = torch.log_softmax(outputs.div_(self._chain.divisor), dim=1)
            total -= log_probabilities.gather(1, labels).sum((1, 2))
            pull = log_probabilities.exp_()
            pull.scatter_add_(1, labels, pull.new_full((1, 1, 1), -1.0).expand(labels.shape))
            pull.mul_(1 / (count * self._chain.divisor))
            self._backward(inputs, hidden, pull, beta=0 if start == 0 else 1)
        return total.div_(count)

    def _forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Outputs (replica, class, example) and activations of the hidden layers."""
        *inner, (weight, bias) = self._chain.layers
        last = self._values[weight]
        outputs = _aligned(x, last.shape[0], (last.shape[1], x.shape[1]))
        below, hidden = x.mT, []
        for layer, (name, shift) in enumerate(inner):
            weights = self._values[name]
            active = self._buffer(f"hidden {layer}", weights.shape[1], x)
            for units in _tiles(active):
                tile = torch.bmm(weights[:, units], below, out=active[:, units])
                if shift is not None:
                    tile.add_(self._values[shift][:, units, None])
                tile.relu_()
                if layer == len(inner) - 1:
                    outputs.baddbmm_(last[:, :, units], tile)
            hidden.append(active)
            below = active
        if bias is not None:
            outputs.add_(self._values[bias][:, :, None])
        return outputs, hidden

    def _backward(
        self, x: torch.Tensor, hidden: list[torch.Tensor], pull: torch.Tensor, *, beta: int
    ) -> None:
        """Gradients from those by the outputs; added to what is there if `beta` is 1."""
        layers = self._chain.layers
        self._add_bias_gradient(layers[-1][1], slice(None), pull, beta)
        for layer in reversed(range(len(hidden))):
            (name, bias), (above, _) = layers[layer : layer + 2]
            active = hidden[layer]
            weights, gradient = self._values[above], self._gradients.get(above)
            lowest = self._gradients.get(name) if layer == 0 else None
            # Of the first layer the tiles are forgotten one by one, and one buffer serves all.
            units_held = active.shape[1] if layer else _units(active)
            held = self._buffer(f"pull {layer}", units_held, x)
            for units in _tiles(active):
                tile = active[:, units]
                if gradient is not None:
                    gradient[:, :, units].baddbmm_(pull, tile.mT, beta=beta)
                own = held[:, units] if layer else held[:, : tile.shape[1]]
                torch.bmm(weights[:, :, units].mT, pull, out=own)
                torch.ops.aten.threshold_backward.grad_input(own, tile, 0, grad_input=own)
                if lowest is not None:
                    lowest[:, units].baddbmm_(own, x, beta=beta)
                self._add_bias_gradient(bias, units, own, beta)
            pull = held

    def _add_bias_gradient(
        self, name: str | None, units: slice, pull: torch.Tensor, beta: int
    ) -> None:
        if name is not None and name in self._gradients:
            self._gradients[name][:, units].mul_(beta).add_(pull.sum(2))

    def _buffer(self, name: str, units: int, x: torch.Tensor) -> torch.Tensor:
        """Scratch of shape (replicas, units, examples of x), kept for the next time."""
        shape = (next(iter(self._values.values())).shape[0], units, x.shape[1])
        key = (name, *shape)
        if key not in self._buffers:
            self._buffers[key] = _aligned(x, shape[0], shape[1:])
        return self._buffers[key]


def _aligned(like: torch.Tensor, replicas: int, shape: Sequence[int]) -> torch.Tensor:
    """Zeros (replicas, *shape), each slice at a cache line: elsewhere MKL rounds otherwise."""
    size, line = math.prod(shape), 64 // like.element_size()
    return like.new_zeros(replicas, -(-size // line) * line)[:, :size].view(replicas, *shape)


def _form(model: nn.Module) -> list[object]:
    return [
        (name, p.shape, p.dtype, p.device, p.requires_grad) for name, p in model.named_parameters()
    ]


def _units(active: torch.Tensor) -> int:
    if active.device.type != "cpu":
        return active.shape[1]
    # Of one replica, so that its arithmetic does not depend on how many there are.
    per_unit = active.shape[2] * active.element_size()
    return min(active.shape[1], max(FEWEST_UNITS, TILE_BYTES // per_unit))


def _tiles(active: torch.Tensor) -> Iterator[slice]:
    size = _units(active)
    for start in range(0, active.shape[1], size):
        yield slice(start, start + size)
