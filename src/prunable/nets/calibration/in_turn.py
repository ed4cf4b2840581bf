"""One run of a network in which layers are changed, each on what the changed ones send it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunable.errors import InputError
from prunable.nets.calibration.calibrating import HELD_OUT, ROWS, check_finite
from prunable.nets.calibration.layers import batch_of_layer, matrix_of, vectors_of
from prunable.nets.networks.examples import Example, checked_run, evaluating, mapped
from prunable.nets.networks.inputs import batch_of, batch_size_of, tensors_of
from prunable.numerics.reconstruction.aim import Aim, Moments
from prunable.numerics.reconstruction.gram import Gram

OTHERWISE = "give `towards='layer'`, or no calibration where units go."
PARTS = 8  # of the inputs of a layer, of which every fourth is held out


@dataclass(frozen=True, eq=False)
class Turn:
    """A layer whose turn it is, what it is sent, and what its outputs should be."""

    name: str  # of the weight
    module: nn.Module
    weight: Tensor = field(repr=False)  # of the dense network, as stored
    aim: Aim  # biases aside
    # whether nothing is lost by means of its outputs: it has a bias, or statistics that are
    # estimated again take them off
    free_mean: bool
    sent: Tensor = field(repr=False)
    dense: Tensor = field(repr=False)  # the same of the dense network


def in_turn(
    model: nn.Module,
    batches: Sequence[Example],
    names: Mapping[nn.Module, str],
    change: Callable[[Turn], None],
    *,
    recalibrate: bool = False,
    biases: bool = False,
) -> tuple[str, ...]:
    """Run a network, or a part of one, and let each layer be changed before it goes on.

    All inputs pass at once and twice: one half as the dense network treats them, the other through
    the layers as they have been changed. So a layer is fitted to what the dense one gave, on what
    it really gets, and one run does for all. `names` are the layers to change and the names of
    their weights; `change` alters a module in place, where it is called for the first time. With
    `recalibrate`, BatchNorm layers take the statistics of the second half on the way; with
    `biases`, biases are free as well. Gives the names of layers that no input reached, unchanged.

    Raises InputError if inputs cannot be put together, or the network treats the inputs of a batch
    other than by themselves; then nothing is changed.
    """
    whole = joined(batches)
    run = _Run(model, names, change, recalibrate, biases)
    run.observe(whole)
    with run.hooked(), evaluating(model), suppress(_Done):
        checked_run(model, batch_of(whole, 2 * batch_size_of(whole)))
    return tuple(dict.fromkeys(name for name in names.values() if name not in run.reached))


def joined(batches: Sequence[Example]) -> Any:
    """Batches as one; tensors that are not of the batch's size are those of the first.

    Raises InputError if their shapes differ otherwise.
    """
    sizes = [batch_size_of(batch) for batch in batches]
    parts = [list(tensors_of(batch)) for batch in batches]
    whole: list[Tensor] = []
    for same in zip(*parts, strict=True):
        if same[0].ndim and len(same[0]) == sizes[0]:
            shapes = sorted({tuple(x.shape[1:]) for x in same})
            if len(shapes) > 1:
                raise InputError(
                    f"Inputs of shapes {shapes[0]} and {shapes[1]} cannot pass together, as layers "
                    "in turn need. Bring them to one shape, or " + OTHERWISE
                )
            whole.append(torch.cat(same))
        else:
            whole.append(same[0])
    left = iter(whole)
    return mapped(batches[0], lambda _: next(left))


class _Done(BaseException):
    """All layers have had their turn; what follows need not run."""


class _Run:
    """Both halves on their way through a network."""

    def __init__(
        self,
        model: nn.Module,
        names: Mapping[nn.Module, str],
        change: Callable[[Turn], None],
        recalibrate: bool,
        biases: bool,
    ) -> None:
        self.model, self.names, self.change, self.biases = model, names, change, biases
        self.norms = [
            module
            for module in model.modules()
            if recalibrate and isinstance(module, _BatchNorm) and module.running_mean is not None
        ]
        self.dense = {
            module: {k: v.detach().clone() for k, v in module.state_dict().items()}
            for module in (*names, *self.norms)
        }
        self.normalised: set[nn.Module] = set()
        self.reached: set[str] = set()
        self.rows: dict[nn.Module, int] = {}  # that one input makes
        self.calls = 0
        self.count = 0  # of inputs
        self.kept: list[Tensor] = []

    def observe(self, whole: Any) -> None:
        """See in which order layers are called, which of them BatchNorm reads, and how batches lie.

        Raises InputError if the first of two inputs is not treated as if it were alone.
        """
        self.count = batch_size_of(whole)
        alone, beside = self.seen(batch_of(whole, 1)), self.seen(batch_of(whole, 2))
        last: tuple[nn.Module, Any] | None = None
        for (module, x, y), (other, two, _) in zip(alone, beside, strict=False):
            scale = float(x.abs().max()) or 1.0
            first = two.chunk(2)[0]
            fits = module is other and len(two) == 2 * len(x)
            if not fits or float((first - x).abs().max()) > 1e-3 * scale:
                break
            if isinstance(module, _BatchNorm) and last is not None and last[1] is x:
                self.normalised.add(last[0])
            last = (module, y)
            self.rows[module] = len(x)
            self.calls += 1
        if self.calls != len(alone) or len(alone) != len(beside):
            raise InputError(
                f"`{type(self.model).__name__}` does not treat the inputs of a batch one after the "
                "other, as layers in turn need: " + OTHERWISE
            )

    def seen(self, example: Any) -> list[tuple[nn.Module, Tensor, Tensor]]:
        """Each call of a layer, with its input and its output."""
        calls: list[tuple[nn.Module, Tensor, Tensor]] = []

        def after(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
            calls.append((module, args[0] if args else next(iter(kwargs.values())), output))

        modules = (*self.names, *self.norms)
        handles = [m.register_forward_hook(after, with_kwargs=True) for m in modules]
        try:
            with evaluating(self.model):
                checked_run(self.model, example)
        finally:
            for handle in handles:
                handle.remove()
        return calls

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Hold the hooks by which halves part and join."""
        modules: Iterable[nn.Module] = (*self.names, *self.norms)
        handles = [m.register_forward_pre_hook(self.before, with_kwargs=True) for m in modules]
        handles += [m.register_forward_hook(self.after) for m in modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def before(self, module: Any, args: Any, kwargs: Any) -> tuple[Any, dict[str, Any]]:
        x = args[0] if args else next(iter(kwargs.values()))
        if len(x) != 2 * self.count * self.rows.get(module, 0):
            name = self.names.get(module, "BatchNorm")
            raise InputError(
                f"`{name}` is sent another number of rows for each input, as experts are, so that "
                "it cannot have its turn: " + OTHERWISE
            )
        dense, sent = x.chunk(2)
        with self.as_it_was(module):
            self.kept.append(module.forward(dense))
        if isinstance(module, _BatchNorm):
            _take_statistics(module, sent)
        elif (name := self.names[module]) not in self.reached:
            self.reached.add(name)
            free = module in self.normalised or (self.biases and module.bias is not None)
            aim = aim_of(module, sent, dense, name)
            weight = self.dense[module]["weight"]
            self.change(Turn(name, module, weight, aim, free, sent, dense))
        self.calls -= 1
        return (sent,), {}

    def after(self, _: nn.Module, __: Any, output: Tensor) -> Tensor:
        if self.calls <= 0 and self.reached.issuperset(self.names.values()):
            raise _Done
        return torch.cat([self.kept.pop(), output])

    @contextmanager
    def as_it_was(self, module: nn.Module) -> Iterator[None]:
        """A module with the numbers of the dense network."""
        now = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(self.dense[module])
        try:
            yield
        finally:
            module.load_state_dict(now)


@torch.no_grad()
def _take_statistics(layer: _BatchNorm, x: Tensor) -> None:
    values = x.double().transpose(0, 1).flatten(1)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(values.mean(1))
    layer.running_var.copy_(values.var(1) if values.shape[1] > 1 else layer.running_var)


@torch.no_grad()
def aim_of(module: Any, sent: Tensor, dense: Tensor, where: str = "aim_of") -> Aim:
    """What a layer gives for the inputs of the dense network, on those that it is sent instead."""
    size = -(-len(sent) // PARTS)
    sums: dict[bool, _Sums] = {}
    pairs = zip(sent.split(size), dense.split(size), strict=True)
    for number, (own, other) in enumerate(pairs):
        held = number % HELD_OUT == HELD_OUT - 1
        sums.setdefault(held, _Sums()).add(module, own, other)
    total, held_out = sums[False], sums.get(True)
    if held_out is not None:
        total.include(held_out)
    check_finite(total.products, where)
    check_finite(total.cross, where)
    gram = Gram(
        _array(total.products),
        total.count,
        None if held_out is None else _array(held_out.products),
        _array(total.inputs / total.count),
        None if held_out is None else _array(held_out.inputs / held_out.count),
        0 if held_out is None else held_out.count,
    )
    return Aim(gram, total.moments(), None if held_out is None else held_out.moments())


class _Sums:
    """Products of inputs with each other and with wanted outputs, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.products = self.inputs = self.cross = self.outputs = torch.zeros(())
        self.squares = torch.zeros(())

    def add(self, module: Any, sent: Tensor, dense: Tensor) -> None:
        weight = matrix_of(module)
        for own, other in zip(sent.split(4), dense.split(4), strict=True):
            x = vectors_of(module, batch_of_layer(module, _wide(own)))
            y = vectors_of(module, batch_of_layer(module, _wide(other)))
            y = y @ weight.reshape(len(x), -1, x.shape[2]).to(x).transpose(1, 2)
            for some, wanted in zip(x.split(ROWS, dim=1), y.split(ROWS, dim=1), strict=True):
                self.count += some.shape[1]
                self.products = self.products + (some.transpose(1, 2) @ some).double()
                self.cross = self.cross + (wanted.transpose(1, 2) @ some).double()
                self.inputs = self.inputs + some.double().sum(1)
                self.outputs = self.outputs + wanted.double().sum(1)
                self.squares = self.squares + wanted.double().square().sum()

    def include(self, other: _Sums) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def moments(self) -> Moments:
        means = _array(self.outputs.flatten() / self.count)
        return Moments(_array(self.cross.flatten(0, 1)), float(self.squares), means, self.count)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _array(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()
