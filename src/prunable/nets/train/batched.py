"""Training of many small networks at once: seeds, tail indices and noise levels of one study."""

import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from prunable.errors import InputError, UnsupportedModelError, check_at_least, require
from prunable.nets.models import MeanFieldNetwork
from prunable.nets.train.settings import TrainingOutcome, TrainingSettings
from prunable.nets.train.training import Trainee, advance, check_examples

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

    Activations lie as (replica, unit, example) and are worked through in tiles of units small
    enough to stay in a core's cache, in buffers that are allocated once. Beside automatic
    differentiation this saves passes over memory, not arithmetic: the gain grows with the width.
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


@dataclass(frozen=True)
class Replica:
    """One of the networks trained together; settings and files are those of `train`.

    The model is a chain of linear layers with ReLU between them, and is trained in place; its
    pictures cannot be augmented. `on_step` is called on a thread of its own.
    """

    model: torch.nn.Module
    settings: TrainingSettings
    checkpoint: Path | None = None
    on_step: Callable[[int], None] | None = None


def train_together(
    replicas: Sequence[Replica],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    threads: int | None = None,
    together: int | None = None,
) -> list[TrainingOutcome]:
    """Train networks on the same data, each as `train` would.

    Gives the outcomes in the order of `replicas`: those of `train`, up to the rounding of sums
    taken in another order. One that diverges leaves; the others go on. The numbers of a replica
    depend neither on the others nor on `threads`.

    Models lie on the device of the data. On the CPU `threads`, by default as many as torch uses,
    share the replicas out among them, and each computes on one. `together` replicas of equal
    architectures and batch sizes are one stack of tensors: by default 1 on the CPU, where a wide
    network fills a core, and all that are equal on an accelerator.
    """
    where = "train_together"
    check_examples(x, y, where)
    for name, value in (("threads", threads), ("together", together)):
        check_at_least(1 if value is None else value, 1, name, where)
    for replica in replicas:
        if replica.settings.augment:
            raise InputError("`train_together` does not augment pictures. Use `train`.")
        kinds = {(p.dtype, p.device) for p in replica.model.parameters()}
        wanted = "of the type and on the device of the models"
        require(kinds == {(x.dtype, x.device)}, "x", where, wanted, x.dtype)
    on_cpu = x.device.type == "cpu"
    trainees = [
        Trainee(r.model, x, y, r.settings, checkpoint=r.checkpoint, on_step=r.on_step)
        for r in replicas
    ]
    stacks = _stacks(trainees, together or (1 if on_cpu else max(1, len(trainees))))
    before = torch.get_num_threads()
    workers = min(threads or before, len(stacks)) if on_cpu else 1
    try:
        if on_cpu:
            torch.set_num_threads(1)
        if workers > 1:
            _on_threads(workers, stacks)
        else:
            for stack in stacks:
                _train_stack(stack, threading.Event())
    finally:
        torch.set_num_threads(before)
    return [trainee.outcome() for trainee in trainees]


def _stacks(trainees: Sequence[Trainee], most: int) -> list[list[Trainee]]:
    """Those that can go in lockstep: of equal form, at one step, with batches of one size."""
    alike: dict[object, list[Trainee]] = {}
    for trainee in trainees:
        chain = chain_of(trainee.model)
        if trainee.ended:
            continue
        form = tuple((p.shape, p.dtype, p.requires_grad) for p in trainee.model.parameters())
        batch_size = min(trainee.settings.batch_size, len(trainee.x))
        alike.setdefault((chain, form, batch_size, trainee.step), []).append(trainee)
    return [
        group[start : start + most]
        for group in alike.values()
        for start in range(0, len(group), most)
    ]


def _on_threads(workers: int, stacks: Sequence[list[Trainee]]) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(_train_stack, stack, stop) for stack in stacks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _train_stack(trainees: Sequence[Trainee], stop: threading.Event) -> None:
    while trainees and not stop.is_set():
        stack = StackedChain([trainee.model for trainee in trainees])
        advance(trainees, functools.partial(_losses, stack, trainees), stop)
        for trainee in trainees:
            for parameter in trainee.model.parameters():  # memory of its own again
                parameter.grad = None
                parameter.data = parameter.detach().clone()
        trainees = [trainee for trainee in trainees if not trainee.ended]


def _losses(stack: StackedChain, trainees: Sequence[Trainee]) -> list[float]:
    """Losses of every replica's next batch; leaves the gradients in the replicas."""
    batches = [trainee.next_batch() for trainee in trainees]
    inputs, labels = batches[0]
    if inputs is trainees[0].x:  # all examples, which need no copy for each
        x = inputs.flatten(1).expand(len(batches), -1, -1)
        y = labels.expand(len(batches), -1)
    else:
        x = torch.stack([batch[0] for batch in batches]).flatten(2)
        y = torch.stack([batch[1] for batch in batches])
    losses: list[float] = stack.loss_and_gradients(x, y).tolist()
    return losses
